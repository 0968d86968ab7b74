"""The table of hashed n-grams beside the network (layer `ngrams`): a linear model of its own, whose mistakes are others.

It is fitted alone and joins the finished network at the share that validation rows choose. Fitted on what the network
leaves it would learn nothing: the network knows its training rows.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import augment, network
from .network import Layer
from .params import Params, ParamsError
from .tokens import Tokens
from .train import logits, pad, rank, stored, validation
from .typed import Array, Figures, Log, Tensors

Longer = dict[int, tuple[Array, Array]]  # of `augment`
CHUNK = 20_000
PATIENCE = 3  # passes without a better one


def layer_of(params: Params) -> Layer:
    """The layer of these parameters; ParamsError where there is none, or no table `[ngrams]` for it."""
    last = network.parse(params.layers)[-1]
    if last.kind != "ngrams" or not params.ngrams:
        raise ParamsError(f"{params.path}: layers must end with ngrams, and there must be a table [ngrams]")
    return last


def columns(layer: Layer, size: int, ids: Array, lengths: Array) -> Any:
    """Sparse float32 [n, size]: how often each row of the table counts in a URL, over the root that the layer divides by.

    Args:
        size: rows of the table, a power of two.
        ids: int [n, L]; positions at or behind `lengths` may hold anything.
        lengths: int [n], tokens.
    """
    from scipy.sparse import csr_matrix

    rows = np.asarray(network.ngram_rows(ids, lengths, layer.orders, size)).reshape(len(ids), -1)
    known = rows < size  # the others hold the mask, or lie behind the end
    starts = np.concatenate([[0], np.cumsum(known.sum(1))])
    values = (1 / network.ngram_root(lengths, layer.orders)).astype(np.float32).repeat(np.diff(starts))
    return csr_matrix((values, rows[known].astype(np.int32), starts), (len(ids), size))


def chunks(layer: Layer, size: int, tokens: Tokens, order: Array, params: Params, longer: Longer) -> list[Any]:
    """`columns` of these rows (int [n], positions in `tokens`), `CHUNK` at a time; `longer`: rows that were changed."""
    out = []
    for i in range(0, len(order), CHUNK):
        rows = order[i : i + CHUNK]
        lengths = tokens.lengths[rows]
        ids, _ = pad(tokens, rows, lengths, params.max_length)
        for j in (j for j, row in enumerate(rows.tolist()) if row in longer):
            changed, _ = longer[rows[j]]
            lengths[j] = len(changed)
            ids[j, : len(changed)] = changed
        out.append(columns(layer, size, ids, lengths))
    return out


def fit(
    params: Params, train: Tokens, valid: Tokens, domains: Tokens, work: Path, log: Log = print
) -> tuple[Array, Figures]:
    """(table, float32 [rows]; what was chosen): averaged SGD on the collected labels, each row weighed as the network
    sees it; padded and rewritten rows among them as often as the network gets them. Pass, cut of the largest weights and
    share are those with the highest `rank` together with the network in `work`.

    Raises:
        ParamsError: parameters without the layer.
        DataError: no network in `work`.
    """
    from sklearn.linear_model import SGDClassifier

    layer, how = layer_of(params), params.ngrams
    size = network.size_of(layer, params.sizes)
    rng = np.random.default_rng([params.train["seed"], 4])
    order = rng.permutation(len(train))
    longer: Longer = {}
    for name, change in (("padded", augment.padded), ("wrapped", augment.wrapped)):
        longer |= change(train, order[rng.random(len(order)) < params.augment[name]], params.max_length, rng)
    seen = chunks(layer, size, train, order, params, longer)
    parts = [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    weights = train.weights * train.chances
    beside = network.parse(params.layers)[:-1]
    net, buckets = stored(work / "best.npz"), params.train["buckets"]
    judged = [
        (logits(beside, params.output, net, t, buckets), chunks(layer, size, t, np.arange(len(t)), params, {}))
        for t in (valid, domains)
    ]
    model = SGDClassifier(loss="log_loss", alpha=how["penalty"], average=True, random_state=params.train["seed"])
    top, best, chosen = -1.0, np.zeros(size, np.float32), Figures()
    for passes in range(1, how["passes"] + 1):
        for rows, x in zip(parts, seen, strict=True):
            model.partial_fit(x, train.phishing[rows].astype(int), [0, 1], sample_weight=weights[rows])
        found = model.coef_[0].astype(np.float32)
        for cut in how["cuts"]:
            most = np.quantile(np.abs(found[found != 0]), cut)
            table = np.clip(found, -most, most)
            alone = [np.concatenate([x @ table for x in part]) for _, part in judged]
            for share in how["shares"]:
                both = [own + share * other for (own, _), other in zip(judged, alone, strict=True)]
                figures = validation(valid.labels > 0.5, *both)
                if rank(figures) > top:
                    top, best = rank(figures), np.asarray(share * table, np.float32)
                    chosen = {"passes": passes, "cut": cut, "share": share, **figures}
        log(json.dumps(chosen), flush=True)
        if passes - chosen["passes"] == PATIENCE:
            break
    return best, chosen


def write(params: Params, train: Tokens, valid: Tokens, domains: Tokens, work: Path, log: Log = print) -> Figures:
    """`fit`, as `work/ngrams.npz`, which `train.load_weights` puts beside the network. Returns what was chosen."""
    begun = time.monotonic()
    table, chosen = fit(params, train, valid, domains, work, log)
    tensors: Tensors = {f"{layer_of(params).name}.weight": table}
    np.savez(work / "ngrams.npz", allow_pickle=False, **tensors)
    chosen |= {"seconds": round(time.monotonic() - begun)}
    (work / "ngrams.json").write_text(json.dumps(chosen, indent=1) + "\n")
    return chosen
