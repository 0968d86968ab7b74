"""The table of hashed n-grams beside the network (layer `ngrams`): a linear model of its own, whose mistakes are others.
That all but the registered name excuse little (`network.EXCUSE`) is left out in fitting, and judged by.

It is fitted alone and joins the finished network at the share that validation rows choose; a start's table can be kept
(`passes = 0`). Fitted on what the network
leaves it would learn nothing: the network knows its training rows.
"""

from __future__ import annotations

import json
import resource
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from . import augment, network
from .augment import Longer
from .export import read
from .network import Layer
from .params import Params, ParamsError
from .tokens import Tokens
from .train import TIE, logits, pad, rank, stored, validation, weighed
from .typed import Array, Figures, Log, Tensors

CHUNK = 20_000
PATIENCE = 3  # passes without a better one
MAX = 127  # largest weight of the table, in steps


def layer_of(params: Params) -> Layer | None:
    """The layer, where these parameters have it. Raises ParamsError where it is there without a table `[ngrams]`, or the
    other way round, or where scikit-learn or the start's table is missing; LayerError without its size."""
    last = network.parse(params.layers)[-1]
    if (last.kind == "ngrams") != bool(params.ngrams):
        raise ParamsError(f"{params.path}: a layer ngrams, at the end, and a table [ngrams] need each other")
    if not params.ngrams:
        return None
    network.size_of(last, params.sizes)
    if not params.ngrams["passes"]:
        of_start(last, params)
    elif not find_spec("sklearn"):
        raise ParamsError(f"{params.path}: [ngrams] needs scikit-learn: requirements-evaluation.txt")
    return last


Found = tuple[
    Any, Array
]  # n-grams of some URLs: their regions, sparse int8 [n, rows of the table]; the roots [n, REGIONS]


def found(layer: Layer, size: int, ids: Array, parts: Array, lengths: Array) -> Found:
    """The n-grams of each URL, five bytes each: what a training keeps of millions of rows.

    Args:
        size: rows of the table, a power of two.
        ids, parts: int [n, L]; positions at or behind `lengths` may hold anything.
        lengths: int [n], tokens.
    """
    from scipy.sparse import csr_matrix

    rows = np.asarray(network.ngram_rows(ids, parts, lengths, layer.orders, size))
    regions = network.ngram_regions(parts, lengths)
    known = rows < size  # the others hold the mask, or lie behind the end
    starts = np.concatenate([[0], np.cumsum(known.sum((1, 2)))])
    places = np.broadcast_to(np.asarray(regions).astype(np.int8)[:, :, None], rows.shape)[known]
    return (
        csr_matrix((places, rows[known].astype(np.int32), starts), (len(ids), size)),
        np.asarray(network.ngram_roots(regions, layer.orders)),
    )


def columns(ngrams: Found, region: int | None = None) -> Any:
    """Sparse float32 [n, rows of the table]: how often each of its rows counts in a URL, over the root that the layer
    divides by; with `region`, the n-grams of one region alone (`network.ngram_regions`)."""
    from scipy.sparse import csr_matrix

    places, roots = ngrams
    url = np.repeat(np.arange(len(roots)), np.diff(places.indptr))
    values = 1 / roots[url, places.data]
    if region is not None:
        values *= places.data == region
    return csr_matrix((values, places.indices, places.indptr), places.shape)


def chunks(layer: Layer, size: int, tokens: Tokens, order: Array, params: Params, longer: Longer) -> list[Found]:
    """`found` in these rows (int [n], positions in `tokens`), `CHUNK` at a time; `longer`: rows that were changed."""
    out = []
    for i in range(0, len(order), CHUNK):
        rows = order[i : i + CHUNK]
        lengths = tokens.lengths[rows]
        ids, parts = pad(tokens, rows, lengths, params.max_length)
        for j in (j for j, row in enumerate(rows.tolist()) if row in longer):
            n = lengths[j] = len(longer[rows[j]][0])
            ids[j, :n], parts[j, :n] = longer[rows[j]]
        out.append(found(layer, size, ids, parts, lengths))
    return out


def limited(sums: list[Array]) -> Array:
    """float32 [n]: what a table adds, whose quotients of each region, times their scales, are these: `network.ngrams`."""
    name, *others = sums
    return np.asarray(name + sum(np.maximum(other, -network.EXCUSE) for other in others))


