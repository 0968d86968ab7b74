"""The pages suffice for a second implementation: `second.py` answers what the oracle and the engine answer."""

import json
import subprocess

import numpy as np
import pytest
import second
from conftest import ROOT
from safetensors.numpy import save_file

VECTORS = ROOT / "core/tests/vectors"
MODELS = sorted((ROOT / "weights/models").glob("*.safetensors")) + sorted((ROOT / "weights/candidates").glob("*int8*"))
URLS = [
    "https://en.wikipedia.org/wiki/Phishing",
    "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login",
    "HTTP://u:p@WWW.Shop.Example.co.uk:8080/a//b?c=%20&d#e",
    "x",
    "https://例え.jp/" + "パス/" * 60,
]


def cases(name):
    return json.loads((VECTORS / f"{name}.json").read_text())["vectors"]


def text(vector):
    url = bytes.fromhex(vector["url_hex"]) if "url_hex" in vector else vector["url"].encode()
    repeat = vector.get("repeat", {"text": "", "times": 0})
    return url + repeat["text"].encode() * repeat["times"]


def accepted(model, name):
    """The vectors with a score; those with an error are refused with its number."""
    for vector in cases(name):
        if "error" not in vector:
            yield vector
            continue
        with pytest.raises(second.Refused, match=str(vector["error"])):
            model.tokens(text(vector))


@pytest.mark.parametrize("name", ["url-bytes", "keras-char"])
def test_golden_vectors(name):
    model = second.Model(VECTORS / f"{name}.safetensors")
    for vector in accepted(model, name):
        url = text(vector)
        form, parts = second.canonical(url)
        assert (len(form), form[:256].hex()) == (vector["canonical_length"], vector["canonical_hex"]), url[:80]
        assert "".join(map(str, parts[:256])) == vector["parts"], url[:80]
        ids, _, truncated = model.tokens(url)
        assert (ids, truncated) == (vector["ids"], vector["truncated"]), url[:80]
        assert model.logit(url) == pytest.approx(vector["logit"], abs=1e-5), url[:80]


@pytest.mark.parametrize("name", ["int8-url-bytes", "int8-keras-char"])
def test_integer_vectors(name):
    model = second.Model(VECTORS / f"{name}.safetensors")
    for vector in accepted(model, name):
        assert model.logit(text(vector)) * 2**20 == vector["sum"], vector


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_released_models(binary, path):
    """f32 within the tolerance of the page, int8 to the last digit that is printed."""
    rows = "\n".join(URLS)
    command = [binary, "score", "-", "--format", "ndjson", "--model", path]
    said = subprocess.run(command, input=rows, check=True, capture_output=True, text=True).stdout.splitlines()
    model = second.Model(path)
    for url, row in zip(URLS, map(json.loads, said), strict=True):
        want = model.logit(url.encode())
        assert row["logit"] == pytest.approx(want, abs=0 if model.int8 else 1e-4, rel=1e-7), url
    assert len(said) == len(URLS)


@pytest.mark.parametrize("int8", [True, False], ids=["int8", "f32"])
def test_ngrams(binary, tmp_path, int8):
    """The layer that the vectors' models have not, put behind those of a released model: URLs of all its own, a bare
    scheme, which is the mask alone, and one that is cut."""
    path = ROOT / "weights/models" / ("phishcnn-compact.safetensors" if int8 else "f32/phishcnn-compact.safetensors")
    old = second.Model(path)
    rng, rows = np.random.default_rng(1), 1 << 17
    table, scale = rng.integers(-128, 128, rows).astype("i1"), np.array([0.031, 0.019, 0.023, 0.017], "<f4")
    tensors = old.tensors | {"words.weight": table, "words.scale": scale}
    metadata = old.metadata | {"phishcnn.layers": old.metadata["phishcnn.layers"] + "; ngrams words 1..5"}
    # The numbers that it must answer were the old model's.
    del metadata["phishcnn.golden"]
    save_file(tensors, tmp_path / "model.safetensors", metadata)
    urls = [*URLS, "http://", "example.com/" + "a1b2/" * 100]
    command = [binary, "score", "-", "--format", "ndjson", "--model", tmp_path / "model.safetensors"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, input="\n".join(urls)).stdout
    model = second.Model(tmp_path / "model.safetensors")
    for url, row in zip(urls, map(json.loads, said.splitlines()), strict=True):
        want = model.logit(url.encode())
        assert row["logit"] == pytest.approx(want, abs=0 if int8 else 1e-4, rel=1e-7), url
        assert abs(want - old.logit(url.encode())) > 1e-3, url
