"""The binary, the wheel and the training framework say the same of the same file."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import phishcnn
import pytest
import synthetic
from conftest import WEIGHTS
from phishcnn_train import evaluate
from phishcnn_train.data import select

COMPACT = WEIGHTS / "models" / "phishcnn-compact.safetensors"
FLOAT = WEIGHTS / "models" / "f32" / "phishcnn-compact.safetensors"  # what the training framework runs


@pytest.fixture(scope="session")
def binary() -> Path:
    path = Path(os.environ.get("PHISHCNN_BINARY", WEIGHTS.parent / "target" / "release" / "phishcnn"))
    if not path.exists():
        pytest.skip(f"{path} is not built (cargo build --release, or set PHISHCNN_BINARY)")
    return path


def check(binary: Path, rows: Path, tmp_path: Path):
    framework = evaluate.evaluate(FLOAT, {"set": str(rows)}, tmp_path / "framework.json")["sets"]["set"]
    command = [binary, "eval", "--model", FLOAT, rows, "--json", tmp_path / "binary.json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    told = json.loads((tmp_path / "binary.json").read_text())
    want = framework["training_framework"]
    assert (told["phishing"], told["legitimate"]) == (want["phishing_rows"], want["legitimate_rows"])
    assert told["auc"] == pytest.approx(want["auc"], abs=5e-5)
    assert told["average_precision"] == pytest.approx(want["average_precision"], abs=5e-5)
    # The core's probability is within 1e-3 of exact arithmetic, and its mean far closer.
    assert told["expected_calibration_error"] == pytest.approx(want["calibration_error"], abs=2e-4)
    for point, name in zip(told["recall_at"], ("0.01", "0.001", "0.0001"), strict=True):
        assert point["resolvable"] == want["recall_at_fpr"][name]["resolvable"]
        if point["resolvable"]:
            assert point["recall"] == pytest.approx(want["recall_at_fpr"][name]["recall"], abs=5e-5)
    for name, counts in want["confusion"].items():
        assert {k: told["thresholds"][name][k] for k in counts} == counts


def test_metrics_on_made_up_rows(binary, tmp_path):
    check(binary, synthetic.write(tmp_path / "rows.tsv", 5000, 7), tmp_path)


def test_metrics_on_real_rows(binary, shared, tmp_path):
    with gzip.open(shared / "data" / "valid.tsv.gz", "rb") as lines:
        rows = b"".join(itertools.islice(lines, 8000))
    (tmp_path / "rows.tsv").write_bytes(rows)
    check(binary, tmp_path / "rows.tsv", tmp_path)


def test_the_binary_and_the_wheel_score_alike(binary, tmp_path):
    urls = select(str(synthetic.write(tmp_path / "rows.tsv", 400, 8))).urls
    urls += [
        b"",
        b"http://",
        b"\xff\xfe",
        b"a" * 70_000,
        b"http://u@[::1]:8080\\x?y#z",
        "http://bücher.example".encode(),
    ]
    command = [binary, "score", "--format", "ndjson", "--model", COMPACT, "-"]
    done = subprocess.run(command, input=b"\n".join(urls) + b"\n", stdout=subprocess.PIPE)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    scores = phishcnn.Model.load(COMPACT).score_batch(urls)
    assert done.returncode == 1 and len(rows) == len(urls)
    assert [row.get("error", {}).get("code", 0) for row in rows] == scores.errors.tolist()
    told = np.array([row.get("logit", np.nan) for row in rows], np.float32)
    assert told.tobytes() == scores.logit.tobytes()


def test_every_surface_embeds_the_same_model(binary):
    told = subprocess.run([binary, "model", "info", "--format", "json"], check=True, stdout=subprocess.PIPE).stdout
    digest = hashlib.sha256(COMPACT.read_bytes()).hexdigest()
    assert json.loads(told)["sha256"] == phishcnn.Model().sha256 == digest
