# `make demo` shows the main job, `make check` runs everything that must pass. Both install what they need.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := var/demo

.PHONY: demo check quick lint types test fuzz mutants endure simulate bench setup-check clean

demo: $(STAMP)
	@mkdir -p $(DEMO)
	@$(BIN)/twistd -n --pidfile= --logfile $(DEMO)/zmnext.log zmnext --demo $(DEMO) \
	  $(if $(filter command line environment,$(origin SECONDS)),--seconds $(SECONDS))

check: setup-check lint types test

# Under a minute: all tests that need no process, database or browser, with few examples each.
quick: lint types
	@# A fifth of the time is compiling the tests: that is kept.
	HYPOTHESIS_PROFILE=quick PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/.cache/python $(BIN)/pytest -n 2 --dist worksteal -m 'not slow'

setup-check: $(STAMP)
	@tools/setup.sh check

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

test: $(STAMP)
	$(BIN)/pytest -n 3 --dist loadfile --reruns 1 -rR # most of them wait for processes, not for a core

# What a worker says, mutated a million times (COUNT=, SEED= to repeat), and many more examples of the tests (TESTS= of those).
fuzz: setup-check
	$(BIN)/python -m tests.wire.fuzz $(if $(COUNT),--count $(COUNT)) $(if $(filter command line,$(origin SEED)),--seed $(SEED))
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest $(TESTS)

# Half an hour: edits that break something, each of which a test must find (CONTRIBUTING.md).
mutants: setup-check
	$(BIN)/python tools/mutants.py $(WORDS)

simulate: $(STAMP)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),$(or $(SEEDS),1000..3000))

# Minutes, not seconds: the service killed a hundred times, the database away for three minutes, storages that fail.
endure: setup-check
	$(BIN)/python -m tests.endurance.kills $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.endurance.outage
	$(BIN)/python -m tests.endurance.outage --seconds 60 --starve $(or $(SEED),1)
	$(BIN)/python -m tests.endurance.storage

bench: $(STAMP)
	for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

$(STAMP): setup.py zmtwist/_version.py tools/setup.sh
	@tools/setup.sh venv $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info var .mypy_cache .ruff_cache .pytest_cache
