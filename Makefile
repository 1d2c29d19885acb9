# Every target sets up what it needs: a virtual environment in .venv with the pinned packages of requirements/.
# Nothing is installed outside this folder. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEV    := $(VENV)/.dev
RUN    := $(VENV)/.run
SCORER := .cache/scorer
SCORES := .cache/accuracy
RIVALS := .cache/rivals/.done
BENCHED := .cache/bench
BENCHMARKS := replay from_kafka kernels decode stages detecting footprint
RUST   := $(wildcard streamdrift/kernels/src/*.rs streamdrift/kernels/Cargo.*)
CODE   := streamdrift tests benchmarks deploy tools

EVALUATE ?=
ARGS     ?=
WRITE    ?=
SEED     ?= 1
MINUTES  ?= 30
NAMES    ?=
SCHEDULES ?= 5000
# exit 1 of the script: the command failed on a case, which the tables tell
SCORE    = $(SCORER)/bin/python "$(EVALUATE)" --streamdrift
LOCK    := .venv-lock
COMPILE := $(LOCK)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-index-url --upgrade

.DEFAULT_GOAL := help
.PHONY: help demo test check bench rivals soak simulate incidents latency wheel accuracy format lint lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "streamdrift needs Python 3.11 or later; this is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "the venv module of $(PYTHON) doesn't work here; on Debian: apt-get install python3-venv" >&2; exit 2; }

$(RUN): requirements/run.txt pyproject.toml $(RUST) | $(BIN)/python
	@echo "installing streamdrift into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -c 'from streamdrift import kernels; print(kernels.told())'
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml $(RUST) | $(BIN)/python
	@echo "installing streamdrift and its development tools into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -c 'from streamdrift import kernels; print(kernels.told())'
	@touch $@ $(RUN)

demo: $(RUN) ## three incidents on recorded flights, from events to pages, with a report
	@$(BIN)/streamdrift demo

test: $(DEV) ## all tests and the examples in the documentation; a real Kafka where Java and Maven are found
	$(BIN)/python -m pytest -n auto --dist loadgroup --doctest-modules tests streamdrift
	$(BIN)/python tools/rust_checks.py test

check: $(DEV) static test docs quick ## all that CI runs

.PHONY: static docs quick
static: $(DEV)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check
	$(BIN)/mypy streamdrift tests benchmarks deploy
	$(BIN)/lint-imports
	$(BIN)/python tools/rust_checks.py static

docs: $(DEV)
	$(BIN)/python -m streamdrift.settings_docs --check

quick: $(DEV)
	@for name in $(BENCHMARKS) null_rate; do $(BIN)/python -m benchmarks.$$name --quick || exit 1; done

bench: $(DEV) ## speed, memory and start against bars and rivals, in the same run; writes docs/performance.md (half an hour)
	@$(MAKE) rivals || echo "the rivals' environment can't be made here; the tables say so" >&2
	@rm -rf $(BENCHED) && mkdir -p $(BENCHED)
	@for name in $(BENCHMARKS); do echo "$$name" >&2; $(BIN)/python -m benchmarks.$$name > $(BENCHED)/$$name.md || \
	  { rm $(BENCHED)/$$name.md; echo "$$name failed; the tables say so" >&2; }; done
	$(BIN)/python -m benchmarks.performance_tables $(BENCHED) --write docs/performance.md

rivals: $(RIVALS) ## the libraries that `make bench` runs beside ours, in an environment of their own

$(RIVALS): requirements/rivals.txt | $(BIN)/python
	@echo "installing what is compared with into .cache/rivals (once)"
	@$(PYTHON) -m venv .cache/rivals
	@.cache/rivals/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/rivals.txt
	@touch $@

soak: $(DEV) ## workers and brokers under faults, against the same input without: make soak [MINUTES=30 SEED=1 ARGS=…]
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED) --out .cache/soak $(ARGS)

simulate: $(DEV) ## thousands of schedules of faults in memory: make simulate [SEED=1 SCHEDULES=5000 ARGS=…]
	$(BIN)/python -m tests.simulation --seed $(SEED) --schedules $(SCHEDULES) $(ARGS)

incidents: $(DEV) ## three incidents played from first event to post-mortem on a real broker; writes docs/incidents: make incidents [NAMES=recommender]
	$(BIN)/python -m tests.incidents $(NAMES) --write docs/incidents --logs .cache/incidents

latency: $(DEV) ## from an event to its alert on a real broker, and a backlog caught up: make latency [ARGS=…]
	$(BIN)/python -m benchmarks.latency $(ARGS)

wheel: ## a wheel in dist/, installed into a new environment and checked there
	@rm -rf dist/*.whl .cache/wheel build && $(PYTHON) -m venv .cache/wheel
	@.cache/wheel/bin/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .
	@.cache/wheel/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@.cache/wheel/bin/python -m pip install -q --disable-pip-version-check --no-deps dist/*.whl
	@cd .cache && wheel/bin/python ../tools/check_installed.py $$(command -v cargo >/dev/null && echo compiled || echo reference)
	@ls -l dist/*.whl

accuracy: $(DEV) ## ours, river's defaults and chance side by side: make accuracy EVALUATE=path [ARGS=… WRITE=docs/accuracy.md]
	@test -f "$(EVALUATE)" || { \
	  echo "make accuracy needs a script that scores \`streamdrift replay\` on cases whose truth is known:" >&2; \
	  echo "  make accuracy EVALUATE=path/to/evaluate.py" >&2; exit 2; }
	@test -x $(SCORER)/bin/python || { $(PYTHON) -m venv $(SCORER) && \
	  $(SCORER)/bin/python -m pip install -q --disable-pip-version-check numpy pandas pyarrow; }
	@mkdir -p $(SCORES) && rm -f $(SCORES)/*.json
	$(SCORE) "$(abspath $(BIN))/streamdrift" --out $(SCORES)/ours.json $(ARGS) || [ $$? -eq 1 ]
	$(SCORE) "$(abspath $(BIN))/python $(abspath benchmarks/river_replay.py)" --out $(SCORES)/river.json $(ARGS) || [ $$? -eq 1 ]
	@$(BIN)/python benchmarks/accuracy_tables.py $(SCORES)/ours.json $(SCORES)/river.json $(if $(WRITE),--write $(WRITE))

format: $(DEV) ## put the code in form
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix
	@command -v cargo >/dev/null && cargo fmt --manifest-path streamdrift/kernels/Cargo.toml || true

lint: static ## the static checks alone: form, rules, types, layers

lock: $(LOCK)/bin/uv ## write requirements/ anew, from pyproject.toml
	$(COMPILE) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/run.txt
	$(COMPILE) --group rivals -o requirements/rivals.txt

$(LOCK)/bin/uv:
	@$(PYTHON) -m venv $(LOCK)
	@$(LOCK)/bin/python -m pip install -q --disable-pip-version-check 'uv>=0.9'

clean: ## remove all that these targets made
	rm -rf $(VENV) $(LOCK) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist \
	  streamdrift.egg-info streamdrift-demo streamdrift/kernels/target streamdrift/kernels/_compiled*.so
	find streamdrift tests benchmarks tools deploy -name __pycache__ -prune -exec rm -rf {} +