def fit(
    layer: Layer, params: Params, train: Tokens, valid: Tokens, domains: Tokens, net: Tensors, log: Log = print
) -> tuple[Tensors, Figures]:
    """(the layer's tensors: `weight`, int8 [rows], and `scale`, float32 [4]; what was chosen): averaged SGD on the collected
    labels, each row weighed as the network sees it; rows changed as the network gets them (`augment.changed`) among them.
    Pass, cut of the largest weights and share are those with the highest `rank` together with the network `net`; of shares
    within `TIE` of it the smallest, which flags fewer honest pages of known sites and honest links behind rewriters.
    """
    from sklearn.linear_model import SGDClassifier

    how, size = params.ngrams, network.size_of(layer, params.sizes)
    rng = np.random.default_rng([params.train["seed"], 4])
    order = rng.permutation(len(train))
    longer, _ = augment.changed(train, params, order, rng)
    seen = chunks(layer, size, train, order, params, longer)
    parts = [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    lengths = train.lengths.copy()
    for row, (ids, _) in longer.items():
        lengths[row] = len(ids)
    weights = weighed(train, np.arange(len(train)), lengths, params) * train.chances
    beside = network.parse(params.layers)[:-1]
    judged = [
        (
            logits(beside, params.output, net, t, params.train["buckets"]),
            chunks(layer, size, t, np.arange(len(t)), params, {}),
        )
        for t in (valid, domains)
    ]
    model = SGDClassifier(loss="log_loss", alpha=how["penalty"], average=True, random_state=params.train["seed"])
    best: dict[float, tuple[float, Tensors, Figures]] = {}  # of each share: rank, tensors and what was chosen
    for passes in range(1, how["passes"] + 1):
        for rows, x in zip(parts, seen, strict=True):
            model.partial_fit(columns(x), train.phishing[rows].astype(int), [0, 1], sample_weight=weights[rows])
        learnt = model.coef_[0].astype(np.float32)
        for cut in how["cuts"]:
            step = np.quantile(np.abs(learnt[learnt != 0]), cut) / MAX
            table = np.rint(np.clip(learnt / step, -MAX, MAX)).astype(np.float32)
            alone = [
                [np.concatenate([columns(x, r) @ table for x in t]) for r in range(network.REGIONS)] for _, t in judged
            ]
            for share in how["shares"]:
                scales = np.array([share, share, share, share * how["query"]], "<f4") * np.float32(step)
                both = [
                    own + limited([scale * part for scale, part in zip(scales, sums, strict=True)])
                    for (own, _), sums in zip(judged, alone, strict=True)
                ]
                figures = validation(valid.labels > 0.5, *both)
                if share not in best or rank(figures) > best[share][0]:
                    tensors = {f"{layer.name}.weight": table.astype("i1"), f"{layer.name}.scale": scales}
                    told = {"passes": passes, "cut": cut, "share": share, **figures}
                    best[share] = rank(figures), tensors, told
        log(
            json.dumps(
                {str(share): [round(r, 6), told["passes"], told["cut"]] for share, (r, _, told) in best.items()}
            ),
            flush=True,
        )
        top, _, told = max(best.values(), key=lambda tried: tried[0])
        if passes - told["passes"] == PATIENCE:
            break
    _, tensors, chosen = best[min(share for share, (r, _, _) in best.items() if r >= top - TIE)]
    return tensors, chosen | {"tried": {str(share): round(r, 6) for share, (r, _, _) in best.items()}}


def of_start(layer: Layer, params: Params) -> Tensors:
    """The table of the model that training goes on from. Raises ParamsError where it has none of this size."""
    path = params.path.parent / params.start
    tensors, metadata = read(path) if params.start else ({}, {})
    own = network.parse(metadata["phishcnn.layers"])[-1] if tensors else None
    size = network.size_of(layer, params.sizes)
    if (
        own is None
        or (own.kind, own.orders) != ("ngrams", layer.orders)
        or tensors[f"{own.name}.weight"].shape != (size,)
    ):
        raise ParamsError(
            f"{params.path}: passes = 0 keeps the start's table of n-grams; {params.start or 'no start'} has none like it"
        )
    return {f"{layer.name}.{part}": tensors[f"{own.name}.{part}"] for part in ("weight", "scale")}


def add(
    layer: Layer, params: Params, train: Tokens, valid: Tokens, domains: Tokens, work: Path, log: Log = print
) -> None:
    """Fits the table beside the network that `train` left in `work/best.npz`, or with no passes keeps that of the start,
    and puts it there, too; what was chosen becomes the last entry of `work/history.json`."""
    begun, net = time.monotonic(), stored(work / "best.npz")
    if params.ngrams["passes"]:
        table, chosen = fit(layer, params, train, valid, domains, net, log)
    else:
        table, chosen = of_start(layer, params), {"start": params.start}
    np.savez(work / "best.npz", allow_pickle=False, **net | table)
    chosen |= {
        "seconds": round(time.monotonic() - begun, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    history = json.loads((work / "history.json").read_text())
    (work / "history.json").write_text(json.dumps([*history, {"ngrams": chosen}], indent=1) + "\n")
