"""Pages of the best-known sites, written by hand: `FILE` for evaluation only, `VALID` for choices.

They are no labelled files on purpose: `data.read_rows` refuses them, so that nobody trains on them by mistake.
A model that had seen these pages would pass for the wrong reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .data import DataError, Rows

FILE = Path(__file__).resolve().parents[1] / "fixtures" / "top_sites.tsv"
VALID = FILE.with_name("valid_sites.tsv")
KINDS = ("home", "sign-in", "account", "payment", "help", "content")


class Page(NamedTuple):
    kind: str
    sector: str
    country: str  # two letters, or `int` for sites of the whole world
    url: str


def read(path: Path = FILE) -> list[Page]:
    """Pages of the file: `kind<TAB>sector<TAB>country<TAB>url`; lines that begin with # are remarks."""
    pages = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != 4 or cells[0] not in KINDS:
            raise DataError(f"{path}:{number}: expected kind, sector, country and URL; kind is one of {KINDS}")
        pages.append(Page(*cells))
    return pages


def rows() -> Rows:
    """The pages of both files as legitimate rows, for `prepare` to keep them out of training."""
    pages = [*read(), *read(VALID)]
    n = len(pages)
    urls = [page.url.encode() for page in pages]
    return Rows(np.zeros(n, np.uint8), urls, ["top_sites"] * n, [""] * n, [""] * n, [frozenset()] * n)
