"""What the functions answer: scores, tokens, explanations."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow

VERDICTS = ("benign", "suspicious", "phishing")
"""The words of ``Scores.verdict``, by number."""


class Scores(NamedTuple):
    """Scores of n URLs, each field of shape (n,): NumPy arrays, or memoryviews where NumPy is not installed.

    >>> import phishcnn
    >>> scores = phishcnn.Model().score_batch(["https://en.wikipedia.org/wiki/Phishing", None])
    >>> scores.verdict.tolist(), scores.errors.tolist()
    ([0, -1], [0, 203])
    >>> len(scores.to_arrow().column("logit").drop_null())
    1
    """

    logit: npt.NDArray[np.float32]
    """float32; higher is more like phishing; NaN where there is an error."""
    probability: npt.NDArray[np.float32]
    """float32 in [0, 1]: calibrated at the base rate asked for; NaN where there is an error."""
    verdict: npt.NDArray[np.int8]
    """int8: 0 benign, 1 suspicious, 2 phishing (``VERDICTS``); -1 where there is an error, which is no verdict."""
    truncated: npt.NDArray[np.bool_]
    """bool: the URL was longer than the model reads."""
    errors: npt.NDArray[np.uint16]
    """uint16: 0, or the number of the error."""

    def to_arrow(self) -> pyarrow.RecordBatch:
        """The scores as a ``pyarrow.RecordBatch`` of n rows; needs PyArrow.

        Columns ``logit`` and ``probability`` (float32), ``verdict`` (dictionary of text), ``truncated``
        (bool), all null where there is an error; ``error`` (uint16), null where there is none.
        The float32 columns lie in the memory of this object; nothing is copied.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        errors = pa.array(self.errors)
        scored = pc.equal(errors, 0)
        validity, nulls = scored.buffers()[1], len(scored) - scored.true_count

        def column(kind: pa.DataType, values: Any) -> pa.Array:
            return pa.Array.from_buffers(kind, len(scored), [validity, pa.py_buffer(values)], nulls)

        verdict = pa.DictionaryArray.from_arrays(column(pa.int8(), self.verdict), pa.array(VERDICTS))
        truncated = pc.if_else(scored, pa.array(self.truncated), pa.scalar(None, pa.bool_()))
        return pa.RecordBatch.from_arrays(
            [
                column(pa.float32(), self.logit),
                column(pa.float32(), self.probability),
                verdict,
                truncated,
                pc.if_else(scored, pa.scalar(None, pa.uint16()), errors),
            ],
            names=["logit", "probability", "verdict", "truncated", "error"],
        )


class Tokens(NamedTuple):
    """Tokens of n URLs; row i is ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: npt.NDArray[np.uint16]
    """uint16, all rows one after another."""
    parts: npt.NDArray[np.uint8]
    """uint8, URL-part id of each token (0 to 8)."""
    offsets: npt.NDArray[np.int64]
    """int64, shape (n + 1,)."""
    truncated: npt.NDArray[np.bool_]
    """bool, shape (n,): the URL had more than the model reads."""
    errors: npt.NDArray[np.uint16]
    """uint16, shape (n,): 0, or the number of the error; such a row has no tokens."""


SCORES, TOKENS = "ffb?H", "HBq?H"
"""The fields' types as the module ``struct`` writes them."""


def arrays(buffers: Sequence[bytearray], formats: str) -> list[Any]:
    """The buffers as arrays of these ``struct`` formats."""
    views = [memoryview(b).cast(f) for b, f in zip(buffers, formats, strict=True)]  # type: ignore[call-overload]
    try:
        import numpy as np
    except ImportError:
        return views
    return [np.asarray(view) for view in views]


class Segment(NamedTuple):
    """A piece of a URL; its opening delimiter belongs to it."""

    start: int
    """Offset of its first byte in the URL as given (in UTF-8)."""
    end: int
    """Offset behind its last byte."""
    part: str
    """user-info, sub-domain, …: what it belongs to."""
    text: str
    """The bytes; those that are not UTF-8 appear as U+FFFD."""
    contribution: float
    """How much the logit falls when the piece is hidden: positive pushes towards phishing."""


class Explanation:
    """Which parts of a URL made its score; a notebook shows it in colour.

    >>> import phishcnn
    >>> why = phishcnn.Model().explain("http://paypal.com.verify.example/login")
    >>> [segment.text for segment in why.segments]
    ['paypal', '.com', '.verify', '.example', '/login']
    """

    __slots__ = ("_raw", "score", "segments", "url")

    url: str
    """As given; bytes that are not UTF-8 appear as U+FFFD."""
    score: _core.Score
    segments: list[Segment]
    """In the URL's order; contributions need not add up to the logit."""

    def __init__(self, raw: bytes, score: _core.Score, segments: Sequence[tuple[int, int, str, float]]) -> None:
        self._raw, self.url, self.score = raw, raw.decode(errors="replace"), score
        self.segments = [
            Segment(start, end, part, raw[start:end].decode(errors="replace"), contribution)
            for start, end, part, contribution in segments
        ]

    def to_dict(self) -> dict[str, Any]:
        """The same as ``phishcnn explain --format json``."""
        score = self.score
        return {
            "url": self.url,
            "logit": score.logit,
            "probability": score.probability,
            "verdict": score.verdict,
            "truncated": score.truncated,
            "segments": [segment._asdict() for segment in self.segments],
        }

    def __repr__(self) -> str:
        lines = [f"{s.contribution:+8.3f}  {s.part:<12}  {self._visible(s.start, s.end)}" for s in self.segments]
        return "\n".join([repr(self.score), *lines])

    def _visible(self, start: int, end: int) -> str:
        return _core.visible(self._raw[start:end])

    def _repr_html_(self) -> str:
        """The URL with its parts coloured, and a table; hostile characters are shown, never acted on."""
        strongest = max((abs(s.contribution) for s in self.segments), default=0.0) or 1.0
        marked, rows, shown = [], [], 0
        for s in self.segments:
            text = html.escape(self._visible(s.start, s.end))
            # Red and blue: distinguishable for all kinds of colour vision; the sign is written too.
            rgb = "214, 39, 40" if s.contribution > 0 else "31, 119, 180"
            colour = f"rgba({rgb}, {0.6 * abs(s.contribution) / strongest:.2f})"
            marked.append(html.escape(self._visible(shown, s.start)))
            marked.append(f'<span title="{s.part} {s.contribution:+.3f}" style="background: {colour}">{text}</span>')
            rows.append(
                f'<tr><td style="text-align: right; background: {colour}">{s.contribution:+.3f}</td>'
                f'<td>{s.part}</td><td style="text-align: left"><code>{text}</code></td></tr>'
            )
            shown = s.end
        marked.append(html.escape(self._visible(shown, len(self._raw))))
        more = " (only the start of the URL was read)" if self.score.truncated else ""
        return (
            f"<div><p><b>{self.score.verdict}</b>, probability {self.score.probability:.4f}, "
            f"logit {self.score.logit:+.3f}{more}</p>"
            f'<p style="overflow-wrap: anywhere"><code>{"".join(marked)}</code></p>'
            f"<table><tr><th>logit</th><th>part</th><th>text</th></tr>{''.join(rows)}</table>"
            "<p>Positive pushes towards phishing, negative away from it; the numbers need not add up.</p></div>"
        )
