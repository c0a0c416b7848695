"""The churn features against independent SQL, a case worked by hand, and changes past the cutoff."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
import pytest
from tests.churn.features_sql import features_sql
from tests.engine_fixtures import START, random_log

from linkwise.churn.features import FeatureSpec, feature_names, fit_spec, user_features
from linkwise.churn.windows import Window
from linkwise.data.engine import collect
from linkwise.data.events import Events, read_events, summarise

PARTS = ("night", "morning", "afternoon", "evening")


def events_of(rows: pl.DataFrame) -> Events:
    """A canonical log held by DuckDB, in the order of the rows."""
    connection = duckdb.connect()
    connection.register("rows", rows.to_arrow())
    connection.execute("CREATE TABLE log AS FROM rows")
    return summarise(nw.from_native(connection.sql("FROM log")), (), (), connection, None)


def compare(events: Events, cutoff: int, feature_days: int) -> pl.DataFrame:
    """Assert that the package and the SQL agree on every user and feature; returns the features."""
    window = Window(cutoff, feature_days, 0, 14)
    spec = fit_spec(events, window)
    ours = collect(user_features(events.frame, spec, window))

    assert events.connection is not None
    relation = nw.to_native(events.frame)
    relation.create_view("canonical", replace=True)

    def distinct(column: str) -> list[str]:
        query = f"SELECT DISTINCT {column} FROM canonical WHERE day >= ? AND day < ?"
        rows = events.connection.execute(query, [window.start, cutoff]).fetchall()
        return sorted(value for (value,) in rows if value is not None)

    devices = distinct("device") if "device" in events.columns else []
    sql = features_sql(
        "canonical", tuple(events.columns), distinct("event"), devices, cutoff, feature_days
    )
    theirs = events.connection.sql(sql).pl()

    assert ours.columns == ["user", *feature_names(spec)]
    assert set(ours.columns) == set(theirs.columns)
    assert ours["user"].to_list() == theirs["user"].to_list()
    assert ours["user"].is_sorted()
    for name in ours.columns[1:]:
        left = ours[name].cast(pl.Float64).to_numpy()
        right = theirs[name].cast(pl.Float64).to_numpy()
        np.testing.assert_array_equal(np.isnan(left), np.isnan(right), err_msg=name)
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=name)
        assert not ours[name].is_nan().any() if ours[name].dtype.is_float() else True
    return ours


@pytest.mark.parametrize("feature_days", [1, 2, 5, 14, 30, 45])
def test_equals_sql_on_random_logs(feature_days: int) -> None:
    ours = compare(events_of(random_log(feature_days)), START + 46, feature_days)
    assert len(ours) > 10


@pytest.mark.parametrize(
    "gone", [["device"], ["length"], ["duration", "length"], ["item", "value"]]
)
def test_equals_sql_without_some_columns(gone: list[str]) -> None:
    compare(events_of(random_log(7).drop(*gone, "time")), START + 40, 30)


def test_equals_sql_on_text_ids_and_one_kind() -> None:
    log = random_log(3).with_columns(
        user="u" + pl.col("user").cast(pl.String), event=pl.lit("purchase/now")
    )
    ours = compare(events_of(log), START + 50, 50)
    assert "freq_purchase_now_last_50" in ours.columns


@pytest.mark.real_data
def test_equals_sql_on_music_box(shared_data: Path) -> None:
    folder = shared_data / "music_box_sample"
    events = read_events(folder, schema="music-box", date="2017-03-30", on_bad_row="skip")
    ours = compare(events, events.end_day, 30)
    assert len(ours) == events.n_users
    assert {"freq_P_last_30", "S_7d_over_S_30d", "device_ip"} < set(ours.columns)


@pytest.mark.real_data
@pytest.mark.parametrize("before_end", [0, 100, 300])
def test_equals_sql_on_cdnow(shared_data: Path, before_end: int) -> None:
    path = shared_data / "cdnow" / "cdnow.parquet"
    events = read_events(path, user="customer", time="date", value="amount")
    ours = compare(events, events.end_day - before_end, 180)
    windows = [1, 3, 7, 14, 30, 60, 90, 180]
    assert [f"freq_event_last_{k}" for k in windows] == [c for c in ours.columns if "freq" in c]


@pytest.mark.real_data
def test_equals_sql_on_sparkify(shared_data: Path) -> None:
    folder = shared_data / "sparkify-log-2018-11"
    events = read_events(folder, schema="sparkify", on_bad_row="skip")
    ours = compare(events, events.end_day - 14, 14)
    assert {"freq_Home_last_14", "Logout_7d_over_Logout_14d", "night_share"} < set(ours.columns)


def test_equals_sql_on_a_simulated_log(music_log: Path) -> None:
    names = ("user", "item", "event", "duration", "length", "device", "paid", "text")
    events = read_events(music_log, **{name: name for name in names}, time="date")
    for feature_days in (30, 80):
        ours = compare(events, events.end_day - 5, feature_days)
        assert ours["sd_gap_days"].drop_nulls().len() > 100


def hand_made() -> pl.DataFrame:
    """Two users; the first one's features are worked out in the test below (C = day 30, F = 30)."""
    rows = [
        # user, item, event, day, duration, length, value, device, paid, hour
        (1, 7, "play", 0, 100_000, 200_000, None, "ar", True, 1),  # half of it
        (1, 7, "play", 10, 200_000, 200_000, 250, "ar", True, 7),  # whole, a repeat
        (1, 8, "play", 25, 300_000, 200_000, 150, "ip", False, 13),  # clipped to whole
        (1, 9, "play", 25, None, 200_000, None, "ip", False, 19),  # time unknown
        (1, None, "search", 29, None, None, None, None, False, 23),
        (1, 9, "play", 30, 5_000, 5_000, 900, "ip", True, 5),  # the cutoff's day: not seen
        (2, None, "search", 28, None, None, None, "ip", None, 0),
    ]
    names = [
        "user",
        "item",
        "event",
        "day",
        "duration",
        "length",
        "value",
        "device",
        "paid",
        "hour",
    ]
    return (
        pl.DataFrame(rows, schema=names, orient="row")
        .with_columns(
            day=(pl.col("day") + START).cast(pl.Int32),
            time=pl.datetime(2017, 3, 1) + pl.duration(days="day", hours="hour"),
        )
        .drop("hour")
    )


