"""Metrics of a binary classifier; score = logit, label 1 = phishing. Same definitions as `phishcnn eval`.

Throughout, `labels` is bool or 0 and 1, [n], `scores` float [n], logits, and `probabilities` float [n], in [0, 1].
Rates and shares are in [0, 1], too.
"""

from __future__ import annotations

import math

import numpy as np

from .typed import Array, Figures

FPRS = {"0.01": 0.01, "0.001": 0.001, "0.0001": 0.0001}
RESOLVABLE = 20  # expected false positives under which a recall at that FPR is not told as a figure
BASE_RATES = {"1:100": 0.01, "1:1,000": 0.001, "1:10,000": 0.0001}  # phishing among all URLs


def roc(labels: Array, scores: Array) -> tuple[Array, Array, Array]:
    """(thresholds, tp, fp) for `score >= threshold` at each distinct score, falling, after the empty point: float64,
    int and int [1 + distinct scores]. Raises IndexError without rows."""
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    tp = np.cumsum(labels)[last]
    return np.append(np.inf, scores[last]), np.append(0, tp), np.append(0, last + 1 - tp)


def auc(labels: Array, scores: Array) -> float | None:
    """Area under the ROC curve of scores [n], ties counted half; None unless both classes occur."""
    _, tp, fp = roc(labels, scores)
    return float(np.trapezoid(tp, fp) / (tp[-1] * fp[-1])) if tp[-1] and fp[-1] else None


def auc_of(phishing: Array, legitimate: Array) -> float | None:
    """AUC of the logits of two groups, float [n] and [m]; None where one is empty."""
    labels = np.repeat([True, False], [len(phishing), len(legitimate)])
    return auc(labels, np.concatenate([phishing, legitimate])) if labels.any() and not labels.all() else None


def average_precision(labels: Array, scores: Array) -> float | None:
    """Sum of (R_n - R_(n-1)) P_n over the distinct thresholds of scores [n]; None without a positive."""
    _, tp, fp = roc(labels, scores)
    if not tp[-1]:
        return None
    return float(np.sum(np.diff(tp) / tp[-1] * tp[1:] / (tp[1:] + fp[1:])))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): within [0, 1] and around the share, whatever rounding does."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    p, centre = hits / n, hits / n + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, min(p, low)), min(1.0, max(p, high))


def share(hits: int, n: int) -> Figures:
    """A share with its counts and 95 % interval; `share` is None of nothing."""
    low, high = wilson(hits, n)
    return {"hits": int(hits), "rows": int(n), "share": hits / n if n else None, "low": low, "high": high}


def difference(new: Figures, old: Figures) -> tuple[float, float]:
    """95 % interval of the difference new - old of two shares (Newcombe 1998, method 10). For the same rows
    scored twice at given thresholds, whose errors go together, it is too wide rather than too narrow."""
    d = new["share"] - old["share"]
    below = math.hypot(new["share"] - new["low"], old["high"] - old["share"])
    above = math.hypot(new["high"] - new["share"], old["share"] - old["low"])
    return d - below, d + above


def precision(tp: int, positives: int, fp: int, negatives: int) -> Figures:
    """Share of the flagged URLs that are phishing at each base rate; the interval takes recall and
    false-positive rate at opposite ends of theirs."""
    recall, flagged = share(tp, positives), share(fp, negatives)

    def at(rate: float, r: float, f: float) -> float | None:
        called = rate * r + (1 - rate) * f
        return rate * r / called if called else None

    out = {}
    for name, rate in BASE_RATES.items():
        out[name] = {
            "precision": at(rate, recall["share"], flagged["share"]) if positives and negatives else None,
            "low": at(rate, recall["low"], flagged["high"]),
            "high": at(rate, recall["high"], flagged["low"]),
        }
    return out


def recall_at_fpr(labels: Array, scores: Array, fpr: float) -> Figures:
    """Highest recall of scores [n] among the ROC points with false-positive rate <= fpr, with counts and intervals.

    The interval of the recall is that of the share, and of the threshold, which rests on few false positives: its ends
    are those of the recall where as many rows are flagged as the ends of the false-positive rate's interval say.
    Where fewer than 20 false positives are expected the point is not `resolvable`: a handful of rows
    decides it. What it would be stands under `indicative`, with the interval of its false-positive rate.
    """
    thresholds, tp, fp = roc(labels, scores)
    negatives, positives = int(fp[-1]), int(tp[-1])
    if not positives or not negatives:
        return {"resolvable": False}
    best = int(np.flatnonzero(fp <= fpr * negatives)[-1])  # tp grows with every point
    fpr_low, fpr_high = wilson(int(fp[best]), negatives)
    strict, lax = (int(np.flatnonzero(fp <= share * negatives)[-1]) for share in (fpr_low, fpr_high))
    low, high = wilson(int(tp[strict]), positives)[0], wilson(int(tp[lax]), positives)[1]
    point = {
        "recall": float(tp[best] / positives),
        "low": low,
        "high": high,
        "threshold": None if best == 0 else float(thresholds[best]),
        "tp": int(tp[best]),
        "fp": int(fp[best]),
        "fpr_low": fpr_low,
        "fpr_high": fpr_high,
        "precision": precision(int(tp[best]), positives, int(fp[best]), negatives),
    }
    if negatives * fpr < RESOLVABLE:
        return {"resolvable": False, "indicative": point}
    return {"resolvable": True, **point}


