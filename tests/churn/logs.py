"""What the churn tests share: small logs in memory, and a study whose models are not needed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
from tests.engine_fixtures import random_log

from linkwise.churn.clean import CleaningRules
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec
from linkwise.churn.fitted import Fitted, Judged
from linkwise.churn.models import Model, Parts, Table
from linkwise.churn.windows import Plan, Window
from linkwise.data.events import Events

NO_RULES = CleaningRules({}, {}, 99.9, None, 99.9)
Row = dict[str, Any]


def events_of(frame: pl.DataFrame) -> Events:
    """A canonical log held by Polars."""
    kinds = frame["event"].unique().sort() if "event" in frame.columns else ["play"]
    return Events(
        frame=nw.from_native(frame.lazy()),
        columns=frozenset(frame.columns),
        first_day=int(frame["day"].min()),
        last_day=int(frame["day"].max()),
        n_rows=len(frame),
        n_users=frame["user"].n_unique(),
        kinds=tuple(kinds),
        connection=duckdb.connect(),  # as every log that was read from files has
    )


def titled_log(seed: int) -> pl.DataFrame:
    """The engines' random log, its items with titles that differ by row, some of them missing."""
    log = random_log(seed)
    rng = np.random.default_rng(seed)
    title = pl.concat_str(pl.lit("song "), "item", pl.lit(", take "), pl.col("day") % 3)
    return log.with_columns(text=pl.when(pl.Series(rng.random(len(log)) < 0.9)).then(title))


def rows_of(frame: pl.DataFrame, window: Window) -> list[Row]:
    """The events of a feature window as plain dictionaries."""
    return [row for row in frame.to_dicts() if window.start <= row["day"] < window.cutoff]


def slow_labels(frame: pl.DataFrame, window: Window) -> dict[Any, int]:
    """User -> 1 for gone, 0 for still here, of the users active in the feature window."""
    before, after = set(), set()
    for row in frame.to_dicts():
        if window.start <= row["day"] < window.cutoff:
            before.add(row["user"])
        if window.label_start <= row["day"] < window.label_end:
            after.add(row["user"])
    return {user: int(user not in after) for user in before}


def table_of(labels: dict[Any, int], rows: pl.DataFrame | None = None) -> Table:
    """A table of labelled users, by default without features."""
    users = pl.Series("user", sorted(labels))
    target = np.array([labels[user] for user in users], dtype=float)
    flags = pl.Series([False] * len(users))
    return Table(users, users.to_frame() if rows is None else rows, target, flags)


def fitted_on(
    events: Events,
    spec: FeatureSpec,
    window: Window,
    table: Table,
    models: dict[str, Model] | None = None,
    scores: dict[str, Any] | None = None,
) -> Fitted:
    """A study of one cutoff, all of whose parts are the same users."""
    plan = Plan({"train": window, "report": window}, window)
    parts = Parts(table, table, table, table, table, "")
    return Fitted(events, spec, NO_RULES, plan, parts, models or {}, {}, Judged(scores or {}, {}))


def shop_log(seed: int, n_users: int = 260, n_days: int = 63) -> pl.DataFrame:
    """A log with clock times: visits, plays and downloads of users each with its own rate and end."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        rate = rng.uniform(0.1, 0.9)
        last = rng.integers(n_days // 3, 2 * n_days)
        for day in range(min(int(last), n_days)):
            if rng.random() > rate:
                continue
            for _ in range(1 + rng.poisson(1)):
                kind = str(rng.choice(["play", "download", "visit"], p=[0.4, 0.1, 0.5]))
                at = datetime(2024, 1, 1) + timedelta(days=day, seconds=int(rng.integers(86_400)))
                song = str(rng.integers(30)) if kind != "visit" else None
                rows.append((f"u{user:03}", kind, at, song, 200.0 * rng.random()))
    names = ["user", "event", "time", "item", "duration"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.when(pl.col("event") == "play").then("duration").alias("duration")
    )


def quick(**churn: Any) -> ChurnConfig:
    """Settings under which a study takes seconds."""
    small = {"forest": {"trees": 10}, "boosting": {"rounds": 20}, "bootstrap": 20}
    return ChurnConfig.model_validate(small | {"search": "none", "ledger_auc": False} | churn)
