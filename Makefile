# Each target says what it does: make help
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
# How many tests run at once. Most of a test is waiting, so more than there are processors do no harm.
JOBS   ?= 3

pytest = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup run demo install uninstall test test-postgresql test-host lint format bench chaos clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

setup: $(VENV)/.runtime ## make .venv with what Deployer runs on

run: $(VENV)/.runtime ## start Deployer: web and runner
	@exec $(BIN)/python app.py serve

demo: $(VENV)/.runtime ## show the whole job in this terminal, without GitHub
	@exec $(BIN)/python app.py demo

install: ## put Deployer on this host as services of systemd, or upgrade it there (as root)
	@PYTHON='$(PYTHON)' sh systemd/install.sh install

uninstall: ## take it off this host; data and settings stay (as root)
	@sh systemd/install.sh uninstall

test: $(VENV)/.dev ## run all tests; ARGS="tests/unit -k name" runs only those
	@sh tests/parts.sh
	@$(pytest) $(ARGS)

# What knows no database, or brings one along, has run by then.
OF_NO_DATABASE = $(foreach part,executors launcher postgresql,--ignore tests/integration/$(part))

test-postgresql: $(VENV)/.dev ## run the integration tests on PostgreSQL (or ARGS="tests/integration/web …")
	@sh tests/parts.sh postgresql
	@if ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1; then \
	  export DEPLOYER_TEST_DATABASE=postgresql; $(pytest) $(or $(ARGS),tests/integration $(OF_NO_DATABASE)); \
	else echo "PostgreSQL is not installed: the integration tests did not run on it."; fi

test-host: $(VENV)/.dev ## boot a Debian with systemd in a container, and install and upgrade there (as root)
	@sh tests/parts.sh host
	@$(BIN)/python -m pytest -m host tests/host $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy and the order of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_imports.py

format: $(VENV)/.dev ## put the code into its form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## measure speed and size
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: $(VENV)/.dev ## kill runner and web process again and again, here and over SSH, and prove that nothing is lost
	@sh tests/parts.sh
	@$(BIN)/python -m tests.chaos $(ARGS)

clean: ## remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Deployer needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) -V`. Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet -r requirements-dev.txt
	@touch $@
