# A fresh machine needs Python 3.11 and make; everything else lives in .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# `make EXTRAS=dev,oracle test` also installs PyTorch and JAX, which some tests compare with.
EXTRAS ?= dev

.PHONY: train test test-slow test-export test-browser lint format bits pictures setup clean

train: $(VENV)/.train
	$(BIN)/kcnn train lenet5 --data digits

# What a newcomer runs, and whoever changes something: minutes.
test: setup
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not export"

# Kills, other processes and backends, real data, wide grids.
test-slow: setup
	$(BIN)/pytest -n 2 --dist loadfile -m "slow and not browser and not export"

# Files of `kcnn export`, in other runtimes, which in one process with PyTorch and JAX end it.
test-export:
	$(MAKE) EXTRAS=dev,export setup
	$(BIN)/pytest -n 2 --dist loadfile -m export tests/graph/test_export.py \
	    tests/runs/test_exported.py tests/test_readme.py

# Pages in headless Chromium, one after the other; skipped where there is none.
test-browser: setup
	$(BIN)/pytest -n 0 -m browser

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Did a change alter a single bit? Compares with a revision: make bits REV=v0.1
REV ?= HEAD
bits: setup
	$(BIN)/python tools/bits.py $(REV)

# The README's pictures anew; needs Chromium. Then look at them.
pictures: setup
	$(BIN)/python tools/pictures.py

setup: $(VENV)/.$(EXTRAS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: setup.cfg constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.$(EXTRAS): setup.cfg constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
