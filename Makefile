# Every target sets itself up; what is installed once is not installed again, and then needs no network.
# `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
TARGET := wasm32-wasip1
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
WASM := $(TARGET_DIR)/$(TARGET)/release/sentry_filter.wasm
TEST_CRATES := -p sentry-filter-core -p sentry-filter-codec -p sentry-filter-cli -p vectors -p mini-sentry -p wasm-host -p e2e

# All that is tested natively, as one selection: for another one Cargo would build most dependencies anew.
TESTED := $(TEST_CRATES) -p native-host

# The end-to-end tests that a target of their own asks for, all at once: for another selection the tests' library would be built anew.
LONG_TESTS := --features e2e/attack,e2e/load,e2e/native,e2e/prometheus,e2e/receivers,e2e/ruby

# How long each target runs in `make fuzz`.
FUZZ_SECONDS ?= 60
# How many requests each fault gets in `make chaos`.
CHAOS_REQUESTS ?= 100000
SOAK_REQUESTS ?= 1000000
# How many requests are live at once in `make attack`.
ATTACK_STREAMS ?= 20235

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DIST := $(TARGET_DIR)/dist
HOST_TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
CARGO_HOME_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
# What is asked of each Envoy: headers and formats, and by `make matrix` the way to Sentry, too. Everything else is asked of the newest one alone.
MATRIX_TESTS := --test propagation --test formats
OLDER_ENVOYS := 1.36.4 1.37.0 1.38.2 1.39.3

# Through which door a test goes that can go through either: DOOR=native is the dynamic module.
MODULE := $(if $(filter native,$(DOOR)),native,wasm)
THROUGH := SENTRY_FILTER_DOOR=$(or $(DOOR),wasm)

# The dynamic module, and one whose hooks panic when a test asks for it.
SO := $(TARGET_DIR)/native/libsentry_filter.so
FAILPOINTS_SO := $(TARGET_DIR)/native/failpoints/libsentry_filter.so
# What is asked through the second door, too: where it could differ.
# What is asked of the dynamic module in Envoy by `make test`, and what else by `make test-native-all`.
NATIVE_TESTS := $(addprefix --test ,failures propagation formats stream_ends vectors life_cycle transport internal_redirects rules responses trust data_collection projects)
MORE_NATIVE_TESTS := $(addprefix --test ,redirects_unrecorded rules_as_boundary grpc configuration clients_that_leave timeouts spans span_words \
	span_options trace_options tunnels websocket protocols custom_response hostile_headers refused_by_envoy native_tracing receiver kubernetes_files)

# Where crates and this project lie on the machine that builds a module is nobody's business, and would make another module of it.
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS := --remap-path-prefix=$(CARGO_HOME_DIR)/registry/src/=crates/ --remap-path-prefix=$(CURDIR)=.

export SENTRY_FILTER_WASM := $(WASM)
export SENTRY_FILTER_SO := $(SO)
export SENTRY_FILTER_FAILPOINTS_SO := $(FAILPOINTS_SO)

# $(call having,PART,TARGET): installs a part of the system's that not every machine can have. Without it the target is skipped, aloud; in CI that is an error.
having = sh tests/scene/install.sh $(1); status=$$?; \
	if [ $$status -eq 77 ] && [ "$$CI" != true ]; then echo "SKIPPED: $(2)"; exit 0; fi; \
	[ $$status -eq 0 ] || exit $$status;

# $(call nightly,TARGET): the nightly toolchain, as $$nightly. Without it the target is skipped, aloud; in CI that is an error.
nightly = nightly=$$(sh filter/tools/nightly.sh) || { echo "SKIPPED: $(1): there is no nightly toolchain"; [ "$$CI" != true ]; exit; };

# $(call component,NAME,TARGET): a part of it.
component = rustup component add --toolchain "$$nightly" $(1) 2>/dev/null || { echo "SKIPPED: $(2): rustup cannot add $(1)"; [ "$$CI" != true ]; exit; };

# $(call judged,TARGET): after a benchmark. Whether a busy machine holds the floors nobody can tell: that is said, and is an error in CI only.
judged = status=$$?; [ $$status -ne 77 ] || [ "$$CI" = true ] || { echo "SKIPPED: the floors of $(1)"; exit 0; }; exit $$status

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: wasm ## build the module

