# Sets itself up in .venv and runs; `make help` lists what there is to run. On Windows, see CONTRIBUTING.md.

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= auto

# A worker of pytest is one thread: more would fight over the cores. It takes neighbouring tests, which share fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo lenet5 results test test-all lint types unit slow format site clean

help:  ## Show this list
	@awk -F ':.*  ## ' '/^[a-z0-9-]+:.*  ## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/installed  ## Compare standard, adaptive and low-rank convolutions on bundled digits, fairly
	@# A demo sends nothing anywhere unless it is told to.
	WANDB_MODE=$${WANDB_MODE:-offline} $(BIN)/adaptconv sweep --config configs/sweeps/digits.yaml

lenet5: .venv/installed  ## Train the standard and the adaptive LeNet-5 on bundled digits, and compare them
	WANDB_MODE=$${WANDB_MODE:-offline} $(BIN)/adaptconv fit --config configs/digits/lenet5_standard.yaml
	WANDB_MODE=$${WANDB_MODE:-offline} $(BIN)/adaptconv fit --config configs/digits/lenet5_adaptive.yaml
	$(BIN)/adaptconv compare runs/digits-lenet5-standard runs/digits-lenet5-adaptive

results: .venv/installed-dev  ## Write the numbers in README.md and docs/results/ anew, from the tables there
	$(BIN)/python -m benchmarks.results

test: lint types unit  ## Check style and types, and run the tests

test-all: test slow  ## The same, and the slow tests

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-dev
	$(BIN)/python -m mypy

unit: .venv/installed-dev
	$(PYTEST)

slow: .venv/installed-dev  ## Only the slow tests
	$(PYTEST) -m slow

format: .venv/installed-dev  ## Format the code, and mend what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

site: .venv/installed-docs  ## Build the documentation's site into site/, with every warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

clean:  ## Remove .venv and caches; runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed anew only when pyproject.toml changes.
.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[report]"
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	@touch .venv/installed $@

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[docs]"
	@touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
