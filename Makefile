# Every target sets up what it needs; none needs another to be called first.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: install demo test test-ray faults bench bench-dashboard check format browser screenshots clean
.DEFAULT_GOAL := install

install: .venv/installed

# torch goes first and by itself: on a machine without a GPU the pinned version is a build without CUDA.
.venv/installed: pyproject.toml constraints.txt requirements-builtin.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tuner needs Python 3.11 or newer; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,postgres,ray,s3,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-builtin.txt
	@touch $@

demo: install
	$(BIN)/tuner run studies/examples/trec.yaml

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: check browser
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

# The long form of tests/faults; `make test` runs the short one. SECONDS of strikes in each run, SEEDS to simulate, SEED of the runs.
SECONDS ?= 60
SEEDS ?= 20
SEED ?= 1
faults: install
	@rm -f tests/output/faults.jsonl
	TUNER_TEST_FAULT_SECONDS=$(SECONDS) TUNER_TEST_FAULT_SEEDS=$(SEEDS) TUNER_TEST_FAULT_SEED=$(SEED) $(BIN)/python -m pytest tests/faults --timeout 1800
	$(BIN)/python -m tests.faults.report

# A Ray cluster of several nodes on this machine, one of which is killed: a minute or two.
test-ray: install
	$(BIN)/python -m pytest tests/cluster -m cluster

# Minutes each; the tables of docs/performance.md.
bench: install
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.restart
	$(BIN)/python -m benchmarks.workers

# Beside optuna-dashboard, which only this needs.
bench-dashboard: install browser
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.dashboard

browser:
	@tests/browser/ensure_chromium.sh

screenshots: install browser
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache tests/output
