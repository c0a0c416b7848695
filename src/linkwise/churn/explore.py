"""What the log looks like before anything is modelled: events, days, cohorts, retention, missing values.

Everything here is computed from one small table with a row per user and day, made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec, is_play
from linkwise.churn.fitted import Fitted
from linkwise.churn.windows import in_features
from linkwise.churn.words import percent
from linkwise.data.engine import Frame, collect, count_where, materialise
from linkwise.data.events import Events, from_epoch_day
from linkwise.metrics import bootstrap_weights, percentile_interval, proportion_interval

MAX_COHORTS = 14
MAX_CUTOFFS = 26
FIELDS = {"duration": "play_time", "length": "song_length"}


@dataclass(frozen=True)
class Rate:
    """A share of users: x is what it belongs to, with Wilson's 95 % interval."""

    x: Any
    rate: float
    low: float
    high: float
    n: int


def rate(x: Any, successes: int, n: int) -> Rate:
    """A share with its interval."""
    low, high = proportion_interval(successes, n)
    return Rate(x, successes / n, low, high, n)


def user_days(events: Events, config: ChurnConfig, folder: Path) -> Frame:
    """One row per user and active day, with the day's events `n`; kept in `folder`."""
    frame = events.frame
    if config.activity:
        frame = frame.filter(nw.col("event").is_in(config.activity))
    days = frame.group_by("user", "day").agg(nw.len().cast(nw.Int64).alias("n"))
    return materialise(days, folder / "user-days.parquet", events.connection)


def events_per_user(days: Frame) -> tuple[list[float], list[int]]:
    """Log histogram of events per user: edges 1, 2, 5, 10, ... and the users between them."""
    totals = days.group_by("user").agg(nw.col("n").sum().cast(nw.Int64).alias("events"))
    counts = collect(totals.group_by("events").agg(nw.len().alias("users")))
    top = int(np.max(counts["events"].to_numpy()))
    edges = [1.0]
    while edges[-1] <= top:
        edges.append(edges[-1] * (2.5 if str(edges[-1])[0] == "2" else 2))
    binned = np.histogram(
        counts["events"].to_numpy(), bins=np.array(edges), weights=counts["users"].to_numpy()
    )[0]
    return edges, [int(n) for n in binned]


def events_per_day(frame: Frame) -> pl.DataFrame:
    """Events by `day` and kind (`event`): columns `day, event, n`, days as days since 1970."""
    return collect(frame.group_by("day", "event").agg(nw.len().alias("n")).sort("day", "event"))


