# `make test` installs what it needs and runs everything; `make quick` is the everyday set.
.DEFAULT_GOAL := test
.PHONY: test quick setup lint rust service link wheel binary python ffi weights infra chart figures fuzz deny

PYTHON := .venv/bin/python
FUZZ_SECONDS ?= 60

test: quick service link ffi weights infra fuzz deny

quick: setup lint rust wheel python

setup:
	./tools/setup.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(PYTHON) -m ruff check ffi infra python weights tools
	$(PYTHON) -m ruff format --check ffi infra python weights tools

# The wheel's extension module cannot link into a test binary; `python` tests it.
rust:
	cargo test --workspace --exclude phishcnn-python

# The service with real databases, a full disk and a real browser: what is missing is installed.
service:
	server/tests/setup.sh
	SERVICE_TESTS=1 cargo test -p phishcnn-server --test serve --test feedback
	cd server/tests/browser && node page.mjs ../../../target/debug/phishcnn

# The core cannot panic or allocate: proved on the linked object.
link:
	core/tests/link_check/check.sh

# The wheel as a user gets it, installed into .venv.
wheel:
	rm -rf target/wheels
	.venv/bin/maturin build --quiet --release --manifest-path python/Cargo.toml --out target/wheels
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/phishcnn-*.whl

python: wheel
	$(PYTHON) -m pytest -q python/tests
	$(PYTHON) -m pytest -q --doctest-modules --pyargs phishcnn

# The C library as installed: every compiler and checker, bare metal, and the integrations.
ffi: setup
	$(MAKE) -C ffi check

binary:
	cargo build --release

# Metrics, export, import, a one-minute training, and the agreement of binary, wheel and JAX.
weights: wheel binary
	$(PYTHON) tools/readme.py --check
	cd weights && ../$(PYTHON) -m pytest -q tests

# Chart, Ansible roles, gateway and monitoring, on a real proxy, a real Prometheus and booted hosts.
infra: binary
	$(MAKE) -C infra check

# The part of `infra` that takes seconds.
chart: binary
	$(MAKE) -C infra chart

# The report and README's figures, from the metrics JSONs; after a new evaluation.
figures: binary
	cd weights && ../$(PYTHON) -m phishcnn_train report
	$(PYTHON) tools/readme.py

fuzz:
	core/fuzz/run.sh $(FUZZ_SECONDS)

deny:
	cargo deny --log-level error check licenses bans sources