wasm: target ## build the module (target/wasm32-wasip1/release/sentry_filter.wasm)
	@[ -n "$(WASM_OPT)" ] || sh tests/scene/install.sh build
	@echo "building the module (the first time takes about a minute)"
	$(CARGO) build --quiet --release --locked --target $(TARGET) -p sentry-filter
	@WASM_OPT="$(WASM_OPT)" sh filter/tools/optimize.sh $(WASM)

native: ## build the dynamic module (target/native/libsentry_filter.so; ARCH=aarch64: target/native/aarch64)
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh native
	@PYTHON="$(PYTHON)" CARGO="$(CARGO)" sh filter/tools/native.sh $(ARCH)

run: python $(MODULE) envoy scene $(if $(filter otlp,$(FORMAT)),oracles) ## the scene: a page, two services and Spotlight around Envoy; shows its traces (ONCE=1: check and end; DOOR=native: the dynamic module; FORMAT=span_v2 or otlp, STREAMED=1: streamed spans)
	@$(PYTHON) tests/scene/run.py

test: ## everything that CI runs
	@$(MAKE) --no-print-directory --output-sync=recurse -j2 check prepare
	@$(MAKE) --no-print-directory test-crates test-native test-instructions
	@$(MAKE) --no-print-directory --output-sync=recurse -j2 test-second-host test-matrix
	@$(MAKE) --no-print-directory test-image test-rack-cors test-chaos test-attack test-monitoring test-browser test-scene

# What tests need: mostly fetched, so that it goes beside what compiles.
prepare: wasm native envoy scene oracles services

test-crates: wasm native envoy scene oracles services ## test-unit, test-host, size and test-e2e in one, with the in-process host of the dynamic module: everything is compiled once
	$(CARGO) test --locked $(TESTED)
	$(CARGO) test --quiet --locked $(TESTED) --test vectors summary -- --nocapture
	$(PYTHON) -m unittest discover --start-directory tests/bench
	$(PYTHON) -m unittest discover --start-directory tests/supply-chain
	@$(TARGET_DIR)/debug/size

test-unit: ## the core's and the command's tests, with the tables of tests/vectors and their summary; the fake Sentry's, the benchmark's
	$(CARGO) test --locked -p sentry-filter-core -p sentry-filter-codec -p sentry-filter-cli -p vectors -p mini-sentry
	$(CARGO) test --quiet --locked -p sentry-filter-core --test vectors summary -- --nocapture
	$(PYTHON) -m unittest discover --start-directory tests/bench
	$(PYTHON) -m unittest discover --start-directory tests/supply-chain

test-host: wasm ## the module in an in-process host that refuses calls and tells lies
	$(CARGO) test --locked -p wasm-host

