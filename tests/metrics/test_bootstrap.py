"""The bootstrap against a plain loop over resampled rows, its pairing, and its coverage."""

import json
from dataclasses import asdict, fields

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from linkwise import metrics
from linkwise.errors import InputError, UsageError
from linkwise.metrics.bootstrap import bootstrap_weights, evaluate_binary

COLUMNS = [
    "model",
    "split",
    "slice",
    "metric",
    "k",
    "value",
    "low",
    "high",
    "n",
    "baseline",
    "difference",
    "difference_low",
    "difference_high",
]


def two_models(seed, n=80, effect=1.0):
    """Labels and the scores of two models that see the same signal, one through more noise."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    signal = effect * labels + rng.normal(size=n)
    scores = {"recency": np.round(signal + rng.normal(size=n), 0), "model": np.round(signal, 1)}
    return labels, scores, {name: 1 / (1 + np.exp(-s)) for name, s in scores.items()}


def evaluate(seed=0, **changes):
    labels, scores, probabilities = two_models(0)
    settings = {"baseline": "recency", "split": "test", "samples": 12, "seed": seed} | changes
    return evaluate_binary(labels, scores, probabilities, **settings)


def pick(rows, model, metric, k=None):
    (row,) = [r for r in rows if (r.model, r.metric, r.k) == (model, metric, k)]
    return row


def top_precision(labels, scores, share, pessimistic):
    """Precision of the top share, the tied rows one by one."""
    places = int(np.ceil(share * len(labels) - 1e-9))
    cut = np.sort(scores)[::-1][places - 1]
    above, tied = labels[scores > cut], labels[scores == cut]
    still = places - len(above)
    taken = np.sort(tied)[:still].sum() if pessimistic else still * tied.mean()
    return (above.sum() + taken) / places


def slow(labels, scores, probabilities, pessimistic):
    """All metrics of one set of rows, by scikit-learn and the loop above."""
    predicted = probabilities >= 0.5
    values = {
        ("auc", None): sk.roc_auc_score(labels, scores),
        ("average_precision", None): sk.average_precision_score(labels, scores),
        ("accuracy", None): sk.accuracy_score(labels, predicted),
        ("precision", None): sk.precision_score(labels, predicted),
        ("recall", None): sk.recall_score(labels, predicted),
        ("f1", None): sk.f1_score(labels, predicted),
        ("brier", None): sk.brier_score_loss(labels, probabilities),
        ("log_loss", None): sk.log_loss(labels, probabilities),
    }
    for k in (1, 5, 10):
        top = top_precision(labels, scores, k / 100, pessimistic)
        values["precision_at", k] = top
        values["lift_at", k] = top / labels.mean()
    return values


def test_equals_a_plain_loop_over_resampled_rows():
    labels, scores, probabilities = two_models(0)
    rows = evaluate(seed=5)
    (weights,) = bootstrap_weights(np.random.default_rng(5), len(labels), 12)
    samples = [np.repeat(np.arange(len(labels)), drawn) for drawn in weights]
    draws = {
        name: [
            slow(labels[s], scores[name][s], probabilities[name][s], name == "model")
            for s in samples
        ]
        for name in scores
    }
    assert len(rows) == 2 * 14
    for row in rows:
        key = (row.metric, row.k)
        drawn = np.array([d[key] for d in draws[row.model]])
        point = slow(labels, scores[row.model], probabilities[row.model], row.model == "model")
        reference = slow(labels, scores["recency"], probabilities["recency"], False)
        expected = [point[key], *np.percentile(drawn, (2.5, 97.5)), reference[key]]
        assert [row.value, row.low, row.high, row.baseline] == pytest.approx(expected, abs=1e-12)
        if row.model == "recency":
            assert (row.difference, row.difference_low, row.difference_high) == (None, None, None)
        else:  # the interval of the difference is that of the differences
            paired = drawn - [d[key] for d in draws["recency"]]
            assert [row.difference, row.difference_low, row.difference_high] == pytest.approx(
                [point[key] - reference[key], *np.percentile(paired, (2.5, 97.5))], abs=1e-12
            )


def test_rows_have_the_columns_of_metrics_json():
    rows = evaluate(slice="new users")
    assert [field.name for field in fields(rows[0])] == COLUMNS
    assert {(r.split, r.slice, r.n) for r in rows} == {("test", "new users", 80)}
    text = json.dumps([asdict(r) for r in rows], allow_nan=False)
    assert '"k": 5,' in text  # 5, not 5.0
    assert [r.model for r in rows] == ["recency"] * 14 + ["model"] * 14
    halves = evaluate(shares=(0.005,))
    assert pick(halves, "model", "lift_at", 0.5).value >= 0


def test_pairing_makes_the_difference_sharper():
    labels, scores, _ = two_models(1, n=2000)
    rows = evaluate_binary(
        labels, scores, {}, baseline="recency", split="test", samples=200, seed=0
    )
    ours, theirs = pick(rows, "model", "auc"), pick(rows, "recency", "auc")
    paired = ours.difference_high - ours.difference_low
    unpaired = np.hypot(ours.high - ours.low, theirs.high - theirs.low)
    assert paired < 0.85 * unpaired
    assert ours.difference_low > 0


def test_the_same_model_differs_by_nothing():
    labels, scores, probabilities = two_models(2)
    twins = {"a": scores["model"], "b": scores["model"]}
    chances = dict.fromkeys(twins, probabilities["model"])
    rows = evaluate_binary(labels, twins, chances, baseline="a", split="s", samples=20, seed=0)
    same = [r for r in rows if r.model == "b" and r.k is None]  # top shares differ by tie rule
    assert len(same) == 8
    for row in same:
        assert (row.difference, row.difference_low, row.difference_high) == (0.0, 0.0, 0.0)


def test_ties_of_the_baseline_are_expected_and_of_models_pessimistic():
    labels, flat = np.array([1] * 5 + [0] * 15), np.zeros(20)
    rows = evaluate_binary(
        labels, {"a": flat, "b": flat}, {}, baseline="a", split="s", samples=5, seed=0
    )
    assert pick(rows, "a", "precision_at", 10).value == 0.25
    assert pick(rows, "b", "precision_at", 10).value == 0.0


def test_the_seed_decides_and_other_models_do_not():
    assert evaluate(seed=1) == evaluate(seed=1)
    assert pick(evaluate(seed=1), "model", "auc").low != pick(evaluate(seed=2), "model", "auc").low
    labels, scores, _ = two_models(0)
    alone = evaluate_binary(
        labels, {"recency": scores["recency"]}, {}, baseline="recency", split="test",
        samples=12, seed=1,
    )  # fmt: skip
    assert pick(alone, "recency", "auc") == pick(evaluate(seed=1), "recency", "auc")


def test_weights_are_resample_counts_whatever_the_chunk():
    def draw(chunk):
        return list(bootstrap_weights(np.random.default_rng(3), 101, 50, chunk=chunk))

    whole = draw(1 << 20)
    assert [w.shape for w in whole] == [(50, 101)]
    assert (whole[0].sum(axis=1) == 101).all()
    assert whole[0].var() == pytest.approx(1.0, abs=0.1)  # Poisson-like
    for chunk in (1, 101, 350):
        parts = draw(chunk)
        assert max(w.shape[0] for w in parts) == max(1, chunk // 101)
        np.testing.assert_array_equal(np.concatenate(parts), whole[0])


def test_weights_follow_the_multinomial():
    (weights,) = bootstrap_weights(np.random.default_rng(0), 3, 20_000)
    patterns, counts = np.unique(np.sort(weights, axis=1), axis=0, return_counts=True)
    assert patterns.tolist() == [[0, 0, 3], [0, 1, 2], [1, 1, 1]]
    np.testing.assert_allclose(counts / 20_000, [3 / 27, 18 / 27, 6 / 27], atol=0.015)


def test_a_model_without_probabilities_has_ranking_rows_only():
    labels, scores, probabilities = two_models(0)
    rows = evaluate_binary(
        labels,
        scores,
        {"model": probabilities["model"]},
        baseline="recency",
        split="test",
        samples=10,
        seed=0,
    )
    assert {r.metric for r in rows if r.model == "recency"} == {
        "auc", "average_precision", "precision_at", "lift_at",
    }  # fmt: skip
    row = pick(rows, "model", "brier")
    assert row.value is not None
    assert row.low is not None
    assert (row.baseline, row.difference, row.difference_low) == (None, None, None)


def test_undefined_is_none():
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.4, 0.3, 0.2, 0.1])
    rows = evaluate_binary(
        labels, {"a": scores}, {"a": scores}, baseline="a", split="s", samples=100, seed=0
    )
    nothing_predicted = pick(rows, "a", "precision")
    assert (nothing_predicted.value, nothing_predicted.low, nothing_predicted.baseline) == (
        None, None, None,
    )  # fmt: skip
    assert pick(rows, "a", "recall").value == 0.0
    auc = pick(rows, "a", "auc")  # 1 in 8 resamples holds one class: too many to leave out
    assert (auc.value, auc.low, auc.high) == (0.75, None, None)
    one_class = evaluate_binary(
        [0, 0, 0], {"a": [1, 2, 3]}, {}, baseline="a", split="s", samples=5, seed=0
    )
    assert {r.metric: r.value for r in one_class} == {
        "auc": None, "average_precision": None, "precision_at": 0.0, "lift_at": None,
    }  # fmt: skip


def test_few_undefined_resamples_are_left_out():
    draws = np.arange(100.0)
    draws[:5] = np.nan
    assert metrics.percentile_interval(draws) == tuple(np.percentile(draws[5:], (2.5, 97.5)))
    draws[5] = np.nan
    assert metrics.percentile_interval(draws) == (None, None)
    assert metrics.percentile_interval(np.full(3, np.nan)) == (None, None)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 30), (3, 30), (30, 30), (5000, 9999)])
def test_wilson_equals_scipy(successes, n):
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    assert metrics.proportion_interval(successes, n) == pytest.approx(tuple(theirs), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(InputError, match="no rate"):
        metrics.proportion_interval(successes, n)


def test_broken_calls():
    labels, scores, probabilities = two_models(0)
    settings = {"split": "s", "samples": 5, "seed": 0}
    with pytest.raises(UsageError, match="recency, model"):
        evaluate_binary(labels, scores, {}, baseline="popularity", **settings)
    with pytest.raises(UsageError, match='"other" has probabilities'):
        evaluate_binary(
            labels, scores, {"other": probabilities["model"]}, baseline="model", **settings
        )
    with pytest.raises(InputError, match='scores of model "model"'):
        evaluate_binary(labels, scores | {"model": [1.0]}, {}, baseline="recency", **settings)
    with pytest.raises(InputError, match='probabilities of model "model"'):
        evaluate_binary(
            labels, scores, {"model": probabilities["model"] + 1}, baseline="recency", **settings
        )
    with pytest.raises(UsageError, match="samples"):
        evaluate_binary(labels, scores, {}, baseline="recency", split="s", samples=0, seed=0)


@pytest.mark.slow
def test_intervals_hold_the_truth():
    """AUC of two unit normals d apart is Phi(d / sqrt(2)); 95 % intervals hold it that often."""
    rng = np.random.default_rng(0)
    held, held_difference, trials = 0, 0, 300
    truth, weaker = norm.cdf(1.0 / np.sqrt(2)), norm.cdf(1.0 / np.sqrt(2) / np.sqrt(2))
    for trial in range(trials):
        labels = rng.random(400) < 0.4
        signal = labels + rng.normal(size=400)
        scores = {"recency": signal + rng.normal(size=400), "model": signal}
        rows = evaluate_binary(
            labels, scores, {}, baseline="recency", split="s", samples=300, seed=trial
        )
        row = pick(rows, "model", "auc")
        held += row.low <= truth <= row.high
        held_difference += row.difference_low <= truth - weaker <= row.difference_high
    assert 0.91 <= held / trials <= 0.98
    assert 0.91 <= held_difference / trials <= 0.98


def test_rows_of_one_user_are_drawn_together():
    """Against a loop that resamples users, and takes all rows of each."""
    labels, scores, _ = two_models(0)
    units = np.arange(len(labels)) // 4
    rows = evaluate(seed=5, units=units)
    (weights,) = bootstrap_weights(np.random.default_rng(5), units.max() + 1, 12)
    for name in scores:
        drawn = [
            sk.roc_auc_score(labels[s], scores[name][s])
            for s in (np.repeat(np.arange(len(labels)), w[units]) for w in weights)
        ]
        row = pick(rows, name, "auc")
        assert [row.value, row.low, row.high] == pytest.approx(
            [sk.roc_auc_score(labels, scores[name]), *np.percentile(drawn, (2.5, 97.5))]
        )
