"""Intervals of metrics at the ends of their range."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from linkwise.errors import InputError
from linkwise.metrics.binary import auc
from linkwise.metrics.bootstrap import evaluate_binary
from linkwise.metrics.bounds import auc_interval
from linkwise.metrics.interval import proportion_interval


def test_an_auc_s_interval_is_what_its_equation_says() -> None:
    """All values on a fine grid that are not further away than 1.96 of their own standard errors."""
    at = np.linspace(1e-6, 1 - 1e-6, 200_001)
    for value, m, n in ((1.0, 11, 11), (0.0, 5, 30), (0.8, 20, 40), (1.0, 1, 21)):
        # Hanley and McNeil's variance as they write it, with one count for both.
        mean = (m + n) / 2 - 1
        q1, q2 = at / (2 - at), 2 * at**2 / (1 + at)
        variance = (at * (1 - at) + mean * (q1 - at**2) + mean * (q2 - at**2)) / (m * n)
        inside = at[(at - value) ** 2 <= 1.959964**2 * variance]
        low, high = auc_interval(value, m, n)
        expected = (0 if value == 0 else inside[0], 1 if value == 1 else inside[-1])
        assert (low, high) == pytest.approx(expected, abs=2e-5)


def test_an_auc_s_interval_covers() -> None:
    """Of small samples with a true AUC of .95, many of them perfect, at least 93 % of intervals hold it."""
    rng = np.random.default_rng(0)
    gap = np.sqrt(2) * norm.ppf(0.95)
    label = np.repeat([1, 0], [12, 15])
    held = perfect = 0
    for _ in range(400):
        value = auc(label, np.concatenate([rng.normal(gap, size=12), rng.normal(size=15)]))
        low, high = auc_interval(float(value), 12, 15)
        held += low <= 0.95 <= high
        perfect += value == 1
    assert perfect > 20
    assert held / 400 > 0.93


def test_perfect_rows_are_no_certainty() -> None:
    label = np.repeat([1, 0], [10, 12])
    rows = {
        row.metric: row
        for row in evaluate_binary(
            label, {"fine": label + 0.0, "plain": 1.0 - label}, {"fine": label * 0.9},
            baseline="plain", split="test", shares=(), samples=50, seed=0,
        )
        if row.model == "fine"
    }  # fmt: skip
    assert rows["accuracy"].value == 1
    assert (rows["accuracy"].low, rows["accuracy"].high) == proportion_interval(22, 22)
    assert rows["accuracy"].low == pytest.approx(0.851, abs=1e-3)  # Wilson's of 22 of 22
    assert (rows["recall"].low, rows["recall"].high) == proportion_interval(10, 10)
    low = proportion_interval(10, 10)[0]
    assert rows["f1"].low == pytest.approx(2 * low / (1 + low))
    assert (rows["auc"].low, rows["auc"].high) == auc_interval(1, 10, 12)
    assert rows["average_precision"].low is None


def test_rows_of_one_unit_are_one() -> None:
    label = np.tile([1, 0], 50)
    rows = evaluate_binary(
        label, {"fine": label + 0.0}, {"fine": label + 0.0}, baseline="fine", split="test",
        shares=(), samples=20, seed=0, units=np.arange(100) // 20,
    )  # fmt: skip
    found = {row.metric: row for row in rows}
    assert found["accuracy"].low == proportion_interval(5, 5)[0]


def test_what_is_no_auc_is_refused() -> None:
    with pytest.raises(InputError, match="there is none such"):
        auc_interval(1.2, 3, 3)
    with pytest.raises(InputError, match="there is none such"):
        auc_interval(0.5, 0, 3)
