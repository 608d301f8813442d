# limner: every target is one line of what you would type. `make help` lists them.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
RUN    ?= $(shell ls -td outputs/*/*/package 2>/dev/null | head -n 1 | xargs -r dirname)
ARGS   ?=
DATA   ?=
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-unit test-runs soak fuzz data train eval predict sweep report bench lint audit format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# The stamp is newer than what decides the environment: a second call installs nothing.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("limner needs Python 3.10 or later; make PYTHON=python3.11 ..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## the virtual environment .venv with the versions of constraints.txt

demo: install ## draws the toy world, trains the three systems on it: 5 minutes on 2 cores
	@$(BIN)/python scripts/demo.py

test: test-unit test-runs ## all tests: units, golden files, then real processes

test-unit: install ## tests in one process, under 2 minutes
	$(BIN)/python -m pytest tests -m 'not slow'

test-runs: install ## tests that start real processes: kill, resume, two processes, sweeps, README commands
	$(BIN)/python -m pytest tests -m slow

fuzz: install ## damaged files for every reader: FUZZ=10000 inputs each, SEED=1
	FUZZ=$(or $(FUZZ),10000) SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/fuzz

data: install ## a published data set: make data DATA=vqa_v2 ARGS="--dry-run" (without DATA: what there is)
	$(BIN)/limner data get $(DATA) $(ARGS)

soak: install ## 20 kills at random moments of VQA and SCST, on one process and two; the ends equal to the byte
	LIMNER_TEST_KILLS=20 $(BIN)/python -m pytest tests/runs/test_kills.py

train: install ## make train ARGS="experiment=vqa_updown_hu"
	$(BIN)/limner train $(or $(ARGS),experiment=toy_vqa)

eval: install ## make eval RUN=outputs/... ARGS="split=val" (default: the latest run)
	$(BIN)/limner evaluate run=$(RUN) $(ARGS)

predict: install ## make predict ARGS="model=DIR features=F.h5 questions=Q.json out=O.jsonl"
	$(BIN)/limner predict $(ARGS)

sweep: install ## make sweep ARGS="experiment=toy_vqa optim.lr=5e-3,1e-2", or ARGS="experiment=vqa_updown sweep=vqa_lr"
	$(BIN)/limner train -m $(ARGS)

report: install ## the run as a page with curves and pictures: make report RUN=outputs/... (default: the latest run)
	$(BIN)/limner report $(RUN) $(ARGS)

bench: install ## speed against the straightforward path, ratios measured in one run
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/loader.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/vqa.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/captioner.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/ciderd.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/checkpoint.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/visdial.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/full_size.py
	$(BIN)/python scripts/benchmarks/startup.py
	$(BIN)/python scripts/benchmarks/ddp.py
	OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks/convert.py

lint: install audit ## ruff (rules and format), mypy, dead code, configs, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/python scripts/check_configs.py

audit: install ## dependencies: pinned, explained, licences, known faults (ONLINE=1 asks the database, too)
	$(BIN)/python scripts/audit.py $(if $(ONLINE),--online)

format: install ## rewrite what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## removes the environment and caches; keeps data/ and outputs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
