"""Cleaning rules, bots and the ledger's counts, by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from linkwise.churn.clean import (
    BURST_RULE,
    PLAY_RULE,
    cleaned,
    count_rules,
    events_rule,
    find_bots,
    fit_rules,
    weighted_percentile,
)
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec
from linkwise.churn.windows import Window
from linkwise.data.engine import collect

WINDOW = Window(cutoff=30, feature_days=30, gap_days=0, label_days=7)
SPEC = FeatureSpec(
    feature_days=30, kinds=("play",), devices=(), duration=True, length=True, item=False,
    value=False, paid=False, clock=False,
)  # fmt: skip


def plays(
    duration: list[int | None], length: list[int | None], **columns: Any
) -> nw.LazyFrame[Any]:
    n = len(duration)
    base = {"user": ["a"] * n, "event": ["play"] * n, "day": [0] * n}
    frame = pl.DataFrame(
        base | {"duration": duration, "length": length} | columns,
        schema_overrides={"duration": pl.Int64, "length": pl.Int64, "day": pl.Int32},
    )
    return nw.from_native(frame.lazy())


@pytest.mark.parametrize("percentile", [50, 75, 90, 99, 99.9])
def test_weighted_percentile_equals_numpys_on_repeated_values(percentile: float) -> None:
    rng = np.random.default_rng(0)
    values, counts = np.arange(1, 50) * 1000, rng.integers(0, 40, 49)
    values, counts = values[counts > 0], counts[counts > 0]
    expected = np.percentile(np.repeat(values, counts), percentile, method="inverted_cdf")
    assert weighted_percentile(values, counts, percentile) == expected


def test_impossible_values_become_missing_and_zero_play_time_stays() -> None:
    frame = plays([0, -5, None, 1000, 10**9], [None, 0, -7, 1000, 1000])
    rules = fit_rules(frame, SPEC, WINDOW, ChurnConfig(outliers_above=75))
    assert rules.above == {"duration": 10**9, "length": 1000}
    rules = fit_rules(frame, SPEC, WINDOW, ChurnConfig(outliers_above=50))
    assert rules.above["duration"] == 1000
    found = collect(cleaned(frame, SPEC, rules))
    assert found["duration"].to_list() == [0, None, None, 1000, None]
    assert found["length"].to_list() == [None, None, None, 1000, 1000]


def test_counts_of_each_rule() -> None:
    frame = plays([0, -5, None, 1000, 10**9], [None, 0, -7, 1000, 1000])
    rules = fit_rules(frame, SPEC, WINDOW, ChurnConfig(outliers_above=50))
    counts = {
        row["rule"]: (row["rows"], row["users"]) for row in count_rules(frame, SPEC, rules, WINDOW)
    }
    assert counts == {
        "song_length missing": (1, 1),
        "song_length zero": (1, 1),
        "song_length negative": (1, 1),
        "song_length above the 50th percentile": (0, 0),
        "play_time missing": (1, 1),
        "play_time negative": (1, 1),
        "play_time above the 50th percentile": (1, 1),
    }


def test_a_rule_that_is_off_leaves_its_values() -> None:
    frame = plays([-5, None], [0, 1000])
    rules = fit_rules(frame, SPEC, WINDOW, ChurnConfig(outliers_above=100))
    assert rules.above == {}
    raw = collect(cleaned(frame, SPEC, rules.without("play_time negative")))
    assert raw["duration"].to_list() == [-5, None]
    filled = collect(cleaned(frame, SPEC, rules.without("play_time missing")))
    assert filled["duration"].to_list() == [None, 0]
    zero = collect(cleaned(frame, SPEC, rules.without("song_length zero")))
    assert zero["length"].to_list() == [0, 1000]


def test_mean_imputation_fills_with_the_training_mean() -> None:
    frame = plays([1000, 2000, None, -9], [4000, 4000, None, 0])
    rules = fit_rules(frame, SPEC, WINDOW, ChurnConfig(impute="mean", outliers_above=100))
    found = collect(cleaned(frame, SPEC, rules))
    assert found["duration"].to_list() == [1000, 2000, 1500, 1500]
    assert found["length"].to_list() == [4000, 4000, 4000, 4000]


def test_thresholds_come_from_the_training_window_alone() -> None:
    seen = plays([1000, 2000], [3000, 3000])
    later = plays([10**8], [10**8], day=[30])
    both = nw.from_native(pl.concat([seen.to_native(), later.to_native()]))
    config = ChurnConfig(impute="mean")
    assert fit_rules(both, SPEC, WINDOW, config) == fit_rules(seen, SPEC, WINDOW, config)


def test_bots_by_count_by_hours_and_by_bursts() -> None:
    start = datetime(1970, 1, 1)
    rows = [("person", start + timedelta(hours=h), 60_000) for h in range(10)]
    rows += [("busy", start + timedelta(minutes=i), 60_000) for i in range(40)]
    rows += [("always on", start + timedelta(minutes=i), 9_000_000) for i in range(10)]
    rows += [("burst", start + timedelta(milliseconds=900 * i), 1000) for i in range(11)]
    rows += [("almost", start + timedelta(milliseconds=1000 * i), 1000) for i in range(11)]
    rows += [("ten", start + timedelta(milliseconds=10 * i), 1000) for i in range(10)]
    frame = plays(
        [r[2] for r in rows], [9_000_000] * len(rows),
        user=[r[0] for r in rows], time=[r[1] for r in rows],
    )  # fmt: skip
    spec = FeatureSpec(**(SPEC.to_json() | {"clock": True, "kinds": ("play",), "devices": ()}))
    rules = fit_rules(frame, spec, WINDOW, ChurnConfig(bots_above=80, outliers_above=100))
    assert rules.max_events == 11
    found = find_bots(frame, spec, rules, WINDOW)
    assert set(found.iter_rows()) == {
        ("busy", events_rule(rules)),
        ("always on", PLAY_RULE),
        ("burst", BURST_RULE),
    }


def test_bots_rule_is_off_at_100() -> None:
    frame = plays([1000], [1000])
    rules = fit_rules(frame, SPEC, WINDOW, ChurnConfig(bots_above=100))
    assert rules.max_events is None
    assert find_bots(frame, SPEC, rules, WINDOW).is_empty()
