"""The library as a WebAssembly module in Node.js gives the host's bits."""

import re

import pytest
from conftest import FFI, PHISH, ROOT, run
from targets import MODEL, host, urls

MODULES = {"portable": ROOT / "target/c/phishcnn.wasm", "simd128": ROOT / "target/c/phishcnn-simd.wasm"}


@pytest.fixture(scope="module", autouse=True)
def modules():
    run("make", "-s", "-C", FFI, "wasm")


def module_bits(backend, model, folder):
    return run("node", FFI / "tests/c/bits.mjs", MODULES[backend], model, cwd=folder).splitlines()


# (Without SIMD the same number would take minutes.)
@pytest.mark.parametrize("backend, number", [("portable", 10_000), ("simd128", 100_000)])
def test_bits(backend, number, package, tmp_path):
    folder = urls(tmp_path / "urls", number)
    assert module_bits(backend, MODEL, folder) == [backend, *host(package, folder)]


@pytest.mark.parametrize("backend", MODULES)
def test_all_layers(backend, models, package, tmp_path):
    """Those that the embedded model has not, too."""
    folder = urls(tmp_path / "urls", 1_000)
    for model in models:
        assert module_bits(backend, model, folder) == [backend, *host(package, folder, model)], model


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_example(module):
    said = run("node", FFI / "examples/wasm/score.mjs", module, PHISH)
    assert re.fullmatch(rf"phishing (1\.0|0\.9)\d+ {re.escape(PHISH)}\n?", said)
