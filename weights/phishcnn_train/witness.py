"""What a model file says of itself so that the service can watch it: what it must answer, and what the legitimate
URLs were like that its thresholds come from. `docs/model-file.md` has the format of both keys."""

from __future__ import annotations

import numpy as np

from . import network
from .params import Params
from .tokens import PATH, QUERY, Tokens, tokenize
from .train import logits
from .typed import Array, Figures

HOST_PARTS = (2, 3, 4)  # sub-domain, registrable, suffix
GOLDEN = (
    "https://en.wikipedia.org/wiki/Phishing",
    "https://accounts.google.com/signin/v2/identifier?service=mail",
    "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login",
    "xn--bcher-kva.example",
    "http://192.0.2.7:8080/a/%7Euser/index.php?id=1&x=2#top",
    f"https://long.example.net/{'segment/' * 40}end",
)
BOUNDS = {
    "length": (12, 16, 20, 24, 32, 40, 48, 64, 96, 128),
    "host": (10, 12, 14, 16, 20, 24, 32, 48),
    "path": (0, 1, 8, 16, 24, 32, 48, 64, 96),
    "query": (0, 8, 16, 32, 64),
    "logit": (-12, -10, -8, -6, -4, -2, 0, 2, 4, 6, 8),
}


def golden(params: Params, tensors: Figures) -> str:
    """`LOGIT URL …`: what the training framework, not the engine, answers."""
    tokens = Tokens.unlabelled(tokenize([url.encode() for url in GOLDEN], params.input))
    layers = network.parse(params.layers)
    answers = logits(layers, params.output, tensors, tokens, params.train["buckets"], batch=len(GOLDEN))
    return " ".join(f"{logit:.4f} {url}" for logit, url in zip(answers, GOLDEN, strict=True))


def shares(values: Array, bounds: tuple[float, ...]) -> str:
    """`BOUND:SHARE … +:SHARE`: the share of values up to each bound and above the one before."""
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1)
    words = [*map(str, bounds), "+"]
    return " ".join(f"{w}:{c / len(values):.4f}" for w, c in zip(words, counts, strict=True))


def reference(params: Params, tensors: Figures, tokens: Tokens) -> str:
    """Shares of the legitimate URLs per bin of length, host, path and query (bytes of the canonical form) and logit:
    nearly all of what a service sees is legitimate, of validation rows much less is. Bytes behind the model's input
    are not counted, so that every bound must lie below its length."""
    rows = np.repeat(np.arange(len(tokens)), tokens.lengths)

    def count(*parts: int) -> Array:
        return np.bincount(rows[np.isin(tokens.parts, parts)], minlength=len(tokens))

    layers = network.parse(params.layers)
    values = {
        "length": tokens.lengths,
        "host": count(*HOST_PARTS),
        "path": count(PATH),
        "query": count(QUERY),
        "logit": logits(layers, params.output, tensors, tokens, params.train["buckets"]),
    }
    return "; ".join(f"{name} {shares(values[name][~tokens.phishing], bounds)}" for name, bounds in BOUNDS.items())
