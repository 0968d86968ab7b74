"""Scores URLs for phishing: the Rust core's tokenizer and models as NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import _core

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import numpy as np

__version__ = _core.__version__
__all__ = ["Model", "Scores", "Tokens", "canonicalize", "tokenize_batch"]


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


class Scores(NamedTuple):
    """Scores of n URLs, each of shape (n,)."""

    logit: np.ndarray
    """float32; higher is more like phishing; NaN where there is an error."""
    probability: np.ndarray
    """float32 in [0, 1]: calibrated at base rate 0.5; NaN where there is an error."""
    verdict: np.ndarray
    """uint8: 0 benign, 1 suspicious, 2 phishing; 0 where there is an error."""
    truncated: np.ndarray
    """bool: the URL was longer than the model reads."""
    errors: np.ndarray
    """uint16: 0, or the number of the error."""


class Model:
    """A model file, or the embedded default: ``Model()``, ``Model.load(path)``."""

    def __init__(self) -> None:
        self._model = _core.Model()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Reads a ``.safetensors`` model.

        Raises OSError, or ValueError with the number and the offending item of a bad file.
        """
        with open(path, "rb") as file:
            return cls.from_bytes(file.read())

    @classmethod
    def from_bytes(cls, file: bytes) -> Model:
        """A model from the content of its file; raises ValueError as ``load``."""
        model = cls.__new__(cls)
        model._model = _core.Model(file)
        return model

    def score_batch(self, urls: Iterable[str | bytes], threads: int = 1) -> Scores:
        """Scores a batch, in order, on ``threads`` threads; the GIL is released meanwhile.

        An item without a score keeps its row and gets its error number: 201 empty,
        202 over 65,536 bytes, 203 neither str nor bytes.
        """
        import numpy as np

        dtypes = (np.float32, np.float32, np.uint8, np.bool_, np.uint16)
        buffers = self._model.score_batch(list(urls), threads)
        return Scores(*(np.frombuffer(b, t) for b, t in zip(buffers, dtypes, strict=True)))

    @property
    def info(self) -> dict[str, str]:
        """The file's metadata."""
        return self._model.info

    @property
    def sha256(self) -> str:
        """The model's identity: SHA-256 of its file, in hexadecimal."""
        import hashlib

        return hashlib.sha256(self._model.file).hexdigest()

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self._model.parameters

    @property
    def scratch_len(self) -> int:
        """Bytes of scratch memory that one scoring thread uses."""
        return self._model.scratch_len

    def multiply_adds(self, positions: int) -> int:
        """Multiply-adds for an input of so many tokens."""
        return self._model.multiply_adds(positions)
