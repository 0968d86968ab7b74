"""The model in scikit-learn's form; needs scikit-learn."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin

from ._model import Model
from ._results import Scores


class PhishClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A trained classifier of URLs: classes 0 (not phishing) and 1 (phishing).

    ``X`` is whatever ``Model.score_batch`` takes, or an array or data frame of shape (n, 1). ``fit`` learns
    nothing: it is there for pipelines and searches. Parameters:

    model : path of a ``.safetensors`` file, a ``Model``, or None for the embedded one
    positive : the verdict from which ``predict`` says 1: "phishing" (FPR 0.1 % on the validation data of the
        model) or "suspicious" (FPR 1 %). ``predict`` follows the model's thresholds, not a probability of 0.5.
    errors : "raise" PhishcnnError at an item without a score (None, empty, too long), or "nan": its
        probabilities and decision are NaN. ``predict`` always raises: no class would be true.
    threads : see ``Model.score_batch``
    base_rate : the share of phishing that ``predict_proba`` assumes

    >>> classifier = PhishClassifier()
    >>> classifier.predict(["https://en.wikipedia.org/", "http://paypal.com.verify-account.ru/webscr?cmd=_login"])
    array([0, 1])
    >>> classifier.predict_proba(["https://en.wikipedia.org/"]).shape
    (1, 2)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Model | None = None,
        *,
        positive: Literal["phishing", "suspicious"] = "phishing",
        errors: Literal["raise", "nan"] = "raise",
        threads: int | None = None,
        base_rate: float = 0.5,
    ) -> None:
        self.model = model
        self.positive = positive
        self.errors = errors
        self.threads = threads
        self.base_rate = base_rate

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.classifier_tags.multi_class = False
        tags.requires_fit = False
        tags.no_validation = True
        return tags

    @property
    def classes_(self) -> npt.NDArray[np.int64]:
        """array([0, 1]); fixed, because the model is trained."""
        return np.array([0, 1])

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any = None, y: Any = None) -> PhishClassifier:
        """Checks the parameters and that ``y``, where given, has no other classes than 0 and 1."""
        self._model()
        if y is not None and not set(np.unique(np.asarray(y)).tolist()) <= {0, 1}:
            raise ValueError("y has other classes than 0 (not phishing) and 1 (phishing)")
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float32]:
        """Logits, float32 of shape (n,)."""
        return self._scores(X, self.errors).logit

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Probabilities of the classes 0 and 1, float32 of shape (n, 2)."""
        phishing = self._scores(X, self.errors).probability
        return np.column_stack([1 - phishing, phishing])

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Classes, int64 of shape (n,)."""
        least = {"suspicious": 1, "phishing": 2}[self.positive]
        return (self._scores(X, "raise").verdict >= least).astype(np.int64)

    def _model(self) -> Model:
        if self.positive not in ("phishing", "suspicious"):
            raise ValueError(f"positive={self.positive!r}: 'phishing' or 'suspicious'")
        if self.errors not in ("raise", "nan"):
            raise ValueError(f"errors={self.errors!r}: 'raise' or 'nan'")
        if isinstance(self.model, Model):
            return self.model
        return Model() if self.model is None else Model.load(self.model)

    def _scores(self, X: Any, errors: str) -> Scores:
        model = self._model()
        if len(getattr(X, "shape", ())) == 2 and X.shape[1] == 1:
            X = X.iloc[:, 0] if hasattr(X, "iloc") else np.asarray(X)[:, 0]
        return model.score_batch(
            X, self.threads, errors="raise" if errors == "raise" else "number", base_rate=self.base_rate
        )
