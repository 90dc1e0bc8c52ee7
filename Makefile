# Two commands for a newcomer: `make demo` runs the main job on a real sample, `make test` the tests.
# Both set up what they need in .venv first.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo docs test faults fuzz lint setup lock bench clean

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	@sh sample/demo.sh $(BIN)

# As many at a time as there are processors.
test: lint
	$(BIN)/python -m pytest -n auto --dist loadscope

# The site, into build/docs; a warning is an error, so is a link that leads nowhere.
docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "build/docs/index.html"

# Fault runs: RUNS of them, of the seeds from SEED on. DALI_HOME=... takes the real programs.
SEED ?= 1
RUNS ?= 100
faults: setup
	@[ -z "$(DALI_HOME)" ] || [ -d "$(DALI_HOME)" ] || { echo "there is no folder $(DALI_HOME)"; exit 2; }
	DPAM_HPC_FAULTS=1 $(BIN)/python -m pytest tests/faults/test_write_back.py
	$(BIN)/python -m tests.faults --seed $(SEED) --runs $(RUNS) $(if $(DALI_HOME),--dali-home $(DALI_HOME))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Benchmarks that need no real DALI, and docs/benchmarks.md from all results; `make bench DALI_HOME=...` adds
# those that do, on INPUTS where that is given, else on the sample; ONLY=NAME,NAME chooses some.
bench: setup
	$(BIN)/python benchmarks/all.py $(if $(INPUTS),--inputs $(INPUTS)) $(if $(ONLY),--only $(ONLY))

# Every parser for SECONDS each, by coverage; what it finds is printed and kept in .fuzz/findings.
SECONDS ?= 600
fuzz: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS)

# After a change of the dependencies in pyproject.toml. run.txt is the part of dev.txt that a node needs,
# image.txt what an image with dpam needs.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url \
    --python-version 3.10 pyproject.toml
lock:
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --group dev -o requirements/dev.txt
	$(COMPILE) --no-annotate --constraints requirements/dev.txt -o requirements/run.txt
	$(COMPILE) --no-annotate --constraints requirements/dev.txt --group image -o requirements/image.txt
	$(COMPILE) --no-annotate --constraints requirements/dev.txt --group fuzz -o requirements/fuzz.txt

clean:
	rm -rf .venv .fuzz build demo
