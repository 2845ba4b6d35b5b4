#!/bin/sh
# Changes the core line by line and asks which changes no test notices (`make mutants`). Each round
# asks more tests about what is left of the round before, the quickest first. A round that meets the
# end of its time leaves the rest "not run", and the next run begins with what is left.
#
# MUTANTS_MINUTES=60  how long it may take
# MUTANTS_SHARD=0/1   a part of all mutants, such as 2/8
# MUTANTS_FILES=      globs below filter/core/src, instead of those below
set -eu

cd "$(dirname "$0")/../.."
target=${1:-target}
seconds=$((${MUTANTS_MINUTES:-60} * 60))
shard=${MUTANTS_SHARD:-0/1}
# What reads and writes headers, and what exports.
files=${MUTANTS_FILES:-"trace* trace/** cors* cors/** response* response/** export* export/**"}
out=$target/mutants
mkdir -p "$out"
end=$(($(date +%s) + seconds))

chosen=$(set -f; for glob in $files; do printf ' --file filter/core/src/%s' "$glob"; done)

# round TESTS...: what is left, on these tests.
round() {
    left=$((end - $(date +%s)))
    [ "$left" -gt 60 ] || return 0
    echo "mutants: $left seconds left; on: $*"
    # What was found stays in files, so the end of the time is no failure; nor is a survivor.
    (set -f; CARGO_TARGET_DIR=$out/build CARGO_PROFILE_DEV_DEBUG=0 timeout --signal INT "$left" \
        .tools/mutants/bin/cargo-mutants mutants --package sentry-filter-core $chosen --shard "$shard" --shuffle --iterate \
        --output "$out" --jobs 1 --minimum-test-timeout 60 --build-timeout 600 --colors never --no-times -- --locked "$@") || status=$?
    case ${status:-0} in
        0 | 2 | 3 | 124 | 130) ;;
        *) echo "mutants: cargo-mutants ended with $status" >&2; exit "$status" ;;
    esac
}

round --test vectors
round --lib
round --test properties --test oracles --test patterns --test bounds
"${PYTHON:-python3}" tests/mutants/report.py "$out/mutants.out" tests/mutants/equivalent.txt
