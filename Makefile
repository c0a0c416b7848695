# Two commands on a fresh machine: `make demo` and `make test`. Nothing else has to be prepared.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format help-text clean

demo: $(VENV)/.core  ## simulate a small music log, run the churn study on it, say where the report is
	rm -rf sim runs/demo
	$(BIN)/linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
	$(BIN)/linkwise churn sim --schema music-box --feature-days 30 --label-days 14 --out runs/demo
	@echo "Open $(CURDIR)/runs/demo/report.html"

test: $(VENV)/.test  ## all tests, once
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests

check: $(VENV)/.test  ## format, lint, types, help text, import directions
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/mypy
	$(BIN)/python scripts/help_text.py --check
	$(BIN)/python -m pytest -q tests/test_imports.py

format: $(VENV)/.test  ## put the code into its format
	$(BIN)/ruff format src tests benchmarks scripts
	$(BIN)/ruff check --fix src tests benchmarks scripts

help-text: $(VENV)/.test  ## write the commands' help into docs/cli.md
	$(BIN)/python scripts/help_text.py

clean:
	rm -rf $(VENV) sim runs build dist

$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(INSTALL) -e ".[test]"
	touch $@
