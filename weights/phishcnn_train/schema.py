"""Tests of a data file: what must hold, what betrays a collector, and how far two files differ."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import phishcnn

from . import slices
from .data import Rows
from .prepare import canonical
from .typed import Figures

TAG = re.compile(r"[a-z0-9_]+")
GIVEAWAY = 0.25  # difference of the classes' shares from which a habit is named
SHIFT = 0.25  # population stability index from which a distribution has shifted (a rule of credit scoring)

HABITS = {
    "https": re.compile(rb"(?i)^https://"),
    "no scheme": re.compile(rb"(?i)^(?!https?://)"),
    "www.": re.compile(rb"(?i)^(https?://)?www\."),
    "trailing slash": re.compile(rb"/$"),
    "upper case": re.compile(rb"[A-Z]"),
    "query": re.compile(rb"\?"),
    "bare host": re.compile(rb"^([a-z]+://)?[^/?#]*/?$"),
}


def profile(rows: Rows) -> Figures:
    """What the file looks like: counts, months, shares of habits by class, slices."""
    labels = rows.labels > 0
    out: Figures = {
        "rows": len(rows),
        "phishing": int(labels.sum()),
        "months": [min(m), max(m)] if (m := [m for m in rows.months if m]) else None,
        "undated": sum(not m for m in rows.months),
        "groups": len(set(rows.groups)),
        "sources": len(set(rows.sources)),
        "habits": {},
        "slices": {},
    }
    for name, pattern in HABITS.items():
        hit = np.fromiter((bool(pattern.search(u)) for u in rows.urls), bool, len(rows))
        out["habits"][name] = [float(hit[side].mean()) if side.any() else None for side in (labels, ~labels)]
    for dimension, values in slices.of(rows.urls).items():
        out["slices"][dimension] = dict(Counter(values.tolist()).most_common(40))
    return out


def problems(rows: Rows, newest: str | None = None) -> tuple[list[str], list[str]]:
    """(errors, warnings) of one file.

    Args:
        newest: month after which no row can have been seen.
    """
    errors, warnings = [], []
    late = [m for m in rows.months if newest and m > newest]
    if late:
        errors.append(f"{len(late)} rows are dated after {newest}, such as {late[0]}")
    bad = [t for t in {t for tags in rows.tags for t in tags} if not TAG.fullmatch(t)]
    if bad:
        errors.append(f"tags that are no words: {sorted(bad)[:3]}")
    seen: dict[bytes, int] = {}
    twice, both, refused = 0, 0, 0
    for url, label in zip(rows.urls, rows.labels.tolist(), strict=True):
        try:
            key = phishcnn.canonicalize(url)
        except ValueError:
            refused += 1
            continue
        first = seen.setdefault(key, label)
        both += first != label
        twice += key in seen and first == label
    twice -= len(seen)
    if both:
        errors.append(f"{both} canonical URLs stand under both labels")
    if refused:
        warnings.append(f"{refused} URLs are refused by the product")
    if twice:
        warnings.append(f"{twice} rows are canonical duplicates")
    labels = rows.labels > 0
    share = float(labels.mean())
    if labels.any() and not labels.all() and not 0.05 <= share <= 0.95:
        warnings.append(f"{100 * share:.1f} % of the rows are phishing: one class is rare")
    outside = sum(bool(g) and g.encode() not in u.lower() for g, u in zip(rows.groups, rows.urls, strict=True))
    if outside > 0.01 * len(rows):  # IDN groups may be spelt otherwise than the URL
        errors.append(f"{outside} rows whose group does not occur in the URL")
    if labels.any() and not labels.all():
        for name, (phishing, legitimate) in profile(rows)["habits"].items():
            if abs(phishing - legitimate) > GIVEAWAY:
                warnings.append(
                    f"habit {name!r}: {100 * phishing:.0f} % of phishing, {100 * legitimate:.0f} % of legitimate rows"
                )
    return errors, warnings


def leaks(train: Rows, other: Rows) -> Figures:
    """How much of a file the training rows already know."""
    forms = [set(canonical(rows)) - {b""} for rows in (train, other)]
    groups = set(train.groups) - {""}
    return {
        "urls_in_train": len(forms[0] & forms[1]),
        "rows_of_known_groups": sum(g in groups for g in other.groups),
        "rows": len(other),
    }


def shift(old: Rows, new: Rows) -> dict[str, float]:
    """Population stability index of each dimension, class by class: under 0.1 alike, over 0.25 shifted."""
    out = {}
    for label, name in ((1, "phishing"), (0, "legitimate")):
        sides = [r.take(r.labels == label) for r in (old, new)]
        if not all(len(s) for s in sides):
            continue
        found = [slices.of(s.urls) for s in sides]
        for dimension in slices.DIMENSIONS:
            values = sorted(set(found[0][dimension]) | set(found[1][dimension]))
            # Half a row in each cell keeps an empty one finite.
            a, b = (
                np.array([(f[dimension] == v).sum() + 0.5 for v in values]) / (len(s) + 0.5 * len(values))
                for f, s in zip(found, sides, strict=True)
            )
            out[f"{name}, {dimension}"] = float(((b - a) * np.log(b / a)).sum())
    return out