def resampled(labels: Array, scores: Array, rounds: int = 500) -> dict[str, list[float]]:
    """Recall at each resolvable rate of `FPRS` in `rounds` bootstrap samples of the n rows (Efron 1979), the threshold
    found anew in each: a row counts as often as a Poisson variable of mean 1 says. All models of the same rows get the
    same samples, so that the differences of two have the spread of a paired comparison."""
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    rates = {name: rate for name, rate in FPRS.items() if labels.any() and (~labels).sum() * rate >= RESOLVABLE}
    out: dict[str, list[float]] = {name: [] for name in rates}
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    rng = np.random.default_rng(1)
    for _ in range(rounds if rates else 0):
        times = rng.poisson(1, len(scores))[order]
        tp, fp = (np.append(0, np.cumsum(times * of)[last]) for of in (labels[order], ~labels[order]))
        for name, rate in rates.items():
            best = np.searchsorted(fp, rate * fp[-1], side="right") - 1
            out[name].append(round(float(tp[best] / max(tp[-1], 1)), 5))
    return out


def calibration_error(labels: Array, probabilities: Array, bins: int = 15) -> float:
    """Expected calibration error of probabilities [n] at base rate 0.5: equal-width bins, each class one half."""
    labels, p = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    weights = np.where(labels, 0.5 / max(labels.sum(), 1), 0.5 / max((~labels).sum(), 1))
    index = np.minimum((p * bins).astype(int), bins - 1)
    excess = np.bincount(index, weights * (p - labels), bins)
    return float(np.abs(excess).sum() / weights.sum())


def reliability(labels: Array, probabilities: Array, bins: int = 15) -> list[Figures]:
    """The bins of `calibration_error` that have rows: mean probability, share of phishing at base rate 0.5, rows."""
    labels, p = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    weights = np.where(labels, 0.5 / max(labels.sum(), 1), 0.5 / max((~labels).sum(), 1))
    index = np.minimum((p * bins).astype(int), bins - 1)
    out = []
    for b in range(bins):
        inside = index == b
        total = weights[inside].sum()
        if total:
            told, true = ((weights * x)[inside].sum() / total for x in (p, labels))
            out.append({"probability": float(told), "phishing": float(true), "rows": int(inside.sum())})
    return out


def curve(labels: Array, scores: Array, points: int = 120) -> list[list[float]]:
    """[false-positive rate, recall] of scores [n] at up to `points` rates on a log axis, from one false positive on;
    nothing unless both classes occur."""
    _, tp, fp = roc(labels, scores)
    if not tp[-1] or not fp[-1]:
        return []
    rates = np.unique(np.round(np.geomspace(1, fp[-1], points)))
    best = np.searchsorted(fp, rates, side="right") - 1
    return [[float(fp[b] / fp[-1]), float(tp[b] / tp[-1])] for b in np.unique(best).tolist()]


def histogram(labels: Array, scores: Array, width: float = 0.5, edge: float = 20.0) -> Figures:
    """Counts of both classes by score [n], in bins of `width` logits; beyond ±`edge` they are in the outer bins."""
    labels = np.asarray(labels, bool)
    edges = np.arange(-edge, edge + width, width)
    clipped = np.clip(np.asarray(scores, np.float64), -edge, edge - width / 2)
    return {
        "from": -edge,
        "width": width,
        "phishing": np.histogram(clipped[labels], edges)[0].tolist(),
        "legitimate": np.histogram(clipped[~labels], edges)[0].tolist(),
    }


def confusion(labels: Array, scores: Array, threshold: float) -> Figures:
    """Counts of scores [n] at `score >= threshold`."""
    labels, called = np.asarray(labels, bool), np.asarray(scores) >= threshold
    return {
        "tp": int((labels & called).sum()),
        "fp": int((~labels & called).sum()),
        "fn": int((labels & ~called).sum()),
        "tn": int((~labels & ~called).sum()),
    }


def report(labels: Array, scores: Array, probabilities: Array, thresholds: dict[str, float]) -> Figures:
    """All of the above for the n rows of one set; `thresholds`: logits of `phishing` and `suspicious`."""
    labels = np.asarray(labels, bool)
    counts = {name: confusion(labels, scores, t) for name, t in thresholds.items()}
    return {
        "phishing_rows": int(labels.sum()),
        "legitimate_rows": int((~labels).sum()),
        "auc": auc(labels, scores),
        "average_precision": average_precision(labels, scores),
        "recall_at_fpr": {name: recall_at_fpr(labels, scores, f) for name, f in FPRS.items()},
        "confusion": counts,
        "precision": {k: precision(c["tp"], c["tp"] + c["fn"], c["fp"], c["fp"] + c["tn"]) for k, c in counts.items()},
        "calibration_error": calibration_error(labels, probabilities),
    }
