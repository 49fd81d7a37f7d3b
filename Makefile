# Everything a fresh machine needs: `make demo` and `make test` set the environment up first.
#
#   PYTHON=python3.12   the interpreter, 3.11 or newer; default: the first one found
#   UV=1                let uv make the environment (it also fetches a Python when there is none)
#   EXTRAS=dev,lora     what is installed besides captune
#   JOBS=2              test processes; default: the cores, at most 8
#   ARGS="..."          passed to captune demo and to pytest

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -gt 8 ] && n=8; echo $$n)
ARGS ?=

# The stamp's name is the checksum of the pins, so that touching a file changes nothing.
PINS := $(shell { cat pyproject.toml constraints.txt; echo '$(EXTRAS)'; } | cksum | cut -d ' ' -f 1)
STAMP := $(VENV)/setup-$(PINS)

.PHONY: help setup demo test check format clean distclean

help:
	@echo "make setup      make $(VENV), again only when pyproject.toml or constraints.txt change"
	@echo "make demo       set up, then train and evaluate on the built-in set: demo report in minutes"
	@echo "make test       set up, then the whole test suite"
	@echo "make check      set up, then ruff, mypy and the import layers"
	@echo "make format     set up, then let ruff format and mend"
	@echo "make clean      remove caches and build leftovers; make distclean: $(VENV) too"

setup: $(STAMP)

ifdef UV
$(STAMP):
	uv venv --allow-existing --python '>=3.11' $(VENV)
	uv pip install --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'
	rm -f $(VENV)/setup-*
	touch $@
else
$(STAMP):
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then echo "making $(VENV) with $$python ($$($$python --version))"; exec $$python -m venv $(VENV); fi; \
	done; \
	echo "no Python >= 3.11 with venv was found: install one (Debian: python3-venv)," \
	  "name it with PYTHON=..., or use uv: make setup UV=1" >&2; exit 1
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	rm -f $(VENV)/setup-*
	touch $@
endif

demo: setup
	$(BIN)/captune demo $(ARGS)

# One thread a process: two processes on two cores beat one process with two threads. By file, so
# that what a file's tests share is made once.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
