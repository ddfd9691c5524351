# Foresail. `make run` and `make test` set up all that they need.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

# What is done is remembered until a file changes.
SOURCES := $(shell find scaler forecasting rl_agent tests/[!t]*.py -name '*.py')
EVIDENCE := $(patsubst %,build/evidence/%,$(shell grep -rlE '@given|FORESAIL_EVIDENCE' tests --include='test_*.py'))

.PHONY: help run test evidence setup check lint types contracts bench results model-eval agent-eval proto monitoring clean

help:            ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run: setup       ## start the service with demo workloads (gRPC 127.0.0.1:50051, HTTP 127.0.0.1:8080)
	$(BIN)/foresail serve --demo

test: $(VENV)/.dev  ## all tests
	$(BIN)/pytest -n 2

evidence: $(EVIDENCE)  ## the fuzz and property tests with a hundred times as many cases: about 45 minutes; an interrupted run goes on

build/evidence/%: % $(SOURCES) | $(VENV)/.dev
	FORESAIL_EVIDENCE=1 $(BIN)/pytest -n 2 --timeout 7200 $<
	mkdir -p $(@D) && touch $@

setup: $(VENV)/.run  ## everything `make run` needs, nothing started

check: $(VENV)/.dev lint types contracts  ## format, lint, types, import contracts, tests
	$(BIN)/pytest -n 2

lint: $(VENV)/.dev   ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint Dockerfile

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

contracts: $(VENV)/.dev  ## who may import whom
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev  ## timings, each beside its calibration
	$(BIN)/python -m benchmarks

results: $(VENV)/.dev  ## docs/results.md from the histories in FORESAIL_TRACES: an hour, goes on where it was stopped
	$(BIN)/python -m benchmarks.results

model-eval: $(VENV)/.dev  ## the scores of docs/model-card.md, from the network that is shipped
	$(BIN)/python -m benchmarks.model_eval

agent-eval: $(VENV)/.dev  ## the shipped agent once more: its card, a day of bad forecasts, three days beside the learnt capacity
	$(BIN)/python -m benchmarks agent_eval agent_adversary agent_long

proto: $(VENV)/.dev  ## regenerate the stubs from scaler/proto/*.proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. scaler/proto/*.proto

monitoring: $(VENV)/.dev  ## the files under manifests/dashboards and manifests/alerts from their code
	$(BIN)/python manifests/dashboards/dashboards.py
	$(BIN)/python manifests/alerts/rules.py

clean:           ## remove the environment and caches; ./var stays
	rm -rf $(VENV) build/evidence .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Byte code is compiled at set-up: an import without it takes three times as long.
$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --compile -c constraints.txt -e .
	$(BIN)/python -m compileall -q scaler forecasting rl_agent
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -q scaler forecasting rl_agent
	touch $@ $(VENV)/.run
