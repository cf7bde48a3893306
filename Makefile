# make run        the main job on the embedded data set: environment, pipeline, result table
# make up         the Prefect and MLflow servers: start and watch runs in a browser; Ctrl-C stops all
# make test       lint, types and every test that needs no server, browser or GPU
# make test-all   the same, with the slow and browser tests
# make baselines  DeepFM, DCNv2, AutoInt and DIN on the packed data, tuned within a budget (installs DeepCTR-Torch)
# make lock       resolve requirements.lock anew from pyproject.toml
# make clean      free DVC's cache of what no run and no registered version needs; remove the environment and tool caches

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Telemetry of every tool is off (the code sees to it, too; see dti/__init__.py).
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true
# DVC runs its stages with the first python on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run up test test-all baselines lint lock clean env
env: $(STAMP)

# torch goes first and alone: its build (CPU, CUDA ...) is the machine's choice, so it carries no hash.
$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "this project is tested on Python 3.11, and there is no $(PYTHON) here. Name a 3.11 interpreter: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "this project is tested on Python 3.11 and its lock is made for it; found %s.%s. Name a 3.11 interpreter: make PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	@touch $(STAMP)

run: $(STAMP)
	@$(BIN)/python -m dti doctor --fix
	$(BIN)/dvc repro

up: $(STAMP)
	@$(BIN)/python -m dti doctor --fix
	@exec $(BIN)/python -m flows.up $(UP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m "not slow and not browser and not gpu"

test-all: lint
	$(BIN)/python -m pytest -m "not gpu"

# The package fits the locked environment: its own requirements are there already.
baselines: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r benchmarks/rivals/requirements.txt
	$(BIN)/python -m benchmarks.rivals $(BASELINES)

lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet pip-tools==7.6.2
	$(VENV)-lock/bin/pip-compile --quiet --extra ops --extra dev --generate-hashes --unsafe-package torch \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --no-header \
	    --strip-extras --allow-unsafe --output-file requirements.lock pyproject.toml
	sed -i '/packages are considered to be unsafe/,$$d' requirements.lock

clean:
	@test ! -x $(BIN)/python || $(BIN)/python -m dti clean
	rm -rf $(VENV) $(VENV)-lock .mypy_cache .pytest_cache .ruff_cache .hypothesis
