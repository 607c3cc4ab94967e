# `make search` and `make test` need Python 3.11 and make, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/shapes
STUDIES ?= all
SEEDS ?= 5
RESULTS ?= docs/studies
PROCESSES ?= 2

.PHONY: install search test test-hosts check docs bench chaos studies clean

install: $(VENV)/installed

# The stamp is touched last: an installation that was cut off is done again.
$(VENV)/installed: pyproject.toml constraints.txt experiments/s3_server.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(PYTHON) -m venv $(VENV)/s3-server
	$(VENV)/s3-server/bin/python -m pip install --quiet --disable-pip-version-check --requirement experiments/s3_server.txt
	touch $@

search: install
	$(BIN)/spnas search experiments/shapes.yaml --run $(RUN)

# Tests wait for processes more than they compute; a file's tests stay together, as they share what they set up.
test: check
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

# Three hosts as network namespaces of this machine; needs root, and skips with the reason otherwise.
test-hosts: install
	SPNAS_TEST_HOSTS=1 $(BIN)/python -m pytest -rs tests/hosts

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into build/site; opens from disk. Warnings, links to nothing among them, are errors.
docs: install
	$(BIN)/python -m mkdocs build --strict

# All, or such as `make bench BENCH="weights start-up"`.
bench: install
	$(BIN)/python -m experiments.benchmarks $(BENCH)

# The recorded studies; `make studies SEEDS=2 STUDIES=luck RESULTS=/tmp/quick` is a part of them in less time.
studies: install
	$(BIN)/spnas study $(STUDIES) --seeds $(SEEDS) --out $(RESULTS)

# Such as `make chaos CHAOS="--seed 3 --only node"`.
chaos: install
	$(BIN)/python -m experiments.chaos $(CHAOS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
