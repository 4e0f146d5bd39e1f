# Everything is done in a virtual environment of this folder; nothing else on the machine is touched.
# Choose another with VENV=folder, another interpreter with PYTHON=path. ARGS= goes to pytest and to bench.

VENV ?= .venv
ARGS ?=
# Tests run beside each other: as many as there are cores.
TEST_PROCESSES ?= auto

PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
LOCKED = $(PIP) install --require-hashes
READY = $(VENV)/.installed
DEV_READY = $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: pictures help demo test chaos mutations check bench docs lock clean install install-dev

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: $(READY) ## See Tidegate at work on simulated Jira, Jenkins and Azure DevOps servers
	@$(VENV)/bin/tidegate demo

test: $(DEV_READY) ## Run the tests, on SQLite and the embedded Redis unless told of others
	@$(VENV)/bin/python -m pytest -q -n $(TEST_PROCESSES) --dist worksteal -m 'not install' $(ARGS)

# Every run has other accidents, unless it is given the seed of one that was printed.
ifndef CHAOS_SEED
CHAOS_SEED := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
endif

# What the long runs measure is kept there. CHAOS_TIMES is how much of the plan's counts is done, in percent.
CHAOS_FIGURES ?= chaos-figures.txt
CHAOS_TIMES ?= 100
CHAOS = CHAOS_SEED=$(CHAOS_SEED) CHAOS_TIMES=$(CHAOS_TIMES) CHAOS_FIGURES="$(abspath $(CHAOS_FIGURES))" \
	$(VENV)/bin/python -m pytest -q

chaos: $(DEV_READY) ## Kill, stop and break everything, in long runs too (CHAOS_SEED=, CHAOS_TIMES=, ARGS=)
	@echo "CHAOS_SEED=$(CHAOS_SEED) CHAOS_TIMES=$(CHAOS_TIMES)" | tee "$(CHAOS_FIGURES)"
	@$(CHAOS) -n $(TEST_PROCESSES) --dist worksteal tests/chaos tests/model $(ARGS)
	@TIDEGATE_TEST_SOAK=1 $(CHAOS) -n $(TEST_PROCESSES) --dist worksteal -m 'soak and not alone' \
		--hypothesis-seed=$(CHAOS_SEED) tests/chaos tests/model $(ARGS)
	@TIDEGATE_TEST_SOAK=1 $(CHAOS) -m 'soak and alone' tests/chaos $(ARGS)
	@echo "What was measured: $(CHAOS_FIGURES)"

mutations: $(DEV_READY) ## Switch off each guard in a copy; a test must fail each time (ARGS=words of names)
	@$(VENV)/bin/python -m tests.chaos.mutations $(ARGS)

check: $(DEV_READY) ## Check format, lint, types and the floors of the house
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	MYPYPATH=tests/example $(VENV)/bin/mypy -m tidegate_ledger -m tidegate_ledger_kit
	$(VENV)/bin/lint-imports

bench: $(DEV_READY) ## Measure, and print ratios
	@$(VENV)/bin/python -m bench $(ARGS)

docs: $(DEV_READY) ## Write the references docs/configuration.md and docs/commands.md from the code
	@$(VENV)/bin/python -m docs.generate

pictures: $(DEV_READY) ## Make docs/pictures/ anew: the page and the terminal, as Chromium shows them
	@$(VENV)/bin/python -m docs.pictures

install: $(READY) ## Make the virtual environment, with Tidegate in it

install-dev: $(DEV_READY) ## The same with what tests and checks need

# An environment of an older lock is made anew, so that what was dropped is gone.
$(READY): requirements.lock requirements-build.lock pyproject.toml
	@python=$$(sh .ci/python $(PYTHON)) || exit 1; \
	echo "Making $(VENV) with $$python and installing what requirements.lock names ..."; \
	"$$python" -m venv --clear $(VENV)
	@$(LOCKED) -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_READY): $(READY) requirements-dev.lock
	@echo "Installing what tests and checks need ..."
	@$(LOCKED) -r requirements-dev.lock
	@touch $@

# The public index is uv's own default; this machine's configuration is left out, so that the locks name nothing of it.
COMPILE = "$$uv/bin/uv" pip compile --quiet --no-config --no-header --universal --generate-hashes --python-version 3.11
lock: ## Write the locks anew from pyproject.toml (ARGS=--upgrade: with newer versions)
	@uv=$$(mktemp -d) && trap 'rm -rf "$$uv"' EXIT && python=$$(sh .ci/python $(PYTHON)) && "$$python" -m venv "$$uv" \
	&& "$$uv/bin/python" -m pip --quiet install 'uv>=0.13,<0.14' \
	&& $(COMPILE) $(ARGS) pyproject.toml --output-file requirements.lock \
	&& $(COMPILE) $(ARGS) --group build --output-file requirements-build.lock \
	&& $(COMPILE) $(ARGS) pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Remove what was made here: environment, demo data, caches
	rm -rf $(VENV) .demo dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
