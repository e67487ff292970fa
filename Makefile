# `make demo` and `make test` set everything up themselves, in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup web demo test check verify fmt build litert clean

help: ## Show what can be made
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(INSTALLED) ## Create .venv and install dapter with everything that development needs

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The page needs Node 20; without it, all else works, and what is left out is said.
NODE_OK := $(shell node -e 'process.exit(+(+process.versions.node.split(".")[0] < 20))' 2>/dev/null && echo yes)
NPM := npm --prefix web --no-fund --no-audit --no-update-notifier
WEB_SOURCES := $(shell find web/src web/public -type f) web/index.html web/vite.config.ts web/tsconfig.json web/tsconfig.lib.json

ifdef NODE_OK
web: web/dist/index.html ## Build the web page and the browser package (needs Node 20)
web_test: web
	$(NPM) test
web_check: web
	$(NPM) run check
web_fmt: web
	$(NPM) run fmt
else
web web_test web_check web_fmt:
	@echo "Node 20 is not here: the web page is not built, and its tests are skipped."
endif
.PHONY: web_test web_check web_fmt

web/node_modules/.installed: web/package.json web/package-lock.json
	$(NPM) ci
	touch $@

web/dist/index.html: web/node_modules/.installed $(WEB_SOURCES)
	$(NPM) run build

demo: setup ## Train a service and a converter on generated portraits, attack it, report (under ten minutes)
	$(BIN)/dapter demo

test: setup web_test ## Run the tests, a process per core (ten to fifteen minutes on two)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: setup web_check ## Format, lint, types, layers, results shown, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/python -m pytest tests/docs

verify: setup ## Verify the releases of this repository
	@for release in $(wildcard releases/*/); do \
		$(BIN)/dapter verify $$release --key releases/signing.pub --out runs/verify/$$(basename $$release) || exit 1; done

litert: setup ## Make the environment of LiteRT's converter, about 2 GB, and run its tests
	$(BIN)/python -m dapter.export.litert
	$(BIN)/python -m pytest tests/contracts/test_exports.py -k litert

fmt: setup web_fmt ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: setup ## Build the wheel and the source archive into dist/
	rm -rf dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build --outdir dist

clean: ## Remove what was built; keeps runs/
	rm -rf $(VENV) dist web/dist web/lib web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +
