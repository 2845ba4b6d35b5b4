#!/bin/sh
# optimize.sh MODULE: makes the built module smaller, in its place. One that was optimized before is not optimized again: what came of it lies beside
# it. WASM_OPT names another wasm-opt; WASM_OPT=none leaves the module as it is (and over its size budget).
set -eu

module=$1
before=$module.before
after=$module.after
tool=${WASM_OPT:-$(cd "$(dirname "$0")/../.." && pwd)/.tools/build/node_modules/.bin/wasm-opt}

[ "$tool" != none ] || exit 0
if ! cmp -s "$module" "$before" || [ ! -f "$after" ] || [ "$0" -nt "$after" ]; then
    rm -f "$after"
    # The features that rustc uses for this target, and no other, so that hosts need not know more than before. Only small functions are inlined for
    # having one caller: large frames cost every call, and the module is 1 % smaller without them (gzipped). Functions of one name's beginning are alike,
    # and beside each other they are packed better: another 1 %.
    "$tool" -O2 --shrink-level=1 --one-caller-inline-max-function-size=10 --enable-bulk-memory --enable-bulk-memory-opt --enable-call-indirect-overlong --enable-multivalue --enable-mutable-globals \
        --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext --reorder-functions-by-name --strip-debug --strip-producers "$module" -o "$after.part"
    cp "$module" "$before"
    mv "$after.part" "$after"
fi
# Not into the file itself, which Cargo shares with its cache.
cp "$after" "$module.part"
mv "$module.part" "$module"
