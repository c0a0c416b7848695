"""Rank correlation by group against scipy and a bootstrap by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from linkwise.errors import UsageError
from linkwise.metrics.correlation import evaluate_correlation, spearman

SAME = {"baseline": "a", "split": "s", "slice": "x", "seed": 0}


def test_spearman_is_scipy_s() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 12), rng.normal(size=12)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_means_over_groups_with_their_intervals() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 8)
    truth = rng.normal(size=240)
    scores = {"a": rng.normal(size=240), "b": truth + rng.normal(size=240)}
    rows = {row.model: row for row in evaluate_correlation(truth, scores, groups, **SAME)}
    each = {
        name: np.array([spearmanr(truth[groups == g], s[groups == g]).statistic for g in range(30)])
        for name, s in scores.items()
    }
    row = rows["b"]
    assert row.value == pytest.approx(each["b"].mean())
    assert row.difference == pytest.approx((each["b"] - each["a"]).mean())
    assert (row.n, row.metric) == (30, "rank_correlation")
    assert rows["a"].difference is None
    drawn = np.random.default_rng(5).integers(0, 30, size=(4000, 30))
    low, high = np.percentile(each["b"][drawn].mean(axis=1), (2.5, 97.5))
    assert (row.low, row.high) == pytest.approx((low, high), abs=0.02)
    apart = (each["b"] - each["a"])[drawn].mean(axis=1)
    assert (row.difference_low, row.difference_high) == pytest.approx(
        tuple(np.percentile(apart, (2.5, 97.5))), abs=0.03
    )


def test_groups_without_an_order_are_left_out_of_all_models() -> None:
    truth = [1, 2, 3, 5, 5, 5, 1, 2, 3]
    scores = {"a": [1, 2, 3, 1, 2, 3, 1, 1, 1], "b": [3, 2, 1, 1, 2, 3, 1, 2, 3]}
    rows = evaluate_correlation(truth, scores, [0, 0, 0, 1, 1, 1, 2, 2, 2], samples=20, **SAME)
    assert [(row.value, row.n) for row in rows] == [(1.0, 1), (-1.0, 1)]
    none = evaluate_correlation([1, 1], {"a": [1, 2]}, [0, 0], **SAME)
    assert (none[0].value, none[0].low, none[0].n) == (None, None, 0)
    with pytest.raises(UsageError, match='baseline is "a"'):
        evaluate_correlation([1, 2], {"b": [1, 2]}, [0, 0], **SAME)
