"""Calibration and thresholds, from the validation rows alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from . import metrics
from .data import DataError
from .export import number
from .params import Params
from .typed import Array, Figures


def fit(labels: Array, scores: Array) -> tuple[float, float]:
    """a, b of probability = sigmoid(a·logit + b), by logistic regression with both classes weighing one
    half (base rate 0.5), Newton's method in float64.

    Args:
        labels: bool, or 0 and 1, [n].
        scores: float [n], logits.
    """
    y, x = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    weights = np.where(y > 0.5, 0.5 / max((y > 0.5).sum(), 1), 0.5 / max((y <= 0.5).sum(), 1))
    design = np.stack([x, np.ones_like(x)], 1)
    theta = np.array([0.0, 0.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (weights * (p - y)) + 1e-9 * theta  # finite even for separable rows
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        change = np.linalg.solve(curvature, gradient)
        theta -= change * min(1.0, 4.0 / np.abs(change).max())
        if np.abs(change).max() < 1e-12:
            break
    return float(theta[0]), float(theta[1])


def threshold_at(legitimate_scores: Array, fpr: float) -> float:
    """The lowest observed score t with share(score >= t) <= fpr among the scores of legitimate rows (float [n],
    logits; read as float32); just above the highest where no row may be flagged. Raises IndexError without rows."""
    scores = np.sort(np.asarray(legitimate_scores, np.float32))[::-1]
    allowed = int(np.floor(fpr * len(scores)))
    beyond = scores[allowed] if allowed < len(scores) else -np.inf
    above = scores[scores > beyond]
    return float(above[-1]) if len(above) else float(np.nextafter(scores[0], np.float32(np.inf)))


def calibrate(params: Params, work: Path) -> Figures:
    """Fits on `work/valid.npz` with the best weights and writes `work/calibration.json`."""
    from . import network, train
    from .tokens import Tokens

    valid = Tokens.load(work / "valid.npz")
    weights = train.load_weights(work, params)
    scores = train.logits(network.parse(params.layers), params.output, weights, valid, params.train["buckets"])
    result = summary(valid.labels > 0.5, scores)
    (work / "calibration.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def summary(truth: Array, scores: Array) -> Figures:
    """Calibration, thresholds (logits) and validation figures: `a`, `b`, `phishing`, `suspicious`, `valid`.

    Args:
        truth: bool [n], phishing.
        scores: float32 [n], logits.
    Raises:
        DataError: one class is missing, or the logits rank worse than chance.
    """
    if truth.all() or not truth.any():
        raise DataError("the validation rows need both classes")
    a, b = fit(truth, scores)
    if a <= 0:
        raise DataError("the logits rank the validation rows worse than chance; train the model longer")
    result: Figures = {
        "a": a,
        "b": b,
        "phishing": threshold_at(scores[~truth], 0.001),
        "suspicious": threshold_at(scores[~truth], 0.01),
        "valid": {"auc": metrics.auc(truth, scores), "average_precision": metrics.average_precision(truth, scores)},
    }
    for name in ("0.01", "0.001"):
        point = metrics.recall_at_fpr(truth, scores, float(name))
        if point["resolvable"]:
            result["valid"][f"recall_at_fpr_{name}"] = point["recall"]
    return result


def metadata(summary: Figures) -> dict[str, str]:
    """What a model file says of it."""
    return {
        "phishcnn.calibration": f"{number(summary['a'])} {number(summary['b'])}",
        "phishcnn.thresholds": f"phishing={number(summary['phishing'])} suspicious={number(summary['suspicious'])}",
        "phishcnn.metrics": " ".join(f"valid.{k}={v:.4f}" for k, v in sorted(summary["valid"].items())),
    }
