#!/bin/sh
# Runs every fuzz target, or those that are named, for FUZZ_SECONDS each. What is new to a target is kept below the target directory and is where the
# next run goes on; a finding is a file below filter/core/fuzz/artifacts/, and belongs into corpus/<target>/ once it is understood.
#
#   FUZZ_SECONDS=60 sh filter/core/fuzz/run.sh [target ...]
set -eu

cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
seconds=${FUZZ_SECONDS:-60}
work=${CARGO_TARGET_DIR:-$root/target}/fuzz
tools=$root/.tools/cargo-fuzz

nightly=$(sh "$root/filter/tools/nightly.sh") || {
    echo "(make test asks the same of every parser on the stable one, with fewer inputs)" >&2
    exit 1
}
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
    echo "installing cargo-fuzz below .tools (about a minute)"
    cargo install --quiet --locked --root "$tools" --version 0.13.2 cargo-fuzz
fi
PATH=$tools/bin:$PATH
CARGO_TARGET_DIR=$work/target
export PATH CARGO_TARGET_DIR

# The core has no unsafe code, so there is nothing for a sanitizer to see; without one it is twice as fast.
cargo "+$nightly" fuzz build --sanitizer none

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names without spaces
    set -- $(cargo "+$nightly" fuzz list)
fi
for target in "$@"; do
    mkdir -p "$work/corpus/$target"
    log=$work/$target.log
    echo "$target: $seconds seconds"
    if ! cargo "+$nightly" fuzz run --sanitizer none "$target" "$work/corpus/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -dict=dictionary.txt -print_final_stats=1 >"$log" 2>&1; then
        grep -a -A 3 -e 'panicked at' -e 'ERROR: libFuzzer' -e 'Test unit written' "$log" >&2 || tail -n 20 "$log" >&2
        echo "$target: a finding; all of it is in $log" >&2
        exit 1
    fi
    sed -n 's/^stat::number_of_executed_units: */  executions: /p' "$log"
done
