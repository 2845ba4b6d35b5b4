#!/bin/sh
# Prints the name of the nightly toolchain that everything here is pinned to, which it installs if
# need be. One that is installed under another name, such as `nightly`, is as good if its compiler
# is the same; another one is not. Without one: status 77.
set -eu

# The day of the release, and the compiler in it.
DATE=2026-05-20
COMPILER="rustc 1.97.0-nightly (e50aa6fba 2026-05-19)"

is_it() {
    [ "$(rustup run "$1" rustc --version 2>/dev/null)" = "$COMPILER" ]
}

for name in "nightly-$DATE" nightly; do
    if is_it "$name"; then
        echo "$name"
        exit
    fi
done
if rustup toolchain install "nightly-$DATE" --profile minimal >&2 && is_it "nightly-$DATE"; then
    echo "nightly-$DATE"
    exit
fi
echo "there is no $COMPILER: rustup toolchain install nightly-$DATE --profile minimal" >&2
exit 77
