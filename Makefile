# Everything a person runs. Each target first sees to it that the environment is there.
#
#   make report      learn the task and explain the circuit, small: minutes on two cores
#   make reference   the full experiment
#   make test        what every change must pass
#
# VENV and PYTHON choose the environment, CORES how many jobs run at once, as in
#   make test VENV=/tmp/venv PYTHON=python3.12

VENV   ?= .venv
PYTHON ?= python3
CORES  ?= 2

BIN   := $(abspath $(VENV))/bin
LOCK  := envs/requirements.lock
STAMP := $(VENV)/.installed
TEST_LOCK  := envs/test.lock
TEST_STAMP := $(VENV)/.installed-test
ORACLE := envs/transformer_lens.lock
ORACLE_STAMP := $(VENV)/.installed-transformer-lens
SAELENS := envs/sae_lens.lock
SAELENS_STAMP := $(VENV)/.installed-sae-lens
PIP   := $(BIN)/python -m pip --disable-pip-version-check

# Jobs that snakemake starts look their tools up in the PATH.
export PATH := $(BIN):$(PATH)

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup report reference exactness test check test-slow bench lock clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# The environment is made anew where the lock or the declared dependencies are newer than it.
$(STAMP): $(LOCK) pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --requirement $(LOCK)
	$(PIP) install --quiet --no-deps --editable .
	touch $@

# Checkers, test tools and oracles come on top, where something is checked.
$(TEST_STAMP): $(TEST_LOCK) $(STAMP)
	$(PIP) install --quiet --requirement $(TEST_LOCK)
	touch $@

## make setup      the environment that studies need, from exact versions
setup: $(STAMP)

## make report     the quickstart study and its page
report: $(STAMP)
	$(BIN)/snakemake quickstart --cores $(CORES)
	@$(BIN)/python -m circuit.reports.result results/quickstart/report.html

## make reference  the reference study and its page
reference: $(STAMP)
	$(BIN)/snakemake reference --cores $(CORES)
	@$(BIN)/python -m circuit.reports.result results/reference/report.html

## make exactness  what three path rules leave of each scalar, step by step
exactness: $(STAMP)
	$(BIN)/snakemake exactness --cores $(CORES)
	@$(BIN)/python -m circuit.reports.result results/exactness/report.html

## make test       style, types, layers, workflow, then the tests that take seconds
test: check
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2

# From cheap to costly, so that the first failure comes early.
check: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	$(BIN)/snakemake quickstart --dry-run --quiet rules
	$(BIN)/snakemake reference --dry-run --quiet rules
	$(BIN)/snakemake causal --dry-run --quiet rules
	$(BIN)/snakemake features --dry-run --quiet rules

# TransformerLens is an oracle for a test and a benchmark. Its own dependencies on PyTorch and the rest
# are met by the locks, so nothing but what is listed is installed.
$(ORACLE_STAMP): $(ORACLE) $(TEST_STAMP)
	$(PIP) install --quiet --no-deps --requirement $(ORACLE)
	touch $@

# SAELens wants another version of TransformerLens, so it lies in a folder that one test looks into.
$(SAELENS_STAMP): $(SAELENS) $(TEST_STAMP)
	rm -rf $(VENV)/sae_lens
	$(PIP) install --quiet --no-deps --target $(VENV)/sae_lens --requirement $(SAELENS)
	touch $@

## make test-slow  the tests that take minutes, among them a small study from end to end
test-slow: $(ORACLE_STAMP) $(SAELENS_STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

## make bench      what a dry run, an attribution (on one core and two), patches, a crosscoder and a sweep cost
bench: $(ORACLE_STAMP)
	$(BIN)/python benchmarks/dry_run.py
	$(BIN)/python benchmarks/attribution_cost.py
	$(BIN)/python benchmarks/segments.py
	$(BIN)/python benchmarks/patching_cost.py
	$(BIN)/python benchmarks/crosscoder_cost.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/sweep_cost.py

## make lock       new exact versions from the ranges in pyproject.toml
lock:
	PYTHON=$(PYTHON) TORCH=$(TORCH) envs/lock.sh

## make clean      remove caches and the environment of .ci/run; data and results stay
clean:
	rm -rf .ci/venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
