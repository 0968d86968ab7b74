# `make test` installs what it needs and runs everything; `make quick` is the everyday set.
.DEFAULT_GOAL := test
.PHONY: test quick setup lint rust service soak bench-service link wheel binary python spark dist ffi weights figures fuzz deny engine infra chart

PYTHON := .venv/bin/python
FUZZ_SECONDS ?= 60

test: quick service link engine ffi weights infra fuzz deny

quick: setup lint rust wheel python

setup:
	./tools/setup.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(PYTHON) -m ruff check benches ffi infra python server weights tools
	$(PYTHON) -m ruff format --check benches ffi infra python server weights tools

# The wheel's extension module cannot link into a test binary; `python` tests it.
rust:
	cargo test --workspace --exclude phishcnn-python

# The service with real databases, a full disk and a real browser: what is missing is installed.
service: setup binary
	server/tests/setup.sh
	SERVICE_TESTS=1 cargo test -p phishcnn-server --test serve --test operations --test feedback
	SERVICE_TESTS=1 SERVICE_BINARY=$(CURDIR)/target/release/phishcnn \
	  cargo test -p phishcnn-server --test binary --test attacks
	$(PYTHON) server/tests/contract/contract.py target/release/phishcnn
	cd server/tests/browser && node page.mjs ../../../target/debug/phishcnn

# The soak of `service`, for three minutes instead of forty seconds.
soak: binary
	SOAK_SECONDS=180 SERVICE_BINARY=$(CURDIR)/target/release/phishcnn \
	  cargo test -p phishcnn-server --test attacks -- --nocapture memory_stays_flat

# Not a test: the service against FastAPI and Flask with ONNX Runtime; writes benches/service/RESULTS.md.
bench-service: binary wheel
	$(MAKE) -C benches models
	command -v wrk >/dev/null || apt-get install -y -qq wrk
	python3 -m venv benches/service/.venv
	benches/service/.venv/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r benches/service/requirements.txt target/wheels/phishcnn-*.whl
	benches/service/.venv/bin/python benches/service/run.py

# The core cannot panic or allocate: proved on the linked object.
link:
	core/tests/link_check/check.sh

# The wheel as a user gets it, installed into .venv.
wheel:
	rm -rf target/wheels
	.venv/bin/maturin build --quiet --release --manifest-path python/Cargo.toml --out target/wheels
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/phishcnn-*.whl

# The wheel against the core, the binary, and the libraries whose data it reads.
python: wheel binary
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r python/requirements-test.txt
	cargo build --quiet --release -p phishcnn-cli --example core_scores
	$(PYTHON) -m pytest -q python/tests --ignore python/tests/spark
	$(PYTHON) -m pytest -q --doctest-modules --pyargs phishcnn

# The recipe for Spark on a local cluster, with executors killed: some minutes, and 500 MB of PySpark.
spark: wheel
	python/tests/spark/setup.sh
	$(PYTHON) -m pytest -q python/tests/spark

# Wheels for x86-64 and aarch64 and the source distribution, each installed and tried.
dist: setup
	python/build.sh

# The C library as installed: every compiler and checker, bare metal, and the integrations.
ffi: setup
	$(MAKE) -C ffi check

# Statically linked: one file that needs nothing on the machine it is copied to.
binary:
	cargo rustc --release --package phishcnn-server --bin phishcnn -- -C target-feature=+crt-static

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

# What the engine promises of its backends: the same bits, proved on 100,000 URLs.
engine:
	cargo test -p phishcnn-core --test suite -- --ignored every_backend
	$(MAKE) -C benches check

fuzz:
	core/fuzz/run.sh $(FUZZ_SECONDS)

deny:
	cargo deny --log-level error check licenses bans sources
