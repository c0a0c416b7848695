"""The calibrator against scikit-learn, its promises, and its coverage of a known truth."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from linkwise import metrics
from linkwise.errors import InputError, UsageError
from linkwise.estimators.calibrate import (
    MIN_EVENTS,
    MIN_ROWS,
    IsotonicCalibrator,
    reliability_bins,
)


def truth(scores):
    """A rate that rises with the score, but not as a logistic curve does."""
    return 0.05 + 0.6 * expit(4 * scores)


def sample(seed, n=3000, rate=truth, digits=None):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    if digits is not None:
        scores = np.round(scores, digits)
    return scores, rng.random(n) < rate(scores)


@pytest.fixture(scope="module")
def isotonic():
    return IsotonicCalibrator().fit(*sample(0), seed=1, samples=50)


@pytest.fixture(scope="module")
def logistic():
    return IsotonicCalibrator().fit(*sample(0, n=300), seed=1, samples=50)


@pytest.fixture(params=["isotonic", "logistic"])
def fitted(request):
    return request.getfixturevalue(request.param)


QUERIES = np.concatenate([np.random.default_rng(9).normal(size=2000), np.linspace(-9, 9, 500)])


@pytest.mark.parametrize("digits", [None, 1])
def test_isotonic_equals_sklearn_with_the_two_added_rows(digits):
    scores, labels = sample(0, digits=digits)
    ours = IsotonicCalibrator().fit(scores, labels, seed=0, samples=2)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(
        np.r_[scores, scores.min(), scores.max()], np.r_[labels, 1.0, 0.0]
    )
    np.testing.assert_allclose(ours.predict(QUERIES), theirs.predict(QUERIES), atol=1e-12)
    # Away from the ends the added rows change nothing.
    plain = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    middle = np.linspace(-1, 0.5, 50)
    np.testing.assert_allclose(ours.predict(middle), plain.predict(middle), atol=1e-12)


@pytest.mark.parametrize("heavy_tails", [False, True])
def test_logistic_equals_sklearn_on_platts_targets(heavy_tails):
    scores, labels = sample(0, n=300)
    if heavy_tails:
        scores = np.sign(scores) * np.abs(scores) ** 4
    ours = IsotonicCalibrator().fit(scores, labels, seed=0, samples=2)
    assert ours.kind_ == "logistic"
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A soft target t is a positive of weight t and a negative of weight 1 - t.
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.r_[scores, scores][:, None],
        np.r_[np.ones(300), np.zeros(300)],
        sample_weight=np.r_[targets, 1 - targets],
    )
    inside = np.clip(QUERIES, scores.min(), scores.max())
    expected = np.clip(theirs.predict_proba(inside[:, None])[:, 1], 1 / 302, 301 / 302)
    np.testing.assert_allclose(ours.predict(QUERIES), expected, atol=2e-4)


def test_ends_of_the_curve_by_hand():
    """400 negatives below 600 positives: the ends are 1 / 401 and 600 / 601, not 0 and 1."""
    scores, labels = np.arange(1000.0), np.arange(1000) >= 400
    calibrator = IsotonicCalibrator().fit(scores, labels, seed=0, samples=20)
    assert calibrator.kind_ == "isotonic"
    np.testing.assert_allclose(calibrator.predict([-5.0, 0.0, 399.0]), 1 / 401)
    np.testing.assert_allclose(calibrator.predict([400.0, 999.0, 2000.0]), 600 / 601)


def test_promises_about_every_score(fitted):
    scores = np.sort(QUERIES)
    low, high = fitted.interval(scores)
    point = fitted.predict(scores)
    for curve in (low, point, high):
        assert curve.shape == scores.shape
        assert ((curve > 0) & (curve < 1)).all()
        assert (np.diff(curve) >= -1e-15).all()
    assert (low <= point).all()
    assert (point <= high).all()
    assert (high - low).mean() > 0.01
    assert fitted.predict([np.inf])[0] == fitted.predict([1e9])[0]


def test_the_interval_is_that_of_refits_on_resampled_users():
    scores, labels = sample(0)
    calibrator = IsotonicCalibrator().fit(scores, labels, seed=4, samples=30)
    refits = []
    for weights in metrics.bootstrap_weights(np.random.default_rng(4), len(scores), 30):
        for drawn in weights:
            rows = np.repeat(np.arange(len(scores)), drawn)
            x = np.r_[scores[rows], scores.min(), scores.max()]
            y = np.r_[labels[rows], 1.0, 0.0]
            refits.append(IsotonicRegression().fit(x, y).predict(calibrator.knots_))
    low, high = np.percentile(refits, (2.5, 97.5), axis=0)
    np.testing.assert_allclose(calibrator.low_, np.minimum(low, calibrator.values_), atol=1e-12)
    np.testing.assert_allclose(calibrator.high_, np.maximum(high, calibrator.values_), atol=1e-12)


@pytest.mark.parametrize("n", [300, 3000])
def test_the_interval_contains_the_curve_even_after_one_refit(n, tmp_path):
    calibrator = IsotonicCalibrator().fit(*sample(0, n=n), seed=0, samples=1)
    assert (calibrator.low_ <= calibrator.values_).all()
    assert (calibrator.values_ <= calibrator.high_).all()
    assert (calibrator.low_ < calibrator.high_).any()
    calibrator.save(tmp_path)
    np.testing.assert_array_equal(IsotonicCalibrator.load(tmp_path).low_, calibrator.low_)


def test_kind_depends_on_rows_and_on_the_rarer_class():
    def kind(n, positives):
        scores = np.random.default_rng(0).normal(size=n)
        labels = np.arange(n) < positives
        return IsotonicCalibrator().fit(scores, labels, seed=0, samples=2).kind_

    assert kind(MIN_ROWS, 500) == "isotonic"
    assert kind(MIN_ROWS - 1, 500) == "logistic"
    assert kind(2 * MIN_ROWS, MIN_EVENTS) == "isotonic"
    assert kind(2 * MIN_ROWS, MIN_EVENTS - 1) == "logistic"
    assert kind(2 * MIN_ROWS, 2 * MIN_ROWS - MIN_EVENTS + 1) == "logistic"


def test_why_few_rows_get_the_logistic_curve():
    """With 200 rows of a logistic truth, isotonic regression is the farther from it."""

    def rate(scores):
        return expit(1.2 * scores)

    held_out, _ = sample(99)
    errors = []
    for seed in range(10):
        scores, labels = sample(seed, n=200, rate=rate)
        ours = IsotonicCalibrator().fit(scores, labels, seed=0, samples=1)
        isotonic = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
        errors.append(
            [np.mean((m.predict(held_out) - rate(held_out)) ** 2) for m in (ours, isotonic)]
        )
    ours_mean, isotonic_mean = np.mean(errors, axis=0)
    assert ours_mean < 0.5 * isotonic_mean


def test_why_many_rows_get_the_isotonic_curve(isotonic):
    scores, labels = sample(0)
    line = LogisticRegression().fit(scores[:, None], labels)
    held_out, _ = sample(99)
    isotonic_error = np.mean((isotonic.predict(held_out) - truth(held_out)) ** 2)
    logistic_error = np.mean((line.predict_proba(held_out[:, None])[:, 1] - truth(held_out)) ** 2)
    assert isotonic_error < 0.5 * logistic_error


def test_a_falling_score_gets_a_flat_curve():
    scores, labels = sample(0, n=300)
    calibrator = IsotonicCalibrator().fit(-scores, labels, seed=0, samples=20)
    np.testing.assert_allclose(calibrator.predict([-2.0, 2.0]), labels.mean(), atol=0.01)


def test_a_constant_score():
    for n in (100, 2000):
        labels = np.arange(n) % 4 == 0
        calibrator = IsotonicCalibrator().fit(np.full(n, 7.0), labels, seed=0, samples=50)
        low, high = calibrator.interval([7.0])
        assert calibrator.predict([7.0])[0] == pytest.approx(0.25, abs=0.01)
        assert low[0] < 0.25 < high[0]


def test_separable_scores_stay_inside():
    scores = np.r_[np.linspace(0, 1, 50), np.linspace(2, 3, 50), 1e6]
    calibrator = IsotonicCalibrator().fit(scores, scores > 1.5, seed=0, samples=20)
    low, high = calibrator.interval([0.0, 3.0, 1e6])
    assert (low > 0).all()
    assert (high < 1).all()
    assert metrics.log_loss([1, 0], calibrator.predict([-1e9, 1e9])) < np.log(103)


@pytest.mark.parametrize("n", [300, 3000])
def test_calibrated_probabilities_are_more_reliable_than_distorted_ones(n):
    rng = np.random.default_rng(0)
    rates = rng.beta(1, 3, size=n + 20_000)
    labels = rng.random(len(rates)) < rates
    distorted = expit(3 * logit(np.clip(rates, 1e-6, 1 - 1e-6)) + 1)  # overconfident and shifted
    calibrator = IsotonicCalibrator().fit(logit(distorted[:n]), labels[:n], seed=0, samples=10)
    held_out = labels[n:]
    calibrated = calibrator.predict(logit(distorted[n:]))

    def gap(probabilities):
        table = reliability_bins(held_out, probabilities)
        return sum(b.n * abs(b.mean_predicted - b.observed_rate) for b in table) / len(held_out)

    assert gap(calibrated) < 0.25 * gap(distorted[n:])
    assert metrics.log_loss(held_out, calibrated) < metrics.log_loss(held_out, distorted[n:])
    assert metrics.brier(held_out, calibrated) < metrics.brier(held_out, distorted[n:])


def test_seed_decides():
    scores, labels = sample(0)
    one, same, other = (
        IsotonicCalibrator().fit(scores, labels, seed=seed, samples=10) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.low_, same.low_)
    np.testing.assert_array_equal(one.values_, other.values_)
    assert not np.array_equal(one.low_, other.low_)


def test_save_and_load(fitted, tmp_path):
    fitted.save(tmp_path / "a" / "b")
    loaded = IsotonicCalibrator.load(tmp_path / "a" / "b")
    np.testing.assert_array_equal(loaded.predict(QUERIES), fitted.predict(QUERIES))
    np.testing.assert_array_equal(loaded.interval(QUERIES), fitted.interval(QUERIES))
    assert (loaded.kind_, loaded.rows_, loaded.positives_) == (
        fitted.kind_, fitted.rows_, fitted.positives_,
    )  # fmt: skip
    loaded.save(tmp_path / "again")
    first = (tmp_path / "a" / "b" / "calibrator.json").read_bytes()
    assert (tmp_path / "again" / "calibrator.json").read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "spline"},
        {"knots": [0.0]},
        {"knots": [1.0, 0.0]},
        {"values": [0.2, 1.0]},
        {"low": [0.3, 0.3]},
        {"high": [0.1, 0.9]},
        {"rows": None},
        {"values": ["a", "b"]},
    ],
)
def test_load_refuses_broken_files(tmp_path, change):
    record = {
        "format": 1, "kind": "isotonic", "rows": 9, "positives": 4,
        "knots": [0.0, 1.0], "low": [0.1, 0.2], "values": [0.2, 0.3], "high": [0.3, 0.4],
    }  # fmt: skip
    path = tmp_path / "calibrator.json"
    path.write_text(json.dumps(record))
    assert IsotonicCalibrator.load(tmp_path).predict([0.5])[0] == pytest.approx(0.25)
    path.write_text(json.dumps(record | change))
    with pytest.raises(InputError, match=r"calibrator\.json: not a saved calibrator"):
        IsotonicCalibrator.load(tmp_path)


def test_load_refuses_what_is_no_calibrator(tmp_path):
    with pytest.raises(InputError, match="not a saved calibrator"):
        IsotonicCalibrator.load(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "calibrator.json").write_text(text)
        with pytest.raises(InputError, match="not a saved calibrator"):
            IsotonicCalibrator.load(tmp_path)


def test_broken_input(isotonic):
    fit = IsotonicCalibrator().fit
    for label in (0, 1):
        with pytest.raises(InputError, match=f"all 3 calibration labels are {label}"):
            fit([1.0, 2.0, 3.0], [label] * 3, seed=0)
    with pytest.raises(InputError, match="infinite"):
        fit([1.0, np.inf], [0, 1], seed=0)
    with pytest.raises(InputError, match="NaN"):
        fit([1.0, np.nan], [0, 1], seed=0)
    with pytest.raises(InputError, match="one for each label"):
        fit([1.0], [0, 1], seed=0)
    with pytest.raises(InputError, match="NaN"):
        isotonic.predict([np.nan])
    assert isotonic.predict([]).shape == (0,)


def test_unfitted(tmp_path):
    calibrator = IsotonicCalibrator()
    for call in (
        lambda: calibrator.predict([0.5]),
        lambda: calibrator.interval([0.5]),
        lambda: calibrator.save(tmp_path),
    ):
        with pytest.raises(UsageError, match="not fitted"):
            call()


def test_reliability_bins_by_hand():
    probabilities = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
    labels = [0, 0, 0, 1, 0, 1, 1, 1]
    first, second = reliability_bins(labels, probabilities, bins=2)
    assert (first.mean_predicted, first.observed_rate, first.n) == (pytest.approx(0.25), 0.25, 4)
    assert (second.mean_predicted, second.observed_rate, second.n) == (pytest.approx(0.75), 0.75, 4)
    wilson = binomtest(1, 4).proportion_ci(method="wilson")
    assert (first.low, first.high) == pytest.approx(tuple(wilson))


def test_reliability_bins_are_of_equal_count_and_keep_ties_together():
    rng = np.random.default_rng(0)
    table = reliability_bins(rng.integers(0, 2, 1000), rng.random(1000))
    assert [b.n for b in table] == [100] * 10
    tied = reliability_bins([0, 1, 0, 1, 1, 0], [0.2, 0.2, 0.2, 0.2, 0.7, 0.9], bins=3)
    assert [b.n for b in tied] == [4, 2]
    assert [b.n for b in reliability_bins([0, 1], [0.2, 0.3], bins=10)] == [1, 1]
    assert [b.n for b in reliability_bins([0, 1], [0.2, 0.2], bins=10)] == [2]
    with pytest.raises(UsageError, match="bins"):
        reliability_bins([0, 1], [0.2, 0.3], bins=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "rate", "least"),
    [(300, lambda s: expit(1.5 * s - 1), 0.92), (3000, truth, 0.9), (20_000, truth, 0.92)],
)
def test_intervals_hold_the_truth(n, rate, least):
    """Share of scores, over fits, whose interval holds the true rate there."""
    held = []
    for seed in range(20):
        calibrator = IsotonicCalibrator().fit(*sample(seed, n=n, rate=rate), seed=seed)
        queries, _ = sample(1000 + seed)
        low, high = calibrator.interval(queries)
        held.append(((low <= rate(queries)) & (rate(queries) <= high)).mean())
    assert least <= np.mean(held) <= 0.985
