"""Rows that the service's feedback gives are rows to train on: the real program's export goes through `prepare`."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic
from conftest import WEIGHTS
from phishcnn_train import prepare
from phishcnn_train.data import read_rows

# URL, what it is by the one who tells (a tab becomes %09), registered domain
SAID = [
    ("http://login.paypal.example-pages.top/verify", "phishing", "example-pages.top"),
    ("https://riverstone.example.org/über/uns", "legitimate", "example.org"),
    ("http://tab.example.net/a\tb", "phishing", "example.net"),
    ("http://gardenmusic.example.com/about", "legitimate", "example.com"),
]


def this_month() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m")


@pytest.fixture
def service(tmp_path) -> Iterator[tuple[list[str], str]]:
    """(the program with its store, address of a running one)."""
    binary = Path(os.environ.get("PHISHCNN_BINARY", WEIGHTS.parent / "target" / "release" / "phishcnn"))
    if not binary.exists():
        pytest.skip(f"{binary} is not built (make binary, or set PHISHCNN_BINARY)")
    store = ["--feedback", str(tmp_path / "feedback.sqlite")]
    command = [str(binary), "serve", "--listen", "127.0.0.1:0", *store]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]}) as process:
        try:
            assert process.stderr
            address = next(m[1] for line in process.stderr if (m := re.search(r" serves .* on (http://[\d.:]+)", line)))
            yield [str(binary), "feedback", "export", "--format", "tsv", *store], address
        finally:
            process.terminate()


def test_exported_feedback_is_prepared_with_labels_months_and_sources(service, tmp_path):
    export, address = service
    months = {this_month()}  # two, where the test runs into the next
    for url, truth, _ in SAID:
        body = json.dumps({"url": url, "truth": truth, "client": "one"}).encode()
        assert urllib.request.urlopen(f"{address}/v1/feedback", body, timeout=20).status == 200
    feedback = tmp_path / "feedback.tsv"
    feedback.write_bytes(subprocess.run(export, check=True, stdout=subprocess.PIPE).stdout)
    months.add(this_month())

    rows = read_rows(feedback)
    want = {url.replace("\t", "%09").encode(): (truth, group) for url, truth, group in SAID}
    assert sorted(rows.urls) == sorted(want)
    for url, label, source, month in zip(rows.urls, rows.labels, rows.sources, rows.months, strict=True):
        assert label == (want[url][0] == "phishing") and source == "feedback" and month in months

    more, valid = (synthetic.write(tmp_path / name, 1200, seed) for seed, name in enumerate(("more", "valid")))
    prepare.prepare([more, feedback], [valid], tmp_path / "rows")
    found = read_rows(tmp_path / "rows" / "train.tsv.gz")
    at = {url: i for i, url in enumerate(found.urls)}
    for url, (truth, group) in want.items():
        i = at[url]
        assert (found.labels[i], found.sources[i], found.groups[i]) == (truth == "phishing", "feedback", group)
        assert found.months[i] in months
