# `make demo` runs the main job on a demo cohort, `make test` passes the tests. Both install what
# they need into .venv in this folder, from the lock files, and touch nothing else.

PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)
BIN := $(CURDIR)/.venv/bin
SNAKEMAKE := $(BIN)/snakemake --cores all
DEMO := data/demo
RESULTS := results/demo

.PHONY: install demo demo-null test test-slow test-gpu test-slurm docs lint lock envs clean

install: .venv/runtime ## the environment that runs the workflow

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; install one."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv/test: requirements-test.lock | .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.lock
	touch $@

demo: .venv/runtime ## demo cohort, from painted slides to the report
	$(BIN)/python -m demo $(DEMO)
	$(SNAKEMAKE)
	@echo
	@cat $(RESULTS)/evaluation/comparison.txt
	@echo
	@echo "report: $(CURDIR)/$(RESULTS)/report.html"
	@echo
	@$(BIN)/python -m demo check $(RESULTS) --demo $(DEMO)

demo-null: .venv/runtime ## the same with permuted labels: no experiment may find anything
	$(BIN)/python -m demo $(DEMO)
	$(SNAKEMAKE) null
	@$(BIN)/python -m demo null $(RESULTS)

test: .venv/test ## all tests but those marked slow or gpu
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not gpu and not slurm"
	$(BIN)/python -m pytest -m "slurm and not slow" tests/workflow/slurm

test-slow: .venv/test ## the tests marked slow
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "slow and not gpu and not slurm"

test-gpu: .venv/test ## the tests marked gpu, on a machine that has one
	$(BIN)/python -m pytest -m gpu

test-slurm: .venv/test ## the workflow on a real SLURM, and all that may go wrong there
	$(BIN)/python -m pytest -m slurm tests/workflow/slurm

docs: .venv/test ## the documentation as a site, in docs/_build
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "site: $(CURDIR)/docs/_build/index.html"

lint: .venv/test ## style of Python, of the rules, and of the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	test -f $(DEMO)/slides.csv || $(BIN)/python -m demo $(DEMO)
	$(BIN)/snakemake --lint

lock: .venv/test ## renew the lock files
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header \
		--no-annotate --extra workflow --extra lite pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header \
		--no-annotate --all-extras -c requirements.lock pyproject.toml -o requirements-test.lock
	$(MAKE) envs

envs: ## write the pins of envs/*.yaml anew, from requirements.lock
	for name in slides torch report; do \
		pins=$$($(BIN)/uv pip compile --quiet --universal --python-version 3.13 --no-header \
			--no-annotate -c requirements.lock envs/$$name.in) || exit 1; \
		{ sed '/- pip:/q' envs/$$name.yaml; echo "$$pins" | sed 's/^/      - /'; } > envs/$$name.new; \
		mv envs/$$name.new envs/$$name.yaml; \
	done

clean: ## remove what the demo made
	rm -rf $(DEMO) $(RESULTS)
