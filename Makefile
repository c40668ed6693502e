# Two commands matter: `make up` runs the product, `make test` proves it. Both set themselves up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import venv' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv)
# The locks name every package, so nothing is resolved; what is never imported is not compiled.
PIP := --quiet --disable-pip-version-check --no-compile --no-deps
UP ?=
NIGHTLY ?=

.PHONY: help install install-dev up test screenshot check format bench lock schema nightly clean

help:  ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "Watchkeeper needs Python 3.11 to 3.13; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.12 and run make again.")'
ifneq ($(UV),)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) --require-hashes -r requirements.txt
	$(BIN)/python -m pip install $(PIP) -e .
endif
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
ifneq ($(UV),)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
else
	$(BIN)/python -m pip install $(PIP) --require-hashes -r requirements-dev.txt
endif
	@touch $@

install: $(VENV)/.installed  ## set up .venv with what the product needs

install-dev: $(VENV)/.installed-dev  ## the same, and what its tests need

up: install  ## the product: a real Ray cluster in small, and the watch over it (UP="--lab-time 02:30" adds options)
	@exec $(BIN)/watchkeeper up --policies policies $(UP)

check: install-dev  ## lint, types, arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: check  ## every check and every test: unit, property, real Redis, real Ray, real browser
	@tests/prepare
	@tests/both $(BIN)/python

screenshot: install-dev  ## make the pictures anew: the README's from a real lab, those of docs/console.md
	WATCHKEEPER_SCREENSHOTS=docs $(BIN)/python -m pytest tests/integration/test_day_watch.py -k "asked or looked"
	WATCHKEEPER_SCREENSHOTS=docs $(BIN)/python -m pytest tests/browser/test_every_page.py -k pictures

bench: install-dev  ## the budgets, as ratios in one run
	$(BIN)/python -m watchkeeper_evals.bench

lock:  ## pin every dependency with its hashes (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements-dev.txt
	uv pip compile pyproject.toml -c requirements-dev.txt --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements.txt
	uv pip compile pyproject.toml -c requirements-dev.txt --extra dev --extra nightly --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements-nightly.txt

$(VENV)/.installed-nightly: $(VENV)/.installed-dev requirements-nightly.txt
ifneq ($(UV),)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-nightly.txt
else
	$(BIN)/python -m pip install $(PIP) --require-hashes -r requirements-nightly.txt
endif
	@touch $@

nightly: $(VENV)/.installed-nightly  ## the long proofs, resumable; prints what docs/evidence.md takes (NIGHTLY="--only noise")
	$(BIN)/python -m watchkeeper_evals.nightly $(NIGHTLY)

schema: install-dev  ## write the policy schemas and the tables of the policy reference anew
	$(BIN)/python -m watchkeeper.policy.schema > policies/policy.schema.json
	$(BIN)/python -m watchkeeper.policy.trial.case_schema > policies/policy-test.schema.json
	$(BIN)/python -m watchkeeper.policy.price_book > prices/price-book.schema.json
	$(BIN)/python -m watchkeeper.policy.reference < docs/policy/reference.md > .reference.md
	@mv .reference.md docs/policy/reference.md

clean:  ## remove what this file made
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
