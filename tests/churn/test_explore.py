"""What the log looks like, against loops over users and events."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.churn.logs import events_of, fitted_on, rows_of, slow_labels, table_of, titled_log
from tests.engine_fixtures import START

from linkwise.churn import explore
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec, fit_spec
from linkwise.churn.fitted import Fitted
from linkwise.churn.windows import Window
from linkwise.data.engine import collect
from linkwise.metrics import bootstrap_weights

WINDOW = Window(START + 35, 25, 1, 7)


def study_of(log: pl.DataFrame, window: Window = WINDOW) -> tuple[Fitted, dict[Any, int]]:
    labels = slow_labels(log, window)
    events = events_of(log)
    return fitted_on(events, fit_spec(events, window), window, table_of(labels)), labels


@pytest.mark.parametrize("activity", [(), ("play", "search")])
def test_user_days_equal_a_slow_count(activity: tuple[str, ...], tmp_path: Path) -> None:
    log = titled_log(1)
    expected: dict[tuple[int, int], int] = {}
    for row in log.to_dicts():
        if not activity or row["event"] in activity:
            key = (row["user"], row["day"])
            expected[key] = expected.get(key, 0) + 1
    found = collect(explore.user_days(events_of(log), ChurnConfig(activity=activity), tmp_path))
    assert {(user, day): n for user, day, n in found.iter_rows()} == expected
    assert len(found) == len(expected)


def test_events_per_day_equal_a_slow_count() -> None:
    log = titled_log(2)
    expected: dict[tuple[int, str], int] = {}
    for row in log.to_dicts():
        key = (row["day"], row["event"])
        expected[key] = expected.get(key, 0) + 1
    found = explore.events_per_day(events_of(log).frame)
    assert [((day, event), n) for day, event, n in found.iter_rows()] == sorted(expected.items())


def test_churn_by_cohort_equals_a_slow_count(tmp_path: Path) -> None:
    log = titled_log(3)
    # Users who came late, so that there are several cohorts among few users.
    log = log.filter(pl.col("day") >= START + pl.col("user") % 29)
    fitted, labels = study_of(log)
    found = explore.churn_by_cohort(
        fitted, explore.user_days(fitted.events, ChurnConfig(), tmp_path)
    )
    first_of_log = min(row["day"] for row in log.to_dicts())
    members: dict[int, list[int]] = {}
    for user, churned in labels.items():
        first = min(row["day"] for row in log.to_dicts() if row["user"] == user)
        members.setdefault((first - first_of_log) // 7, []).append(churned)
    assert len(members) >= 4
    assert list(found) == sorted(members)
    for cohort, point in found.items():
        assert (point.x, point.n) == (cohort, len(members[cohort]))
        assert point.rate == pytest.approx(mean(members[cohort]))
        assert 0 <= point.low <= point.rate <= point.high <= 1


def all_pairs(inside: list[int], outside: list[int]) -> float:
    """Cliff's delta as it is defined: over every pair of one from either side."""
    signs = [(a > b) - (a < b) for a, b in product(inside, outside)]
    return sum(signs) / len(signs) if signs else float("nan")


