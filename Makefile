# Two commands need nothing but Python 3.11 or newer and a package index: `make demo` and `make test`.
# Both make their own environment in VENV first (about 2 minutes and 5 GB: torch).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# A process a core, a thread a process: small networks gain nothing by more threads. A hundred of the tests start the
# command: it must find its bytecode, whatever the surroundings say about writing it.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# What computes: tested once more in bfloat16, which is emulated where the processor lacks it, and once on a processor
# that is held down to AVX2.
NUMERICAL = $(addprefix tests/test_, predictor.py engines_features.py engines_onednn.py engines_explain.py engines_opening.py evaluation.py exporting_parity.py \
	training_loop.py training_state.py training_averaging.py training_optimizers.py training_task_network.py system_intraop.py)

.PHONY: demo test lanes check check-all wheel format clean

demo: $(VENV)/.installed
	$(BIN)/resnet-cli demo

test: $(VENV)/.installed-dev
	$(PYTEST)

lanes: $(VENV)/.installed-dev
	RESNET_CLI_TEST_PRECISION=bf16 $(PYTEST) $(NUMERICAL)
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) $(NUMERICAL)

# CI runs this, and `make lanes`.
check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers auto
	$(PYTEST)

# Before a release: also what takes long and is proved on a smaller case by the others.
check-all: $(VENV)/.installed-dev
	$(PYTEST) --slow

# A wheel with which `export --format web` needs no network: it contains ONNX Runtime for browsers.
wheel: $(VENV)/.installed-dev
	$(BIN)/python -m resnet_cli.network.web_runtime resnet_cli/exporting/web/runtime
	$(BIN)/python -m hatchling build --target wheel

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist resnet_cli/exporting/web/runtime .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resnet-cli needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed
