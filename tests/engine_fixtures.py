"""What the tests of the engines share: a small random log, one Spark session, reading on any engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkwise.data.engine import EngineConfig, collect, open_spark
from linkwise.data.events import Events, epoch_day, read_events

START = epoch_day(date(2017, 3, 1))  # the first day of the random logs
DUCKDB = EngineConfig(threads=2)
SPARK = EngineConfig(engine="spark", spark_master="local[2]", threads=2)


def random_log(
    seed: int, n_users: int = 60, n_events: int = 3000, n_days: int = 50
) -> pl.DataFrame:
    """A small log with nulls, ties between devices, zero lengths and every border of the shares."""
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, n_days, n_events))
    length = rng.choice([0, 1000, 10_000, 200_000, 215_333], n_events)
    # Fifths of the length stand exactly on the borders between the shares; some plays are too long.
    tenths = rng.integers(0, 13, n_events)
    duration = np.where(rng.random(n_events) < 0.5, length * tenths // 10, rng.integers(0, 250_000))
    event = rng.choice(["play", "download", "search"], n_events, p=[0.7, 0.1, 0.2])

    def holes(values: np.ndarray[Any, Any], share: float) -> list[Any]:
        gone = rng.random(n_events) < share
        return [None if g else v for g, v in zip(gone, values.tolist(), strict=True)]

    user = (n_users * rng.random(n_events) ** 3).astype(np.int64) + 100
    played = event == "play"
    columns = {
        "user": user,
        "item": holes(rng.integers(1, 40, n_events), 0.2),
        "event": event,
        "day": pl.Series(START + day, dtype=pl.Int32),
        "time": [
            datetime(2017, 3, 1) + timedelta(days=int(d), seconds=int(s))
            for d, s in zip(day, rng.integers(0, 86_400, n_events), strict=True)
        ],
        "duration": [
            v if p else None for v, p in zip(holes(duration, 0.1), played.tolist(), strict=True)
        ],
        "length": [
            v if p else None for v, p in zip(holes(length, 0.1), played.tolist(), strict=True)
        ],
        "value": holes(rng.integers(-500, 5000, n_events), 0.5),
        "device": holes(rng.choice(["ar", "ip", "web"], n_events), 0.1),
        "paid": holes(rng.random(n_events) < 0.3, 0.05),
    }
    return pl.DataFrame(columns)


@pytest.fixture(scope="session")
def spark() -> Iterator[EngineConfig]:
    """Spark inside this process; starting it takes seconds, so once for all tests."""
    pytest.importorskip("pyspark")
    with pytest.MonkeyPatch.context() as patch:
        # The quick compiler alone: small jobs gain nothing from the slow one.
        options = "--driver-java-options -XX:TieredStopAtLevel=1 pyspark-shell"
        patch.setenv("PYSPARK_SUBMIT_ARGS", options)
        session = open_spark(SPARK)
    yield SPARK
    session.stop()


def sorted_rows(events: Events) -> pl.DataFrame:
    """All rows of a log in an order that does not depend on the engine."""
    rows = collect(events.frame)
    return rows.sort(rows.columns, nulls_last=False)


def outcome(path: Path | list[Path], engine: EngineConfig, **options: Any) -> dict[str, Any]:
    """What reading a log gives: rows and summary, or the error's kind and message."""
    try:
        events = read_events(path, engine=engine, **options)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    summary = ("first_day", "last_day", "n_rows", "n_users", "kinds", "bad_rows", "columns")
    rows = sorted_rows(events)
    return {
        **{name: getattr(events, name) for name in summary},
        "types": dict(rows.schema),
        "rows": rows.rows(),
    }
