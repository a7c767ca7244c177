# Two commands: `make run` starts the service, `make test` says whether a change can be trusted.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
CONFIG ?= configs/local.yaml
# Each process would compile all tests again, were it not allowed to keep what it compiled.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
# The plugin, which one folder uses, takes every process seconds to import, and numpy's threads wait by turning.
QUICK := env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PYTEST) -p no:schemathesis
COMPILE := uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11

.PHONY: run test test-slow check format docs bench chaos soak image-test offline-test lock clean

run: $(VENV)/.run
	@PORT=$(PORT) $(BIN)/rayscribe serve $(CONFIG) --try-sample $(if $(ONCE),--once)

# What a reviewer needs to trust a change: 15 minutes at most on two cores.
test: check
	$(MAKE) --no-print-directory --output-sync=target -j2 quick-half quick-rest
	$(PYTEST) tests/service -m "server and not slow"
	$(PYTEST) tests/contract tests/model tests/sdk tests/browser tests/cluster tests/kuberay -m "not slow and not gpu"

# The quick layers, half of them on each core: workers that share one list would each collect all of it.
HALF := tests/service/api tests/service/jobs
.PHONY: quick-half quick-rest
quick-half:
	$(QUICK) $(HALF) -m "not server and not slow"

quick-rest:
	$(QUICK) tests/unit tests/service $(HALF:%=--ignore=%) -m "not server and not slow"

# The rest of the cluster layer and the faults: 40 minutes at most.
test-slow: $(VENV)/.dev
	$(PYTEST) tests -m "slow and not gpu" --ignore=tests/image --durations=30
	$(QUICK) tests/unit tests/service -m hypothesis --hypothesis-profile=thorough -n 2

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/deptry serve_app
	$(BIN)/python tools/review_locks.py
	$(BIN)/hadolint kuberay/Dockerfile

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What the docs hold of the code.
docs: $(VENV)/.dev
	$(BIN)/python -m tools.write_docs

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(if $(AUDIO),--audio $(AUDIO))

# Kills everything that can die while jobs run; SEED= repeats a run.
chaos: $(VENV)/.dev
	$(BIN)/python -m benchmarks.chaos --seed $(or $(SEED),1) --jobs $(or $(JOBS),40)

# Many clients at once for minutes; says whether answers, jobs, streams, /health and memory stayed well.
soak: $(VENV)/.dev
	$(BIN)/python -m benchmarks.soak --clients $(or $(CLIENTS),200) --seconds $(or $(SECONDS),300) --seed $(or $(SEED),1)

# Builds the image by Debian's buildah, as root, and starts the service from it: five minutes, so not part of the above.
# CUDA_VERSION=12.9 builds the flavour for it, too.
image-test: $(VENV)/.dev
	$(if $(CUDA_VERSION),CUDA_VERSION=$(CUDA_VERSION)) $(PYTEST) tests/image

# All of `make run` in a network without anybody else, from wheels.
offline-test: $(VENV)/.dev
	$(BIN)/python -m pip download --quiet --require-hashes --no-deps --dest .cache/wheels --requirement requirements.txt
	WHEELS=$(CURDIR)/.cache/wheels $(PYTEST) tests/airgap

# The locks hold names, versions and hashes for Python 3.11 to 3.13, and no address.
lock:
	$(COMPILE) pyproject.toml --extra build -o requirements.txt
	$(COMPILE) pyproject.toml --extra build --extra dev --extra postgres --extra s3 --extra otlp -c requirements.txt \
	  -o requirements-dev.txt
	printf 'asyncpg\nobstore\n' | $(COMPILE) --no-emit-package typing-extensions \
	  -c requirements-dev.txt - -o requirements-image.txt
	for version in 12.4 12.9; do \
	  echo "nvidia-cublas-cu12==$$version.*" | $(COMPILE) - -o requirements-cuda-$$version.txt || exit 1; \
	done

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
