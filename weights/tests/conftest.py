"""Shared pieces of the tests."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import jax
import pytest

WEIGHTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(WEIGHTS), str(Path(__file__).parent)]

from phishcnn_train.params import Params  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Each run of a training would compile the same steps again; most of the tests' time is that."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("jit")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="session")
def compact() -> Params:
    return Params.load(WEIGHTS / "compact.toml")


@pytest.fixture(scope="session")
def tiny(compact) -> Params:
    """The compact network, narrower and for a short run."""
    return dataclasses.replace(
        compact,
        start="",
        sizes={"embed": 8, "trigrams": 64, "c1": [5, 16], "c2": [5, 24], "c3": [5, 24], "d1": 16, "d2": 1},
        train={**compact.train, "epochs": 4, "batch": 128, "buckets": [32, 64, 256], "ema": 0.98, "blend": [1.0]},
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The material beside the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("PHISHCNN_SHARED", WEIGHTS.parents[1] / "shared"))
    if not (folder / "dephides").is_dir():
        pytest.skip(f"{folder / 'dephides'} is not there (set PHISHCNN_SHARED)")
    return folder
