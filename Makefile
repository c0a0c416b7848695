# Two commands on a fresh machine: `make demo` and `make test`. Nothing else has to be prepared.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-browser web check format help-text clean

DEMO := $(BIN)/linkwise

demo: $(VENV)/.demo  ## simulate a little of everything, run every study on it, say how to look at it
	rm -rf sim demo-data runs/demo
	$(DEMO) simulate music --users 6000 --days 86 --seed 7 --out sim
	$(DEMO) churn sim --schema music-box --feature-days 30 --label-days 14 --out runs/demo/churn
	$(DEMO) recommend sim --schema music-box --models item-item,svd --out runs/demo/songs
	$(DEMO) simulate graphs --type 2c --n 150 --seed 1 --out demo-data/usual
	$(DEMO) simulate graphs --type 3 --n 40 --seed 2 --out demo-data/odd
	$(DEMO) detect demo-data/usual --against demo-data/odd --detector auto --out runs/demo/graphs
	$(DEMO) simulate patents --patents 4000 --codes 120 --seed 5 --out demo-data/patents
	$(DEMO) forecast demo-data/patents/patents.parquet --embed 2006-2010 --forecast 2011-2015 --lm minilm \
	  --max-tokens 48 --code-titles demo-data/patents/codes.tsv --map --out runs/demo/codes
	$(BIN)/python scripts/demo_texts.py demo-data/texts
	$(DEMO) match demo-data/texts/patents.csv demo-data/texts/manual.md --labels demo-data/texts/labels.csv \
	  --split by-patent --retrieve 8 --out runs/demo/match
	$(DEMO) match link --patents demo-data/texts/patents.csv --sections demo-data/texts/manual.md \
	  --pollutants demo-data/texts/pollutants.json --retrieve 6 --map --out runs/demo/links
	$(DEMO) simulate members --members 2000 --days 120 --seed 3 --out demo-data/members
	$(DEMO) rank train demo-data/members/tasks/connect.toml --base tiny --max-tokens 512 --sequences 50 \
	  --judged 500 --out runs/demo/members
	@echo "Each run has a report.html in $(CURDIR)/runs/demo. All of them in the browser:"
	@echo "    $(DEMO) serve runs/demo"

test: $(VENV)/.test  ## all tests but those in a browser, once
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests --ignore=tests/browser

test-browser: $(VENV)/.test  ## the dashboard in Debian's Chromium, and its built files against their source
	test -x /usr/bin/chromium || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)
	npm --prefix web ci --no-audit --no-fund --loglevel error
	npm --prefix web run --silent build -- --outDir ../build/web
	diff -r build/web src/linkwise/serve/static
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

web:  ## build the dashboard from web/ into the package
	npm --prefix web ci --no-audit --no-fund --loglevel error
	npm --prefix web run --silent build

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
	rm -rf $(VENV) sim demo-data runs build dist web/node_modules

$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

# constraints.txt names the exact version of PyTorch: a range makes pip fetch gigabytes of CUDA packages.
$(VENV)/.demo: $(VENV)/.core
	$(INSTALL) -e ".[anomaly,graphs,map,offline,serve]"
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(INSTALL) -e ".[test]"
	touch $@
