"""Tokens of URLs, as training uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from ._errors import PhishcnnError
from ._inputs import batch
from ._results import TOKENS, Tokens, arrays

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

URL_BYTES = "url-bytes/1 max=256"
"""How the embedded model reads a URL."""


def canonicalize(url: str | bytes) -> bytes:
    """The URL without what collectors differ in: scheme, ``www.``, case of the host, default port.

    Raises PhishcnnError with the number 201 (empty), 202 (over 65,536 bytes) or 203 (not a string).

    >>> canonicalize("HTTPS://www.Example.com:443/Path/")
    b'example.com/Path/'
    """
    return _core.canonicalize(url)


def tokenize_batch(urls: Any, input: str = URL_BYTES, chars: npt.NDArray[np.uint32] | None = None) -> Tokens:
    """Tokenises a batch exactly as a model with this ``phishcnn.input`` line does.

    ``urls`` is what ``Model.score_batch`` takes; ``chars`` is the tensor of the same name (uint32 code
    points) that ``keras-char`` needs. An item without tokens keeps its row and gets its error number: 201
    empty, 202 too long, 203 neither str nor bytes. Raises PhishcnnError when ``input`` or ``chars`` cannot
    be used.

    >>> tokenize_batch(["a.example", "b"]).offsets.tolist()
    [0, 9, 10]
    """
    table = b""
    if chars is not None:
        import numpy as np

        table = np.asarray(chars, dtype="<u4").tobytes()
    return Tokens(*arrays(_core.tokenize_batch(batch(urls), input, table), TOKENS))


def tokenize(url: str | bytes, input: str = URL_BYTES, chars: npt.NDArray[np.uint32] | None = None) -> Tokens:
    """The tokens of one URL: ``tokenize_batch`` with n = 1; raises PhishcnnError where it has none.

    >>> bytes(tokenize("https://www.Example.com/").ids.tolist())
    b'example.com'
    """
    return single(tokenize_batch([url], input, chars))


def single(tokens: Tokens) -> Tokens:
    """Raises the error of the only row."""
    code = int(tokens.errors[0])
    if code:
        raise PhishcnnError(_core.error_message(code), code)
    return tokens
