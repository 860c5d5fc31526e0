# The two commands a newcomer needs are `make sample` and `make test`.
PYTHON   ?= python3
VENV     ?= .venv
# Passed to pip as it is, e.g. PIP_ARGS="--find-links my-wheels" for a CPU build of torch from your own source.
PIP_ARGS ?=
RUN      := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS     := $(VENV)/.peers
FUZZER    := $(VENV)/.fuzzer
# Tests start hundreds of processes: each would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: sample ui ui-stop test test-fast test-slow test-slow-and-types test-planted test-faults fuzz audit check bench bench-quick check-gpu lint style types vocabulary quick format docs clean help

help:                ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

sample: $(INSTALLED) ## install, run the planted sample, print its results
	$(RUN)/taskgram run sample

PORT ?= 4200
ui: $(INSTALLED)     ## start a Prefect server, the deployments and a worker on this machine, print the address
	$(RUN)/python -m flows.servers.ui start $(PORT)

ui-stop: $(INSTALLED) ## stop what `make ui` started
	$(RUN)/python -m flows.servers.ui stop

test: style check test-fast test-slow-and-types ## install, check style and types, run all tests

test-fast: $(INSTALLED) ## the tests without whole studies
	$(RUN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile

SLOW    := $(shell grep -rlF pytest.mark.slow tests --include='test_*.py')
STUDIES := tests/test_sample.py tests/test_debian.py tests/test_recorded.py  # two studies, each run once, side by side
# They take minutes, so they begin first, and no worker has a long file at the end. The others follow in any order.
LONGEST := tests/flows/test_cli.py tests/faults/test_faults.py tests/text/test_fast_bpe.py tests/flows/test_hostile_folder.py \
           tests/contributing/test_recipes.py tests/flows/test_reruns.py tests/flows/test_interrupted.py tests/test_security.py
test-slow: $(INSTALLED) ## whole studies: the sample, the debian study, and runs that are served, killed and retried
	$(RUN)/python -m pytest -q -m slow -n 3 --dist loadfile --no-loadscope-reorder $(LONGEST) $(filter-out $(LONGEST) $(STUDIES),$(SLOW))
	$(RUN)/python -m pytest -q -m slow -n 2 --dist loadfile --durations=12 $(STUDIES)

test-slow-and-types: $(INSTALLED)
	$(MAKE) -j 2 types test-slow  # tests that wait for servers leave the processor to mypy

test-planted: $(INSTALLED) ## the statistics on 2,000 worlds of known truth, of four kinds: coverage, rejections, detections
	$(RUN)/python -m tests.planted

TRIALS ?= 56
test-faults: $(INSTALLED) ## disturb a small study, run it again, compare: 40 minutes; TRIALS=5 for some of it
	$(RUN)/python -m tests.faults --trials $(TRIALS) --write

SECONDS ?= 60
fuzz: $(FUZZER)      ## every parser under a coverage-guided fuzzer, a minute each; SECONDS=600 TARGETS="read-sgm study"
	$(RUN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

check: $(INSTALLED)  ## whether the installed packages fit each other
	$(RUN)/python -m pip check

audit:               ## known weaknesses of the pinned packages, by pip-audit where it is installed; asks a service on the network
	@command -v pip-audit >/dev/null || { echo "pip-audit is not here: pip install pip-audit, in an environment of its own"; exit 1; }
	pip-audit --requirement constraints.txt --no-deps --disable-pip

bench: $(PEERS)      ## every row next to its peers, an hour or more; ROWS=counts,pairs SIZES=10M for some of it
	$(RUN)/python -m benchmarks --rows '$(ROWS)' --sizes '$(SIZES)'

bench-quick: $(PEERS) ## the same at a small size, a minute; fails where answers differ or a ratio is below half its bar
	$(RUN)/python -m benchmarks --quick --rows '$(ROWS)'

check-gpu: $(INSTALLED) ## models and encoders on this machine's GPU, compared with the CPU, and their speed; ten minutes at most
	$(RUN)/python -m benchmarks.gpu

lint: style types    ## style, imports, plain English, spelling and types

style: $(INSTALLED) vocabulary
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports --no-logo
	$(RUN)/codespell

types: $(INSTALLED)
	$(RUN)/mypy

vocabulary: $(INSTALLED) ## words, phrases and names that this project does not use (docs/vocabulary.txt)
	$(RUN)/codespell --dictionary docs/vocabulary.txt
	$(RUN)/python -m tests.vocabulary

QUICK := $(wildcard tests/contributing/test_lists.py tests/test_architecture.py tests/test_docs.py tests/schemas tests/flows/test_docs.py \
                   tests/flows/test_cost.py tests/examples/test_readers.py tests/examples/test_tasks_page.py)
quick: $(INSTALLED)  ## what a new measure, reader or step must pass, in under a minute (CONTRIBUTING.md)
	$(RUN)/ruff check .
	$(RUN)/lint-imports --no-logo
	$(RUN)/python -m pytest -q -m "not slow" $(QUICK)

format: $(INSTALLED) ## put the code into its form
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

docs: $(INSTALLED)   ## write docs/steps/, docs/settings.md, docs/measures.md and deployments/prefect.yaml from the code
	$(RUN)/python -m flows.commands.generated_files

clean:               ## remove the environment; results stay
	rm -rf $(VENV) *.egg-info build dist

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "taskgram needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --no-compile $(PIP_ARGS) -c constraints.txt -e '.[test]'
	$(RUN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # on all cores, pip on one; a template among the files is no Python
	touch $@

$(FUZZER): $(INSTALLED)
	$(RUN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[fuzz]'
	touch $@

$(PEERS): $(INSTALLED)
	$(RUN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[bench]'
	touch $@
