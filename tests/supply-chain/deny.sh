#!/bin/sh
# Asks cargo-deny about everything that has a lock file, with deny.toml. RustSec's database of known
# weaknesses is a repository that has to be fetched: where that cannot be done, the question is
# skipped, aloud; the others need no network.
set -eu

cd "$(dirname "$0")/../.."
sh tests/scene/install.sh deny
deny=.tools/deny/bin/cargo-deny
what="bans licenses sources"
if $deny --config deny.toml fetch db; then
    what="advisories $what"
else
    echo "SKIPPED: known weaknesses of dependencies: their database cannot be fetched (see above)"
fi
for lock in $(git ls-files -- '*Cargo.lock'); do
    manifest=${lock%lock}toml
    echo "$manifest: $what"
    # shellcheck disable=SC2086 # words
    $deny --config deny.toml --manifest-path "$manifest" --locked check --hide-inclusion-graph $what
done
