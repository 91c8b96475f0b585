# `make demo` and `make test` each do all set-up by themselves; they need Python >= 3.11, make and a package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

.PHONY: demo test test-slow lint format clean

demo: $(READY)  ## make a small interview set, extract, compare, train and predict, offline
	$(BIN)/poise demo --out poise-demo

test: $(READY)  ## lint, types and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

test-slow: $(READY)  ## the long trials too
	$(BIN)/python -m pytest -m slow

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("poise needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) poise-demo .mypy_cache .pytest_cache .ruff_cache
