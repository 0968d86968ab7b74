# `make help` tells the verbs. `make test` installs what it needs and runs everything.
.DEFAULT_GOAL := test
.PHONY: help run test quick setup lint lint-text rust service soak bench bench-service link wheel binary python spark dist \
  ffi weights train figures docs docs-test release fuzz deny engine targets infra chart

PYTHON := .venv/bin/python
FUZZ_SECONDS ?= 60

# What stands behind `##` is the text of `make help`.
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: ## the service on http://127.0.0.1:8000/
	cargo run --release -- serve

test: quick docs-test service link engine targets ffi weights infra fuzz deny ## everything; decides

quick: setup lint rust wheel python ## the everyday tests

setup:
	./tools/setup.sh

lint: setup lint-text ## formatters and linters
	for manifest in $$(git ls-files '*/Cargo.toml'); do cargo fmt --manifest-path $$manifest --check || exit 1; done
	cargo clippy --workspace --all-targets --all-features -- -D warnings

# All but Rust; seconds.
lint-text:
	tools/lint/text.sh

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
	  --require-hashes -r benches/service/requirements.lock
	benches/service/.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps target/wheels/phishcnn-*.whl
	benches/service/.venv/bin/python benches/service/run.py

# The core cannot panic or allocate: proved on the linked object.
link:
	core/tests/link_check/check.sh

# Who only wants the wheel needs no more than this; `setup` brings it, too.
.venv/bin/maturin:
	tools/venv.sh
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint tools/requirements.txt maturin

# The wheel as a user gets it, installed into .venv.
wheel: .venv/bin/maturin
	rm -rf target/wheels
	.venv/bin/maturin build --quiet --release --manifest-path python/Cargo.toml --out target/wheels
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/phishcnn-*.whl

# The wheel against the core, the binary, and the libraries whose data it reads.
python: wheel binary
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
	cd weights && ../$(PYTHON) -m pytest -q tests

# Chart, Ansible roles, gateway and monitoring, on a real proxy, a real Prometheus and booted hosts.
infra: binary
	$(MAKE) -C infra check

# The part of `infra` that takes seconds.
chart: binary
	$(MAKE) -C infra chart

train: setup wheel ## a model from weights/data (weights/README.md), by DVC
	cd weights && PATH="$(CURDIR)/.venv/bin:$$PATH" dvc repro

# The report, README's and the docs' figures, references and help; after a new model or another interface.
figures: binary
	cd weights && ../$(PYTHON) -m phishcnn_train report
	$(PYTHON) docs/generate.py

docs: setup ## the site, into target/docs (installs mdBook when it is missing: some minutes)
	command -v mdbook >/dev/null || cargo install --quiet --locked --no-default-features --version "$$(cat docs/mdbook-version)" mdbook
	$(PYTHON) docs/build.py

# Links, generated pages, every command block, the version, the specification by a second implementation.
docs-test: setup binary wheel
	$(PYTHON) docs/generate.py --check
	tools/api.py --check
	$(PYTHON) -m pytest -q docs/tests

# Everything is built twice: half an hour and more.
release: setup ## the files of a release, built twice with the same bytes
	release/build.sh

bench: ## the engine, by Criterion
	$(MAKE) -C benches bench

# What the engine promises of its backends: the same bits, proved on 100,000 URLs.
engine:
	cargo test -p phishcnn-core --test suite -- --ignored every_backend
	$(MAKE) -C benches check

# The same bits on aarch64, under emulation: with NEON alone, then with its product of four bytes. Then clippy.
# (WebAssembly and microcontrollers: a part of `ffi`.)
targets: setup
	ffi/setup.sh
	core/tests/aarch64.sh cortex-a53 "portable neon"
	core/tests/aarch64.sh max "portable neon neon-dotprod"
	core/tests/clippy.sh

fuzz:
	core/fuzz/run.sh $(FUZZ_SECONDS)

deny:
	cargo deny --log-level error check licenses bans sources