def cohorts(days: Frame, events: Events) -> pl.DataFrame:
    """Users by week of first activity (`cohort`) and weeks since (`week`): `active` of `size`.

    Weeks count from the log's first day; the last, partial week is left out.
    """
    weeks = (events.end_day - events.first_day) // 7
    week = ((nw.col("day") - events.first_day) // 7).cast(nw.Int64)
    active = days.select("user", week.alias("at")).filter(nw.col("at") < weeks).unique()
    first = active.group_by("user").agg(nw.col("at").min().alias("cohort"))
    counted = active.join(first, on="user", how="inner").group_by("cohort", "at")
    frame = collect(counted.agg(nw.len().alias("active")))
    sizes = frame.filter(pl.col("at") == pl.col("cohort")).select("cohort", size="active")
    return (
        frame.join(sizes, on="cohort")
        .with_columns(week=pl.col("at") - pl.col("cohort"))
        .select("cohort", "week", "active", "size")
        .sort("cohort", "week")
    )


def retention_curve(table: pl.DataFrame) -> list[Rate]:
    """Share of users active k weeks after their first week, over all cohorts old enough to tell."""
    if table.is_empty():  # a log shorter than a week
        return []
    newest = int(table.select((pl.col("cohort") + pl.col("week")).max()).item())
    sizes = table.filter(pl.col("week") == 0)
    curve = []
    for week in range(newest + 1):
        old = sizes.filter(pl.col("cohort") + week <= newest)
        n = int(old["size"].sum())
        if n == 0:
            break
        kept = table.filter(pl.col("week") == week, pl.col("cohort").is_in(old["cohort"].implode()))
        curve.append(rate(week, int(kept["active"].sum()), n))
    return curve


def churn_by_cutoff(days: Frame, events: Events, config: ChurnConfig) -> list[Rate]:
    """The churn rate at every cutoff that the log reaches, a label window apart (at most 26)."""
    step = max(7, config.label_days)
    last = events.end_day - config.gap_days - config.label_days
    cutoffs = list(range(last, events.first_day + config.feature_days - 1, -step))[:MAX_CUTOFFS]
    day = nw.col("day")
    found = []
    for cutoff in reversed(cutoffs):
        start = cutoff + config.gap_days
        users = (
            days.filter(day >= cutoff - config.feature_days, day < start + config.label_days)
            .group_by("user")
            .agg(
                count_where(day < cutoff).alias("before"), count_where(day >= start).alias("after")
            )
        )
        row = collect(
            users.select(
                count_where(nw.col("before") > 0).alias("users"),
                count_where((nw.col("before") > 0) & (nw.col("after") == 0)).alias("gone"),
            )
        ).row(0)
        if row[0]:
            found.append(rate(str(from_epoch_day(cutoff)), row[1], row[0]))
    return found


def churn_by_cohort(fitted: Fitted, days: Frame) -> dict[int, Rate]:
    """Churn rate of the reported users by their week of first activity in the log."""
    events = fitted.events
    first = days.group_by("user").agg(nw.col("day").min().alias("first"))
    table = fitted.parts.report
    labelled = pl.DataFrame({"user": table.users, "churned": table.labels})
    joined = labelled.join(collect(first), on="user", how="inner")
    weeks = joined.with_columns(cohort=(pl.col("first") - events.first_day) // 7)
    rates = (
        weeks.group_by("cohort").agg(pl.len().alias("n"), pl.col("churned").sum()).sort("cohort")
    )
    return {
        row["cohort"]: rate(row["cohort"], int(row["churned"]), row["n"])
        for row in rates.iter_rows(named=True)
    }


@dataclass(frozen=True)
class Missing:
    """Users with missing values of a field against users without: effect sizes, by user.

    `delta` is Cliff's delta of the user's event count (1: those with missing values always have more),
    `churn_difference` the difference of churn rates; both with 95 % bootstrap intervals over users.
    """

    field: str
    users_with: int
    users_without: int
    delta: float
    delta_low: float | None
    delta_high: float | None
    churn_difference: float
    churn_low: float | None
    churn_high: float | None


def missingness(fitted: Fitted, rng: np.random.Generator, samples: int = 200) -> list[Missing]:
    """Is missing at random? Effect sizes between users with and without missing raw values."""
    spec = fitted.spec
    fields = [
        f for f in ("duration", "length") if (spec.duration if f == "duration" else spec.length)
    ]
    if not fields:
        return []
    plays = in_features(fitted.events.frame, fitted.plan.report).filter(is_play(spec))
    per_user = collect(
        plays.group_by("user").agg(
            nw.len().alias("plays"),
            *[count_where(nw.col(field).is_null()).alias(field) for field in fields],
        )
    )
    table = fitted.parts.report
    labelled = pl.DataFrame({"user": table.users, "churned": table.labels})
    joined = labelled.join(per_user, on="user", how="inner").sort("user")
    found = []
    for field in fields:
        with_missing = joined[field].to_numpy() > 0
        if not with_missing.any() or with_missing.all():
            continue
        churned, plays_of = joined["churned"].to_numpy(), joined["plays"].to_numpy()
        deltas, differences = [], []
        for counts in bootstrap_weights(rng, len(joined), samples):
            for w in counts:
                deltas.append(cliffs_delta(plays_of, with_missing, w))
                differences.append(_rate_difference(churned, with_missing, w))
        ones = np.ones(len(joined))
        delta_low, delta_high = percentile_interval(np.array(deltas))
        low, high = percentile_interval(np.array(differences))
        found.append(
            Missing(
                FIELDS[field],
                int(with_missing.sum()),
                int((~with_missing).sum()),
                cliffs_delta(plays_of, with_missing, ones),
                delta_low,
                delta_high,
                _rate_difference(churned, with_missing, ones),
                low,
                high,
            )
        )
    return found


def cliffs_delta(
    values: np.ndarray[Any, Any], group: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> float:
    """P(a > b) - P(a < b) for a in the group and b outside it, rows weighted; in [-1, 1].

    Source: Cliff 1993, "Dominance statistics". NaN where a side is empty.
    """
    levels, place = np.unique(values, return_inverse=True)
    inside = np.bincount(place, weights=weights * group, minlength=len(levels))
    outside = np.bincount(place, weights=weights * ~group, minlength=len(levels))
    total = inside.sum() * outside.sum()
    if total == 0:
        return float("nan")
    below = np.cumsum(outside) - outside
    above = outside.sum() - np.cumsum(outside)
    return float((inside * (below - above)).sum() / total)


def _rate_difference(
    labels: np.ndarray[Any, Any], group: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> float:
    inside, outside = weights[group], weights[~group]
    if inside.sum() == 0 or outside.sum() == 0:
        return float("nan")
    first = (labels[group] * inside).sum() / inside.sum()
    return float(first - (labels[~group] * outside).sum() / outside.sum())


@dataclass(frozen=True)
class Stage:
    """The business stage that the log speaks for, and why."""

    name: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Tail:
    """The same users at two ages: the share active `early` and `late` weeks after their first."""

    early: Rate
    late: Rate


def retention_tail(table: pl.DataFrame) -> Tail | None:
    """The tail of retention, on one set of cohorts at both its ends; None where the log is too short.

    Comparing points of `retention_curve` would compare different cohorts. The first week's cohort, whose
    users may be older than the log, is left out unless there is no other. The tail ends at half the log's
    weeks and begins at half of that.
    """
    if table.is_empty():
        return None
    newest = int(table.select((pl.col("cohort") + pl.col("week")).max()).item())
    late = newest // 2
    early = late // 2
    if late < 3:
        return None
    starts = sorted(set(table["cohort"].to_list()))
    old = [cohort for cohort in starts if cohort > 0 and cohort + late <= newest] or [0]
    cohorts = table.filter(pl.col("cohort").is_in(old))
    n = int(cohorts.filter(pl.col("week") == 0)["size"].sum())
    if n == 0:
        return None

    def at(week: int) -> Rate:
        return rate(week, int(cohorts.filter(pl.col("week") == week)["active"].sum()), n)

    return Tail(at(early), at(late))


def read_stage(
    tail: Tail | None, active_days: np.ndarray[Any, Any], spec: FeatureSpec, paying: float | None
) -> Stage:
    """Stickiness or revenue, read from the tail of retention and the share of paying users.

    Croll and Yoskovitz (Lean Analytics, 2013) order a business's stages: users must first stay, then pay.
    The stage is read as revenue where retention has flattened (the same users' share falls by less than
    a tenth along the tail) and at least 1 % of the users pay; else as stickiness. A rule of thumb: overrule
    it with --stage.
    """
    reasons = []
    flat = False
    if tail is not None:
        early, late = tail.early, tail.late
        flat = early.rate > 0 and 1 - late.rate / early.rate < 0.1
        shape = "has flattened" if flat else "still falls"
        reasons.append(
            f"Retention {shape}: of the {late.n:,} users who can be followed for {late.x} weeks, "
            f"{percent(early.rate)} are active {early.x} weeks after their first and "
            f"{percent(late.rate)} after {late.x}."
        )
    else:
        reasons.append("The log is too short to follow users for three weeks or more.")
    single = float((active_days == 1).mean())
    reasons.append(
        f"{percent(single)} of the users were active on one day only; the median is "
        f"{np.median(active_days):.0f} active days of {spec.feature_days}."
    )
    pays = paying is not None and paying >= 0.01
    if paying is None:
        reasons.append("The log does not say who pays.")
    else:
        reasons.append(f"{percent(paying, 1)} of the users pay.")
    return Stage("revenue" if flat and pays else "stickiness", tuple(reasons))
