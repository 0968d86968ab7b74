"""Scores URLs for phishing with a small neural network in Rust; the trained model is in the wheel.

>>> import phishcnn
>>> phishcnn.Model().score("http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login").verdict
'phishing'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import Score, __version__
from ._errors import PhishcnnError
from ._model import Model
from ._results import VERDICTS, Explanation, Scores, Segment, Tokens
from ._tokens import canonicalize, tokenize, tokenize_batch

if TYPE_CHECKING:
    from .sklearn import PhishClassifier

__all__ = [
    "VERDICTS",
    "Explanation",
    "Model",
    "PhishClassifier",
    "PhishcnnError",
    "Score",
    "Scores",
    "Segment",
    "Tokens",
    "__version__",
    "canonicalize",
    "tokenize",
    "tokenize_batch",
]


def __getattr__(name: str) -> Any:
    # scikit-learn is imported by those who ask for it.
    if name == "PhishClassifier":
        from .sklearn import PhishClassifier

        return PhishClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
