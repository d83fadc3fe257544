# Needs: rustup's stable Rust, Python >= 3.10, a C compiler, make. The rest is fetched.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
CARGO := cargo
# Two jobs: the build fits machines with little memory and few cores.
JOBS := -j2
PYTEST_ARGS ?=
# Of `make bench`: the JSON of pytest-benchmark.
FIGURES := dist/figures.json
# Most tests wait for workers and brokers: more at a time than there are cores.
PYTEST_JOBS ?= 3

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name 'Cargo.toml' 2>/dev/null)
PY_TREES := python tests $(sort $(dir \
	$(wildcard benches/*.py examples/*.py packaging/*.py)))
# What exists of the trees that mypy checks strictly.
TYPED := python $(sort $(dir \
	$(wildcard benches/*.py examples/*.py packaging/*.py)))

VENV_STAMP := $(VENV)/.installed
BUILD_STAMP := $(VENV)/.built

.PHONY: help venv build build-release run fmt lint type test test-rust test-py \
	test-loom test-slow bench docs docs-serve wheels wheel try-wheels sdist ci clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
		| awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV_STAMP): pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	# Dependency groups need pip 25.1.
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet 'maturin>=1.16,<2' --group dev
	touch $@

# The package is installed editable: a change of Python code needs no build.
$(BUILD_STAMP): $(VENV_STAMP) $(RUST_SOURCES) Cargo.toml Cargo.lock pyproject.toml
	PIP_QUIET=1 VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release \
		--extras redis,celery,cli,examples $(JOBS)
	touch $@

venv: $(VENV_STAMP)  ## Make .venv with everything that building and testing needs

build: $(BUILD_STAMP)  ## Build the extension (release) into .venv, if sources changed

build-release: build  ## The same: there is no debug build to mistake it for

run: build  ## Run the main job: index the standard library on the embedded worker
	$(PY) examples/index_code.py

fmt: $(VENV_STAMP)  ## Format Rust and Python
	$(CARGO) fmt
	$(BIN)/ruff format $(PY_TREES)
	$(BIN)/ruff check --fix --quiet $(PY_TREES) || true

lint: build type  ## Formatting, clippy, ruff, types, stubs, import directions
	$(CARGO) fmt --check
	$(CARGO) clippy $(JOBS) --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check $(PY_TREES)
	$(BIN)/ruff check $(PY_TREES)
	$(BIN)/lint-imports
	$(PY) tests/harness/import_circles.py

type: build  ## mypy --strict, and the stub of the extension against the extension
	$(BIN)/mypy --strict $(TYPED)
	$(BIN)/stubtest --concise celerant._core

test: test-rust test-py  ## All tests but the slow ones

test-rust:  ## Rust unit and property tests
	$(CARGO) test $(JOBS) --workspace --quiet

test-py: build  ## Python tests (PYTEST_ARGS="-k name" for some)
	$(PY) -m pytest -n $(PYTEST_JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# A target directory of its own: the flag reaches every crate and would rebuild all.
test-loom:  ## Model-check the barrier, and that each ordering of its accesses is needed
	RUSTFLAGS="--cfg celerant_loom" LOOM_MAX_PREEMPTIONS=3 \
		CARGO_TARGET_DIR=target/loom \
		$(CARGO) test $(JOBS) --release -p celerant-core --test loom_barrier

test-slow: build  ## The slow tests too, with many more examples for Hypothesis
	HYPOTHESIS_PROFILE=slow CELERANT_ORACLE_EXAMPLES=50000 \
		$(PY) -m pytest -n $(PYTEST_JOBS) --dist loadfile --no-loadscope-reorder \
		-m 'slow or not slow' $(PYTEST_ARGS)

bench: build  ## Benches against the yardsticks of the same run, and their plots
	mkdir -p dist
	$(PY) -m pytest benches --benchmark-only --benchmark-group-by=group \
		--benchmark-json=$(FIGURES) --timeout=0 $(PYTEST_ARGS)
	$(PY) benches/plots.py $(FIGURES) docs/plots

docs: $(VENV_STAMP)  ## The documentation's site into dist/site; every warning fails
	$(PY) -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV_STAMP)  ## The site at http://127.0.0.1:8000, built anew as pages change
	$(PY) -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# By zig, so that they run on Linux of 2014 and later (glibc 2.17).
LINUX_TARGETS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu

wheels: $(VENV_STAMP) sdist  ## Wheels for Linux and the sdist into dist/, each tried here
	$(PY) -m pip install --quiet --group wheels
	rustup target add $(LINUX_TARGETS)
	for target in $(LINUX_TARGETS); do \
		PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --zig \
			--target $$target --out dist $(JOBS); \
	done
	$(MAKE) try-wheels

wheel: $(VENV_STAMP)  ## One wheel, for this machine, into dist/
	$(BIN)/maturin build --release --out dist $(JOBS)

sdist: $(VENV_STAMP)  ## The source distribution into dist/
	$(BIN)/maturin sdist --out dist

try-wheels:  ## Install dist/'s wheels into an empty venv of each CPython, and try them
	$(PYTHON) packaging/try_wheels.py dist

ci: lint test test-loom  ## What must pass before a change lands

clean:  ## Remove what the targets above made
	rm -rf $(VENV) target .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.benchmarks .import_linter_cache dist
	find python -name '*.so' -delete
