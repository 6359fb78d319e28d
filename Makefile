# FineTune Lab: `make demo` shows the whole thing, `make test` proves it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# pip would compile every module, one after the other, for more than a minute. Those left out, and those that are for
# another Python and fail, are compiled when imported.
HARDLY_IMPORTED := /(tests?|testing|sympy|moto|transformers/models|databricks|sklearn|ray/rllib|ray/llm|matplotlib|$\
	fontTools|apprise/plugins|pygments/lexers|narwhals|torch/onnx|torchgen)/
COMPILE = $(BIN)/python -m compileall -q --workers 0 -x '$(HARDLY_IMPORTED)' $(VENV)/lib > /dev/null || true
QUICK := 'not slow and not fuzz'
REPORTS := .test-reports
# How long each test took lies there as JUnit XML, one file for each part.
PARALLEL := -n 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder
# A process holds torch, about 1 GB, and the fixtures of the files it was given. Tests wait for a third of their time, so
# two cores take four processes.
STARTS := tests/e2e/test_readme.py tests/e2e/test_keys.py
# Without kept bytecode, every process of the tests compiles the modules and rewrites the asserts again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo up down test checks service web web-types web-checks lint types sync-client unit browser e2e starts faults slow audit fuzz chaos bench clean
.DEFAULT_GOAL := help

help:
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 13

$(STAMP): pyproject.toml
	@echo "Installing FineTune Lab and its libraries into $(VENV). This takes some minutes, and is done once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -e '.[server]'
	@$(COMPILE)
	touch $(STAMP)

$(VENV)/.installed-dev: pyproject.toml
	@echo "Installing FineTune Lab, its libraries and those of the tests into $(VENV). This takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -e '.[server,dev]'
	@$(COMPILE)
	touch $(STAMP) $@

demo: installed ## fine-tune a small real model from nothing to an answer
	$(BIN)/python -m serve.demo

up: installed ## start the service in the background
	$(BIN)/ftlab up --detach

# While pip installs, Node.js builds the web app; one that pip has to install builds it afterwards.
.PHONY: installed web-with-node
installed:
	@$(MAKE) --no-print-directory --jobs=2 $(STAMP) web-with-node
	@$(BIN)/python scripts/web.py build --optional --unless-node

web-with-node:
	@$(PYTHON) scripts/web.py build --optional --if-node

web: $(STAMP) ## build the web app, unless it is built from the same sources
	@$(BIN)/python scripts/web.py build

web-types: $(VENV)/.installed-dev ## generate the TypeScript types of the web app from the API
	$(BIN)/python scripts/web.py types

web-checks: $(VENV)/.installed-dev ## types, lint, unit tests, build and size of the web app
	$(BIN)/python scripts/web.py check

down: ## stop the service
	$(BIN)/ftlab down

# One after the other: beside the unit tests, training runs of the service take several times as long on two cores.
test: checks service ## everything that CI runs

# pip waits for the network or uses one core; beside it runs what needs no package of Python.
checks:
	$(MAKE) --jobs=3 --output-sync=target $(VENV)/.installed-dev web-app chromium
	$(MAKE) --jobs=2 --output-sync=target types lint web-checks
	$(MAKE) unit browser

.PHONY: web-app chromium
web-app:
	@$(PYTHON) scripts/web.py app

chromium:
	@command -v chromium > /dev/null || [ "$$(id -u)" != 0 ] || { apt-get update -qq && apt-get install -y -qq chromium > /dev/null; }

service: e2e starts faults

lint: $(VENV)/.installed-dev ## style, layers, and the generated sync client
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/unasync.py --check

sync-client: $(VENV)/.installed-dev ## generate the sync client from the async one
	$(BIN)/python scripts/unasync.py

types: $(VENV)/.installed-dev ## mypy --strict
	$(BIN)/mypy

unit: $(VENV)/.installed-dev ## tests without a cluster
	$(BIN)/python -m pytest tests/unit tests/test_repository.py tests/test_prose.py -m $(QUICK) $(PARALLEL) --junitxml=$(REPORTS)/unit.xml

browser: $(VENV)/.installed-dev web chromium ## the web app in Chromium, without a cluster
	$(BIN)/python -m pytest tests/browser -m $(QUICK) -n 2 --dist loadfile --junitxml=$(REPORTS)/browser.xml

e2e: $(VENV)/.installed-dev ## tests against a whole service
	$(BIN)/python -m pytest tests/e2e $(STARTS:%=--ignore %) -m $(QUICK) --junitxml=$(REPORTS)/e2e.xml

starts: $(VENV)/.installed-dev ## the README's commands, and a service for several users: tests that start their own
	$(BIN)/python -m pytest $(STARTS) --junitxml=$(REPORTS)/starts.xml

faults: $(VENV)/.installed-dev ## the short form of the chaos tests
	$(BIN)/python -m tests.chaos --short --junitxml=$(REPORTS)/faults.xml

slow: $(VENV)/.installed-dev ## the tests that take long, and those of the other HTTP front
	$(BIN)/python -m pytest tests/unit tests/e2e -m slow
	$(BIN)/python -m pytest tests/e2e/test_doors.py tests/e2e/test_streams.py --ingress python

# Needs the network, and fails without it.
audit: $(VENV)/.installed-dev ## known vulnerabilities of the installed libraries
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'
	$(BIN)/pip list --format freeze --exclude-editable > $(VENV)/installed.txt
	$(BIN)/pip-audit --requirement $(VENV)/installed.txt --no-deps --disable-pip --vulnerability-service osv

fuzz: $(VENV)/.installed-dev ## many more random requests than the tests send
	$(BIN)/python -m pytest tests/unit/serve/test_fuzz_api.py -m fuzz -n auto --maxprocesses 8

chaos: $(VENV)/.installed-dev ## every fault against a whole service, on both databases; hours
	$(BIN)/python -m tests.chaos

bench: $(VENV)/.installed-dev ## the benchmark table
	$(BIN)/python -m tests.bench

clean: ## remove what was installed and cached, never the data
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
