# `make help` lists what there is. Everything installs itself on first use.

VENV := .venv
BIN := $(VENV)/bin
SAM_VENV := .venv-sam
CHECKOV_VENV := .venv-checkov
LOCALSTACK_VENV := .venv-localstack
MODEL := .embedpipe/models/all-MiniLM-L6-v2/embedpipe.yaml
RIE := $(BIN)/aws-lambda-rie
SOURCES := layers/pipeline/embedpipe functions tests examples bench

# The first Python that runs and is new enough; `make PYTHON=/path/to/python3 ...` names one.
is_new = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$(call is_new,$$p) && { command -v $$p; break; }; done)

# The newest Lambda runtime whose Python this machine has: `sam build` needs that very version.
RUNTIME ?= $(shell for p in python3.13 python3.12 python3.11; do \
	$$p -c '' >/dev/null 2>&1 && { echo $$p; break; }; done)

export SAM_CLI_TELEMETRY := 0
SAM = AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1} $(SAM_VENV)/bin/sam
UV = $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint format types unit contract integration e2e events sam-local localstack e2e-localstack deploy-ministack deploy-localstack alarms bench bench-engine soak properties fuzz fuzz-api chaos chaos-slice chaos-long crashpoints mutants \
	image image-cpu image-check template build openapi openapi-check lock lock-check model pre-commit clean distclean

help: ## List these targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.dev $(MODEL) ## Make .venv with everything for development, and the model

demo: $(VENV)/.local $(MODEL) ## Run the pipeline on real documents and search them (KEEP=1 leaves it up)
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

test: $(VENV)/.dev $(RIE) $(MODEL) ## Run all tests but the long proofs: unit, contract, integration, properties, e2e
	$(BIN)/python -m pytest --doctest-modules --ignore tests/crashpoints tests layers/pipeline/embedpipe

check: lint types unit ## What every commit passes: lint, types, unit tests

lint: $(VENV)/.dev ## Check style, format and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYTHONPATH=layers/pipeline $(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and sort its imports
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

types: $(VENV)/.dev ## Check types, strictly
	$(BIN)/mypy $(foreach dir,$(SOURCES),$(if $(shell find $(dir) -name '*.py' 2>/dev/null | head -n 1),$(dir)))

unit: $(VENV)/.dev ## Unit tests and doctests: no services, no sockets
	$(BIN)/python -m pytest --doctest-modules tests/unit layers/pipeline/embedpipe

contract: $(VENV)/.dev $(MODEL) ## The same tests over every implementation of each port
	$(BIN)/python -m pytest tests/contract

integration: $(VENV)/.dev $(MODEL) ## Tests with PostgreSQL and emulated AWS services
	$(BIN)/python -m pytest tests/integration

e2e: $(VENV)/.dev $(MODEL) ## Tests of the whole pipeline from outside
	$(BIN)/python -m pytest tests/e2e

events: $(VENV)/.dev $(RIE) $(MODEL) ## Invoke events/ under AWS's Lambda runtime, without Docker (K=chunk_; BUILT=1 after build)
	$(BIN)/python -m tests.lambdas $(if $(BUILT),--built $(RUNTIME)) $(K)

sam-local: build $(VENV)/.dev $(MODEL) ## Invoke events/ with `sam local` in containers; skips without a Docker engine (K=api_)
	scripts/sam-local $(RUNTIME) $(K)

# Contracts run over LocalStack alone here: the other backends have had theirs in `make test`.
e2e-localstack: $(VENV)/.dev $(LOCALSTACK_VENV)/.ready $(MODEL) ## The same, and the queues' contracts, with LocalStack as the queue
	$(BIN)/python -m tests.localstack $(BIN)/python -m pytest tests/e2e
	$(BIN)/python -m tests.localstack $(BIN)/python -m pytest tests/contract -k localstack

