# Everything a fresh machine needs: `make demo` and `make test` set the environment up first.
#
#   PYTHON=python3.12   the interpreter, 3.11 or newer; default: the first one found
#   UV=1                let uv make the environment (it also fetches a Python when there is none)
#   EXTRAS=dev,track    what is installed besides captune; default: dev, and less for make demo
#   JOBS=2              test processes; default: the cores, at most 8
#   ARGS="..."          passed to captune demo and to pytest

SHELL := /bin/sh
COMMA := ,
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
# The packages of the tests take three times as long to install, and a first look needs none of them.
DEMO_EXTRAS := $(if $(filter file,$(origin EXTRAS)),meteor$(COMMA)serve,$(EXTRAS))
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -gt 8 ] && n=8; echo $$n)
ARGS ?=

# The stamp's name is the checksum of the pins, so that touching a file changes nothing.
name_stamp = $(VENV)/setup-$(shell { cat pyproject.toml constraints.txt; echo '$(1)'; } | cksum | cut -d ' ' -f 1)
STAMP := $(call name_stamp,$(EXTRAS))
DEMO_STAMP := $(call name_stamp,$(DEMO_EXTRAS))
$(DEMO_STAMP): WANTED = $(DEMO_EXTRAS)
$(STAMP): WANTED = $(EXTRAS)

.PHONY: help setup demo test test-slow soak bytecode check docs format clean distclean

help:
	@echo "make demo       install what it needs; train and evaluate on the built-in set"
	@echo "make setup      create $(VENV); again only if the pinned packages have changed"
	@echo "make test       the tests that end within 10 minutes on 2 cores"
	@echo "make test-slow  the tests marked slow"
	@echo "make soak       kills, loads and fuzzing with their full counts; hours"
	@echo "make check      ruff, mypy, codespell and the import layers"
	@echo "make docs       build the documentation site into build/site"
	@echo "make format     let ruff format and fix"
	@echo "make clean      remove caches and build leftovers; make distclean: $(VENV) too"
	@echo "All except clean and distclean set the environment up first."

setup: $(STAMP)

ifdef UV
$(sort $(STAMP) $(DEMO_STAMP)):
	uv venv --allow-existing --python '>=3.11' $(VENV)
	uv pip install --python $(BIN)/python -c constraints.txt -e '.[$(WANTED)]'
	rm -f $(VENV)/setup-*
	touch $@
else
$(sort $(STAMP) $(DEMO_STAMP)):
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then echo "making $(VENV) with $$python ($$($$python --version))"; exec $$python -m venv $(VENV); fi; \
	done; \
	echo "no Python >= 3.11 with venv was found: install one (Debian: python3-venv)," \
	  "name it with PYTHON=..., or use uv: make setup UV=1" >&2; exit 1
	@echo "installing packages: this takes minutes and prints nothing"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(WANTED)]'
	rm -f $(VENV)/setup-*
	touch $@
endif

# An environment with everything is enough, too.
demo: $(or $(wildcard $(STAMP)),$(DEMO_STAMP))
	$(BIN)/captune demo $(ARGS)

# One thread per process: two processes on two cores beat one process with two threads. By file, so
# that what the tests of a file share is made once; in the order of tests/conftest.py.
# With bytecode, even where the machine's environment turns it off: the tests start hundreds of
# processes, and each would compile captune again.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: bytecode
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: bytecode
	$(PYTEST) -m slow $(ARGS)

# Before the tests: some limit the size of files, and Python would write half of one.
bytecode: setup
	$(BIN)/python -m compileall -q src tests benchmarks

# Kills and fuzzing with their full counts (tests/support/soak.py); CAPTUNE_SEED=N tries other inputs.
soak: bytecode
	CAPTUNE_SOAK=1 $(PYTEST) --timeout 7200 -m soak $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: setup
	$(BIN)/python website/build.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
