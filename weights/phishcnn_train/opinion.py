"""A second teacher: character n-grams and a linear model, whose mistakes are other ones than a network's.

Four million columns know their training rows by heart, so that a row's opinion comes only from models that
were fitted without its registered domain: of `FOLDS` folds of domains each pair is left out once, and a row
gets the mean logit of the models that left its fold out.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from pathlib import Path

import numpy as np

from .baselines import CHUNK, NGrams
from .data import DataError, Rows, digest
from .sign_in import made_up
from .typed import Array, Log

FOLDS, COLUMNS, PENALTY, PASSES = 5, 2**22, 1e-8, 8


def fold_of(rows: Rows) -> Array:
    """int [n]: the fold of each row's registered domain (of its URL where it has none)."""
    keys = (group.encode() or url for group, url in zip(rows.groups, rows.urls, strict=True))
    return np.fromiter((zlib.crc32(key) % FOLDS for key in keys), int, len(rows))


def out_of_fold(rows: Rows, truth: Array, weights: Array, seed: int, log: Log = print) -> Array:
    """float32 [n]: the n-grams' logit of each row, from models that saw no row of its domain.

    Args:
        truth: int [n], labels of 0 and 1.
        weights: float32 [n], the rows' weights in the loss times their chance of being seen in an epoch.
    """
    from sklearn.linear_model import SGDClassifier

    grams = NGrams(COLUMNS)
    fold = fold_of(rows)
    order = np.random.default_rng([seed, 3]).permutation(len(rows))
    chunks = [order[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    columns = [grams.columns([rows.urls[i] for i in chunk]) for chunk in chunks]
    total, models = np.zeros(len(rows)), np.zeros(len(rows), int)
    for left_out in itertools.combinations(range(FOLDS), 2):
        out = np.isin(fold, left_out)
        model = SGDClassifier(loss="log_loss", alpha=PENALTY, average=True, random_state=seed)
        for _ in range(PASSES):
            for chunk, x in zip(chunks, columns, strict=True):
                seen = chunk[~out[chunk]]
                if len(seen):
                    model.partial_fit(x[~out[chunk]], truth[seen], [0, 1], sample_weight=weights[seen])
        for chunk, x in zip(chunks, columns, strict=True):
            unseen = chunk[out[chunk]]
            if len(unseen):
                total[unseen] += model.decision_function(x[out[chunk]])
                models[unseen] += 1
        log(f"n-grams without folds {left_out[0]} and {left_out[1]}: fitted", flush=True)
    return (total / models).astype(np.float32)


def write(rows: Rows, truth: Array, weights: Array, output: Path, seed: int, log: Log = print) -> None:
    """`out_of_fold` of the collected rows as `output`, an .npz file; 0 for those made up, whose labels are certain.

    Args:
        truth: int [n], labels of 0 and 1.
        weights: float32 [n], of `tokens.shares`.
    """
    real = ~made_up(rows)
    opinions = np.zeros(len(rows), np.float32)
    opinions[real] = out_of_fold(rows.take(real), truth[real], weights[real], seed, log)
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez(output, digest=identity(rows, weights, seed), logits=opinions)


def identity(rows: Rows, weights: Array, seed: int) -> str:
    """SHA-256 of what decides an opinion: rows, the collected ones' weights (float32 [n], as of `write`), seed."""
    return hashlib.sha256(f"{digest(rows)} {seed} ".encode() + weights[~made_up(rows)].tobytes()).hexdigest()


def read(path: Path, rows: Rows, weights: Array, seed: int) -> Array:
    """float32 [n]: what `write` wrote of these rows. Raises DataError where the file is of other ones, or of other
    weights (float32 [n]) or another seed."""
    if not path.exists():
        raise DataError(f"{path}: not there; run `python -m phishcnn_train opinion` first")
    with np.load(path) as arrays:
        if str(arrays.get("digest")) != identity(rows, weights, seed):
            raise DataError(f"{path}: of other rows, weights or seed; run `python -m phishcnn_train opinion` again")
        return np.asarray(arrays["logits"])
