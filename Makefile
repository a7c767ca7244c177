# Two commands: `make run` starts the service, `make test` says whether a change can be trusted.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
CONFIG ?= configs/local.yaml
# Each process would compile all tests again, were it not allowed to keep what it compiled.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
# A plugin that one folder uses, and that takes every other process seconds to import.
QUICK := -p no:schemathesis -n 2

.PHONY: run test test-slow check format bench chaos lock clean

run: $(VENV)/.run
	@PORT=$(PORT) $(BIN)/rayscribe serve $(CONFIG) --try-sample $(if $(ONCE),--once)

# What a reviewer needs to trust a change: 15 minutes at most on two cores.
test: check
	$(PYTEST) tests/unit tests/service -m "not server and not slow" $(QUICK)
	$(PYTEST) tests/service -m "server and not slow"
	$(PYTEST) tests/contract tests/model tests/sdk tests/browser tests/cluster tests/kuberay -m "not slow and not gpu"

# The rest of the cluster layer and the faults: 40 minutes at most.
test-slow: $(VENV)/.dev
	$(PYTEST) tests -m "slow and not gpu"
	$(PYTEST) tests/unit tests/service -m hypothesis --hypothesis-profile=thorough $(QUICK)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/deptry serve_app

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(if $(AUDIO),--audio $(AUDIO))

# Kills everything that can die while jobs run; SEED= repeats a run.
chaos: $(VENV)/.dev
	$(BIN)/python -m benchmarks.chaos --seed $(or $(SEED),1) --jobs $(or $(JOBS),40)

# The locks hold names, versions and hashes for Python 3.11 to 3.13, and no address.
lock:
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  pyproject.toml --extra build -o requirements.txt
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  pyproject.toml --extra build --extra dev --extra postgres --extra s3 -c requirements.txt -o requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.run: requirements.txt pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=requirements-dev.txt
	@touch $@ $(VENV)/.run

.PHONY: install
install: $(BIN)/python
	@echo "installing from $(LOCK)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "rayscribe needs Python 3.11 or newer; $(PYTHON) is older"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
