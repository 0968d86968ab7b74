"""Cross-source test: what a model knows of a collection that it never saw.

Each of the largest sources of both classes is left out of a short training in turn, and one control has them
all. Every run trains on as many rows, drawn the same way. What is judged are rows of the source on domains
that no run trains on, the control's neither, so that a difference is the source's habits, not its domains.
Every run begins with random weights and learns from labels alone, because a start and a teacher know every source.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from . import metrics, network, train
from .calibrate import threshold_at
from .data import Rows, digest, read_json, read_rows
from .evaluate import dumps
from .params import Params
from .prepare import accepted
from .sign_in import made_up
from .tokens import tokens_of
from .typed import Array, Figures, Log

RESERVED = 8  # one registered domain in so many is reserved for judging
JUDGED = 10_000  # rows of a source that are judged, at most
# A recipe that goes on from a release has a low rate, and keeps part of the way; random weights need more of both.
# EXPERIMENTS.md trained so under "Dilation".
PEAK_LR, BLEND, ROWS, EPOCHS = 4e-3, [1.0], 500_000, 3


def largest(rows: Rows, n: int) -> list[tuple[int, str]]:
    """(label, source) of the n largest sources of each class; made-up rows do not count."""
    real = ~made_up(rows)
    out = []
    for label in (1, 0):
        picked = np.flatnonzero(real & (rows.labels == label))
        counts = Counter(rows.sources[i] for i in picked.tolist())
        counts.pop("", None)
        out += [(label, source) for source, _ in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))[:n]]
    return out


def reserved(rows: Rows) -> Array:
    """bool [n]: rows of the domains that no run trains on; a function of the domain's name."""
    keys = (g.encode() or u for g, u in zip(rows.groups, rows.urls, strict=True))
    return np.fromiter((zlib.crc32(b"cross" + k) % RESERVED == 0 for k in keys), bool, len(rows))


def drawn(rows: Rows, keep: Array, n: int, seed: int) -> Rows:
    """n of the rows to keep, at random, in the file's order."""
    index = np.flatnonzero(keep)
    return rows.take(np.sort(np.random.default_rng([seed, 5]).permutation(index)[:n]))


def run(
    params: Params,
    rows_folder: Path,
    test: Path,
    output: Path,
    work: Path,
    rows: int = ROWS,
    epochs: int = EPOCHS,
    sources: int = 3,
    log: Log = print,
) -> Figures:
    """Trains what is missing in `output`, and adds each run as soon as it is done.

    Args:
        rows_folder: where `prepare` wrote the cleaned rows.
        rows: training rows of each run.
    """
    pool_rows, test_rows = read_rows(rows_folder / "train.tsv.gz"), accepted(read_rows(test), [test], log)
    how = {**params.train, "epochs": epochs, "peak_lr": PEAK_LR, "blend": BLEND}
    params = dataclasses.replace(params, start="", train=how)
    decides = [params.input, params.layers, params.output, params.sizes, params.train, params.augment, params.weights]
    settings = {
        "rows": rows,
        "epochs": epochs,
        "peak_lr": PEAK_LR,
        "blend": BLEND,
        "start": "random weights",
        "sources": sources,
        "seed": params.train["seed"],
        "params_sha256": hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(),
        "train_sha256": digest(pool_rows),
        "test_sha256": digest(test_rows),
    }
    result = read_json(output) if output.exists() else {}
    if result.get("settings") != settings:
        result = {"settings": settings, "runs": []}
    result["version"] = params.version
    result["what"] = (
        f"Each of the {sources} largest sources of both classes left out in turn of a training from random weights on"
        f" {rows:,} rows, {epochs} epochs at a peak learning rate of {PEAK_LR:g}. A source's own rows are those on domains"
        " that no run trained on: share flagged (recall of a phishing source, false-positive rate of a legitimate one) at"
        " the threshold that flags the given share of test's other legitimate rows; AUC against test's rows of the other"
        " class."
    )
    done = {r["left_out"] for r in result["runs"]}
    held, made = reserved(pool_rows), made_up(pool_rows)
    column = np.array(pool_rows.sources, object)
    chosen = largest(pool_rows, sources)
    judged = {
        source: drawn(
            pool_rows, held & ~made & (column == source) & (pool_rows.labels == label), JUDGED, settings["seed"]
        )
        for label, source in chosen
    }
    valid = tokens_of(read_rows(rows_folder / "valid.tsv.gz"), params)
    domains = tokens_of(read_rows(rows_folder / "valid_domains.tsv.gz"), params)
    layers = network.parse(params.layers)
    tokens = {"test": tokens_of(test_rows, params), **{s: tokens_of(r, params) for s, r in judged.items() if len(r)}}
    for label, source in [(None, None), *chosen]:
        if source in done:
            continue
        begun = time.monotonic()
        part = drawn(pool_rows, ~held & (column != source), rows, settings["seed"])
        place = work / hashlib.sha256(f"{json.dumps(settings)} {source}".encode()).hexdigest()[:12]
        log(f"left out: {source or 'nothing (control)'}; {len(part):,} rows", flush=True)
        weights = train.train(params, tokens_of(part, params), valid, domains, place)
        scores = {
            name: train.logits(layers, params.output, weights, t, params.train["buckets"]) for name, t in tokens.items()
        }
        result["runs"].append(
            {
                "left_out": source,
                "class": None if label is None else ("legitimate", "phishing")[label],
                "train_rows": len(part),
                "seconds": round(time.monotonic() - begun),
                "test": {
                    "auc": metrics.auc(test_rows.labels, scores["test"]),
                    "recall_at_fpr": {
                        rate: metrics.recall_at_fpr(test_rows.labels, scores["test"], f)
                        for rate, f in metrics.FPRS.items()
                    },
                },
                "held": {
                    name: {rate: _reached(scores, test_rows, name, f) for rate, f in metrics.FPRS.items()}
                    | {"auc": _auc(scores, test_rows, name, which)}
                    for which, name in chosen
                },
            }
        )
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(dumps(result))
    return result


def _reached(scores: Figures, test_rows: Rows, source: str, rate: float) -> Figures:
    """Rows of the source that are flagged where `rate` of test's legitimate rows of other sources is; `fp` of those."""
    others = scores["test"][(test_rows.labels == 0) & (np.array(test_rows.sources, object) != source)]
    limit = threshold_at(others, rate)
    own = scores.get(source, np.zeros(0))
    return {"hits": int((own >= limit).sum()), "rows": len(own), "fp": int((others >= limit).sum())}


def _auc(scores: Figures, test_rows: Rows, source: str, label: int) -> float | None:
    """AUC of the source's rows, all of that label, and test's rows of the other; None without rows of the source."""
    groups = [scores["test"][test_rows.labels != label], scores.get(source, np.zeros(0))]
    return metrics.auc_of(groups[label], groups[1 - label])
