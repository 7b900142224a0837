# Two commands do everything on a fresh machine with Python and make:
#   make quickstart    installs into .venv and runs the whole story on the embedded corpus
#   make test          installs into .venv with the test extras and passes the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# Empty: what was compiled is kept, for the commands that tests start and for the next tier.
export PYTHONDONTWRITEBYTECODE :=
OUT ?= runs/quickstart-$(shell date +%Y%m%d-%H%M%S)
FAST := not slow and not gpu and not net and not contract
SHAPES := --jaxtyping-packages=modeledge.losses,modeledge.views.corrupt,modeledge.views.arrange,beartype.beartype
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test check format lint types fast contract slow golden bench feel docs catalogue claims claims-page constraints clean

quickstart: $(VENV)/.core
	$(BIN)/modeledge quickstart --out $(OUT)

test: check contract

check: $(VENV)/.test lint types fast

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/pyright

fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "$(FAST)" -n $(JOBS) --timeout 300 $(SHAPES)

contract: $(VENV)/.test
	$(BIN)/python -m pytest -m "contract and not slow and not gpu and not net" -n $(JOBS) --timeout 300

slow: $(VENV)/.test
	$(BIN)/python -m pytest -m "slow and not gpu and not net"

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(VENV)/.test
	$(BIN)/python tools/golden.py

bench: $(VENV)/.test
	$(BIN)/python bench/all.py

feel: $(VENV)/.test
	$(BIN)/python bench/feel.py --write docs/feel.md

catalogue: $(VENV)/.core
	$(BIN)/python tools/catalogue.py

# Every experiment of experiments/, one after the other; stopped, it goes on where it was. Hours of one core.
claims: $(VENV)/.core
	$(BIN)/python experiments/run_all.py --out runs/claims

claims-page: $(VENV)/.core
	$(BIN)/python tools/claims.py

docs: $(VENV)/.docs catalogue claims-page
	$(BIN)/mkdocs build --strict

constraints:
	$(PYTHON) tools/constraints.py

clean:
	rm -rf $(VENV) site dist build

# An installation is made once and again when what it depends on changes.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "modeledge needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[report]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.core

$(VENV)/.docs: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[docs]'
	@touch $@
