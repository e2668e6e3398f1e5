# One environment, `.venv`, made from the hashed lock; every target below runs in it.
#   make figures CORES=4          fewer cores than the machine has
#   make figures ARGS=--dry-run   anything else for Snakemake
#   make figures PYTHON=/path/to/python3.12   the Python that `.venv` is made with

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
CORES ?= all
ARGS ?=

PYTHON_IS_USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3.13 python3.12 python3.11 python3
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	if "$$python" -c '$(PYTHON_IS_USABLE)' >/dev/null 2>&1; then echo "$$python"; break; fi; done)

# Without bytecode every job would compile all of its imports again: 5 s instead of 2 s a job.
unexport PYTHONDONTWRITEBYTECODE
# Workers side by side whose LAPACK has a thread for each core wait for each other.
export OPENBLAS_NUM_THREADS := 1
# The lock is the whole environment: nothing leaks in from the caller's.
unexport PYTHONHOME
unexport PYTHONPATH

# Modules go to the workers in the order of tests/conftest.py, the slowest first.
WORKERS := --numprocesses=auto --dist=loadfile --no-loadscope-reorder
SNAKEMAKE := PATH="$$(pwd)/$(VENV)/bin:$$PATH" snakemake

.DEFAULT_GOAL := help
.PHONY: help figures zoo smoke test coverage lint format bench cuda lock docs-figures docs-zoo clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

figures: $(STAMP) ## everything in figures/ and results/; goes on where an interrupted run stopped
	@$(PY) scripts/unlock.py
	$(SNAKEMAKE) --cores $(CORES) $(ARGS)

zoo: $(STAMP) ## verdict, gap and recommendation for the programs of examples/, in zoo/
	@$(PY) scripts/unlock.py
	$(SNAKEMAKE) --cores $(CORES) --configfile config/zoo.yaml --replace-workflow-config $(ARGS)

smoke: $(STAMP) ## the whole chain on a tiny configuration, in smoke/
	@$(PY) scripts/unlock.py
	@before=$$(git status --porcelain 2>&1); \
	echo 'snakemake --cores $(CORES) --configfile config/smoke.yaml --replace-workflow-config $(ARGS)'; \
	$(SNAKEMAKE) --cores $(CORES) --configfile config/smoke.yaml --replace-workflow-config $(ARGS) || exit 1; \
	after=$$(git status --porcelain 2>&1); \
	if [ "$$before" != "$$after" ]; then \
		echo 'make smoke: the run changed the working tree, which it must not do; git status --porcelain now says:' >&2; \
		echo "$$after" >&2; exit 1; \
	fi

test: $(STAMP) ## the tests
	$(PY) -m pytest $(WORKERS) $(ARGS)

coverage: $(STAMP) ## the tests, with the lines and branches that they leave out
	$(PY) -m pytest $(WORKERS) --cov --cov-report=term $(ARGS)

lint: $(STAMP) ## style, types and workflow checks; changes nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

format: $(STAMP) ## rewrite the sources in the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(VENV)/bin/snakefmt Snakefile workflow

bench: $(STAMP) ## times and memory, as ratios to NumPyro's own SVI
	$(PY) scripts/bench.py $(ARGS)

cuda: $(STAMP) ## JAX for an NVIDIA GPU into .venv (Linux, 5 GB)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement envs/cuda.lock
	$(PY) -c 'import jax; print(jax.devices())'

docs-figures: $(STAMP) ## copy the pictures of the README from figures/, and the ledger, into docs/
	$(PY) scripts/docs_figures.py $(ARGS)
	cp results/ledger.csv docs/ledger.csv

docs-zoo: $(STAMP) ## copy table and figure of `make zoo` into README and docs/
	$(PY) scripts/docs_zoo.py

# Pins that still fit pyproject.toml stay; `make lock ARGS=--upgrade` takes the newest of everything,
# `make lock ARGS='--upgrade-package jax'` of one package.
lock: ## solve pyproject.toml again into envs/*.lock (needs a package index)
	@$(check-python)
	@set -e; tool=$$(mktemp -d); trap 'rm -rf "$$tool"' EXIT; trap 'exit 1' HUP INT TERM; \
	$(PYTHON) -m venv "$$tool/venv"; \
	"$$tool/venv/bin/python" -m pip install --quiet 'uv>=0.9'; \
	cp envs/requirements.lock "$$tool/requirements.lock"; \
	"$$tool/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		--no-header --no-strip-extras --annotation-style line --output-file "$$tool/requirements.lock" pyproject.toml $(ARGS); \
	{ echo '# Every package of the environment, direct and indirect, with the hashes of its files, for Python 3.11 and later.'; \
	  echo '# Made from pyproject.toml by `make lock`; not to be edited by hand. envs/avigap.yaml repeats the direct ones.'; \
	  cat "$$tool/requirements.lock"; } > envs/requirements.lock.new; \
	cp envs/cuda.lock "$$tool/cuda.lock"; \
	sed -n 's/^jaxlib==\([0-9.]*\).*/jax-cuda12-plugin[with-cuda]==\1/p' envs/requirements.lock.new > "$$tool/cuda.in"; \
	"$$tool/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-strip-extras --annotation-style line --output-file "$$tool/cuda.lock" "$$tool/cuda.in" $(ARGS); \
	{ echo '# What JAX needs beside requirements.lock on an NVIDIA GPU, with the hashes of its files: `make cuda` installs it.'; \
	  echo '# Made by `make lock`; not to be edited by hand.'; \
	  sed "s|$$tool/||" "$$tool/cuda.lock"; } > envs/cuda.lock.new; \
	mv envs/cuda.lock.new envs/cuda.lock; \
	mv envs/requirements.lock.new envs/requirements.lock

clean: ## remove everything that was generated, smoke/ and scale/ too, except .venv
	rm -rf results logs benchmarks smoke scale zoo images_long fashion_mnist fashion_mnist_cpu .snakemake .jax_cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f .coverage .coverage.*
	find figures -mindepth 1 ! -path figures/README.md -delete
	find src scripts tests -type d -name __pycache__ -exec rm -rf {} +

define check-python
if ! $(or $(PYTHON),false) -c '$(PYTHON_IS_USABLE)' >/dev/null 2>&1; then \
	echo "make: no Python 3.11 or newer with venv and pip was found (tried: $(or $(PYTHON),$(CANDIDATES))); install one, or name one: make PYTHON=/path/to/python3.11" >&2; \
	exit 1; \
fi
endef

# The stamp holds the folder's path, because an environment does not survive being moved or copied.
ifneq "$(shell cat $(STAMP) 2>/dev/null)" "$(CURDIR)"
$(STAMP): FORCE
endif

# An environment of this folder is brought up to date, which needs no network where every pin is met already.
# pip compiles bytecode for what it installs, whatever PYTHONDONTWRITEBYTECODE says.
$(STAMP): envs/requirements.lock pyproject.toml
	@here=$$(pwd -P); stamp=$$(cat $@ 2>/dev/null); \
	if [ "$${stamp:-$$here}" != "$$here" ] || ! $(PY) -c '$(PYTHON_IS_USABLE)' >/dev/null 2>&1; then \
		$(check-python); \
		echo 'Creating $(VENV) with $(PYTHON) from envs/requirements.lock (a minute or two)'; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@rm -f $@
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement envs/requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@pwd -P > $@
