#!/bin/sh
# Pins Python packages: for each requirements.in of the tests, and whatever that brings along, the
# versions and the hashes of all their files, into the requirements.txt beside it. It is the same
# for every platform and every Python from 3.10 on, or from the one on that a line "# Python 3.11 and
# newer" of the requirements.in names. What is pinned already stays unless an argument such as
# --upgrade says otherwise.
set -eu

cd "$(dirname "$0")/../.."
find tests -name '*requirements.in' | sort | while read -r file; do
    echo "$file"
    oldest=$(sed -n 's/^# Python \(3\.[0-9]*\) and newer$/\1/p' "$file")
    .tools/uv/bin/uv pip compile --quiet --no-config --universal --python-version "${oldest:-3.10}" \
        --only-binary :all: --generate-hashes --no-annotate --no-emit-index-url \
        --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "${file%.in}.txt" "$@" "$file"
done
sh tests/supply-chain/pinned.sh
