# Everything lives in .venv, which each target makes or completes where need be.
#   make quickstart     see it work: the core alone, then its main job on real text
#   make test           the tests, two files at a time (ARGS="-k offsets" passes options to pytest)
#   make check          style, types and layers
#   make PYTHON=python3.12 ...   another interpreter

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
REQUIREMENTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test check format env wheel screenshots clean

help:
	@sed -n 's/^#   /  /p' Makefile
	@echo '  make format | env | wheel | screenshots | clean'

quickstart: $(VENV)/.core
	@$(BIN)/nlpkit quickstart

test: env
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: env
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

env: $(VENV)/.full

wheel: env
	@rm -rf dist
	@$(BIN)/python -m hatchling build -t wheel

screenshots: env
	@$(BIN)/python docs/screenshots.py

# The environment stays: it is slow to make again (to do so, remove .venv).
clean:
	@rm -rf dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A stamp is as old as the requirements it was installed from; the full environment holds the core.
$(VENV)/.core: $(REQUIREMENTS) | $(BIN)/pip
	@echo 'nlpkit: installing the core into $(VENV) (once, about a minute)'
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.full: $(REQUIREMENTS) | $(BIN)/pip
	@echo 'nlpkit: installing what development needs into $(VENV), torch included (once, minutes)'
	@$(INSTALL) -e '.[app,dev,files,postgres,train]'
	@touch $(VENV)/.core $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'nlpkit needs Python 3.11 or later; name one, as in: make PYTHON=python3.12 ...'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo 'nlpkit needs the venv module (on Debian and Ubuntu: apt install python3-venv)'; exit 1; }
