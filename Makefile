# Each target sets up what it needs: Python 3.11 or later and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.complete
BENCH := .venv-bench/bin

.DEFAULT_GOAL := help
.PHONY: help setup sweep test test-pythons test-lowest test-debian lint schema wheel docs ui serve bench \
  bench-quick torture mutants simulate cluster-demo clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(SETUP) ## create .venv from the hashed lock file

# uv installs in seconds what takes pip a minute and a half; where uv cannot, pip does.
$(SETUP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	grep -A 100 '^uv==' requirements.lock | sed -n '1p; 1!{/^ /!q; p}' > $(VENV)/uv.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock \
	  || $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . \
	  || $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

sweep: $(SETUP) ## train the 64-model grid on the digits and write the report
	$(BIN)/python -m pipeline -m experiment=digits

# Some tests wait for servers and processes, so three workers keep two cores busy.
test: $(SETUP) ## run every test
	$(BIN)/python -m pytest -n 3 --dist loadfile

# PYTHONS names other interpreters: make test-pythons PYTHONS="python3.12 /opt/python3.14/bin/python3"
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
test-pythons: ## run every test on each Python from 3.11 to 3.14 that is installed
	@tested=; for python in $(PYTHONS); do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
	    || { echo "$$python: not installed"; continue; }; \
	  echo "$$python: Python $$version"; \
	  $(MAKE) test PYTHON=$$python VENV=.venv-py$$version || exit 1; tested="$$tested $$version"; \
	done; echo "Tests passed on Python$$tested"; [ -n "$$tested" ]

test-lowest: .venv-lowest/.complete ## run every test with the oldest supported dependencies
	.venv-lowest/bin/python -m pytest -n 3 --dist loadfile

.venv-lowest/.complete: $(SETUP) pyproject.toml
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-lowest/bin/python \
	  --resolution lowest-direct -e '.[test]'
	touch $@

test-debian: ## run make sweep and make test on Debian trixie and sid; needs root and debootstrap
	tests/debian.sh trixie
	tests/debian.sh sid

lint: $(SETUP) ## check format, style, types and the layers of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

schema: $(SETUP) ## write conf/schema.json, conf/config.yaml, docs/reference.md and docs/report-fields.md
	$(BIN)/python -m pipeline.schema
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/report_fields.py

wheel: $(SETUP) ## build the wheel and the source archive in dist/
	$(BIN)/python -m hatchling build

docs: .venv-docs/.complete ## build the documentation as a website in outputs/site
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict

.venv-docs/.complete: docs/requirements.lock
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	touch $@

ui: $(SETUP) ## open the MLflow UI at http://127.0.0.1:5000
	$(BIN)/python -m pipeline.ui --port $${PORT:-5000} $(ARGS)

serve: $(SETUP) ## serve the champion (of pipeline-promote) at http://127.0.0.1:8000
	$(BIN)/python -m pipeline.serve --port $${PORT:-8000} $(ARGS)

bench: .venv-bench/.complete ## measure side by side with other tools, for hours, into docs/benchmarks.md
	$(BENCH)/python -m benchmarks $(ARGS)

bench-quick: $(SETUP) ## measure the ratios of the targets, in 5 minutes on an idle machine
	$(BIN)/python -m benchmarks --mode quick $(ARGS)

simulate: $(SETUP) ## simulate the error rates of the report, for ten minutes, into docs/statistics.md
	$(BIN)/python -m benchmarks.statistics $(ARGS)

torture: $(SETUP) ## kill, corrupt and starve sweeps for 25 minutes, into docs/reliability.md
	$(BIN)/python -m tests.torture $(ARGS)

mutants: $(SETUP) ## run the tests against a sample of mutants of the code, for an hour
	$(BIN)/python -m tests.mutation $(ARGS)

cluster-demo: $(SETUP) ## a sweep on a small real cluster: PostgreSQL, MLflow, Dask; a worker is killed
	$(BIN)/python -m examples.cluster $(ARGS)

# What this project is measured against is installed apart: the lock file, then the extra.
.venv-bench/.complete: $(SETUP) benchmarks/constraints.txt
	$(PYTHON) -m venv --clear .venv-bench
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BENCH)/python --require-hashes -r requirements.lock \
	  || $(BENCH)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BENCH)/pip install --quiet --disable-pip-version-check --no-build-isolation \
	  --constraint benchmarks/constraints.txt -e '.[bench]'
	touch $@

clean: ## remove what was set up; outputs/ stays
	rm -rf .venv .venv-*
