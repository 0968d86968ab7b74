"""The library as a WebAssembly module in Node.js gives the host's bits."""

import pytest
from conftest import FFI, PHISH, ROOT, run
from targets import MODEL, host, urls

MODULES = {"portable": ROOT / "target/c/phishcnn.wasm", "simd128": ROOT / "target/c/phishcnn-simd.wasm"}


@pytest.fixture(scope="module", autouse=True)
def modules():
    run("make", "-s", "-C", FFI, "wasm")


def test_bits(package, tmp_path):
    folder = urls(tmp_path / "urls", 100_000)
    expected = host(package, folder)
    for backend, module in MODULES.items():
        lines = run("node", FFI / "tests/c/bits.mjs", module, MODEL, cwd=folder).splitlines()
        assert lines[0] == backend
        assert lines[1:] == expected


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_example(module):
    assert run("node", FFI / "examples/wasm/score.mjs", module, PHISH).startswith("phishing 0.9")
