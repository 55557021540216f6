# Everything a person or a machine does with this project. Needs Python 3.11+ and make, no more.

# The first Python that runs and is recent enough; a name alone may be a shim without a Python.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& command -v $$python && break; done)
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin

# Processes that recompile thousands of modules take several times as long to start, so bytecode
# is compiled at installation.
export UV_COMPILE_BYTECODE := 1
export UV_PYTHON_DOWNLOADS := never
export DO_NOT_TRACK := 1
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test check services chaos bench bench-detection bench-detection-full docs clean

help: ## List the targets.
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## Install what running needs into .venv.

setup-dev: .venv/.installed-dev

demo: setup ## Run the whole pipeline on the sample data; ends with alert events and a report.
	@$(BIN)/vae-anomaly demo

# Prefect, MLflow and Keras each take hold of a process's logging and environment, so every part
# has a process of its own; longest first, as many at a time as JOBS says.
SERVICE_TESTS := tests/integration/test_production.py
TEST_PARTS := $(filter-out $(SERVICE_TESTS),$(wildcard tests/e2e/test_*.py tests/integration/test_*.py)) \
	tests/property \
	$(filter-out %__pycache__,$(wildcard tests/unit/*)) vae_anomaly
JOBS ?= 2

test: setup-dev ## Run every test but those of `services`, with branch coverage of the package.
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory --jobs=$(JOBS) --keep-going $(TEST_PARTS:%=test/%)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=95

test/%:
	@out=$$(COVERAGE_FILE=.coverage.$(subst /,-,$*) $(BIN)/pytest -q --cov --cov-report= $* 2>&1); \
		code=$$?; printf '%s\n%s\n' "$*" "$$out"; exit $$code

check: setup-dev ## Check format, lint, types, layers and dependencies.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

services: setup-dev ## Run the tests of servers, workers and PostgreSQL, killed too: ten minutes.
	$(BIN)/pytest -q tests/integration/test_production.py

chaos: setup-dev ## Kill the pipeline at every commit and at 50 moments; compare every table.
	CHAOS_KILLS=50 $(BIN)/pytest -q tests/integration/test_chaos.py

bench: setup-dev ## Print what scoring and training cost, as ratios; PYOD_PYTHON compares with PyOD.
	$(BIN)/python -m tests.benchmarks.ingest_cost 1 10
	$(BIN)/python -m tests.benchmarks.stages $(if $(PYOD_PYTHON),--pyod-python $(PYOD_PYTHON))

bench-detection: setup-dev ## Measure detection on labelled data, with one seed.
	$(BIN)/vae-anomaly benchmark tep gecco2018 --seeds 1 --method vae-anomaly --method PCA \
		--data $${VAE_ANOMALY_BENCHMARK_DATA:-../shared/data}

bench-detection-full: setup-dev ## Measure every method on every labelled suite, with five seeds: hours.
	$(BIN)/vae-anomaly benchmark --seeds 5 --data $${VAE_ANOMALY_BENCHMARK_DATA:-../shared/data}

docs: setup-dev ## Build the documentation into site/.
	$(UV) sync --quiet --frozen --inexact --extra cpu --group docs
	$(BIN)/mkdocs build --strict --quiet

clean: ## Remove what was built, and the demo; readings, lake and registry stay.
	rm -rf .venv .uv site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	rm -rf data/demo

$(UV):
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; \
	install one, or give it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Python is the one found above. It is named here only: a sync that is told of a Python by its path
# makes the whole environment anew.
.venv/pyvenv.cfg: $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv

.venv/.installed: .venv/pyvenv.cfg uv.lock pyproject.toml
	$(UV) sync --quiet --frozen --inexact --no-default-groups --extra cpu
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(UV) sync --quiet --frozen --inexact --extra cpu --group dev
	@touch $@
