# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test test-all check shapes docs notebooks bench clean

help:
	@echo "make demo      replay the published question in two minutes; the report is results/published/report.html"
	@echo "make test      lint, types, import rules and tests"
	@echo "make test-all  the same with the slow science checks, and shapes"
	@echo "make shapes    tests of theory, training and units with every array held against its annotated shape"
	@echo "make docs      build the documentation into site/, offline"
	@echo "make notebooks run the tutorials and keep their outputs"
	@echo "make bench     time training against its peers (pip install '.[bench]' brings them) and predictions"
	@echo "make clean     remove the virtual environment, caches and results"

# Experiments share the cores: threads of the linear algebra would stand in each other's way.
demo: $(READY)
	OPENBLAS_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false $(BIN)/idjax reproduce --out results/published

# $(call beside_checks,arguments of pytest): tests on both cores, with the checks beside them. What the checks say comes in one piece.
define beside_checks
	@said=$$(mktemp); { $(MAKE) --no-print-directory check >$$said 2>&1; status=$$?; cat $$said; rm $$said; exit $$status; } & \
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal $(1); tests=$$?; wait $$!; checks=$$?; \
	[ $$checks -eq 0 ] || echo "make check failed: its words are above, among the tests"; exit $$((tests + checks))
endef

# Most programs of these tests run for less time than XLA's optimiser would take; test-all runs them optimised.
test: export XLA_FLAGS = --xla_backend_optimization_level=0
test: $(READY)
	$(call beside_checks,-m "not slow" --durations 15)

test-all: $(READY)
	$(call beside_checks)
	$(MAKE) --no-print-directory shapes

# Apart, for checking every call's shapes takes twice the time of the tests.
shapes: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow" tests/theory tests/training tests/unit \
		--jaxtyping-packages=idjax,beartype.beartype

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

notebooks: $(READY)
	$(BIN)/python scripts/run_notebooks.py

bench: $(READY)
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_predict.py

# The stamp is written last, so that an install that was cut off is done again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "idjax needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .jax_cache results site
