"""Metrics of a binary classifier; score = logit, label 1 = phishing. Same definitions as `phishcnn eval`."""

from __future__ import annotations

import math

import numpy as np

FPRS = {"0.01": 0.01, "0.001": 0.001, "0.0001": 0.0001}
RESOLVABLE = 20  # expected false positives under which a recall at that FPR says nothing


def roc(labels, scores):
    """(thresholds, tp, fp) for `score >= threshold` at each distinct score, falling, after the empty point."""
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    tp = np.cumsum(labels)[last]
    return np.append(np.inf, scores[last]), np.append(0, tp), np.append(0, last + 1 - tp)


def auc(labels, scores) -> float | None:
    """Area under the ROC curve, ties counted half; None unless both classes occur."""
    _, tp, fp = roc(labels, scores)
    return float(np.trapezoid(tp, fp) / (tp[-1] * fp[-1])) if tp[-1] and fp[-1] else None


def average_precision(labels, scores) -> float | None:
    """Sum of (R_n - R_(n-1)) P_n over the distinct thresholds; None without a positive."""
    _, tp, fp = roc(labels, scores)
    if not tp[-1]:
        return None
    return float(np.sum(np.diff(tp) / tp[-1] * tp[1:] / (tp[1:] + fp[1:])))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    p, centre = hits / n, hits / n + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def recall_at_fpr(labels, scores, fpr: float) -> dict:
    """Highest recall among the ROC points with false-positive rate <= fpr, with counts and interval."""
    thresholds, tp, fp = roc(labels, scores)
    negatives, positives = int(fp[-1]), int(tp[-1])
    if not positives or negatives * fpr < RESOLVABLE:
        return {"resolvable": False}
    best = int(np.flatnonzero(fp <= fpr * negatives)[-1])  # tp grows with every point
    low, high = wilson(int(tp[best]), positives)
    return {
        "resolvable": True,
        "recall": float(tp[best] / positives),
        "low": low,
        "high": high,
        "threshold": None if best == 0 else float(thresholds[best]),
        "tp": int(tp[best]),
        "fp": int(fp[best]),
    }


def calibration_error(labels, probabilities, bins: int = 15) -> float:
    """Expected calibration error at base rate 0.5: equal-width bins, each class weighing one half."""
    labels, p = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    weights = np.where(labels, 0.5 / max(labels.sum(), 1), 0.5 / max((~labels).sum(), 1))
    index = np.minimum((p * bins).astype(int), bins - 1)
    excess = np.bincount(index, weights * (p - labels), bins)
    return float(np.abs(excess).sum() / weights.sum())


def confusion(labels, scores, threshold: float) -> dict:
    """Counts at `score >= threshold`."""
    labels, called = np.asarray(labels, bool), np.asarray(scores) >= threshold
    return {
        "tp": int((labels & called).sum()),
        "fp": int((~labels & called).sum()),
        "fn": int((labels & ~called).sum()),
        "tn": int((~labels & ~called).sum()),
    }


def report(labels, scores, probabilities, thresholds: dict[str, float]) -> dict:
    """All of the above for one set of rows; `thresholds`: logits of `phishing` and `suspicious`."""
    labels = np.asarray(labels, bool)
    return {
        "phishing_rows": int(labels.sum()),
        "legitimate_rows": int((~labels).sum()),
        "auc": auc(labels, scores),
        "average_precision": average_precision(labels, scores),
        "recall_at_fpr": {name: recall_at_fpr(labels, scores, f) for name, f in FPRS.items()},
        "confusion": {name: confusion(labels, scores, t) for name, t in thresholds.items()},
        "calibration_error": calibration_error(labels, probabilities),
    }
