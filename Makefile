# The verbs of this project, the same for people and for CI. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WORKERS ?= auto
VENDOR := src/vbm/web/static/vendor

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev assets demo serve lab test lint types layers docs bench screens soak lock clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.runtime ## install what the product needs into .venv
setup-dev: $(VENV)/.dev ## install what the tests need too

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer with the venv module is needed (Debian: apt install python3-venv)." >&2; exit 2; fi
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) …" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(VENV)/bin/python
	@$(PIP) --require-hashes -r requirements/runtime.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(VENV)/bin/python
	@$(PIP) --require-hashes -r requirements/dev.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.runtime

demo: setup ## run the main job on the embedded lab: back up, change, back up again, verify, restore, compare
	@$(BIN)/vbm demo --home demo-home

assets: $(VENDOR)/icons.svg ## bring the web's third-party files in place; needs npm, or takes that of setup-dev

$(VENDOR)/icons.svg: assets/build.py assets/package.json assets/package-lock.json
	@command -v npm >/dev/null 2>&1 || $(MAKE) --no-print-directory setup-dev
	@if [ -x $(BIN)/python ]; then $(BIN)/python assets/build.py; else "$(PYTHON)" assets/build.py; fi

serve: setup assets ## start the web interface, the API and a worker on this machine, data in demo-home
	@VBM_HOME="$${VBM_HOME:-demo-home}" VBM_ALLOW_LOOPBACK="$${VBM_ALLOW_LOOPBACK:-1}" $(BIN)/vbm serve

lab: setup ## start the embedded lab with its small preset, to try things against
	@$(BIN)/vbm lab serve --state demo-home/lab --preset small

test: setup-dev assets lint types layers ## lint, types, layer contracts and all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -q

lint: setup-dev ## ruff: rules and format
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "lint: clean"

types: setup-dev ## mypy, strict
	@$(BIN)/mypy

layers: setup-dev ## the layer contracts
	@$(BIN)/lint-imports --no-cache --no-timestamps 2>/dev/null || $(BIN)/lint-imports --no-cache

docs: setup-dev ## write the generated reference pages again
	@$(BIN)/python -m vbm.cli.reference docs/reference && $(BIN)/python -m vbm.web.reference docs/reference

bench: setup-dev ## measure against restic and borg in one run, on real disk images
	@$(BIN)/python bench/run.py

screens: setup-dev assets ## pictures of every page, empty and full, wide and narrow, light and dark
	@$(BIN)/python bench/screens.py bench/results/screens small

soak: setup-dev ## the long campaigns: kill loops, concurrency rounds
	@$(BIN)/python -m pytest -n 2 -q -m soak --timeout 3600

lock: $(VENV)/bin/python ## resolve the dependencies again into the lock files
	@$(PIP) uv
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q pyproject.toml --group dev --all-extras -o requirements/dev.lock
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header -q pyproject.toml --group build -c requirements/dev.lock -o requirements/runtime.lock

clean: ## remove everything that can be made again
	rm -rf $(VENV) $(VENDOR) assets/node_modules demo-home .cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench/results build dist