test-native: native envoy scene oracles services ## the dynamic module in Envoy: what only it does, and the most telling end-to-end tests (its in-process host: test-crates)
	@$(PYTHON) filter/tools/check_native.py $(SO) 2.17 .tools/bin/envoy
	@NATIVE_OUT=$(FAILPOINTS_SO) PYTHON="$(PYTHON)" CARGO="$(CARGO)" sh filter/tools/native.sh x86_64 --features failpoints
	SENTRY_FILTER_DOOR=native $(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test native_door
	SENTRY_FILTER_DOOR=native $(CARGO) test --locked $(TESTED) $(NATIVE_TESTS)

test-native-all: native envoy scene oracles services ## almost every end-to-end test through the dynamic module (some minutes)
	SENTRY_FILTER_DOOR=native $(CARGO) test --locked $(TESTED) $(NATIVE_TESTS) $(MORE_NATIVE_TESTS)

test-aarch64: ## one request through the dynamic module for aarch64, in an Envoy for aarch64 that QEMU runs (without QEMU: skipped aloud, an error in CI)
	@$(MAKE) --no-print-directory native ARCH=aarch64
	@$(call having,qemu envoy-aarch64,test-aarch64) $(PYTHON) tests/aarch64/run.py $(or $(QEMU),qemu-aarch64) .tools/envoy-aarch64/envoy/_bin/envoy $(TARGET_DIR)/native/aarch64/libsentry_filter.so

test-instructions: native ## what the dynamic module executes for a request, and how often it asks for memory, counted by valgrind (some 30 seconds; without it: skipped aloud, an error in CI)
	@$(call having,valgrind,test-instructions) $(CARGO) test --locked $(TESTED) --features native-host/valgrind --test instructions

sanitize: sanitize-address sanitize-thread miri ## these three (some minutes; they need the nightly toolchain of filter/tools/nightly.sh)

sanitize-address: ## the dynamic module's hooks under AddressSanitizer and its leak checker
	@$(call nightly,sanitize-address) \
	RUSTFLAGS="-Zsanitizer=address" rustup run "$$nightly" cargo test --locked -p native-host --target x86_64-unknown-linux-gnu --target-dir $(TARGET_DIR)/sanitize

# The standard library is built with it, too: what it does not see it would call a race.
sanitize-thread: ## the same under ThreadSanitizer
	@$(call nightly,sanitize-thread) $(call component,rust-src,sanitize-thread) \
	RUSTFLAGS="-Zsanitizer=thread" rustup run "$$nightly" cargo test -Zbuild-std --locked -p native-host --target x86_64-unknown-linux-gnu --target-dir $(TARGET_DIR)/sanitize/thread

# The threads of the host that plays Envoy end with the process. What takes many requests takes Miri hours.
miri: ## undefined behaviour in the encodings of proxy-wasm and in every hook of a request, by Miri (a minute)
	@$(call nightly,miri) $(call component,miri,miri) \
	MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" rustup run "$$nightly" cargo miri test --locked --target-dir $(TARGET_DIR)/miri -p sentry-filter-codec -p native-host --lib --test one_request

test-second-host: wasm ## the module in a host that others wrote, on wasmtime (needs the nightly toolchain of filter/tools/nightly.sh: without it skipped aloud, an error in CI)
	@nightly=$$(sh filter/tools/nightly.sh) || { echo "SKIPPED: test-second-host: its host asks for a newer Rust than this project"; [ "$$CI" != true ]; exit; }; \
	rustup run "$$nightly" cargo test --locked --manifest-path tests/second-host/Cargo.toml --target-dir $(TARGET_DIR)/second-host

test-e2e: wasm envoy scene oracles services ## the module in real Envoy; Sentry's SDKs, Relay and OpenTelemetry read what it sends
	$(CARGO) test --locked -p e2e

test-matrix: wasm ## the module in every Envoy from 1.36 on but the newest: headers and formats
	@PYTHON="$(PYTHON)" CARGO="$(CARGO)" TESTED="$(TESTED)" ENVOY_VERSIONS="$(OLDER_ENVOYS)" sh tests/e2e/matrix.sh $(MATRIX_TESTS)

test-image: image image-native envoy ## the images: the same twice, read by skopeo, run in Envoy (without skopeo: skipped aloud, an error in CI)
	@$(call having,image,test-image) CARGO="$(CARGO)" PYTHON="$(PYTHON)" sh tests/image/check.sh $(WASM) $(DIST)/images $(VERSION)
	@$(call having,image,test-image) PYTHON="$(PYTHON)" sh tests/image/check_native.sh $(SO) $(DIST)/images $(VERSION)

test-chaos: $(MODULE) envoy ## the receiver on its worst days, for a moment each (DOOR=native: through the dynamic module; without h2load: skipped aloud, an error in CI)
	@$(call having,load,test-chaos) $(THROUGH) $(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test chaos

test-rack-cors: wasm envoy ## a service with rack-cors behind the gateway (without Ruby: skipped aloud, an error in CI)
	@$(call having,rack-cors,test-rack-cors) $(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test cors_services rack_cors

test-attack: $(MODULE) envoy ## hostile load for a moment, beside the same load without the filter (DOOR=native: through the dynamic module)
	$(THROUGH) $(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test attack -- --test-threads=1

test-monitoring: wasm envoy ## the dashboard's queries and the alerts in a real Prometheus (without it: skipped aloud, an error in CI)
	@$(call having,prometheus,test-monitoring) promtool test rules tests/monitoring/alerts_test.yaml && \
		$(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test prometheus

test-browser: wasm envoy scene services ## Chromium with Sentry's SDKs, through real Envoy (without Chromium: skipped aloud, an error in CI)
	@$(call having,browser,test-browser) $(CARGO) test --locked $(TESTED) --test browser --test sdks \
		--features e2e/browser$$(ruby -e 'require "rack/cors"' 2>/dev/null && echo ,e2e/ruby)

sdks: wasm envoy scene ## try Sentry's SDKs in Chromium, and write their table in docs/compatibility.md anew
	DOCS=1 $(CARGO) test --locked $(TESTED) --features e2e/browser --test sdks

bump-sdks: ## pin the newest versions of Sentry's SDKs: of each major version for browsers, of the newest for others, and for Python
	@sh tests/scene/install.sh lock
	PYTHON="$(PYTHON)" $(PYTHON) tests/supply-chain/bump_sdks.py

test-receivers: wasm envoy scene receivers ## receivers that others wrote take what the module sends: Spotlight, Bugsink, Phoenix (needs Python 3.11, Chromium and 1 GB below .tools)
	@$(call having,browser,test-receivers) $(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test receivers

receivers-table: wasm envoy scene receivers ## the same, and write their table and picture in docs anew
	@$(call having,browser,receivers-table) DOCS=1 $(CARGO) test --locked $(TESTED) $(LONG_TESTS) --test receivers

test-scene: wasm envoy scene ## `make run`, once, with its checks, on good and on failing days, with streamed spans, and without the filter
	$(PYTHON) -m unittest discover --start-directory tests/scene
	@[ "$$CI" != true ] || sh tests/scene/install.sh browser ruby
	ONCE=1 FAILING_DAYS=1 $(PYTHON) tests/scene/run.py
	ONCE=1 STREAMED=1 FORMAT=span_v2 $(PYTHON) tests/scene/run.py
	@$(call having,browser,test-scene without the filter) WITHOUT_FILTER=1 $(PYTHON) tests/scene/run.py

check: fmt lint circles docs deny workflows ## format, clippy, import circles and documentation, warnings denied; what is depended on; the release's workflow

fmt: ## check the format
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/second-host/Cargo.toml --check

lint: target ## clippy
	$(CARGO) clippy --locked $(TEST_CRATES) --all-targets $(LONG_TESTS),e2e/browser -- --deny warnings
	$(CARGO) clippy --locked --release --target $(TARGET) -p sentry-filter -- --deny warnings

circles: ## no file imports another one that imports it
	$(CARGO) test --quiet --locked $(TESTED) --test circles

docs: ## build the documentation
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --quiet --locked --no-deps --document-private-items -p sentry-filter-core -p sentry-filter-codec -p sentry-filter-cli

deny: ## licences, sources and known weaknesses of what is depended on (without the database of weaknesses, RustSec's: skipped aloud)
	@sh tests/supply-chain/pinned.sh
	@PYTHON="$(PYTHON)" CARGO="$(CARGO)" sh tests/supply-chain/deny.sh

workflows: ## lint the workflow of a release (.github/workflows), and see that the linter notices a slip
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh actionlint
	.tools/actionlint/bin/actionlint .github/workflows/*.yaml
	@sed 's/runs-on:/runs-no:/' .github/workflows/release.yaml > $(TARGET_DIR)/slip.yaml
	@! .tools/actionlint/bin/actionlint $(TARGET_DIR)/slip.yaml > /dev/null || { echo "actionlint takes anything" >&2; exit 1; }

lock: ## pin the Python packages of the tests anew, with their hashes (from each requirements.in)
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh lock
	sh tests/supply-chain/lock.sh

size: wasm ## the module's size against its budget, and its imports against Envoy's list
	@$(CARGO) run --quiet --locked -p wasm-host --bin size

image: wasm ## OCI images of the module (target/dist/images), for Istio and Envoy Gateway; prints their digests
	@$(PYTHON) filter/tools/image.py $(WASM) $(DIST)/images $(VERSION)

image-native: native ## an OCI image of the dynamic module (target/dist/images), for an image volume of Kubernetes; prints its digest
	@$(PYTHON) filter/tools/image.py $(SO) $(DIST)/images $(VERSION) amd64

dist: image ## what a release is made of (target/dist), the same twice: module, command for Linux, schema of the configuration, images, list of parts (SBOM), checksums
	@sh tests/scene/install.sh sbom
	cp $(WASM) $(DIST)/sentry_filter.wasm
	cp envoy/config.schema.json $(DIST)/
	cp $(DIST)/images/artifact.tar $(DIST)/sentry-filter-$(VERSION)-artifact.tar
	cp $(DIST)/images/image.tar $(DIST)/sentry-filter-$(VERSION)-image.tar
	CARGO_PROFILE_RELEASE_STRIP=true RUSTFLAGS="--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_HOME_DIR)=cargo" $(CARGO) build --quiet --release --locked --target-dir $(TARGET_DIR)/command -p sentry-filter-cli
	for shell in bash fish zsh; do $(TARGET_DIR)/command/release/sentry-filter completions $$shell > $(TARGET_DIR)/command/completions.$$shell; done
	$(TARGET_DIR)/command/release/sentry-filter man > $(TARGET_DIR)/command/sentry-filter.1
	$(PYTHON) filter/tools/archive.py $(DIST)/sentry-filter-$(VERSION)-$(HOST_TRIPLE).tar.gz sentry-filter=$(TARGET_DIR)/command/release/sentry-filter LICENSE=LICENSE \
		sentry-filter.1=$(TARGET_DIR)/command/sentry-filter.1 $(foreach shell,bash fish zsh,completions.$(shell)=$(TARGET_DIR)/command/completions.$(shell))
	.tools/sbom/bin/cargo-sbom --cargo-package sentry-filter --output-format cyclone_dx_json_1_6 | $(PYTHON) filter/tools/sbom.py > $(DIST)/sbom.cdx.json
	cd $(DIST) && sha256sum sentry_filter.wasm config.schema.json sentry-filter-$(VERSION)-*.tar sentry-filter-$(VERSION)-*.tar.gz sbom.cdx.json > SHA256SUMS && cat SHA256SUMS

clean-dist: ## remove what a release is made of, and what it was made from
	rm -rf $(DIST) $(TARGET_DIR)/command $(TARGET_DIR)/$(TARGET)/release

matrix: wasm ## the module in every Envoy from 1.36 on: headers, formats, the way to Sentry (some minutes)
	@PYTHON="$(PYTHON)" CARGO="$(CARGO)" TESTED="$(TESTED)" ENVOY_VERSIONS="$(or $(ENVOY_VERSIONS),$(OLDER_ENVOYS) 1.40.0)" sh tests/e2e/matrix.sh $(MATRIX_TESTS) --test transport

matrix-native: native ## the dynamic module in the older Envoy that takes it: headers and formats
	@SENTRY_FILTER_DOOR=native PYTHON="$(PYTHON)" CARGO="$(CARGO)" ENVOY_VERSIONS=1.39.3 sh tests/e2e/matrix.sh $(MATRIX_TESTS)

schema: ## write envoy/config.schema.json and the table of options in docs/configuration.md anew, from the table of options (filter/core/src/config/options.rs)
	$(CARGO) run --quiet --locked -p sentry-filter-cli -- schema > $(TARGET_DIR)/config.schema.json
	$(CARGO) run --quiet --locked -p sentry-filter-cli -- schema --markdown > $(TARGET_DIR)/options.md
	sed -e '/^<!-- make schema: begin -->$$/,/^<!-- end -->$$/{//!d;}' -e '/^<!-- make schema: begin -->$$/r $(TARGET_DIR)/options.md' docs/configuration.md > $(TARGET_DIR)/configuration.md
	mv $(TARGET_DIR)/config.schema.json envoy/config.schema.json
	mv $(TARGET_DIR)/configuration.md docs/configuration.md

tables: ## write the tables in docs/spans.md and docs/privacy.md anew, from the code
	DOCS=1 $(CARGO) test --quiet --locked $(TESTED) --test documentation tables

chaos: $(MODULE) envoy ## the receiver on its worst days, under load: prints a table (DOOR=native CHAOS_REQUESTS=100000 each)
	@$(call having,load,chaos) $(THROUGH) CHAOS_REQUESTS=$(CHAOS_REQUESTS) $(CARGO) test --quiet --locked $(TESTED) $(LONG_TESTS) --test chaos -- --nocapture --test-threads=1

attack: $(MODULE) envoy ## hostile load, beside the same load without the filter: prints a table (DOOR=native ATTACK_STREAMS=20235 live requests; some minutes)
	@echo '| load | requests | failed | without | MiB more | without | processor, times that without | spans recorded | sent | discarded | over budget |'
	@$(THROUGH) ATTACK_STREAMS=$(ATTACK_STREAMS) $(CARGO) test --quiet --locked $(TESTED) $(LONG_TESTS) --test attack -- --nocapture --test-threads=1

soak: $(MODULE) envoy ## a million requests while the receiver is dead: memory must be flat (DOOR=native; some minutes)
	@$(call having,load,soak) $(THROUGH) SOAK_REQUESTS=$(SOAK_REQUESTS) $(CARGO) test --quiet --locked $(TESTED) $(LONG_TESTS) --test chaos -- --nocapture --ignored

bench: bench-modules ## CPU a request at the rates that people sample, beside Envoy's own tracers: table, floors, chart (some 8 minutes; ROUNDS= REQUESTS= ONLY=floors,none BASELINE_WASM= BASELINE_SO= DOCS=1)
	@$(call having,load,bench) .tools/bench/bin/python tests/bench/bench.py; $(call judged,bench)

bench-prices: bench-modules ## what each option, format and way to ask costs, through both doors (some 20 minutes; ROUNDS= REQUESTS= DOCS=1)
	@$(call having,load,bench-prices) .tools/bench/bin/python tests/bench/bench.py prices; $(call judged,bench-prices)

bench-modules: wasm native envoy
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh bench
	@$(CARGO) build --quiet --release --locked --target $(TARGET) -p empty-filter
	@$(CARGO) build --quiet --release --locked --target $(TARGET) --target-dir $(TARGET_DIR) --manifest-path tests/bench/published-sdk/Cargo.toml
	@for module in empty_filter published_sdk; do WASM_OPT="$(WASM_OPT)" sh filter/tools/optimize.sh $(TARGET_DIR)/$(TARGET)/release/$$module.wasm; done

bench-scaling: wasm envoy ## how that grows with connections, baggage, rules, routes, bodies and workers (some 6 minutes; ROUNDS= REQUESTS= ONLY=routes,posts DOCS=1)
	@$(call having,load,bench-scaling) $(PYTHON) tests/bench/scaling.py

bench-memory: wasm envoy ## bytes of a VM, a request and a queued trace; what a worker adds to Envoy, and when Envoy is ready (a minute; ROUNDS= DOCS=1)
	@$(call having,load,bench-memory) CARGO="$(CARGO)" $(PYTHON) tests/bench/memory.py

bench-core: ## the core's steps, beside the same jobs in Sentry's and OpenTelemetry's crates (DOCS=1)
	@CARGO="$(CARGO)" $(PYTHON) tests/bench/micro.py

fuzz: wasm ## every fuzz target for a while, then callback orders (FUZZ_SECONDS=60 each; needs the nightly toolchain of filter/tools/nightly.sh)
	FUZZ_SECONDS=$(FUZZ_SECONDS) sh filter/core/fuzz/run.sh
	PROPTEST_CASES=10000 $(CARGO) test --locked -p sentry-filter-core --test properties
	RANDOM_ORDER_SEEDS=50 $(CARGO) test --locked -p wasm-host --test random_order

mutants: ## change the core line by line: which changes does no test notice? (hours for all; MUTANTS_MINUTES=60 MUTANTS_SHARD=0/8 MUTANTS_HEADERS="cors/**" MUTANTS_EXPORT=)
	@sh tests/scene/install.sh mutants
	@PYTHON="$(PYTHON)" sh tests/mutants/run.sh $(TARGET_DIR)

picture: wasm envoy scene ## take the documentation's pictures of a page, of a trace and of a failure (needs Chromium)
	ONCE=1 FAILING_DAYS=1 PICTURE=docs/trace.png $(PYTHON) tests/scene/run.py

python: ## say whether Python is new enough, before anything is built
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh python

envoy: ## install Envoy below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh envoy

scene: ## install Spotlight and the service's packages below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh scene

full-scene: ## install Chromium and Ruby for the scene (on Debian, as root; elsewhere it says what to install)
	@sh tests/scene/install.sh browser ruby

oracles: ## install the readers that tests ask, and the services that they talk to, below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh oracles peers

receivers: ## install receivers that others wrote, below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh receivers phoenix

services: ## install the services whose CORS libraries answer, below .tools
	@sh tests/scene/install.sh services

target:
	@test -d "$$(rustc --print target-libdir --target $(TARGET))" || rustup target add $(TARGET) || \
		{ echo "the target $(TARGET) is missing and rustup could not add it: install Rust from rustup.rs" >&2; exit 1; }

clean: ## remove what was built and installed
	$(CARGO) clean
	rm -rf .tools

# None of them is a file.
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))
