# Every target makes .venv first when it is missing: `demo` with what flywheel needs, the others with what
# its tests need too. Needs Linux and Python 3.11 with venv, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO_LANGUAGE ?= en
READY := .venv/.ready
DEMO_READY := .venv/.demo-ready
PIP = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
BENCHMARKS := loop_clinc150 gates_oc gates_real fewshot train_speed noise collusion forgetting synthesis many_requests cli_start ingest diagnosis real_input restore_fuzz serve soak abstention watch bases

# Where it is set, each of the hundreds of processes that the tests start would compile flywheel anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-busy test-slow test-wheel check fix docs captures bench clean

demo: $(or $(wildcard $(READY)),$(DEMO_READY))  ## the closed loop on an embedded default: no key, no network (DEMO_LANGUAGE=zh: in Chinese)
	$(BIN)/flywheel demo --language $(DEMO_LANGUAGE)

test: $(READY)  ## every quick test, a file at a time on each core; the house's are in check
	$(BIN)/python -m pytest --ignore tests/house -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-busy: $(READY)  ## the quick tests beside four busy processes
	$(BIN)/python tests/busy.py $(MAKE) test

test-slow: $(READY)  ## the tests that take minutes, or need root
	$(BIN)/python -m pytest -m "slow or systemd" --timeout 1800

test-wheel:  ## the wheel with the newest libraries that its ranges allow, in a folder of its own
	PYTHON="$(PYTHON)" .ci/wheel

check: $(READY)  ## lint, format, types, floors, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/house

fix: $(READY)  ## what the linter and the formatter can mend by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## docs/reference/ from the code, and keys that config.toml lacks
	$(BIN)/python docs/generate.py

captures: $(READY)  ## docs/captures/ from real runs, a quarter of an hour
	$(BIN)/python docs/captures.py

bench: $(READY)  ## every benchmark, the quick form; each ends with one line of JSON
	@for each in $(BENCHMARKS); do $(BIN)/python benchmarks/$$each.py --quick || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info

# $(call install,WHAT,SAID): the base installation, and what else WHAT names; a line a step, in pipes too.
define install
@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || \
  { echo "flywheel needs Python 3.11 or newer with venv; say which: make PYTHON=/path/to/python3.11"; exit 1; }
@test "$$(uname)" = Linux || { echo "flywheel runs on Linux only; use a Linux container or virtual machine"; exit 1; }
@echo "[1/4] making .venv with $$($(PYTHON) --version)"
@test -x $(BIN)/python || $(PYTHON) -m venv .venv
@echo "[2/4] installing torch. PyPI's build for Linux downloads 2.7 GB for CUDA, for GPUs;"
@echo "      for the CPU build (0.2 GB) see docs/how-to/install.md"
$(PIP) torch
@echo "[3/4] installing $(2); only once"
$(PIP) -e '.$(1)'
@echo "[4/4] ready"
@touch $@
endef

$(DEMO_READY): pyproject.toml constraints.txt
	$(call install,,the other packages that flywheel needs (about 0.9 GB on disk))

$(READY): pyproject.toml constraints.txt
	$(call install,[dev],the other packages and those of the tests (about 1.4 GB on disk))
