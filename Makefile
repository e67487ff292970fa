# `make demo` and `make test` set everything up themselves, in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test check fmt build clean

help: ## Show what can be made
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(INSTALLED) ## Create .venv and install dapter with everything that development needs

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup ## Train a service and a converter on generated portraits, write the report (under ten minutes)
	$(BIN)/dapter demo

test: setup ## Run the tests (under ten minutes)
	$(BIN)/python -m pytest

check: setup ## Format, lint, types, layers, results shown, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python -m pytest tests/docs

fmt: setup ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: setup ## Build the wheel and the source archive into dist/
	rm -rf dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build --outdir dist

clean: ## Remove what was built; keeps runs/
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +
