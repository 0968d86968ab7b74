"""From labelled rows to token arrays: canonical duplicates, one-sided filters, sample weights."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import phishcnn

from .data import DataError, Rows
from .params import Params

# The legitimate collections were stripped of URLs with these parameters and words, the phishing ones
# were not. Unless both sides lose them, the model learns the filter instead of phishing.
ONE_SIDED = re.compile(
    rb"[?&;#](?:token|sig|key|access_token)="
    rb"|porn|xxx|casino|viagra|torrent|warez|keygen|milf|hentai",
    re.IGNORECASE,
)

PATH, QUERY = 6, 7  # first part ids of the path and of the query (fragment is 8)


@dataclass
class Tokens:
    """Tokenised rows; row i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray  # uint16 [tokens]
    parts: np.ndarray  # uint8 [tokens], all 0 for keras-char
    offsets: np.ndarray  # int64 [rows + 1]
    labels: np.ndarray  # float32 [rows], soft: in [0, 1]
    weights: np.ndarray  # float32 [rows]
    path_start: np.ndarray  # int32 [rows], tokens in front of the path
    query_start: np.ndarray  # int32 [rows], tokens in front of query and fragment

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def digest(self) -> str:
        """SHA-256 over the arrays: what the model was trained on."""
        total = hashlib.sha256()
        for name, array in sorted(vars(self).items()):
            total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **vars(self))

    @staticmethod
    def load(path: Path) -> Tokens:
        if not path.exists():
            raise DataError(f"{path}: not there; run `python -m phishcnn_train prepare` first")
        with np.load(path) as arrays:
            return Tokens(**{name: arrays[name] for name in arrays.files})


def clean(rows: Rows, log=print) -> Rows:
    """Training rows without canonical duplicates, contradictory labels and one-sided vocabulary."""
    seen: dict[bytes, int] = {}
    contradictory: set[bytes] = set()
    canonical: list[bytes | None] = []
    for i, url in enumerate(rows.urls):
        try:
            key = phishcnn.canonicalize(url)
        except Exception:  # a URL the product refuses (empty, too long) cannot be learnt from
            canonical.append(None)
            continue
        canonical.append(key)
        first = seen.setdefault(key, i)
        if rows.labels[first] != rows.labels[i]:
            contradictory.add(key)
    keep = [i for key, i in seen.items() if key not in contradictory]
    kept = [i for i in keep if not ONE_SIDED.search(canonical[i])]
    log(
        f"{len(rows)} rows: {len(rows) - len(seen)} canonical duplicates or refused, {len(contradictory)} with both"
        f" labels, {len(keep) - len(kept)} with one-sided vocabulary; {len(kept)} kept"
    )
    return rows.take(np.array(kept, np.int64))


def weigh(rows: Rows, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """(soft labels, sample weights), float32 [n] each: rare hard negatives count more, uncertain rows less."""
    hard = (rows.tagged("login") | rows.tagged("bank_pay")) & (rows.labels == 0)
    weak = rows.tagged("weak")
    labels = rows.labels.astype(np.float32)
    labels[weak] = np.abs(labels[weak] - params.weights["weak_smoothing"])
    weights = np.ones(len(rows), np.float32)
    weights[hard] *= params.weights["hard_negative"]
    weights[weak] *= params.weights["weak"]
    recent = np.fromiter((m >= params.weights["recent_from"] for m in rows.months), bool, len(rows))
    weights[recent & (rows.labels == 1)] *= params.weights["recent_phishing"]
    return labels, weights


def tokenize(urls: list[bytes], input_line: str, chars: np.ndarray | None = None):
    """The wheel's tokens of these URLs; every row must be usable."""
    tokens = phishcnn.tokenize_batch(urls, input=input_line, chars=chars)
    errors = np.asarray(tokens.errors)
    if errors.any():
        bad = int(np.flatnonzero(errors)[0])
        raise DataError(f"URL {bad + 1}: refused with error {int(errors[bad])}: {urls[bad][:80]!r}")
    return tokens


def prepare(rows: Rows, params: Params, chars: np.ndarray | None = None) -> Tokens:
    """Tokens, soft labels and weights of cleaned rows."""
    tokens = tokenize(rows.urls, params.input, chars)
    offsets = np.asarray(tokens.offsets)
    parts = np.asarray(tokens.parts)
    lengths = np.diff(offsets)
    labels, weights = weigh(rows, params)

    def before(part: int) -> np.ndarray:
        later = np.concatenate([[0], np.cumsum(parts >= part)])
        return (lengths - (later[offsets[1:]] - later[offsets[:-1]])).astype(np.int32)

    return Tokens(np.asarray(tokens.ids), parts, offsets, labels, weights, before(PATH), before(QUERY))
