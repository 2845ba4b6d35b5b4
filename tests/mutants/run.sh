#!/bin/sh
# Changes the core line by line and asks which changes no test notices (`make mutants`). First those
# tests are asked that build quickly and notice most, then all of them about what is left. The order
# is random, so that a part of the mutants is a sample of all; the next run begins with others.
#
# MUTANTS_MINUTES=60  how long it may take
# MUTANTS_SHARD=0/1   a part of all mutants, such as 2/8
# MUTANTS_HEADERS=, MUTANTS_EXPORT=  globs below filter/core/src, instead of all that is here
set -eu

cd "$(dirname "$0")/../.."
out=${1:-target}/mutants
begin=$(date +%s)
seconds=$((${MUTANTS_MINUTES:-60} * 60))
headers=${MUTANTS_HEADERS-"trace.rs trace/** cors* cors/** response* response/**"}
export=${MUTANTS_EXPORT-"export* export/**"}
mkdir -p "$out"

mutants() {
    CARGO_TARGET_DIR=$out/build CARGO_PROFILE_DEV_DEBUG=0 timeout --signal INT "${left:-600}" .tools/mutants/bin/cargo-mutants mutants \
        --package sentry-filter-core --shard "${MUTANTS_SHARD:-0/1}" --colors never "$@"
}

# globs FILES: the arguments for cargo-mutants.
globs() {
    (set -f; for glob in $1; do printf ' --file filter/core/src/%s' "$glob"; done)
}

# round PERCENT FILES NAMES TESTS...: until that part of the time is over, those in files whose
# names match.
round() {
    left=$((begin + seconds * $1 / 100 - $(date +%s)))
    chosen=$(globs "$2")
    names=$3
    shift 3
    rm -f "$out/mutants.out/missed.txt"
    [ "$left" -gt 60 ] && [ -n "$chosen" ] || return 0
    echo "mutants: $left seconds, on: ${*:-all tests}"
    # What was found stays in files, so the end of the time is no failure; nor is a survivor.
    status=0
    (set -f; mutants $chosen --re "$names" --iterate --shuffle --output "$out" --jobs 1 --minimum-test-timeout 60 \
        --build-timeout 600 --no-times -- --locked "$@") || status=$?
    cat "$out/mutants.out/unviable.txt" >> "$out/unviable.txt" 2>/dev/null || true
    case $status in
        0 | 2 | 3 | 124 | 130) ;;
        *) echo "mutants: cargo-mutants ended with $status" >&2; exit "$status" ;;
    esac
}

# What the last round left, as a pattern.
missed() {
    [ -s "$out/mutants.out/missed.txt" ] || return 0
    sed -E 's/^([^ ]*): .*/\1/; s/[.]/[.]/g' "$out/mutants.out/missed.txt" | sort -u | paste -s -d '|' -
}

# both UNTIL THEN FILES QUICK...: quick tests until one part of the time is over, all until another.
both() {
    until=$1 then=$2 files=$3
    shift 3
    round "$until" "$files" . "$@"
    left_over=$(missed)
    [ -z "$left_over" ] || round "$then" "$files" "^($left_over): "
    cat "$out/mutants.out/missed.txt" >> "$out/survivors.txt" 2>/dev/null || true
}

(set -f; mutants $(globs "$headers $export") --list) > "$out/all.txt"
: > "$out/survivors.txt"
both 40 60 "$headers" --test vectors
both 85 100 "$export" --lib
"${PYTHON:-python3}" tests/mutants/report.py "$out" tests/mutants/equivalent.txt
