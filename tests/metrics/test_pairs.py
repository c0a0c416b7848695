"""Metrics of pairs: against scikit-learn, and the bootstrap against resamples made the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from linkwise.metrics.bootstrap import bootstrap_weights
from linkwise.metrics.pairs import evaluate_pairs


def made(seed: int, codes: int = 14, levels: int = 7) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(codes, 1)
    keep = rng.random(len(a)) < 0.8
    a, b = a[keep], b[keep]
    scores = rng.integers(levels, size=len(a)) / levels
    labels = rng.random(len(a)) < 0.1 + 0.5 * scores
    return labels, scores, a, b


@pytest.mark.parametrize("seed", range(5))
def test_points_are_those_of_scikit_learn(seed: int) -> None:
    labels, scores, a, b = made(seed)
    found = evaluate_pairs(labels, {"m": scores}, a, b, places=(10,), samples=10, seed=0).points[
        "m"
    ]
    assert found["auc", None] == pytest.approx(roc_auc_score(labels, scores))
    assert found["partial_auc", 10] == pytest.approx(roc_auc_score(labels, scores, max_fpr=0.1))
    assert found["average_precision", None] == pytest.approx(
        average_precision_score(labels, scores)
    )


def test_a_resample_is_the_pairs_of_the_codes_drawn() -> None:
    labels, scores, a, b = made(3)
    found = evaluate_pairs(labels, {"m": scores}, a, b, places=(10,), samples=40, seed=9)
    counts = np.concatenate(list(bootstrap_weights(np.random.default_rng(9), 14, 40)))
    for sample, drawn in enumerate(counts):
        rows = [row for row in range(len(a)) for _ in range(int(drawn[a[row]] * drawn[b[row]]))]
        y, s = labels[rows], scores[rows]
        assert found.draws["m"]["auc", None][sample] == pytest.approx(roc_auc_score(y, s))
        partial = roc_auc_score(y, s, max_fpr=0.1)
        assert found.draws["m"]["partial_auc", 10][sample] == pytest.approx(partial)
        # Against us: among equal scores the negatives stand first.
        first = sorted(range(len(rows)), key=lambda k: (-s[k], y[k]))[:10]
        assert found.draws["m"]["precision_at", 10][sample] == pytest.approx(y[first].mean())


def test_ties_of_a_trivial_model_count_in_expectation() -> None:
    labels = np.array([True, False, False, True])
    a, b = np.array([0, 0, 0, 1]), np.array([1, 2, 3, 2])
    scores = {"rule": np.zeros(4), "model": np.zeros(4)}
    found = evaluate_pairs(
        labels, scores, a, b, trivial=["rule"], places=(2, 10), samples=5, seed=0
    )
    assert found.points["rule"]["precision_at", 2] == 0.5
    assert found.points["model"]["precision_at", 2] == 0.0
    assert ("precision_at", 10) not in found.points["rule"]  # there are four pairs


def test_the_interval_is_wider_than_that_of_independent_pairs() -> None:
    """Where a few codes make all pairs easy or hard, drawing pairs would pretend to know more."""
    rng = np.random.default_rng(1)
    a, b = np.triu_indices(40, 1)
    easy = rng.random(40) < 0.5
    labels = rng.random(len(a)) < 0.3
    scores = rng.normal(size=len(a)) + np.where(labels & (easy[a] & easy[b]), 3.0, 0.0)
    by_codes = evaluate_pairs(labels, {"m": scores}, a, b, samples=300, seed=0).value("m", "auc")
    rows = rng.integers(len(a), size=(300, len(a)))
    by_pairs = np.percentile([roc_auc_score(labels[r], scores[r]) for r in rows], (2.5, 97.5))
    assert by_codes[2] - by_codes[1] > 1.5 * (by_pairs[1] - by_pairs[0])


def test_models_one_after_the_other_are_drawn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, a, b = made(4)
    both = {"one": scores, "other": -scores}
    at_once = evaluate_pairs(labels, both, a, b, samples=30, seed=1)
    monkeypatch.setattr("linkwise.metrics.pairs.MANY", 1)
    apart = evaluate_pairs(labels, both, a, b, samples=30, seed=1)
    assert at_once.points == apart.points
    for model, draws in at_once.draws.items():
        for key, values in draws.items():
            np.testing.assert_array_equal(values, apart.draws[model][key])


def test_rows_compare_with_the_baseline_in_pairs() -> None:
    labels, scores, a, b = made(2)
    both = {"rule": scores, "model": scores + 0.0}
    found = evaluate_pairs(labels, both, a, b, places=(5,), samples=50, seed=0)
    rows = found.rows("rule", split="test")
    assert [row.difference for row in rows if row.model == "model"] == [0, 0, 0, pytest.approx(0)]
    assert all(row.difference is None for row in rows if row.model == "rule")
    assert {row.metric for row in rows} == {
        "auc", "partial_auc", "average_precision", "precision_at",
    }  # fmt: skip
