"""Every kind of batch gives one row for each item, in order."""

import subprocess
import sys

import numpy as np
import pandas as pd
import phishcnn
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

URLS = ["http://a.b.co.uk/x", "", None, "b\0", "https://bücher.example/", "x" * 70_000, "c"]
ERRORS = [0, 201, 203, 0, 0, 202, 0]
MODEL = phishcnn.Model()
EXPECTED = MODEL.score_batch(URLS)

BATCHES = {
    "tuple": tuple(URLS),
    "iterator": lambda: iter(URLS),
    "NumPy objects": np.array(URLS, object),
    "string": pa.array(URLS),
    "large_string": pa.array(URLS, pa.large_string()),
    "string_view": pa.array(URLS, pa.string_view()),
    "binary": pa.array(URLS, pa.binary()),
    "large_binary": pa.array(URLS, pa.large_binary()),
    "binary_view": pa.array(URLS, pa.binary_view()),
    "dictionary": pa.array(URLS).dictionary_encode(),
    "chunks": pa.chunked_array([URLS[:1], [], URLS[1:4], URLS[4:]], pa.string()),
    "slice of chunks": pa.chunked_array([["z"], URLS[:3], [*URLS[3:], "z"]]).slice(1, len(URLS)),
    "slice": pa.array(["z", *URLS, "z"])[1:-1],
    "slice of views": pa.array(["z", *URLS, "z"], pa.string_view())[1:-1],
    "slice of a dictionary": pa.array(["z", *URLS]).dictionary_encode()[1:],
    "Polars": pl.Series(URLS),
    "Polars categories": pl.Series(URLS, dtype=pl.Categorical),
    "pandas": pd.Series(URLS),
    "pandas objects": pd.Series(URLS, dtype=object),
    "pandas in Python": pd.Series(URLS, dtype=pd.StringDtype("python")),
    "pandas with Arrow": pd.Series(URLS, dtype=pd.ArrowDtype(pa.string())),
    "pandas categories": pd.Series(URLS, dtype="category"),
    "pandas index": pd.Index(URLS),
    "pandas slice": pd.Series(["z", *URLS]).iloc[1:],
}


def test_columns_are_read_where_they_lie():
    """Of a hundred megabytes of text nothing is copied; a list of the same strings would need as much again."""
    code = """
import sys
import pandas as pd, polars as pl, pyarrow as pa
import phishcnn
def peak():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
text = "http://a.example/" + "x" * 50_000
column = pa.array([text] * 1000, pa.large_string())
columns = [column, pa.chunked_array([column, column]), pl.from_arrow(column), pd.Series(pd.arrays.ArrowExtensionArray(column))]
columns.append(column.cast(pa.string_view()))
model = phishcnn.Model()
model.score_batch(column[:10], threads=2)
before = peak()
for column in columns:
    assert model.score_batch(column, threads=2).truncated.tolist() == [True] * len(column)
    assert peak() - before < 10 << 20, (type(column), peak() - before)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("threads", [None, 2, 100])
@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_of_any_kind(kind, threads):
    batch = BATCHES[kind]
    scores = MODEL.score_batch(batch() if callable(batch) else batch, threads)
    assert scores.errors.tolist() == ERRORS
    for got, expected in zip(scores, EXPECTED, strict=True):
        assert got.dtype == expected.dtype and got.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "batch, errors",
    [
        (np.array(["a", "bcd", ""]), [0, 0, 201]),
        (np.array([b"a", b"\xff"]), [0, 0]),
        (np.array(["a", "é" * 300, ""], np.dtypes.StringDType()), [0, 0, 201]),
        (np.array(["a", np.nan], np.dtypes.StringDType(na_object=np.nan)), [0, 203]),
        (pd.Series(["a", np.nan, pd.NA, 1.5, b"b"], dtype=object), [0, 203, 203, 203, 0]),
        ([float("nan"), True, ["a"], bytearray(b"a"), np.str_("a")], [203, 203, 203, 0, 0]),
        (pa.nulls(2), [203, 203]),
        (pa.array([], pa.string()), []),
        (pa.chunked_array([], pa.string()), []),
        ([], []),
    ],
)
def test_odd_batches(batch, errors):
    assert MODEL.score_batch(batch).errors.tolist() == errors
    assert phishcnn.tokenize_batch(batch).errors.tolist() == errors


@pytest.mark.parametrize(
    "batch",
    ["http://one.example/", b"one", 5, None, pa.array([1]), np.zeros((2, 2)), np.array("a"), pa.table({"url": ["a"]})],
)
def test_what_is_no_batch_is_refused(batch):
    with pytest.raises((TypeError, ValueError)):
        MODEL.score_batch(batch)


def test_a_string_that_utf8_cannot_hold_is_the_bytes_it_came_from():
    assert MODEL.score("a\udcff") == MODEL.score(b"a\xff")
    assert MODEL.score_batch(["\ud800"]).errors.tolist() == [0]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.none() | st.text(max_size=20), max_size=30),
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_chunks_and_slices_change_nothing(urls, threads, cut, start):
    whole = MODEL.score_batch(urls)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        chunks = pa.chunked_array([urls[:cut], urls[cut:]], kind)
        assert MODEL.score_batch(chunks, threads).logit.tobytes() == whole.logit.tobytes()
        assert MODEL.score_batch(chunks.slice(start)).logit.tobytes() == whole.logit[start:].tobytes()