# The functions run on the Python of the tests, and the layer has to fit it.
STACK_RUNTIME = $(shell $(BIN)/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
STACK_BUILD = PATH="$(CURDIR)/$(BIN):$$PATH" $(MAKE) build RUNTIME=$(STACK_RUNTIME)
STACK_TESTS = $(BIN)/python -m pytest -o timeout_func_only=true --ignore tests/e2e/test_observability.py tests/e2e $(if $(K),-k "$(K)")

deploy-ministack: $(VENV)/.dev $(SAM_VENV)/.ready $(MODEL) ## Deploy template.yaml to MiniStack, and run the end-to-end suite on it
	$(STACK_BUILD)
	E2E_TARGET=ministack $(STACK_TESTS)

deploy-localstack: $(VENV)/.dev $(SAM_VENV)/.ready $(LOCALSTACK_VENV)/.ready $(RIE) $(MODEL) ## The same on LocalStack, with SQS's own redrive and an alarm
	$(STACK_BUILD)
	E2E_TARGET=localstack $(STACK_TESTS)

localstack: $(LOCALSTACK_VENV)/.ready ## Run LocalStack's SQS and S3 on 127.0.0.1 (PORT=4566), until Ctrl-C
	scripts/localstack $(or $(PORT),4566) .embedpipe/localstack

bench: $(VENV)/.dev $(MODEL) ## Measure the pipeline; tables here, JSON in bench/results/
	$(BIN)/python -m bench.pipeline

bench-engine: $(VENV)/.dev $(MODEL) ## Measure the embed stage beside other engines (BENCH="--rounds 3 --skip-rivals")
	$(BIN)/python -m bench.engine $(BENCH)
	$(BIN)/python -m bench.engine.latency

soak: $(VENV)/.dev $(MODEL) ## Run 10,000 messages, some poison, and stop workers in mid-batch
	$(BIN)/python -m bench.soak $(SOAK)

crashpoints: $(VENV)/.dev ## Kill every handler at every point, and interleave any two (K="store and poison")
	$(BIN)/python -m pytest tests/crashpoints $(if $(K),-k "$(K)")

mutants: $(VENV)/.dev ## Make faults in a copy of the package, and see that the tests find each (K="rescue")
	$(BIN)/python -m pytest tests/mutants/survivors.py tests/mutants/test_patches.py $(if $(K),-k "$(K)")

chaos: $(VENV)/.dev ## Break everything under the load of 8,000 documents for ten minutes (CHAOS="--seed 7")
	$(BIN)/python -m tests.chaos --jobs 8000 --minutes 10 --json bench/results/chaos.json $(CHAOS)

chaos-slice: $(VENV)/.dev ## The same in four minutes
	$(BIN)/python -m tests.chaos --jobs 1200 --minutes 2.2 --quiet-s 180 $(CHAOS)

chaos-long: $(VENV)/.dev ## The same for an hour, with 50,000 documents
	$(BIN)/python -m tests.chaos --long --jobs 50000 --minutes 56 --quiet-s 600 \
		--json bench/results/chaos-long.json $(CHAOS)

alarms: $(VENV)/.dev $(MODEL) ## Provoke every alarm of the template on a local cloud (ALARMS="--only frozen --verbose")
	$(BIN)/python -m tests.alarms $(ALARMS)

properties: $(VENV)/.dev ## Compare the life of jobs with a model: EXAMPLES=1000 STEPS=40 (SEED=1: others each time)
	EXAMPLES=$(or $(EXAMPLES),1000) STEPS=$(or $(STEPS),40) $(BIN)/python -m pytest -s --timeout=7200 tests/properties/test_lifecycle.py

fuzz: $(VENV)/.dev ## Read INPUTS=120000 bodies that no stage sent (SEED=1)
	INPUTS=$(or $(INPUTS),120000) $(BIN)/python -m pytest --timeout=3600 -rP --show-capture=stdout tests/properties/test_messages.py

fuzz-api: $(VENV)/.dev ## Ask every operation of the API REQUESTS=500 things (20,000 in all), and check the answers
	REQUESTS=$(or $(REQUESTS),500) $(BIN)/python -m pytest -s --timeout=7200 tests/properties/test_api.py

template: $(SAM_VENV)/.ready $(CHECKOV_VENV)/.ready ## Check template.yaml with cfn-lint, the SAM CLI and checkov
	$(SAM_VENV)/bin/cfn-lint template.yaml
	$(SAM) validate --lint
	$(CHECKOV_VENV)/bin/checkov --file template.yaml --framework cloudformation --skip-download --quiet --compact

build: $(SAM_VENV)/.ready ## Build the functions and their layer into .aws-sam/ (RUNTIME=python3.x)
	@test -n "$(RUNTIME)" || { echo "no Python of a Lambda runtime found: 3.11, 3.12 or 3.13" >&2; exit 1; }
	$(SAM) build --parameter-overrides PythonRuntime=$(RUNTIME)
	scripts/check-build $(RUNTIME)

image: ## Build the embed worker's image for CUDA (needs a Docker engine)
	docker build -f functions/embed_gpu/Dockerfile -t embedpipe-embed:gpu $(DOCKER_BUILD) .

image-cpu: ## Build the embed worker's image without CUDA
	docker build -f functions/embed_gpu/Dockerfile --build-arg REQUIREMENTS=requirements-cpu.txt \
		-t embedpipe-embed:cpu $(DOCKER_BUILD) .

image-check: $(VENV)/.local $(MODEL) ## Run the CPU image in a local cloud (after image-cpu); skips without Docker
	scripts/check-image cpu

openapi: $(VENV)/.dev ## Write docs/openapi.json from the operations of the API
	$(BIN)/python -m embedpipe.api.openapi > docs/openapi.json

openapi-check: $(VENV)/.dev ## Say whether docs/openapi.json fits the operations
	$(BIN)/python -m embedpipe.api.openapi | diff -u docs/openapi.json -

lock: $(VENV)/.dev ## Compile pyproject.toml into all files of pins
	UV=$(UV) scripts/lock

lock-check: $(VENV)/.dev ## Say whether the pins fit pyproject.toml
	UV=$(UV) scripts/lock --check

model: $(MODEL) ## Prepare the model under .embedpipe/models/

pre-commit: $(VENV)/.dev ## Run the commit hooks over all files
	$(BIN)/pre-commit run --all-files

clean: ## Remove caches, builds and the local cloud's data; keep environments and the model
	rm -rf .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find .embedpipe -mindepth 1 -maxdepth 1 ! -name models -exec rm -rf {} + 2>/dev/null || true
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## Remove what clean keeps, too
	rm -rf $(VENV) $(SAM_VENV) $(CHECKOV_VENV) $(LOCALSTACK_VENV) .embedpipe

# ------------------------------------------------------------------------------- what they stand on

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(call is_new,$(PYTHON)) || { echo "$(PYTHON) is not Python 3.11 or newer" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# dev.txt holds all of local.txt, so that one environment serves both.
$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	scripts/install $(VENV) requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(VENV)/.local $@

$(VENV)/.local: requirements/local.txt pyproject.toml | $(VENV)/bin/python
	scripts/install $(VENV) requirements/local.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(MODEL): | $(VENV)/.local
	$(BIN)/embedpipe models prepare

$(RIE): requirements/sam.txt scripts/rie | $(VENV)/bin/python
	scripts/rie $(VENV)
	@touch $@

$(SAM_VENV)/.ready: requirements/sam.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(SAM_VENV)
	scripts/install $(SAM_VENV) requirements/sam.txt
	@touch $@

$(CHECKOV_VENV)/.ready: requirements/checkov.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(CHECKOV_VENV)
	scripts/install $(CHECKOV_VENV) requirements/checkov.txt
	@touch $@

$(LOCALSTACK_VENV)/.ready: requirements/localstack.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed. Name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(LOCALSTACK_VENV)
	scripts/install $(LOCALSTACK_VENV) requirements/localstack.txt
	@touch $@
