# Two commands for a newcomer: `make demo` runs the main job on a real sample, `make test` the tests.
# Both set up what they need in .venv first.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint setup lock bench clean

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	@sh sample/demo.sh $(BIN)

test: lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Benchmarks that need no real DALI; `make bench DALI_HOME=...` adds those that do.
bench: setup
	$(BIN)/python benchmarks/busy.py
	$(BIN)/python benchmarks/scale.py --targets 28000
	$(BIN)/python benchmarks/extremes.py --only cores
	if [ -n "$$DALI_HOME" ]; then for name in head_to_head cpu workers; do $(BIN)/python benchmarks/$$name.py || exit; done; fi

# After a change of the dependencies in pyproject.toml. run.txt is the part of dev.txt that a node needs,
# image.txt what an image with dpam needs.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
    --python-version 3.10 pyproject.toml
lock:
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --group dev -o requirements/dev.txt
	$(COMPILE) --no-annotate --constraints requirements/dev.txt -o requirements/run.txt
	$(COMPILE) --no-annotate --constraints requirements/dev.txt --group image -o requirements/image.txt

clean:
	rm -rf .venv demo
