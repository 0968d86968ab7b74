"""The wheel against the core's vectors and its own promises."""

import hashlib
from pathlib import Path

import numpy as np
import phishcnn
import pytest

ROOT = Path(__file__).parents[2]
ODD = ["http://a.b.co.uk/x", "", None, b"\xff\x00", "https://", "x" * 70_000, 7]


def test_embedded_model_is_the_file_of_this_repository():
    file = (ROOT / "weights/models/phishcnn-compact.safetensors").read_bytes()
    model = phishcnn.Model()
    assert model.sha256 == hashlib.sha256(file).hexdigest()
    assert model.info["phishcnn.name"] == "phishcnn-compact"


def test_a_row_that_cannot_be_scored_keeps_its_place_and_number():
    scores = phishcnn.Model().score_batch(ODD)
    assert scores.errors.tolist() == [0, 201, 203, 0, 0, 202, 203]
    assert np.isnan(scores.logit).tolist() == (scores.errors != 0).tolist()
    assert np.isnan(scores.probability).tolist() == (scores.errors != 0).tolist()


def test_tokens_of_odd_rows():
    tokens = phishcnn.tokenize_batch(ODD)
    assert tokens.errors.tolist() == [0, 201, 203, 0, 0, 202, 203]
    assert np.diff(tokens.offsets).tolist() == [11, 0, 0, 2, 1, 0, 0]
    assert tokens.ids[-3:].tolist() == [255, 0, 256]


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_change_nothing(threads):
    urls = [f"https://host{i}.example/{'a' * i}" for i in range(100)]
    one = phishcnn.Model().score_batch(urls)
    many = phishcnn.Model().score_batch(iter(urls), threads=threads)
    for a, b in zip(one, many, strict=True):
        assert a.tobytes() == b.tobytes()


def test_text_and_its_utf8_bytes_score_alike():
    url = "http://bücher.example/ß"
    scores = phishcnn.Model().score_batch([url, url.encode()])
    assert scores.logit[0] == scores.logit[1]


def test_batches_may_be_empty():
    assert len(phishcnn.Model().score_batch([]).logit) == 0
    assert phishcnn.tokenize_batch([]).offsets.tolist() == [0]


@pytest.mark.parametrize(
    "file, number", [(b"", "101"), (b"not a model file", "101"), (b"\x02" + b"\0" * 7 + b"{}", "108")]
)
def test_a_file_that_is_no_model_is_refused_by_number(file, number):
    with pytest.raises(ValueError, match=number):
        phishcnn.Model.from_bytes(file)


def test_a_missing_file_is_an_oserror():
    with pytest.raises(FileNotFoundError):
        phishcnn.Model.load("no-such-model.safetensors")


@pytest.mark.parametrize("line", ["", "url-bytes/9 max=256", "keras-char/1 length=200"])
def test_an_unknown_input_line_is_refused(line):
    with pytest.raises(ValueError, match="104"):
        phishcnn.tokenize_batch(["a"], input=line)


def test_keras_characters_need_their_table():
    line = "keras-char/1 length=4 pad=pre truncate=pre canonical=no"
    with pytest.raises(ValueError, match="105"):
        phishcnn.tokenize_batch(["a"], input=line)
    table = np.array([0xFFFFFFFF, ord("a"), 0xFFFFFFFE], np.uint32)
    tokens = phishcnn.tokenize_batch(["aé", "bcaaa"], input=line, chars=table)
    assert tokens.ids.tolist() == [0, 0, 1, 2, 2, 1, 1, 1]
    assert tokens.truncated.tolist() == [False, True]
