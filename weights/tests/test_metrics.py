"""Against scikit-learn and against definitions written out."""

import numpy as np
import pytest
from phishcnn_train import metrics
from phishcnn_train.calibrate import fit, threshold_at
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression


@pytest.fixture(params=["distinct", "ties", "rare"])
def sample(request):
    rng = np.random.default_rng(3)
    labels = rng.random(30_000) < (0.01 if request.param == "rare" else 0.4)
    scores = rng.normal(size=len(labels)) + 1.5 * labels
    return labels, np.round(scores, 1) if request.param == "ties" else scores


def test_auc_and_average_precision(sample):
    assert metrics.auc(*sample) == pytest.approx(sk.roc_auc_score(*sample), abs=1e-12)
    assert metrics.average_precision(*sample) == pytest.approx(sk.average_precision_score(*sample), abs=1e-12)


def test_recall_at_fpr(sample):
    labels, scores = sample
    fpr, tpr, _ = sk.roc_curve(*sample, drop_intermediate=False)
    for limit in (0.01, 0.001):
        point = metrics.recall_at_fpr(labels, scores, limit)
        if (~labels).sum() * limit < 20:
            assert point == {"resolvable": False}
            continue
        assert point["recall"] == pytest.approx(tpr[fpr <= limit].max(), abs=1e-12)
        assert metrics.confusion(labels, scores, point["threshold"])["tp"] == point["tp"]
        assert metrics.confusion(labels, scores, point["threshold"])["fp"] == point["fp"]
        assert point["low"] < point["recall"] < point["high"]


def test_no_point_below_the_limit_is_recall_zero():
    labels = np.arange(6000) % 2 == 1
    point = metrics.recall_at_fpr(labels, np.zeros(6000), 0.01)
    assert (point["recall"], point["threshold"], point["fp"]) == (0.0, None, 0)


def test_wilson_example():
    # Newcombe 1998, table I: 81 of 263.
    assert metrics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_calibration_error_by_loops():
    rng = np.random.default_rng(5)
    labels, p = rng.random(4000) < 0.2, rng.random(4000)
    p[0] = 1.0
    weight = [0.5 / labels.sum() if y else 0.5 / (~labels).sum() for y in labels]
    total = 0.0
    for b in range(15):
        rows = [i for i in range(4000) if b / 15 <= p[i] < (b + 1) / 15 or (b == 14 and p[i] == 1.0)]
        w = sum(weight[i] for i in rows)
        total += w * abs(sum(weight[i] * p[i] for i in rows) / w - sum(weight[i] * labels[i] for i in rows) / w)
    assert metrics.calibration_error(labels, p) == pytest.approx(total, abs=1e-12)


def test_calibration_is_logistic_regression():
    rng = np.random.default_rng(7)
    labels = rng.random(5000) < 0.3
    scores = 2 * rng.normal(size=5000) + labels
    model = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-10).fit(scores[:, None], labels)
    assert fit(labels, scores) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), abs=1e-4)
    assert all(np.isfinite(fit(scores > 0, scores)))  # separable


def test_threshold_keeps_the_rate():
    rng = np.random.default_rng(9)
    for scores in (rng.normal(size=5000), np.round(rng.normal(size=5000), 1), np.zeros(50)):
        scores = scores.astype(np.float32)
        for rate in (0.01, 0.001):
            t = threshold_at(scores, rate)
            lower = scores[scores < np.float32(t)]
            assert (scores >= t).mean() <= rate
            assert len(lower) and (scores >= lower.max()).mean() > rate
