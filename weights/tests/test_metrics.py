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
            assert point["resolvable"] is False and "recall" not in point
            assert point["indicative"]["recall"] == pytest.approx(tpr[fpr <= limit].max(), abs=1e-12)
            continue
        assert point["recall"] == pytest.approx(tpr[fpr <= limit].max(), abs=1e-12)
        assert metrics.confusion(labels, scores, point["threshold"])["tp"] == point["tp"]
        assert metrics.confusion(labels, scores, point["threshold"])["fp"] == point["fp"]
        assert point["low"] < point["recall"] < point["high"]


def test_the_interval_of_recall_holds_what_other_samples_give():
    """95 % of samples have the true recall at that rate in their interval; of the share alone far fewer would."""
    rng = np.random.default_rng(7)
    from scipy.stats import norm

    true, held, narrow = norm.sf(norm.isf(0.002) - 2), 0, 0
    for _ in range(200):
        scores = np.concatenate([rng.normal(2, 1, 20_000), rng.normal(0, 1, 20_000)])
        point = metrics.recall_at_fpr(np.arange(40_000) < 20_000, scores, 0.002)
        held += point["low"] <= true <= point["high"]
        narrow += metrics.wilson(point["tp"], 20_000)[0] <= true <= metrics.wilson(point["tp"], 20_000)[1]
    assert held >= 0.93 * 200 and narrow < 0.5 * 200


def test_resampled_recall_is_that_of_repeated_rows(sample):
    labels, scores = sample
    found = metrics.resampled(labels, scores, 3)
    rates = {name: rate for name, rate in metrics.FPRS.items() if (~labels).sum() * rate >= 20}
    assert set(found) == set(rates)
    rng = np.random.default_rng(1)
    for i in range(3):
        times = rng.poisson(1, len(scores))
        fpr, tpr, _ = sk.roc_curve(np.repeat(labels, times), np.repeat(scores, times), drop_intermediate=False)
        for name, rate in rates.items():
            assert found[name][i] == pytest.approx(tpr[fpr <= rate].max(), abs=1e-5)
    assert metrics.resampled(labels[:500], scores[:500], 3) == metrics.resampled(np.zeros(0), np.zeros(0), 3) == {}


def test_the_interval_of_two_models_difference_holds_what_other_rows_give():
    """Two models that err alike, the second a little worse: the interval by resampling holds the true difference, that
    of shares at given thresholds is often too narrow."""
    from scipy.stats import norm

    rng = np.random.default_rng(11)
    rate, noise = 0.01, 0.3
    true = norm.sf((norm.isf(rate) * np.hypot(1, noise) - 1.9) / np.hypot(1, noise)) - norm.sf(norm.isf(rate) - 2)
    labels = np.arange(24_000) < 20_000
    held = narrow = 0
    for _ in range(100):
        better = rng.normal(size=len(labels)) + 2 * labels
        worse = better - 0.1 * labels + noise * rng.normal(size=len(labels))
        new, old = (metrics.resampled(labels, scores, 200)["0.01"] for scores in (worse, better))
        low, high = np.percentile(np.subtract(new, old), [2.5, 97.5])
        held += low <= true <= high
        points = [metrics.recall_at_fpr(labels, scores, rate) for scores in (worse, better)]
        low, high = metrics.difference(*(metrics.share(p["tp"], 20_000) for p in points))
        narrow += low <= true <= high
    assert held >= 88 > narrow


def test_no_point_below_the_limit_is_recall_zero():
    labels = np.arange(6000) % 2 == 1
    point = metrics.recall_at_fpr(labels, np.zeros(6000), 0.01)
    assert (point["recall"], point["threshold"], point["fp"]) == (0.0, None, 0)


def test_perfectly_separated_rows_of_any_number_have_their_point():
    """Rounding once put the lower end of 0 of n, for one n in eleven, below 0, where no ROC point is."""
    for n in range(1, 2001):
        point = metrics.recall_at_fpr(np.arange(n + 1) > 0, np.arange(n + 1), 0.01)["indicative"]
        assert (point["recall"], point["high"]) == (1.0, 1.0)
        few = metrics.recall_at_fpr(np.arange(n + 1) == n, np.arange(n + 1), 0.0)["indicative"]
        assert (few["recall"], few["fp"], few["fpr_low"]) == (1.0, 0, 0.0)
        for hits in (0, 1, n):
            low, high = metrics.wilson(hits, n)
            assert 0 <= low <= hits / n <= high <= 1


def test_wilson_example():
    # Newcombe 1998, table I: 81 of 263.
    assert metrics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_difference_example():
    # Newcombe 1998 (difference of proportions), table II, method 10: 56/70 - 48/80.
    low, high = metrics.difference(metrics.share(56, 70), metrics.share(48, 80))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_precision_by_simulation():
    # 1 in 100 of a million URLs is phishing: 60 % of them and 0.5 % of the rest are flagged.
    at = metrics.precision(600, 1000, 50, 10_000)["1:100"]
    assert at["precision"] == pytest.approx(6000 / (6000 + 4950))
    assert at["low"] < at["precision"] < at["high"]
    assert metrics.precision(5, 10, 0, 100)["1:10,000"]["precision"] == 1.0
    assert metrics.precision(0, 10, 0, 100)["1:100"]["precision"] is None


def test_curve_lies_on_the_roc(sample):
    fpr, tpr, _ = sk.roc_curve(*sample, drop_intermediate=False)
    points = metrics.curve(*sample)
    assert len(points) > 20 and points[-1] == [1.0, 1.0]
    for x, y in points:
        assert y == pytest.approx(tpr[fpr <= x + 1e-12].max(), abs=1e-12)


def test_histogram_loses_no_row(sample):
    labels, scores = sample
    found = metrics.histogram(labels, scores * 30)
    assert sum(found["phishing"]) == labels.sum() and sum(found["legitimate"]) == (~labels).sum()


def test_reliability_sums_to_the_calibration_error(sample):
    labels, scores = sample
    p = 1 / (1 + np.exp(-scores))
    bins = metrics.reliability(labels, p)
    weight = [0.5 / labels.sum() if y else 0.5 / (~labels).sum() for y in labels]
    index = np.minimum((p * 15).astype(int), 14)
    shares = [np.array(weight)[index == b].sum() for b in range(15) if (index == b).any()]
    error = sum(w * abs(b["probability"] - b["phishing"]) for w, b in zip(shares, bins, strict=True))
    assert error == pytest.approx(metrics.calibration_error(labels, p), abs=1e-9)


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
