"""Evaluation of an exported file: through the wheel (what users get) and through JAX (what was trained)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import phishcnn

from . import metrics, network
from .data import Rows, select
from .export import read
from .tokens import Tokens, tokenize

SLICE_MIN = 20  # legitimate rows under which a tag's shares are left out
BUCKETS = [16, 24, 32, 48, 64, 96, 128, 192, 256]


def jax_logits(model: Path, urls: list[bytes]) -> np.ndarray:
    """float32 [n]: logits of the training framework for an exported file."""
    from .train import logits

    tensors, metadata = read(model)
    chars = tensors.pop("chars", None)
    tokens = tokenize(urls, metadata["phishcnn.input"], chars)
    rows = Tokens.unlabelled(tokens)
    longest = int(rows.lengths.max())
    buckets = [longest] if chars is not None else sorted({min(b, longest) for b in BUCKETS} | {longest})
    return logits(network.parse(metadata["phishcnn.layers"]), metadata["phishcnn.output"], tensors, rows, buckets)


def slices(rows: Rows, scores: np.ndarray, thresholds: dict[str, float]) -> dict:
    """Shares of the legitimate rows with each tag that reach the thresholds."""
    out = {}
    for tag in sorted({t for tags in rows.tags for t in tags}):
        picked = scores[rows.tagged(tag) & (rows.labels == 0)]
        if len(picked) >= SLICE_MIN:
            out[tag] = {
                "legitimate_rows": len(picked),
                **{k: float((picked >= t).mean()) for k, t in thresholds.items()},
            }
    return out


def evaluate(model: Path, sets: dict[str, str], output: Path | None, threads: int = 1) -> dict:
    """Reports on each named set (`data.select` syntax) and writes the JSON."""
    engine = phishcnn.Model.load(str(model))
    _, metadata = read(model)
    thresholds = {k: float(v) for k, v in (w.split("=") for w in metadata["phishcnn.thresholds"].split(" "))}
    a, b = map(float, metadata["phishcnn.calibration"].split(" "))
    result = {
        "model": metadata["phishcnn.name"],
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "thresholds": thresholds,
        "sets": {},
    }
    for name, spec in sets.items():
        rows = select(spec)
        scored = engine.score_batch(rows.urls, threads=threads)
        usable = np.asarray(scored.errors) == 0
        refused = int((~usable).sum())
        rows = rows.take(usable)
        wheel, probability = np.asarray(scored.logit)[usable], np.asarray(scored.probability)[usable]
        trained = jax_logits(model, rows.urls)
        with np.errstate(over="ignore"):
            trained_p = 1 / (1 + np.exp(-(a * trained.astype(np.float64) + b)))
        result["sets"][name] = {
            "rows_of": ", ".join(item.replace("\\", "/").rsplit("/", 1)[-1] for item in spec.split(",")),
            "engine": metrics.report(rows.labels, wheel, probability, thresholds),
            "training_framework": metrics.report(rows.labels, trained, trained_p, thresholds),
            "largest_logit_difference": float(np.abs(wheel - trained).max()),
            "refused_rows": refused,
            "slices": slices(rows, wheel, thresholds),
        }
        print(name, summary(result["sets"][name]["engine"]), flush=True)
    output = output or model.parent / f"{model.stem}.metrics.json"
    output.write_text(json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return result


def summary(report: dict) -> str:
    """One line for the terminal."""
    recall = {
        k: f"{v['recall']:.4f}" if v["resolvable"] else "not resolvable" for k, v in report["recall_at_fpr"].items()
    }
    return f"auc {report['auc']} recall at FPR {recall} ece {report['calibration_error']:.4f}"
