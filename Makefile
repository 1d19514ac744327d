# The same targets serve people and CI. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/main.txt
UV_VERSION := 0.9.18
# uv from the PATH if there is one, else our own copy in .tools
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
EXAMPLE := examples/adult_income

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "%-16s %s\n", $$1, $$2}'

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.synced: $(LOCK) pyproject.toml | $(filter .tools/bin/uv,$(UV))
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --quiet --compile-bytecode $(LOCK)
	@rm -rf probity.egg-info   # a stale one would hide new entry points from whoever runs in this folder
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: $(VENV)/.synced ## Make the locked environment in .venv

.PHONY: lock
lock: | $(filter .tools/bin/uv,$(UV)) ## Resolve the dependencies anew
	$(UV) pip compile --quiet pyproject.toml --extra dev --python-version 3.11 --override requirements/overrides.txt \
		--generate-hashes --no-emit-index-url --output-file $(LOCK)

.PHONY: demo
demo: setup ## Adult census data to a released model, then the same under a stricter policy, which is held
	$(BIN)/probity run $(EXAMPLE)/probity.yaml
	@echo; echo "The same data and model under the four-fifths rule, which this model does not meet:"
	@$(BIN)/probity run $(EXAMPLE)/strict.yaml; code=$$?; \
	if [ $$code -eq 3 ]; then echo "Held (exit code 3), as expected."; else echo "Expected exit code 3, got $$code."; exit 1; fi

.PHONY: test
test: setup ## The whole default test suite, in two processes; a file's tests stay together
	@# One thread each for linear algebra: more would wait for each other. And no process compiles the package anew.
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: test-statistical
test-statistical: setup ## Experiments with power in both directions: noise, sampling, audits
	$(BIN)/python -m pytest -m statistical

.PHONY: test-heavy
test-heavy: setup ## Whole runs that the default suite covers in part
	$(BIN)/python -m pytest -m heavy --numprocesses 2 --dist loadfile

.PHONY: test-browser
test-browser: setup ## Real pages of real runs in an installed Chromium
	$(BIN)/python -m pytest -m browser

.PHONY: test-workers
test-workers: workers ## Real worker processes in their own environments
	$(BIN)/python -m pytest -m workers

.PHONY: workers
workers: setup ## The locked environments of the training workers, in workers/*/.venv
	$(BIN)/probity workers sync

.PHONY: check
check: setup ## Format, lint, types, import contracts, generated reference
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_reference.py --check

.PHONY: format
format: setup ## Mend format and what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: setup ## Write the generated reference pages
	$(BIN)/python docs/generate_reference.py

.PHONY: bench
bench: setup ## Measure; writes the tables in benchmarks/
	$(BIN)/python benchmarks/slice_engine.py
	$(BIN)/python benchmarks/pipeline.py

.venv-bench/.synced: requirements/bench.in $(LOCK)
	$(PYTHON) -m venv .venv-bench
	VIRTUAL_ENV=$(CURDIR)/.venv-bench $(UV) pip install --quiet --require-hashes -r $(LOCK)
	VIRTUAL_ENV=$(CURDIR)/.venv-bench $(UV) pip install --quiet --require-hashes --no-deps -r requirements/bench.txt
	# PyTorch's CPU build of this version has to be what pip finds; a plain one brings several GB of GPU libraries.
	.venv-bench/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 opt-einsum numpy==1.26.4
	VIRTUAL_ENV=$(CURDIR)/.venv-bench $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv-bench-federated/.synced: requirements/bench-federated.txt | $(filter .tools/bin/uv,$(UV))
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-bench-federated
	VIRTUAL_ENV=$(CURDIR)/.venv-bench-federated $(UV) pip sync --quiet --require-hashes requirements/bench-federated.txt
	@touch $@

.PHONY: bench-federated
bench-federated: workers .venv-bench-federated/.synced ## Measure federated rounds beside Flower's simulation; writes benchmarks/federated.md
	$(BIN)/python benchmarks/federated.py

.PHONY: bench-federated-accuracy
bench-federated-accuracy: workers ## Measure what federating costs in accuracy on Adult; writes benchmarks/federated_accuracy.md
	$(BIN)/python benchmarks/federated_accuracy.py

.PHONY: bench-attacks
bench-attacks: setup ## False alarms, coverage and power of the attacks, where the truth is known
	$(BIN)/python benchmarks/attacks.py

.PHONY: bench-dp
bench-dp: .venv-bench/.synced ## Measure DP-SGD steps beside other libraries; writes benchmarks/dp_sgd.md
	.venv-bench/bin/python benchmarks/dp_sgd.py

.PHONY: bench-encrypted
bench-encrypted: workers ## Measure training and prediction on secret shares; writes benchmarks/encrypted.md
	$(BIN)/python benchmarks/encrypted.py

.PHONY: bench-mitigation
bench-mitigation: setup ## Measure what each mitigation changes on Adult; writes benchmarks/mitigation.md
	$(BIN)/python benchmarks/mitigation.py

.PHONY: bench-explanations
bench-explanations: setup ## Measure the methods of explanation beside SHAP's own; writes benchmarks/explanations.md
	$(BIN)/python benchmarks/explanations.py

.PHONY: bench-dashboard
bench-dashboard: setup ## Time every page of the dashboards with 500 runs; writes benchmarks/dashboard.md
	$(BIN)/python benchmarks/dashboard.py

.PHONY: bench-serving
bench-serving: setup ## Measure the embedded server over REST and gRPC; writes benchmarks/serving.md
	$(BIN)/python benchmarks/serving.py

.PHONY: clean
clean: ## Remove the environment, caches, runs and releases of the examples
	rm -rf $(VENV) workers/*/.venv .venv-bench .venv-bench-federated .tools .mypy_cache .ruff_cache serving $(EXAMPLE)/.probity $(EXAMPLE)/serving
