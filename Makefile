# hardcase: `make demo` runs the whole loop from nothing; `make test` and `make lint` are the checks CI runs.
# `make test-fast` is the part of `make test` to run while you work.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed

.PHONY: demo test test-heavy test-faults test-fast bench bench-full lint format docs clean install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hardcase needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/hardcase demo

# Tests that start Ray come second and alone: its processes are niced and starve beside a busy one. The other files of tests
# are not collected a second time. Coverage is counted in the first part: Ray cannot send a function that holds a probe. It is
# checked by a call of its own: beside pytest -n, slipcover's own check takes the counts away from what is printed.
test: RAY = $(shell grep -rl --include='test_*.py' 'mark\.ray' tests)
test: $(STAMP)
	@mkdir -p build
	$(BIN)/python -m slipcover --json --out build/coverage.json -m pytest -n 2 --dist worksteal -m "not ray and not heavy" --durations=15
	@$(BIN)/python -m slipcover --merge build/coverage.json --out build/coverage.json --skip-covered --fail-under 85
	$(BIN)/python -m pytest $(RAY) -m "ray and not heavy" --durations=15

test-fast: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not ray and not real_data and not heavy" --durations=5

test-heavy: $(STAMP)
	$(BIN)/python -m pytest -m heavy --durations=5

# Every kill, lost node, damaged file and full disk, those that `make test` leaves out too.
test-faults: RAY = $(shell grep -rl --include='test_*.py' 'mark\.ray' tests)
test-faults: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "faults and not ray" --durations=5
	$(BIN)/python -m pytest $(RAY) -m "faults and ray" --durations=5

# Speed beside what one would write without hardcase: a quarter of an hour on a quiet machine, or all sizes.
bench: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks

bench-full: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.benchmarks --full

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, to be opened as build/docs/index.html. A warning, such as a broken link, is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
