#!/bin/sh
# Builds the dynamic module for an architecture (x86_64 by default) into target/native:
#
#   native.sh [x86_64|aarch64] [cargo's options, such as --features failpoints]
#
# NATIVE_OUT puts it elsewhere.
#
# Zig links it, for two reasons: it has the symbols of every glibc since 2.17, so that the module
# runs wherever Envoy does; and it brings an unwinder along, so that the module does not need
# libgcc_s.so.1, which images without a distribution lack. Paths of this machine are left out.
set -eu

arch=x86_64
case ${1:-} in x86_64 | aarch64) arch=$1 && shift ;; esac
glibc=2.17
root=$(cd "$(dirname "$0")/../.." && pwd)
target_dir=${CARGO_TARGET_DIR:-$root/target}
tools=$root/.tools/native/bin
triple=$arch-unknown-linux-gnu

rustup target list --installed 2>/dev/null | grep -qx "$triple" || rustup target add "$triple" >&2
export PATH="$tools:$PATH"
export CARGO_ZIGBUILD_ZIG_PATH="$tools/python-zig"
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$root=/sentry-filter --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
"${CARGO:-cargo}" zigbuild --quiet --locked --profile native --target "$triple.$glibc" \
    --target-dir "$target_dir/zig" -p sentry-filter-native "$@"
out=$target_dir/native/libsentry_filter.so
[ "$arch" = x86_64 ] || out=$target_dir/native/$arch/libsentry_filter.so
out=${NATIVE_OUT:-$out}
mkdir -p "$(dirname "$out")"
# Envoy may have the old file mapped: it is replaced, not written into.
cp "$target_dir/zig/$triple/native/libsentry_filter.so" "$out.new"
mv "$out.new" "$out"
"${PYTHON:-python3}" "$root/filter/tools/check_native.py" "$out" "$glibc"
