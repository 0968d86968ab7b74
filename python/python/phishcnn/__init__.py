"""Scores URLs for phishing: the Rust core's tokenizer and models as NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import _core

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

__version__ = _core.__version__
__all__ = ["Tokens", "canonicalize", "tokenize_batch"]


class Tokens(NamedTuple):
    """Tokens of n URLs; row i is ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: np.ndarray
    """uint16, all rows one after another."""
    parts: np.ndarray
    """uint8, URL-part id of each token (0 to 8)."""
    offsets: np.ndarray
    """int64, shape (n + 1,)."""
    truncated: np.ndarray
    """bool, shape (n,): the URL had more than the model reads."""
    errors: np.ndarray
    """uint16, shape (n,): 0, or the number of the error; such a row has no tokens."""


def canonicalize(url: str | bytes) -> bytes:
    """The URL without what collectors differ in: scheme, ``www.``, case of the host, default port.

    Raises ValueError with the number 201 (empty), 202 (over 65,536 bytes) or 203 (not a string).

    >>> canonicalize("HTTPS://www.Example.com:443/Path/")
    b'example.com/Path/'
    """
    return _core.canonicalize(url)


def tokenize_batch(
    urls: Iterable[str | bytes],
    input: str = "url-bytes/1 max=256",
    chars: np.ndarray | None = None,
) -> Tokens:
    """Tokenises a batch exactly as a model with this ``phishcnn.input`` line does.

    ``chars`` is the tensor of the same name (uint32 code points) that ``keras-char`` needs.
    An item without tokens keeps its row and gets its error number: 201 empty, 202 too long,
    203 neither str nor bytes. Raises ValueError when ``input`` or ``chars`` cannot be used.
    """
    import numpy as np

    table = b"" if chars is None else np.asarray(chars, dtype="<u4").tobytes()
    ids, parts, offsets, truncated, errors = _core.tokenize_batch(list(urls), input, table)
    return Tokens(
        np.frombuffer(ids, np.uint16),
        np.frombuffer(parts, np.uint8),
        np.frombuffer(offsets, np.int64),
        np.frombuffer(truncated, np.bool_),
        np.frombuffer(errors, np.uint16),
    )
