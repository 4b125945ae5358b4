# isopod's machinery. `make` alone says what there is to do.
#
# Everything lives in .venv (packages) and .cache (links for mypy); nothing outside the repository is touched.
# Stamps in .venv remember what is installed, so a warm run starts at once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
USER_STAMP := $(VENV)/.isopod-user
DEV_STAMP := $(VENV)/.isopod-dev
LINKS := .cache/links/isopod
STYLED := isopod runtime opeworker ipc tests tools $(wildcard benchmarks prototypes)

# The first Python >= 3.10 that answers; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { command -v $$p; break; }; done)

# An interpreter that is gone takes its venv with it.
$(shell test -x $(BIN)/python || rm -f $(USER_STAMP) $(DEV_STAMP))

.PHONY: help demo test quick check fix bench bench-peers bench-quick stress clean links

help:
	@echo 'isopod: each machine-learning model in a process of its own, called like a local function'
	@echo
	@echo '  make demo    see it work: two models with framework versions that exclude each other, in one program'
	@echo '  make test    the whole test suite: processes, crashes, real environments (needs a package index)'
	@echo '  make quick   the tests that need neither minutes nor a network'
	@echo '  make check   what needs no run: style, types, and the architecture'
	@echo '  make fix     let ruff put the style right, and draw the diagrams of docs/ anew'
	@echo '  make bench   the numbers of this machine'
	@echo '  make bench-peers   the same calls through isopod and twenty others, in one run: docs/peers.md'
	@echo '  make bench-quick   what moved since benchmarks/baseline.json (B=--update: write it anew; B=--fail: exit code 1)'
	@echo '  make stress  a million calls while workers and applications are killed (S=--quick: half a minute)'
	@echo '  make clean   remove .venv and every other thing that was made here'
	@echo
	@echo 'Each makes what it needs in .venv first. PYTHON=/path/to/python chooses the interpreter (3.10 or later).'
	@echo 'pytest arguments: make test T="tests/architecture -k wheel"'

# Whoever asks for the demo asks for a Python that its models need, too, where the machine has none.
demo: $(USER_STAMP)
	@ISOPOD_PYTHON_DOWNLOADS=$${ISOPOD_PYTHON_DOWNLOADS:-1} $(BIN)/isopod demo

test: $(DEV_STAMP)
	@$(BIN)/python -m pytest $(T)

quick: $(DEV_STAMP)
	@$(BIN)/python -m pytest -m 'not slow and not network' $(T)

# mypy sees the packages through links; its messages name the files themselves.
check: $(DEV_STAMP) links
	@echo 'ruff: style';   $(BIN)/ruff check --quiet $(STYLED)
	@echo 'ruff: format';  $(BIN)/ruff format --check --quiet $(STYLED) || { echo 'make fix puts it right'; exit 1; }
	@echo 'mypy: types';   $(BIN)/mypy $(LINKS) tests tools benchmarks \
		| sed -E 's#\.cache/links/isopod/(runtime|opeworker|ipc)/#\1/#; s#\.cache/links/##'
	@echo 'pytest: architecture'; $(BIN)/python -m pytest -m 'not slow and not network' tests/architecture

fix: $(DEV_STAMP)
	@$(BIN)/ruff check --fix-only --quiet $(STYLED)
	@$(BIN)/ruff format --quiet $(STYLED)
	@$(BIN)/python tools/diagrams.py
	@$(BIN)/ruff check $(STYLED)

bench: $(USER_STAMP)
	@$(BIN)/python -m benchmarks

# Each peer's environment is built the first time, gigabytes in all. A later --into wins: B="--only Pipe --into FOLDER".
bench-peers: $(DEV_STAMP)
	@$(BIN)/python -m benchmarks.peers --into docs $(B)

bench-quick: $(USER_STAMP)
	@$(BIN)/python -m benchmarks.quick $(B)

stress: $(USER_STAMP)
	@PYTHONPATH=tests $(BIN)/python -m stress $(S)

clean:
	@rm -rf .venv .cache build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Static tools do not run the import hook of an editable install, and so cannot know that runtime/ is isopod.runtime.
# They get a folder in which it lies there, by links; made anew each time, it takes milliseconds and is never stale.
links:
	@rm -rf $(LINKS) && mkdir -p $(LINKS)
	@ln -s $(CURDIR)/isopod/* $(CURDIR)/{runtime,opeworker,ipc} $(LINKS)/

define install
	@$(if $(PYTHON),,echo 'isopod needs Python 3.10 or later, and found none: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python' >&2; exit 1)
	@echo 'installing isopod into $(VENV) $(1) ...'
	@start=$$SECONDS; $(PYTHON) tools/install.py $(VENV) -e '.[$(2)]'; echo "installed in $$((SECONDS - start)) s"
endef

$(USER_STAMP): pyproject.toml setup.cfg
	$(call install,with $(PYTHON),cli$(,)tensors)
	@touch $@

# The developers' set holds the users': both stamps are good then.
$(DEV_STAMP): pyproject.toml setup.cfg
	$(call install,and the tools to work on it with $(PYTHON),dev)
	@touch $(USER_STAMP) $@

, := ,
