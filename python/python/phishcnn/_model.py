"""Models."""

from __future__ import annotations

import os
from typing import Any, Literal

from . import _core
from ._errors import PhishcnnError
from ._inputs import batch
from ._results import SCORES, TOKENS, Explanation, Scores, Tokens, arrays
from ._tokens import single


class Model(_core.Model):
    """A model: the embedded one, ``Model()``, or that of a file, ``Model.load(path)``.

    Cheap to make, safe to share between threads, to pickle, and to use after a fork.

    >>> model = Model()
    >>> score = model.score("https://en.wikipedia.org/wiki/Phishing")
    >>> score.verdict, round(score.logit, 3), score.truncated
    ('benign', -13.341, False)
    """

    __slots__ = ()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Reads a ``.safetensors`` model.

        Raises OSError, or PhishcnnError with the number (1xx) and the offending item of a bad file.
        """
        with open(path, "rb") as file:
            return cls(file.read())

    @classmethod
    def from_bytes(cls, file: bytes) -> Model:
        """A model from the content of its file; raises PhishcnnError as ``load``."""
        return cls(file)

    def score_batch(
        self,
        urls: Any,
        threads: int | None = None,
        *,
        errors: Literal["number", "raise"] = "number",
        base_rate: float = 0.5,
    ) -> Scores:
        """Scores n URLs, in order.

        ``urls`` is an iterable of ``str`` or ``bytes``; a NumPy array of objects or strings, shape (n,); or a
        column of text of PyArrow, Polars or pandas, whose Arrow memory is read in place.

        It works on the calling thread, or on as many as ``threads`` says, which end with the call. The GIL
        is released once for the batch, so Ctrl-C acts when the batch is done: prefer batches of up to a million.

        An item without a score keeps its row and gets its number in ``Scores.errors``: 201 empty, 202 over
        65,536 bytes, 203 neither ``str`` nor ``bytes`` (None, NaN, null). With ``errors="raise"`` the first
        such row raises PhishcnnError. ``base_rate``, between 0 and 1, is the share of phishing that the
        probabilities assume; it never changes a verdict. TypeError and ValueError tell of a wrong argument.

        >>> Model().score_batch(["a.example", ""]).errors.tolist()
        [0, 201]
        >>> Model().score_batch(["a.example", ""], errors="raise")
        Traceback (most recent call last):
        phishcnn._errors.PhishcnnError: 201: empty URL (row 1)
        """
        if errors not in ("number", "raise"):
            raise PhishcnnError(f"{_core.error_message(402)}: errors={errors!r}: 'number' or 'raise'", 402)
        if threads is not None and threads < 1:
            raise PhishcnnError(f"{_core.error_message(402)}: threads={threads}: 1 or more", 402)
        buffers = self._score_batch(batch(urls), threads or 1, base_rate, errors == "raise")
        return Scores(*arrays(buffers, SCORES))

    def explain(self, url: str | bytes) -> Explanation:
        """The score of a URL and what each of its parts contributes; costs one scoring per part.

        Raises PhishcnnError as ``score``.

        >>> Model().explain("https://en.wikipedia.org/").segments[0].text
        'en'
        """
        return Explanation(*self._explain(url))

    def tokenize(self, url: str | bytes) -> Tokens:
        """What this model reads of a URL: ``Tokens`` with n = 1; raises PhishcnnError as ``score``.

        >>> bytes(Model().tokenize("http://www.example.com/").ids.tolist())
        b'example.com'
        """
        return single(Tokens(*arrays(self._tokenize_batch([url]), TOKENS)))

    def __reduce__(self) -> tuple[type[Model], tuple[()] | tuple[bytes]]:
        return (type(self), () if self.embedded else (self.file,))

    def __repr__(self) -> str:
        info = self.info
        return f"<Model {info['phishcnn.name']} {info['phishcnn.version']}, SHA-256 {self.sha256[:16]}…>"
