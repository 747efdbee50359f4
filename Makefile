# Every target makes .venv first when it is missing. Needs Python 3.11 with venv, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
BENCHMARKS := loop_clinc150 gates_oc gates_real fewshot train_speed noise forgetting synthesis many_requests cli_start ingest diagnosis

.PHONY: demo test test-busy test-slow check fix docs bench clean

demo: $(READY)  ## the closed loop on an embedded default: no key, no network
	$(BIN)/flywheel demo

test: $(READY)  ## every quick test, a file at a time on each core
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-busy: $(READY)  ## the quick tests beside four busy processes
	$(BIN)/python tests/busy.py $(MAKE) test

test-slow: $(READY)  ## the tests that take minutes, or need root
	$(BIN)/python -m pytest -m "slow or systemd" --timeout 1800

check: $(READY)  ## lint, format, types, floors, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/house

fix: $(READY)  ## what the linter and the formatter can mend by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## docs/reference/ from the code
	$(BIN)/python docs/generate.py

bench: $(READY)  ## every benchmark, the quick form; each ends with one line of JSON
	@for each in $(BENCHMARKS); do $(BIN)/python benchmarks/$$each.py --quick || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flywheel needs Python 3.11 or newer with venv; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "[1/3] making .venv with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "[2/3] installing the pinned packages (about 1.8 GB on disk, a few minutes; only once)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo "[3/3] ready"
	@touch $(READY)
