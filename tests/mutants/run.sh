#!/bin/sh
# Changes the core line by line and asks which changes no test notices (`make mutants`). Each round
# asks more tests about what is left of the round before, the quickest first; within a round the
# order is random, so that a part of the mutants is a sample of all.
#
# MUTANTS_MINUTES=60  how long it may take
# MUTANTS_SHARD=0/1   a part of all mutants, such as 2/8
# MUTANTS_FILES=      globs below filter/core/src, instead of all that is here
set -eu

cd "$(dirname "$0")/../.."
out=${1:-target}/mutants
begin=$(date +%s)
seconds=$((${MUTANTS_MINUTES:-60} * 60))
headers=${MUTANTS_FILES:-"trace* trace/** cors* cors/** response* response/**"}
all=${MUTANTS_FILES:-"$headers export* export/**"}
mkdir -p "$out"

mutants() {
    CARGO_TARGET_DIR=$out/build CARGO_PROFILE_DEV_DEBUG=0 timeout --signal INT "${left:-600}" .tools/mutants/bin/cargo-mutants mutants \
        --package sentry-filter-core --shard "${MUTANTS_SHARD:-0/1}" --colors never "$@"
}

# globs FILES: the arguments for cargo-mutants.
globs() {
    (set -f; for glob in $1; do printf ' --file filter/core/src/%s' "$glob"; done)
}

# round PERCENT FILES TESTS...: until that part of the time is over.
round() {
    left=$((begin + seconds * $1 / 100 - $(date +%s)))
    chosen=$(globs "$2")
    shift 2
    [ "$left" -gt 60 ] || return 0
    echo "mutants: $left seconds, on: $*"
    # What was found stays in files, so the end of the time is no failure; nor is a survivor.
    status=0
    (set -f; mutants $chosen --iterate --shuffle --output "$out" --jobs 1 --minimum-test-timeout 60 \
        --build-timeout 600 --no-times -- --locked "$@") || status=$?
    case $status in
        0 | 2 | 3 | 124 | 130) ;;
        *) echo "mutants: cargo-mutants ended with $status" >&2; exit "$status" ;;
    esac
}

(set -f; mutants $(globs "$all") --list) > "$out/all.txt"
round 40 "$headers" --test vectors
round 85 "$all" --lib
round 100 "$all" --test properties --test oracles --test patterns --test bounds
"${PYTHON:-python3}" tests/mutants/report.py "$out" tests/mutants/equivalent.txt
