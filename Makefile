# Every target sets itself up; what is installed once is not installed again, and then needs no network.
# `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
TARGET := wasm32-wasip1
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
WASM := $(TARGET_DIR)/$(TARGET)/release/sentry_filter.wasm
TEST_CRATES := -p sentry-filter-core -p vectors -p wasm-host -p e2e

# How long each target runs in `make fuzz`.
FUZZ_SECONDS ?= 60
# How many requests each fault gets in `make chaos`.
CHAOS_REQUESTS ?= 100000
SOAK_REQUESTS ?= 1000000

export SENTRY_FILTER_WASM := $(WASM)

# $(call having,PART,TARGET): installs a part of the system's that not every machine can have. Without it the target is skipped, aloud; in CI that is an error.
having = sh tests/scene/install.sh $(1); status=$$?; \
	if [ $$status -eq 77 ] && [ "$$CI" != true ]; then echo "SKIPPED: $(2)"; exit 0; fi; \
	[ $$status -eq 0 ] || exit $$status;

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: wasm ## build the module

wasm: target ## build the module (target/wasm32-wasip1/release/sentry_filter.wasm)
	@[ -n "$(WASM_OPT)" ] || sh tests/scene/install.sh build
	@echo "building the module (the first time takes about a minute)"
	$(CARGO) build --quiet --release --locked --target $(TARGET) -p sentry-filter
	@WASM_OPT="$(WASM_OPT)" sh filter/tools/optimize.sh $(WASM)

run: wasm envoy scene ## start Envoy, Spotlight and a service, send two requests, show their traces (ONCE=1: check and end)
	@$(PYTHON) tests/scene/run.py

test: check test-unit test-host size test-e2e test-chaos test-browser test-scene ## everything that CI runs

test-unit: ## the core's tests, with the tables of tests/vectors and their summary
	$(CARGO) test --locked -p sentry-filter-core -p vectors
	$(CARGO) test --quiet --locked -p sentry-filter-core --test vectors summary -- --nocapture

test-host: wasm ## the module in an in-process host that refuses calls and tells lies
	$(CARGO) test --locked -p wasm-host

test-e2e: wasm envoy scene judges ## the module in real Envoy; Sentry's SDKs, Relay and OpenTelemetry judge what it sends
	$(CARGO) test --locked -p e2e

test-chaos: wasm envoy ## the receiver on its worst days, for a moment each (without h2load: skipped aloud, an error in CI)
	@$(call having,load,test-chaos) $(CARGO) test --locked -p e2e --features load --test chaos

test-browser: wasm envoy scene ## Chromium with Sentry's browser SDK, through real Envoy (without Chromium: skipped aloud, an error in CI)
	@$(call having,browser,test-browser) $(CARGO) test --locked -p e2e --features browser --test browser

test-scene: wasm envoy scene ## `make run`, once, with its checks
	$(PYTHON) -m unittest discover --start-directory tests/scene
	ONCE=1 $(PYTHON) tests/scene/run.py

check: fmt lint docs ## format, clippy and documentation, warnings denied

fmt: ## check the format
	$(CARGO) fmt --all --check

lint: target ## clippy
	$(CARGO) clippy --locked $(TEST_CRATES) --all-targets --features e2e/browser,e2e/load -- --deny warnings
	$(CARGO) clippy --locked --release --target $(TARGET) -p sentry-filter -- --deny warnings

docs: ## build the documentation
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --quiet --locked --no-deps --document-private-items -p sentry-filter-core

size: wasm ## the module's size against its budget, and its imports against Envoy's list
	@$(CARGO) run --quiet --locked -p wasm-host --bin size

chaos: wasm envoy ## the receiver on its worst days, under load: prints a table (CHAOS_REQUESTS=100000 each)
	@$(call having,load,chaos) CHAOS_REQUESTS=$(CHAOS_REQUESTS) $(CARGO) test --quiet --locked -p e2e --features load --test chaos -- --nocapture --test-threads=1

soak: wasm envoy ## a million requests while the receiver is dead: memory must be flat (some minutes)
	@$(call having,load,soak) SOAK_REQUESTS=$(SOAK_REQUESTS) $(CARGO) test --quiet --locked -p e2e --features load --test chaos -- --nocapture --ignored

bench: wasm envoy ## CPU a request beside Envoy's own tracers: table, floors, chart (some 6 minutes; ROUNDS= REQUESTS= ONLY=none,otlp BASELINE_WASM= README=1)
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh bench
	@$(CARGO) build --quiet --release --locked --target $(TARGET) -p empty-filter
	@WASM_OPT="$(WASM_OPT)" sh filter/tools/optimize.sh $(TARGET_DIR)/$(TARGET)/release/empty_filter.wasm
	@$(call having,load,bench) .tools/bench/bin/python tests/bench/bench.py

bench-core: ## what the core's steps cost, side by side in one run
	$(CARGO) bench --locked -p sentry-filter-core --bench straight_line

fuzz: wasm ## every fuzz target for a while, then callback orders (FUZZ_SECONDS=60 each; needs a nightly toolchain)
	FUZZ_SECONDS=$(FUZZ_SECONDS) sh filter/core/fuzz/run.sh
	PROPTEST_CASES=10000 $(CARGO) test --locked -p sentry-filter-core --test properties
	RANDOM_ORDER_SEEDS=50 $(CARGO) test --locked -p wasm-host --test random_order

picture: wasm envoy scene ## take the README's picture of a trace (needs Chromium)
	ONCE=1 PICTURE=docs/trace.png $(PYTHON) tests/scene/run.py

envoy: ## install Envoy below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh envoy

scene: ## install Spotlight and the service's packages below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh scene

judges: ## install what tests ask and talk to, below .tools
	@PYTHON="$(PYTHON)" sh tests/scene/install.sh judges peers

target:
	@test -d "$$(rustc --print target-libdir --target $(TARGET))" || rustup target add $(TARGET) || \
		{ echo "the target $(TARGET) is missing and rustup could not add it: install Rust from rustup.rs" >&2; exit 1; }

clean: ## remove what was built and installed
	$(CARGO) clean
	rm -rf .tools

.PHONY: help build wasm run test test-unit test-host test-e2e test-chaos test-browser test-scene check fmt lint docs size chaos soak bench bench-core fuzz picture envoy scene judges target clean
