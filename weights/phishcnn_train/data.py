"""Labelled URL files: `label<TAB>url[<TAB>source<TAB>month<TAB>group<TAB>tags]`, plain or .gz."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from .typed import Array, Figures

T = TypeVar("T")

LABELS = {b"0": 0, b"1": 1, b"legitimate": 0, b"phishing": 1}
MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
FIRST_SEEN = re.compile(rf"([0-9]{{4}}|{MONTH.pattern})?")  # of a row; months are compared as text


class DataError(Exception):
    """A file that cannot be used; the message names the file and the line."""


@dataclass
class Rows:
    """Columns of a labelled file. URLs stay bytes: the core accepts any bytes and so must training."""

    labels: Array = field(default_factory=lambda: np.zeros(0, np.uint8))  # [n], 1 = phishing
    urls: list[bytes] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    months: list[str] = field(default_factory=list)  # YYYY-MM or YYYY of the first sight; empty when unknown
    groups: list[str] = field(default_factory=list)  # registrable domain; empty when not given
    tags: list[frozenset[str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.urls)

    def take(self, index: Array) -> Rows:
        """The rows at these positions, in this order."""
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        pick = index.tolist()

        def of(column: list[T]) -> list[T]:
            return [column[i] for i in pick]

        columns = of(self.urls), of(self.sources), of(self.months), of(self.groups), of(self.tags)
        return Rows(self.labels[index], *columns)

    def tagged(self, tag: str) -> Array:
        """bool [n]: which rows carry the tag."""
        return np.fromiter((tag in t for t in self.tags), bool, len(self))


def _parse(line: bytes, where: str, tag_sets: dict[bytes, frozenset[str]]) -> tuple[Any, ...]:
    cells = line.rstrip(b"\r\n").split(b"\t")
    if len(cells) < 2:
        raise DataError(f"{where}: expected label<TAB>url, found one column")
    label = LABELS.get(cells[0].strip().lower())
    if label is None:
        raise DataError(
            f"{where}: unknown label {cells[0].decode('utf-8', 'replace')!r} (0, 1, legitimate or phishing)"
        )
    if not cells[1].strip():
        raise DataError(f"{where}: empty URL")
    tags = cells[5].strip() if len(cells) > 5 else b""
    if tags not in tag_sets:
        tag_sets[tags] = frozenset(t for t in tags.decode("utf-8", "replace").split(",") if t)
    source, month, group = (c.decode("utf-8", "replace") for c in (cells[2:5] + [b""] * 3)[:3])
    if not FIRST_SEEN.fullmatch(month):
        raise DataError(f"{where}: the month is {month!r}, neither YYYY-MM nor YYYY nor empty")
    return label, cells[1], sys.intern(source), sys.intern(month), sys.intern(group), tag_sets[tags]


def read_rows(*paths: str | Path, limit: int | None = None) -> Rows:
    """Rows of the files, pooled in the order given; blank lines are skipped.

    Args:
        limit: stop after that many rows (for trying things out).
    Raises:
        DataError: unreadable file, no row at all, or a bad row (with its line number).
    """
    labels: list[int] = []
    columns: tuple[list[Any], ...] = ([], [], [], [], [])
    urls = columns[0]
    tag_sets: dict[bytes, frozenset[str]] = {}
    for path in map(Path, paths):
        try:
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
                for number, line in enumerate(stream, 1):
                    if not line.strip():
                        continue
                    if limit is not None and len(urls) >= limit:
                        break
                    label, *cells = _parse(line, f"{path}:{number}", tag_sets)
                    labels.append(label)
                    for column, cell in zip(columns, cells, strict=True):
                        column.append(cell)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot read: {error}") from error
    if not urls:
        raise DataError(f"{', '.join(map(str, paths))}: no rows")
    return Rows(np.array(labels, np.uint8), *columns)


def need_both_classes(rows: Rows, where: object) -> None:
    """Raises DataError, which names the file or files `where`, unless phishing and legitimate rows are there."""
    phishing = int((rows.labels == 1).sum())
    if not 0 < phishing < len(rows):
        raise DataError(f"{where}: {phishing} phishing and {len(rows) - phishing} legitimate rows; both are needed")


def read_json(path: Path) -> Figures:
    """The object in a JSON file. Raises DataError, which names the file, where it is none."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: no JSON object")
    return found


def digest(rows: Rows) -> str:
    """SHA-256 over labels and URLs in order: two figures compare only where this is equal."""
    total = hashlib.sha256()
    for label, url in zip(rows.labels.tolist(), rows.urls, strict=True):
        total.update(b"%d\t%s\n" % (label, url))
    return total.hexdigest()


def write_rows(path: Path, rows: Rows) -> None:
    """A labelled file that `read_rows` reads, packed where its name ends with .gz; same rows, same bytes."""
    columns = (rows.labels.tolist(), rows.urls, rows.sources, rows.months, rows.groups, rows.tags)
    with open(path, "wb") as raw, ExitStack() as opened:
        out: IO[bytes] = raw
        if path.suffix == ".gz":
            packer = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0)
            out = cast(IO[bytes], opened.enter_context(packer))
        for label, url, source, month, group, tags in zip(*columns, strict=True):
            tail = "\t".join((source, month, group, ",".join(sorted(tags))))
            out.write(b"%d\t%b\t%b\n" % (label, url, tail.encode()))


def pool(parts: list[Rows]) -> Rows:
    """The rows of all parts, one after another."""
    lists = [(p.urls, p.sources, p.months, p.groups, p.tags) for p in parts]
    return Rows(
        np.concatenate([p.labels for p in parts]),
        *([cell for c in column for cell in c] for column in zip(*lists, strict=True)),
    )


def select(spec: str) -> Rows:
    """Rows of `FILE[:label=0|1][:with=TAG][:without=TAG][:every=N][,FILE…]`, pooled."""
    parts = []
    for item in spec.split(","):
        path, *filters = item.split(":")
        rows = read_rows(path)
        for condition in filters:
            name, _, value = condition.partition("=")
            if name == "label" and value in ("0", "1"):
                keep = rows.labels == int(value)
            elif name == "with" and value:
                keep = rows.tagged(value)
            elif name == "without" and value:
                keep = ~rows.tagged(value)
            elif name == "every" and value.isdecimal() and int(value) > 0:
                keep = np.arange(len(rows)) % int(value) == 0
            else:
                raise DataError(f"{item}: unknown filter {condition!r} (label=0|1, with=TAG, without=TAG, every=N)")
            rows = rows.take(keep)
        parts.append(rows)
    return pool(parts)
