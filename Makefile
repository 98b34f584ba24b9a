# Every target does its own set-up in .venv from a bare Python >= 3.11 and nothing else.
# A second call is quick: stamp files in .venv remember what was installed from which lists.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LISTS := setup.cfg setup.py constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # two installs into one .venv would meet
.PHONY: help demo serve test test-all lint format bench fuzz docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-run ## colour the sample photographs and say where the pictures are
	$(BIN)/zcolor demo

serve: $(VENV)/.stamp-web ## a page in the browser to drop photographs on, for this machine alone
	$(BIN)/zcolor serve --open-browser

test: $(VENV)/.stamp-dev ## the fast tests and all doctests
	$(BIN)/python -m pytest

test-all: $(VENV)/.stamp-dev ## the fast and the slow tests
	$(BIN)/python -m pytest -m ""

lint: $(VENV)/.stamp-dev ## style, types, the import contracts and what bandit knows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q --ini setup.cfg -r zcolor tools studies benchmarks fuzz

format: $(VENV)/.stamp-dev ## rewrite the sources in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.stamp-dev ## measure speed and memory against the usual path
	$(BIN)/python -m benchmarks

fuzz: $(VENV)/.stamp-dev ## read damaged files for half an hour; only named errors may come out
	$(BIN)/python -m fuzz --minutes 30

docs: $(VENV)/.stamp-dev ## build the pages into docs/_build/html, where a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html
	@echo "open docs/_build/html/index.html"

clean: ## remove .venv and the caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis docs/_build

# The pinned pip and setuptools come first and build isolation is off, so that the build itself
# uses the pinned versions too, whatever pip the Python came with.
$(VENV)/.stamp-venv: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "zcolor needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	    echo "Install a newer Python, or name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	    exit 1; } >&2
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet --constraint constraints.txt pip setuptools
	touch $@

$(VENV)/.stamp-run: $(VENV)/.stamp-venv $(LISTS)
	$(PIP) install --no-build-isolation --constraint constraints.txt --editable .
	touch $@

$(VENV)/.stamp-web: $(VENV)/.stamp-venv $(LISTS)
	$(PIP) install --no-build-isolation --constraint constraints.txt --editable ".[web]"
	touch $@ $(VENV)/.stamp-run

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv $(LISTS)
	$(PIP) install --no-build-isolation --constraint constraints.txt --editable ".[dev,train,video,web,zoo,study,docs,cluster,export]"
	touch $@ $(VENV)/.stamp-run $(VENV)/.stamp-web
