"""Distillation (Hinton, Vinyals, Dean 2015): a model learns from a larger one's opinion of each training
row as well as from the row's label, which old, doubtful and wrongly labelled rows bend less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from . import network, train
from .export import read
from .params import Params, ParamsError
from .tokens import Tokens


def taught(tokens: Tokens, params: Params) -> Tokens:
    """The rows with the label (1 - share)·label + share·sigmoid(teacher's logit), the parameters' `[teach]`;
    certain labels stay.

    Raises ParamsError when the teacher reads other tokens than the model.
    """
    path = params.path.parent / params.teach["model"]
    if not path.exists():
        raise ParamsError(f"{path}: the teacher is not there; train it first")
    tensors, metadata = read(Path(path))
    if metadata["phishcnn.input"] != params.input:
        raise ParamsError(f"{path}: reads {metadata['phishcnn.input']!r}, the model {params.input!r}")
    layers = network.parse(metadata["phishcnn.layers"])
    logits = train.logits(layers, metadata["phishcnn.output"], tensors, tokens, params.train["buckets"])
    opinion = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))
    share = np.where(tokens.certain, 0, params.teach["share"])
    return replace(tokens, labels=((1 - share) * tokens.labels + share * opinion).astype(np.float32))
