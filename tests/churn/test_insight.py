"""Insight against plain and slow versions."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from linkwise.churn import explore
from linkwise.churn.insight import churn_by_recency, difference_interval, log_odds, threshold
from linkwise.churn.models import RECENCY_FEATURE, Table
from linkwise.data.engine import collect
from linkwise.data.events import Events


def events_of(frame: pl.DataFrame) -> Events:
    return Events(
        frame=nw.from_native(frame.lazy()),
        columns=frozenset(frame.columns),
        first_day=int(frame["day"].min()),
        last_day=int(frame["day"].max()),
        n_rows=len(frame),
        n_users=frame["user"].n_unique(),
        kinds=("play",),
    )


@pytest.fixture(scope="module")
def days() -> pl.DataFrame:
    rng = np.random.default_rng(2)
    users = [f"u{i}" for i in range(120)]
    rows = []
    for user in users:
        start, life = int(rng.integers(0, 50)), int(rng.geometric(0.05))
        for day in range(start, min(start + life, 70)):
            if rng.random() < 0.4 or day == start:
                rows.append((user, day, int(rng.integers(1, 9))))
    schema = {"user": pl.String, "day": pl.Int32, "n": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def lazy(frame: pl.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(frame.lazy())


def test_events_per_user_histogram_counts_every_user(days: pl.DataFrame) -> None:
    edges, counts = explore.events_per_user(lazy(days))
    totals = days.group_by("user").agg(pl.col("n").sum())["n"].to_list()
    assert edges[:5] == [1, 2, 5, 10, 20]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        assert count == sum(low <= total < high for total in totals)
    assert sum(counts) == len(totals)


def test_cohorts_and_retention_equal_a_slow_count(days: pl.DataFrame) -> None:
    events = events_of(days)
    table = explore.cohorts(lazy(days), events)
    first_day, weeks = events.first_day, (events.end_day - events.first_day) // 7
    active: dict[str, set[int]] = {}
    for user, day, _ in days.iter_rows():
        week = (day - first_day) // 7
        if week < weeks:
            active.setdefault(user, set()).add(week)
    expected: dict[tuple[int, int], int] = {}
    for seen in active.values():
        for week in seen:
            key = (min(seen), week - min(seen))
            expected[key] = expected.get(key, 0) + 1
    found = {(row[0], row[1]): row[2] for row in table.iter_rows()}
    assert found == expected
    curve = explore.retention_curve(table)
    for point in curve:
        old = [seen for seen in active.values() if min(seen) + point.x < weeks]
        assert point.n == len(old)
        assert point.rate == pytest.approx(
            sum(min(seen) + point.x in seen for seen in old) / len(old)
        )
    assert curve[0].rate == 1


def test_churn_by_cutoff_equals_a_slow_count(days: pl.DataFrame) -> None:
    from linkwise.churn.config import ChurnConfig
    from linkwise.data.events import from_epoch_day

    config = ChurnConfig(feature_days=20, label_days=7, gap_days=2)
    events = events_of(days)
    found = explore.churn_by_cutoff(lazy(days), events, config)
    assert len(found) > 3
    for point in found:
        cutoff = next(c for c in range(100) if str(from_epoch_day(c)) == point.x)
        before = set(days.filter(pl.col("day").is_between(cutoff - 20, cutoff - 1))["user"])
        after = set(days.filter(pl.col("day").is_between(cutoff + 2, cutoff + 8))["user"])
        assert point.n == len(before)
        assert point.rate == pytest.approx(len(before - after) / len(before))


def test_cliffs_delta_equals_all_pairs() -> None:
    rng = np.random.default_rng(3)
    values, group = rng.integers(0, 6, 60), rng.random(60) < 0.3
    weights = rng.integers(0, 3, 60)
    pairs = [
        (np.sign(values[i] - values[j]), weights[i] * weights[j])
        for i in np.flatnonzero(group)
        for j in np.flatnonzero(~group)
    ]
    expected = sum(sign * w for sign, w in pairs) / sum(w for _, w in pairs)
    assert explore.cliffs_delta(values, group, weights) == pytest.approx(expected)


def test_threshold_equals_a_regression_stump() -> None:
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(5)
    x = rng.integers(0, 30, 500).astype(float)
    effect = np.where(x > 11, 1.0, -1.0) + rng.normal(0, 0.3, 500)
    tree = DecisionTreeRegressor(max_leaf_nodes=2, min_samples_leaf=10).fit(x[:, None], effect)
    assert threshold(x, effect) == tree.tree_.threshold[0] == 11.5
    with_gaps = np.where(rng.random(500) < 0.1, np.nan, x)
    assert threshold(with_gaps, effect) == 11.5
    assert threshold(np.ones(500), effect) is None


def test_log_odds_of_equal_use_is_zero_and_grows_with_evidence() -> None:
    a, b = np.array([50, 100, 40, 4, 400]), np.array([50, 100, 10, 1, 433])
    odds, z = log_odds(a, b, prior=10)
    assert z[2] > 2 > z[3] > 0, "four against one is no evidence"
    _, larger = log_odds(10 * a, 10 * b, prior=10)
    assert (np.abs(larger[2:]) > np.abs(z[2:])).all()
    same, _ = log_odds(a, a, prior=10)
    np.testing.assert_allclose(same, 0, atol=1e-12)
    flipped, _ = log_odds(b, a, prior=10)
    np.testing.assert_allclose(flipped, -odds)


def test_churn_by_recency_equals_a_group_by() -> None:
    rng = np.random.default_rng(6)
    recency, labels = rng.integers(0, 5, 200), rng.integers(0, 2, 200).astype(float)
    table = Table(
        pl.Series([str(i) for i in range(200)]), pl.DataFrame({RECENCY_FEATURE: recency}), labels,
        pl.Series([False] * 200),
    )  # fmt: skip
    for point in churn_by_recency(table):
        assert point.n == (recency == point.x).sum()
        assert point.rate == pytest.approx(labels[recency == point.x].mean())


def cohort_table(curves: list[list[float]], size: int = 1000) -> pl.DataFrame:
    """Cohorts of one size, a week apart, each with its own share of active users by age."""
    rows = [
        (cohort, week, round(size * share), size)
        for cohort, curve in enumerate(curves)
        for week, share in enumerate(curve)
    ]
    return pl.DataFrame(rows, schema=["cohort", "week", "active", "size"], orient="row")


def test_stage_needs_a_flat_tail_and_payers(music_run: Any) -> None:
    from linkwise.churn.study import load_fitted

    spec, *_ = load_fitted(music_run.folder / "model")
    flat = [[1.0, 0.5, 0.4, *[0.39] * 9][: 12 - c] for c in range(12)]
    falling = [[0.8**week for week in range(12 - c)] for c in range(12)]
    active = np.array([1, 5, 9])
    tail = explore.retention_tail(cohort_table(flat))
    assert explore.read_stage(tail, active, spec, 0.05).name == "revenue"
    assert explore.read_stage(tail, active, spec, 0.0).name == "stickiness"
    assert explore.read_stage(tail, active, spec, None).name == "stickiness"
    assert explore.retention_tail(cohort_table([[1.0, 0.5], [1.0]])) is None
    steep = explore.retention_tail(cohort_table(falling))
    assert explore.read_stage(steep, active, spec, 0.05).name == "stickiness"
    assert explore.read_stage(None, active, spec, 0.05).name == "stickiness"


def test_the_tail_of_retention_follows_the_same_users() -> None:
    # Every cohort loses users, but the older the better: pooled over cohorts the curve would rise.
    curves = [[0.9 * 0.9**c * 0.93**week for week in range(12 - c)] for c in range(12)]
    tail = explore.retention_tail(cohort_table([[1.0, *curve[1:]] for curve in curves]))
    assert tail is not None
    assert tail.early.n == tail.late.n
    assert tail.late.rate < 0.9 * tail.early.rate


def test_difference_interval_equals_newcombes_example() -> None:
    # Newcombe 1998, table II, row (a) 56/70 - 48/80, method 10: .0524 to .3339.
    low, high = difference_interval(explore.rate("a", 56, 70), explore.rate("b", 48, 80))
    assert low == pytest.approx(0.0524, abs=1e-4)
    assert high == pytest.approx(0.3339, abs=1e-4)


def test_a_log_shorter_than_a_week_has_no_cohorts(days: pl.DataFrame) -> None:
    short = days.filter(pl.col("day") < days["day"].min() + 5)
    table = explore.cohorts(lazy(short), events_of(short))
    assert table.is_empty()
    assert explore.retention_curve(table) == []
    assert explore.retention_tail(table) is None


def test_events_per_day(days: pl.DataFrame) -> None:
    log = days.with_columns(event=pl.lit("play"))
    found = explore.events_per_day(lazy(log))
    assert found["n"].sum() == len(log)
    assert collect(lazy(log)).height == len(log)
