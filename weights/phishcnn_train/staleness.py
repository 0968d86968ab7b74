"""How old a model is, and how fast it loses recall."""

from __future__ import annotations

import datetime

import numpy as np

from .pictures import months
from .typed import Figures

OLDEST = 12  # months after the training cut-off from which a model counts as stale


def age(trained_until: str, today: str) -> int:
    """Months from the cut-off to today, both YYYY-MM."""
    dates = [datetime.date(int(t[:4]), int(t[5:7]), 1) for t in (trained_until, today)]
    return 12 * (dates[1].year - dates[0].year) + dates[1].month - dates[0].month


def lost_per_month(metrics: Figures, threshold: str = "suspicious") -> float | None:
    """Points of recall lost per month after the cut-off: the weighted least-squares slope over the months of
    `valid`, `test` and the other feed, each collection around its own mean. None with fewer than three months."""
    cut = metrics["trained_until"]
    x, y, weight, n = [], [], [], 0
    for names in (["valid", "test"], ["cross_openphish"]):
        order, found = months(metrics, names, threshold)
        after = [(age(cut, month), f) for month, f in zip(order, found, strict=True) if age(cut, month) > 0]
        if len(after) < 2:
            continue
        a, s = np.array([a for a, _ in after], float), np.array([f["share"] for _, f in after])
        w = np.array([f["rows"] for _, f in after], float)
        x += (a - np.average(a, weights=w)).tolist()
        y += (s - np.average(s, weights=w)).tolist()
        weight += w.tolist()
        n += len(after)
    if n < 3:
        return None
    return float(-100 * np.sum(np.prod([weight, x, y], 0)) / np.sum(np.prod([weight, x, x], 0)))


def report(metrics: Figures, today: str) -> tuple[str, bool]:
    """(what to print, whether the model is stale)."""
    if not metrics.get("trained_until"):
        raise ValueError(f"{metrics['model']}: its metrics tell no `trained_until`; it has no age")
    old = age(metrics["trained_until"], today)
    lost = lost_per_month(metrics)
    told = f"{metrics['model']}: trained until {metrics['trained_until']}, {old} months before {today}"
    if lost is not None:
        told += f"; on the months after the cut-off it loses {lost:.2f} points of recall a month at `suspicious`"
    stale = old > OLDEST
    return told + ("; stale: train again" if stale else ""), stale
