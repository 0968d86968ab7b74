"""The wheel against the golden vectors, and bit for bit against the core."""

import numpy as np
import phishcnn
import pyarrow as pa
import pytest
from conftest import Vectors, random_urls


def bits(scores: phishcnn.Scores) -> list[str]:
    rows = zip(scores.logit.view(np.uint32).tolist(), scores.errors.tolist(), strict=True)
    return [str(error) if error else f"{logit:08x}" for logit, error in rows]


def test_scores_are_those_of_the_oracle(vectors: Vectors):
    scores = phishcnn.Model.load(vectors.model).score_batch(vectors.urls)
    assert scores.errors.tolist() == [row.get("error", 0) for row in vectors.rows]
    good = [(i, row) for i, row in enumerate(vectors.rows) if "error" not in row]
    assert len(good) > 50
    for i, row in good:
        assert scores.logit[i] == pytest.approx(row["logit"], abs=1e-4)
        assert scores.probability[i] == pytest.approx(row["probability"], abs=1e-3)
        assert phishcnn.VERDICTS[scores.verdict[i]] == row["verdict"]
        assert scores.truncated[i] == row["truncated"]


def test_tokens_and_segments_are_those_of_the_oracle(vectors: Vectors):
    model = phishcnn.Model.load(vectors.model)
    parts = [
        "scheme",
        "user_info",
        "subdomain",
        "registrable_label",
        "public_suffix",
        "port",
        "path",
        "query",
        "fragment",
    ]
    for url, row in zip(vectors.urls, vectors.rows, strict=True):
        if "error" in row:
            for refused in (model.score, model.explain, model.tokenize):
                with pytest.raises(phishcnn.PhishcnnError) as caught:
                    refused(url)
                assert caught.value.code == row["error"]
            continue
        assert model.tokenize(url).ids.tolist() == row["ids"]
        found = [(s.start, s.end, parts.index(s.part)) for s in model.explain(url).segments]
        assert found == [tuple(s[:3]) for s in row["segments"]]
        contributions = [s.contribution for s in model.explain(url).segments]
        assert contributions == pytest.approx([s[3] for s in row["segments"]], abs=2e-4)


@pytest.mark.parametrize("name", ["int8-url-bytes", "int8-keras-char"])
def test_integers_are_those_of_the_oracle(name: str):
    vectors = Vectors(name)
    scores = phishcnn.Model.load(vectors.model).score_batch(vectors.urls)
    assert scores.errors.tolist() == [row.get("error", 0) for row in vectors.rows]
    good = [(i, row) for i, row in enumerate(vectors.rows) if "error" not in row]
    assert len(good) > 50
    for i, row in good:
        # A power of two below the sum: nothing is rounded, and nothing may differ.
        assert float(scores.logit[i]) * (1 << 20) == row["sum"], row


def test_every_way_in_gives_the_bits_of_the_core(vectors: Vectors, core_lines):
    expected = core_lines(vectors.urls, vectors.model)
    model = phishcnn.Model.load(vectors.model)
    half = len(vectors.urls) // 2
    chunks = pa.chunked_array([vectors.urls[:half], vectors.urls[half:]], pa.binary())
    for batch in (vectors.urls, np.array(vectors.urls, object), pa.array(vectors.urls, pa.binary()), chunks):
        for threads in (None, 3):
            assert bits(model.score_batch(batch, threads)) == expected
    for url, line in zip(vectors.urls, expected, strict=True):
        if len(line) == 8:
            assert f"{np.float32(model.score(url).logit).view(np.uint32):08x}" == line


def test_the_embedded_model_gives_the_bits_of_the_core(core_lines):
    urls = random_urls(2000)
    expected = core_lines([url.encode() for url in urls])
    assert bits(phishcnn.Model().score_batch(urls)) == expected
