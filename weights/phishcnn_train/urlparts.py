"""URL parts as the tokenizer sees them, for slices, mutations and lexical features. Nothing is parsed here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import phishcnn

from .typed import Array

N_PARTS = 9
WHOLE = "url-bytes/1 max=65536"  # every byte of the canonical form


class Parts(NamedTuple):
    """Bytes of one canonical URL by part id; joined they are the canonical form. A delimiter belongs to
    the part that it opens, so `name` and `suffix` may begin with a dot and `path` begins with a slash."""

    scheme: bytes
    user: bytes
    sub: bytes
    name: bytes
    suffix: bytes
    port: bytes
    path: bytes
    query: bytes
    fragment: bytes

    @property
    def host(self) -> bytes:
        """Without the @ that opens it behind a user-info."""
        return (self.sub + self.name + self.suffix).removeprefix(b"@")

    @property
    def rest(self) -> bytes:
        return self.path + self.query + self.fragment

    def __bytes__(self) -> bytes:
        return b"".join(self)


def boundaries(urls: list[bytes]) -> tuple[Array, Array]:
    """(bytes, starts): uint8 of all canonical forms one after another, and int64 [n, 10] where part p of
    row i is `bytes[starts[i, p]:starts[i, p + 1]]`. A URL that the product refuses has no bytes."""
    tokens = phishcnn.tokenize_batch(urls, input=WHOLE)
    ids, parts, offsets = np.asarray(tokens.ids), np.asarray(tokens.parts), np.asarray(tokens.offsets)
    starts = np.empty((len(urls), N_PARTS + 1), np.int64)
    starts[:, 0], starts[:, N_PARTS] = offsets[:-1], offsets[1:]
    for part in range(1, N_PARTS):  # part ids never fall within a URL
        below = np.concatenate([[0], np.cumsum(parts < part)])
        starts[:, part] = offsets[:-1] + below[offsets[1:]] - below[offsets[:-1]]
    empty = ids == 256  # stands for an empty canonical form
    if empty.any():
        starts[:, 1:] = np.where(empty[np.minimum(starts[:, :1], len(ids) - 1)], starts[:, :1], starts[:, 1:])
    return ids.astype(np.uint8), starts


def split(urls: list[bytes]) -> list[Parts]:
    """Parts of each URL."""
    data, starts = boundaries(urls)
    text = data.tobytes()
    return [Parts(*(text[a:b] for a, b in zip(row, row[1:], strict=False))) for row in starts.tolist()]