def test_missingness_equals_a_slow_count() -> None:
    log = titled_log(4)
    # Few users with a missing length or play time, and users with no play at all.
    user, day = pl.col("user"), pl.col("day")
    no_length = (user % 3 == 0) & (day % 9 == 0)
    no_time = (user % 4 == 0) & (day % 7 == 0)
    log = log.with_columns(
        length=pl.when(~no_length).then(pl.col("length").fill_null(1000)),
        duration=pl.when(~no_time).then(pl.col("duration").fill_null(7)),
    )
    log = log.with_columns(
        event=pl.when(pl.col("user") % 11 == 0).then(pl.lit("search")).otherwise("event")
    )
    fitted, labels = study_of(log)
    samples = 30
    found = explore.missingness(fitted, np.random.default_rng(7), samples)
    assert [effect.field for effect in found] == ["play_time", "song_length"]

    rng = np.random.default_rng(7)
    for effect, field in zip(found, ("duration", "length"), strict=True):
        plays: dict[int, int] = {}
        gaps: dict[int, int] = {}
        for row in rows_of(log, WINDOW):
            if row["event"] == "play":
                plays[row["user"]] = plays.get(row["user"], 0) + 1
                gaps[row["user"]] = gaps.get(row["user"], 0) + (row[field] is None)
        users = sorted(user for user in plays if user in labels)
        assert len(users) < len(labels), "some users have no play"

        def effects(drawn: list[int]) -> tuple[float, float]:

            inside = [u for u in drawn if gaps[u] > 0]  # noqa: B023
            outside = [u for u in drawn if gaps[u] == 0]  # noqa: B023
            delta = all_pairs([plays[u] for u in inside], [plays[u] for u in outside])  # noqa: B023
            return delta, mean(labels[u] for u in inside) - mean(labels[u] for u in outside)

        assert 1 in gaps.values(), "one gap is enough"
        assert effect.users_with == sum(gaps[user] > 0 for user in users)
        assert effect.users_without == sum(gaps[user] == 0 for user in users)
        assert (effect.delta, effect.churn_difference) == pytest.approx(effects(users))
        drawn = [
            [user for user, times in zip(users, weights, strict=True) for _ in range(times)]
            for chunk in bootstrap_weights(rng, len(users), samples)
            for weights in chunk.tolist()
        ]
        deltas, differences = zip(*map(effects, drawn), strict=True)
        expected = (*np.percentile(deltas, (2.5, 97.5)), *np.percentile(differences, (2.5, 97.5)))
        limits = (effect.delta_low, effect.delta_high, effect.churn_low, effect.churn_high)
        assert limits == pytest.approx(expected)


def test_missingness_says_nothing_where_all_or_no_users_miss_a_value() -> None:
    log = titled_log(5).with_columns(duration=pl.lit(5), length=pl.lit(None, pl.Int64))
    fitted, _ = study_of(log)
    assert explore.missingness(fitted, np.random.default_rng(0)) == []
    bare, _ = study_of(log.drop("duration", "length"))
    assert explore.missingness(bare, np.random.default_rng(0)) == []


def test_cliffs_delta_of_an_empty_side_is_undefined() -> None:
    nobody = np.array([False, False])
    assert np.isnan(explore.cliffs_delta(np.array([1, 2]), nobody, np.ones(2)))


def test_retention_tail_equals_a_slow_count(tmp_path: Path) -> None:
    log = titled_log(6)
    log = log.filter(pl.col("day") >= START + pl.col("user") % 4 * 7)
    events = events_of(log)
    table = explore.cohorts(explore.user_days(events, ChurnConfig(), tmp_path), events)
    tail = explore.retention_tail(table)
    assert tail is not None
    weeks = (events.end_day - events.first_day) // 7
    active: dict[int, set[int]] = {}
    for row in log.to_dicts():
        week = (row["day"] - events.first_day) // 7
        if week < weeks:
            active.setdefault(row["user"], set()).add(week)
    # Seven weeks of log: the tail goes from week 1 to week 3, of users first seen in weeks 1 to 3.
    assert weeks == 7
    followed = [seen for seen in active.values() if 0 < min(seen) <= 3]
    for point, age in ((tail.early, 1), (tail.late, 3)):
        assert (point.x, point.n) == (age, len(followed))
        assert point.rate == pytest.approx(mean(min(seen) + age in seen for seen in followed))


def test_reasons_of_the_stage_by_hand() -> None:
    spec = FeatureSpec(
        feature_days=30, kinds=("play",), devices=(), duration=False, length=False, item=False,
        value=False, paid=True, clock=False,
    )  # fmt: skip
    tail = explore.Tail(explore.rate(3, 50, 100), explore.rate(6, 46, 100))
    stage = explore.read_stage(tail, np.array([1, 1, 5, 30]), spec, 0.012)
    assert stage.name == "revenue"
    assert "50 % are active 3 weeks after their first and 46 % after 6" in stage.reasons[0]
    assert "50 % of the users were active on one day only; the median is 3" in stage.reasons[1]
    assert stage.reasons[2] == "1.2 % of the users pay."
    falling = explore.Tail(tail.early, explore.rate(6, 44, 100))  # by more than a tenth
    assert explore.read_stage(falling, np.array([1]), spec, 0.012).name == "stickiness"
