"""Training rows that repair inconsistencies: where a change that keeps the page changes the verdict."""

from __future__ import annotations

import numpy as np

from .data import Rows
from .mutations import SAME_VERDICT, apply
from .scores import Scorer

TAG = "repair"


def repairs(scorer: Scorer, rows: Rows, most: int | None = None) -> Rows:
    """For each relation and row whose verdict it changes, the changed URL under the row's own label, tagged
    `repair`. Give it training rows: repairs made from test rows would spoil the test.

    Args:
        most: rows kept in all, those with the largest change of the logit first.
    """
    limits = np.array(sorted(scorer.thresholds.values()))
    before = scorer.score(rows.urls).logit
    found: list[tuple[float, int, bytes]] = []
    for mutation in SAME_VERDICT.values():
        urls = apply(mutation, rows.urls)
        changed = [(i, url) for i, url in enumerate(urls) if url is not None]
        after = scorer.score([url for _, url in changed]).logit
        for (i, url), new in zip(changed, after.tolist(), strict=True):
            verdicts = np.searchsorted(limits, [before[i], new], side="right")
            if verdicts[0] != verdicts[1]:
                found.append((-abs(new - float(before[i])), i, url))
    found.sort()
    found = found[:most]
    picked = rows.take(np.array([i for _, i, _ in found], np.int64))
    picked.urls = [u for _, _, u in found]
    picked.tags = [tags | {TAG} for tags in picked.tags]
    return picked
