"""DuckDB, Polars and Spark: the same log, the same features, user by user."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from tests import engine_fixtures
from tests.engine_fixtures import DUCKDB, SPARK, START, random_log

from linkwise.churn.features import FeatureSpec, feature_names, fit_spec, user_features
from linkwise.churn.windows import Window, labels, newcomers
from linkwise.data.engine import EngineConfig, collect, materialise, open_spark, write_parquet
from linkwise.data.events import Events, read_events

spark = engine_fixtures.spark

POLARS = EngineConfig(engine="polars", threads=2)
WINDOW = Window(START + 40, 30, 0, 10)
NAMES = {
    name: name
    for name in ("user", "item", "event", "time", "duration", "length", "value", "device", "paid")
}


def read(path: Path, engine: EngineConfig) -> Events:
    return read_events(path, engine=engine, **NAMES)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "log.parquet"
    seconds = [pl.col(name) / 1000 for name in ("duration", "length")]
    random_log(21, n_users=40, n_events=1500).with_columns(*seconds, pl.col("value") / 100).drop(
        "day"
    ).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def expected(log: Path) -> tuple[FeatureSpec, pl.DataFrame]:
    events = read(log, DUCKDB)
    spec = fit_spec(events, WINDOW)
    return spec, collect(user_features(events.frame, spec, WINDOW))


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """The same users, columns, types and nulls, and values within 1e-9."""
    assert found.schema == expected.schema
    assert found["user"].to_list() == expected["user"].to_list()
    for name in found.columns[1:]:
        left, right = (frame[name].cast(pl.Float64).to_numpy() for frame in (found, expected))
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=name)
        assert found[name].null_count() == expected[name].null_count(), name


def test_polars_gives_the_same_features(
    log: Path, expected: tuple[FeatureSpec, pl.DataFrame]
) -> None:
    events = read(log, POLARS)
    spec, rows = expected
    assert events.frame.implementation.is_polars()
    assert fit_spec(events, WINDOW) == spec
    assert_same(collect(user_features(events.frame, spec, WINDOW)), rows)


@pytest.mark.slow
def test_spark_gives_the_same_features(
    log: Path, expected: tuple[FeatureSpec, pl.DataFrame], spark: EngineConfig
) -> None:
    """The one test with Spark that always runs."""
    rows = collect(read(log, DUCKDB).frame)
    frame = nw.from_native(open_spark(spark).createDataFrame(rows.to_arrow()))
    spec, features = expected
    assert frame.implementation.is_pyspark()
    assert len(features) > 20
    assert features.columns == ["user", *feature_names(spec)]
    assert_same(collect(user_features(frame, spec, WINDOW)), features)


@pytest.mark.slow
def test_spark_reads_and_writes_the_same(
    log: Path,
    expected: tuple[FeatureSpec, pl.DataFrame],
    spark: EngineConfig,
    tmp_path: Path,
) -> None:
    local, remote = read(log, DUCKDB), read(log, spark)
    spec, features = expected
    assert remote.frame.implementation.is_pyspark()
    assert fit_spec(remote, WINDOW) == spec
    assert_same(collect(user_features(remote.frame, spec, WINDOW)), features)
    for activity in ((), ("search",)):
        for table in (labels, newcomers):
            left, right = (collect(table(e.frame, WINDOW, activity)) for e in (local, remote))
            assert left.sort(left.columns).rows() == right.sort(right.columns).rows()
    days = materialise(remote.frame.group_by("day").agg(), tmp_path / "unused", None)
    write_parquet(days.sort("day"), tmp_path / "days.parquet")
    assert pl.read_parquet(tmp_path / "days.parquet")["day"].is_sorted()


@pytest.mark.slow
def test_three_engines_agree_on_the_simulated_log(
    music: Path,
    spark: EngineConfig,
) -> None:
    frames = {}
    for engine in (DUCKDB, POLARS, SPARK):
        events = read_events(
            music, engine=engine, schema="music-box", on_bad_row="skip", sample=0.1
        )
        window = Window(events.end_day - 14, 30, 0, 14)
        spec = fit_spec(events, window)
        frames[engine.engine] = (spec, collect(user_features(events.frame, spec, window)))
    spec, rows = frames["duckdb"]
    assert len(rows) > 25
    for name in ("polars", "spark"):
        assert frames[name][0] == spec
        assert_same(frames[name][1], rows)
