#!/bin/sh
# Fails unless every Python package of the tests is pinned to a version and hashes, by `make lock`,
# and no file names where packages come from.
set -eu

cd "$(dirname "$0")/../.."
status=0
fail() {
    echo "$*" >&2
    status=1
}

for file in $(find tests -name '*requirements.txt' | sort); do
    source=${file%.txt}.in
    [ -f "$source" ] || fail "$file: there is no $source that it could be made of"
    # A package and its hashes are one logical line.
    joined=$(sed -e ':join' -e '/\\$/N; s/\\\n//; t join' "$file" | grep -v '^#')
    unpinned=$(printf '%s\n' "$joined" | grep -v '^[a-z0-9.-]*==[^ ]* .*--hash=sha256:[0-9a-f]\{64\}' || true)
    [ -z "$unpinned" ] || fail "$file: without a version or a hash: $unpinned"
    ! grep -n -e '://' -e '^-' "$file" || fail "$file: names a place, or holds an option"
    [ ! -f "$source" ] || for package in $(sed -e 's/[#;].*//' "$source"); do
        grep -q "^$package\( \|$\)" "$file" || fail "$file: $package of $source is missing: run make lock"
    done
done
for file in $(find tests -name '*requirements.in'); do
    [ -f "${file%.in}.txt" ] || fail "$file: not locked: run make lock"
done
exit $status
