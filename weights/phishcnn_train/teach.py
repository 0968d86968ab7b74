"""Distillation (Hinton, Vinyals, Dean 2015): a model learns from its teachers' opinion of each training row
as well as from the row's label, which old, doubtful and wrongly labelled rows bend less. Teachers are other
networks and n-grams (`opinion.py`)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from .export import read
from .params import Params, ParamsError
from .scores import Exported
from .tokens import Tokens
from .typed import Array


def network_logits(path: Path, urls: list[bytes], params: Params) -> Array:
    """float32 [n]: the engine's logits of the teacher at `path`, which takes a seventh to a quarter of JAX's time. Raises
    ParamsError when it reads other tokens than the model."""
    if not path.exists():
        raise ParamsError(f"{path}: the teacher is not there; train it first")
    read_by_it = read(path)[1]["phishcnn.input"]
    if read_by_it != params.input:
        raise ParamsError(f"{path}: reads {read_by_it!r}, the model {params.input!r}")
    return Exported(path, os.cpu_count() or 1).score(urls).logit


def taught(tokens: Tokens, urls: list[bytes], params: Params, ngrams: Array | None = None) -> Tokens:
    """The rows with the label (1 - share)·label + share·opinion, where the opinion is
    sigmoid(scale·(mean logit of the networks + ngrams·logit of the n-grams)); certain labels stay.

    Args:
        urls: of the rows, as collected.
        ngrams: float32 [n], of `opinion.write`; needed where the parameters give it a weight.
    """
    teach = params.teach
    paths = [params.path.parent / name for name in teach["models"]]
    logits = np.mean([network_logits(path, urls, params).astype(np.float64) for path in paths], 0)
    if teach["ngrams"]:
        if ngrams is None or len(ngrams) != len(tokens):
            raise ParamsError(
                f"{params.path}: teach.ngrams needs the n-grams' opinion of these rows; run `opinion` first"
            )
        logits += teach["ngrams"] * ngrams
    opinion = 1 / (1 + np.exp(-np.clip(teach["scale"] * logits, -80, 80)))
    share = np.where(tokens.certain, 0, teach["share"])
    return replace(tokens, labels=((1 - share) * tokens.labels + share * opinion).astype(np.float32))