def test_one_user_by_hand() -> None:
    events = events_of(hand_made())
    window = Window(START + 30, 30, 0, 14)
    rows = collect(user_features(events.frame, fit_spec(events, window), window))
    one, two = rows.to_dicts()
    # t = 0, 10, 25, 25, 29 on a grid of 30 days: sum t n = 89, n = 5, mean t = 14.5.
    slope = (89 - 5 * 14.5) / sum((t - 14.5) ** 2 for t in range(30))
    expected = {
        "time_percentage_0_to_20": 0,
        "time_percentage_40_to_60": 1 / 3,
        "time_percentage_larger_than_80": 2 / 3,
        "time_percentage_larger_than_80_7d_over_30d": 1 / 2,
        "total_play_time": 600,
        "total_play_time_7d_over_30d": 300 / 600,
        "average_play_time": 200,
        "missing_play_time_share": 1 / 4,
        "missing_song_length_share": 0,
        "freq_P_last_1": 0,
        "freq_P_last_7": 2,
        "freq_P_last_30": 4,
        "freq_S_last_1": 1,
        "P_7d_over_P_30d": 2 / 4,
        "last_P_time_from_cutoff": 4,
        "last_S_time_from_cutoff": 0,
        "device_ip": 1,  # two events each: the tie goes to ip
        "device_ar": 0,
        "last_event_time_from_cutoff": 0,
        "freq_all_last_7": 3,
        "tenure_days": 30,
        "active_days": 4,
        "distinct_items": 3,
        "repeat_share": 1 / 4,
        "trend_slope": slope,
        "mean_gap_days": (10 + 15 + 4) / 3,
        "sd_gap_days": np.std([10, 15, 4], ddof=1),
        "total_value": 4.0,
        "average_value": 2.0,
        "paid_share": 2 / 5,
        "night_share": 1 / 5,
        "evening_share": 2 / 5,
    }
    assert {name: one[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    never = ["total_play_time", "P_7d_over_P_30d", "last_P_time_from_cutoff", "repeat_share"]
    never += ["time_percentage_0_to_20", "mean_gap_days", "sd_gap_days", "total_value"]
    assert [two[name] for name in never] == [None] * len(never)
    assert (two["distinct_items"], two["freq_P_last_30"], two["paid_share"]) == (0, 0, 0)


def test_nothing_from_the_cutoff_on_is_read() -> None:
    log = random_log(11)
    cutoff = START + 30
    window = Window(cutoff, 25, 0, 14)
    late = pl.col("day") >= cutoff
    strangers = log.filter(late).with_columns(
        user=pl.col("user") + 10_000, event=pl.lit("refund"), device=pl.lit("toaster")
    )
    changed = {
        "deleted": log.filter(~late),
        "changed": log.with_columns(
            *[pl.when(late).then(pl.lit(9)).otherwise(c).alias(c) for c in ("item", "duration")],
            pl.when(late).then(pl.lit("refund")).otherwise("event").alias("event"),
        ),
        "added": pl.concat([log, *[strangers] * 50]),
        "before the window": log.filter(pl.col("day") >= window.start),
    }

    def run(rows: pl.DataFrame) -> tuple[FeatureSpec, pl.DataFrame, bytes]:
        events = events_of(rows)
        spec = fit_spec(events, window)
        features = collect(user_features(events.frame, spec, window))
        return spec, features, features.write_ipc(None).getvalue()

    spec, features, expected = run(log)
    for name, rows in changed.items():
        assert not rows.equals(log)
        other, _, found = run(rows)
        assert other == spec, name
        assert found == expected, name
    # The test can fail: one event more before the cutoff is seen.
    twice = pl.concat([log, log.filter(pl.col("day") == cutoff - 1).head(1)])
    assert not run(twice)[1].equals(features)


@pytest.mark.parametrize("seed", range(4))
def test_shares_sum_to_one_and_counts_agree(seed: int) -> None:
    events = events_of(random_log(seed, n_users=200))
    window = Window(START + 50, 30, 0, 14)
    rows = collect(user_features(events.frame, fit_spec(events, window), window))
    shares = [
        name for name in rows.columns if name.startswith("time_percentage") and "7d" not in name
    ]
    assert len(shares) == 5
    sums = rows.select(pl.sum_horizontal(shares, ignore_nulls=False)).to_series()
    assert sums.drop_nulls().to_numpy() == pytest.approx(1, abs=1e-12)
    assert sums.null_count() == rows[shares[0]].null_count() < len(rows)
    parts = rows.select(pl.sum_horizontal(f"{part}_share" for part in PARTS)).to_series()
    assert parts.to_numpy() == pytest.approx(1, abs=1e-12)
    kinds = pl.sum_horizontal(f"freq_{kind}_last_30" for kind in "PDS")
    assert rows.select((kinds == pl.col("freq_all_last_30")).all()).item()
    assert rows.select(pl.sum_horizontal("device_ar", "device_ip", "device_web").max()).item() == 1
    ratios = [name for name in rows.columns if "_over_" in name or name.endswith("_share")]
    assert rows.select(pl.max_horizontal(ratios).max()).item() <= 1


def test_the_order_of_the_rows_does_not_matter() -> None:
    log = random_log(5)
    window = Window(START + 50, 30, 0, 14)
    events, shuffled = events_of(log), events_of(log.sample(fraction=1, shuffle=True, seed=1))
    spec = fit_spec(events, window)
    assert fit_spec(shuffled, window) == spec
    left = collect(user_features(events.frame, spec, window))
    right = collect(user_features(shuffled.frame, spec, window))
    assert left.equals(right)


def test_a_saved_specification_gives_the_same_columns() -> None:
    log = random_log(6)
    train, report = Window(START + 20, 14, 0, 7), Window(START + 50, 14, 0, 7)
    events = events_of(log.filter(~((pl.col("day") < START + 20) & (pl.col("event") == "search"))))
    spec = FeatureSpec.from_json(fit_spec(events, train).to_json())
    rows = collect(user_features(events.frame, spec, report))
    # Searches begin after the training cutoff: they count in the totals, and have no columns of their own.
    assert rows.columns == ["user", *feature_names(spec)]
    assert not [name for name in rows.columns if "_S_" in name]
    assert spec == replace(spec, kinds=("play", "download"))
    assert (
        rows["freq_all_last_14"].sum()
        > rows.select(pl.sum_horizontal("freq_P_last_14", "freq_D_last_14").sum()).item()
    )
