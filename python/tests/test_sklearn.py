"""PhishClassifier in scikit-learn's own hands."""

import pickle

import numpy as np
import pandas as pd
import phishcnn
import pytest
from conftest import ROOT, random_urls
from phishcnn import PhishClassifier
from sklearn.base import clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

URLS = random_urls(200)
SCORES = phishcnn.Model().score_batch(URLS)

# Those that need no numbers as X, which an estimator of text has none of.
CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.mark.parametrize("check", CHECKS)
def test_estimator_check(check):
    getattr(estimator_checks, check)("PhishClassifier", PhishClassifier())


@pytest.mark.parametrize("X", [URLS, np.array(URLS), pd.Series(URLS), pd.DataFrame({"url": URLS}), np.array([URLS]).T])
def test_classes_probabilities_and_decisions_are_the_models(X):
    classifier = PhishClassifier(threads=2).fit(X)
    assert is_classifier(classifier) and classifier.classes_.tolist() == [0, 1]
    assert classifier.predict(X).tolist() == (SCORES.verdict == 2).astype(int).tolist()
    assert PhishClassifier(positive="suspicious").predict(X).tolist() == (SCORES.verdict >= 1).astype(int).tolist()
    proba = classifier.predict_proba(X)
    assert proba.dtype == np.float32 and proba[:, 1].tobytes() == SCORES.probability.tobytes()
    assert proba.sum(axis=1) == pytest.approx(1)
    assert classifier.decision_function(X).tobytes() == SCORES.logit.tobytes()


def test_in_a_pipeline():
    frame = pd.DataFrame({"n": range(200), "link": [" " + url for url in URLS]})
    strip = FunctionTransformer(lambda frame: frame.map(str.strip))
    pipeline = make_pipeline(make_column_transformer((strip, ["link"])), PhishClassifier())
    y = (SCORES.logit > np.median(SCORES.logit)).astype(int)
    assert pipeline.fit(frame, y).predict_proba(frame)[:, 1].tobytes() == SCORES.probability.tobytes()
    assert cross_val_predict(PhishClassifier(), URLS, y).tolist() == PhishClassifier().predict(URLS).tolist()
    assert roc_auc_score(y, PhishClassifier().decision_function(URLS)) == 1.0
    assert 0 <= pipeline.score(frame, y) <= 1


def test_parameters():
    other = ROOT / "core/tests/vectors/url-bytes.safetensors"
    by_path, by_model = PhishClassifier(other), PhishClassifier(phishcnn.Model.load(other))
    expected = phishcnn.Model.load(other).score_batch(URLS).logit.tolist()
    for classifier in (by_path, by_model, clone(by_path), clone(by_model), pickle.loads(pickle.dumps(by_model))):
        assert classifier.decision_function(URLS).tolist() == expected
    for wrong in ({"positive": "benign"}, {"errors": "drop"}, {"threads": 0}, {"base_rate": 2}):
        with pytest.raises(ValueError):
            PhishClassifier(**wrong).fit(URLS).predict(URLS)
    with pytest.raises(ValueError, match="classes"):
        PhishClassifier().fit(URLS, [2] * len(URLS))


def test_items_without_a_score():
    for call in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(phishcnn.PhishcnnError, match="row 1"):
            getattr(PhishClassifier(), call)(["a", None])
    lenient = PhishClassifier(errors="nan")
    assert np.isnan(lenient.predict_proba(["a", None])).tolist() == [[False, False], [True, True]]
    with pytest.raises(phishcnn.PhishcnnError, match="203"):
        lenient.predict(["a", None])
