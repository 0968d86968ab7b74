"""Scorers with one interface for models and baselines, and a cache of what they said.

A score depends on the scorer's digest and the URL alone, so that any set, sample or mutation is looked up
when it was scored before. The digest of an exported model covers the engine too: another engine build
never answers from the scores of an older one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import phishcnn
from tqdm import tqdm

from .typed import Array

CHUNK = 20_000  # URLs between two writes: an interrupted run loses no more


class Scores(NamedTuple):
    logit: Array  # float32 [n]; NaN where there is an error
    probability: Array  # float32 [n]
    errors: Array  # uint16 [n]


class Scorer(Protocol):
    name: str
    sha256: str  # of the model file
    digest: str  # of everything that decides a score
    thresholds: dict[str, float]  # logits of `phishing` and `suspicious`

    def score(self, urls: list[bytes]) -> Scores: ...


def engine_digest() -> str:
    """SHA-256 of the wheel's compiled part."""
    return hashlib.sha256(Path(phishcnn._core.__file__).read_bytes()).hexdigest()


class Exported:
    """A model file, scored by the wheel."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path, self.threads = path, threads
        try:
            self.model = phishcnn.Model.load(str(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        info = self.model.info
        self.name = info["phishcnn.name"]
        self.sha256 = self.model.sha256
        self.digest = hashlib.sha256(f"{self.sha256} {engine_digest()}".encode()).hexdigest()
        self.thresholds = {k: float(v) for k, v in (w.split("=") for w in info["phishcnn.thresholds"].split(" "))}
        self.calibration = tuple(map(float, info["phishcnn.calibration"].split(" ")))

    def score(self, urls: list[bytes]) -> Scores:
        scored = self.model.score_batch(urls, threads=self.threads)
        return Scores(*(np.asarray(x) for x in (scored.logit, scored.probability, scored.errors)))


class Cache:
    """Rows of float32 values by URL, in one file; `of` computes and keeps what is missing."""

    def __init__(self, path: Path | None, columns: int) -> None:
        self.path, self.columns = path, columns
        self.keys, self.values = np.zeros(0, np.uint64), np.zeros((0, columns), np.float32)
        if path and path.exists():
            with np.load(path) as arrays:
                self.keys, self.values = arrays["keys"], arrays["values"]

    def of(self, urls: list[bytes], compute: Callable[[list[bytes]], Array], title: str = "") -> Array:
        """float32 [n, columns]."""
        wanted = np.fromiter(
            (int.from_bytes(hashlib.blake2b(u, digest_size=8).digest(), "little") for u in urls), np.uint64, len(urls)
        )
        fresh, first = np.unique(wanted, return_index=True)
        first = np.sort(first[~np.isin(fresh, self.keys)])
        bar = tqdm(total=len(first), desc=title, unit="url", disable=None if len(first) > CHUNK else True)
        for i in range(0, len(first), CHUNK):
            rows = first[i : i + CHUNK].tolist()
            values = np.asarray(compute([urls[r] for r in rows]), np.float32).reshape(len(rows), self.columns)
            keys = np.concatenate([self.keys, wanted[rows]])
            order = np.argsort(keys)
            self.keys, self.values = keys[order], np.concatenate([self.values, values])[order]
            self._save()
            bar.update(len(rows))
        bar.close()
        return self.values[np.searchsorted(self.keys, wanted)]

    def _save(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, keys=self.keys, values=self.values)
        os.replace(partial, self.path)


class Cached:
    """A scorer whose answers are kept in `folder` (None: in memory)."""

    def __init__(self, scorer: Scorer, folder: Path | None) -> None:
        self.scorer = scorer
        self.name, self.sha256, self.digest = scorer.name, scorer.sha256, scorer.digest
        self.thresholds = scorer.thresholds
        self.cache = Cache(folder / f"{scorer.name}-{scorer.digest[:16]}.npz" if folder else None, 3)

    def score(self, urls: list[bytes]) -> Scores:
        kept = self.cache.of(urls, lambda some: np.stack(self.scorer.score(some), 1), self.name)
        return Scores(kept[:, 0], kept[:, 1], kept[:, 2].astype(np.uint16))
