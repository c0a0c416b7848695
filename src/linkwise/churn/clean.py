"""Cleaning: what a play time and a song length may be, who is a bot, and the ledger of it all.

Every threshold is fitted on the training feature window alone, and then applied to all of the log.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec, daily, is_play
from linkwise.churn.windows import Window, in_features
from linkwise.data.engine import Frame, collect, count_where

DAY_MS = 24 * 3600 * 1000
# More than this many events in a row with a mean gap under a second: no hand is that fast.
BURST_EVENTS = 10
BURST_MS = BURST_EVENTS * 1000

FIELDS = {"duration": "play_time", "length": "song_length"}


@dataclass(frozen=True)
class CleaningRules:
    """The fitted rules. `off` names rules that are switched off, to measure what each one does."""

    above: dict[str, int]
    """Field -> largest value kept, milliseconds; a field without one has no outlier rule."""
    means: dict[str, int]
    """Field -> value that a missing one becomes (`--impute mean`), milliseconds."""
    percentile: float
    max_events: int | None
    """Most events in a feature window before a user is a bot; None = off."""
    bots_percentile: float
    off: frozenset[str] = frozenset()

    def without(self, rule: str) -> CleaningRules:
        """The same rules with one switched off."""
        return replace(self, off=self.off | {rule})

    def to_json(self) -> dict[str, Any]:
        """The rules as JSON values."""
        return asdict(self) | {"off": sorted(self.off)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CleaningRules:
        """The rules saved by `to_json`."""
        return cls(**(values | {"off": frozenset(values["off"])}))


def rule_names(rules: CleaningRules, spec: FeatureSpec) -> list[str]:
    """The names of the value rules that apply to a log with these features."""
    fields = [
        f for f in ("length", "duration") if (spec.length if f == "length" else spec.duration)
    ]
    names = []
    for field in fields:
        names += [f"{FIELDS[field]} missing"]
        names += [f"{FIELDS[field]} zero"] if field == "length" else []
        names += [f"{FIELDS[field]} negative"]
        if field in rules.above:
            names += [f"{FIELDS[field]} above the {rules.percentile:g}th percentile"]
    return names


def fit_rules(
    frame: Frame, spec: FeatureSpec, window: Window, config: ChurnConfig
) -> CleaningRules:
    """Fit thresholds and means on the training feature window."""
    seen = in_features(frame, window)
    above: dict[str, int] = {}
    means: dict[str, int] = {}
    for field in ("duration", "length"):
        if not (spec.duration if field == "duration" else spec.length):
            continue
        values = _histogram(seen.filter(is_play(spec)), field).filter(pl.col(field) > 0)
        if values.is_empty():
            continue
        if config.outliers_above < 100:
            above[field] = weighted_percentile(
                values[field].to_numpy(), values["n"].to_numpy(), config.outliers_above
            )
        if config.impute == "mean":
            kept = values.filter(pl.col(field) <= above.get(field, values[field].max()))
            means[field] = round(int((kept[field] * kept["n"]).sum()) / int(kept["n"].sum()))
    max_events = None
    if config.bots_above < 100:
        counts = _event_counts(seen)
        if not counts.is_empty():
            max_events = weighted_percentile(
                counts["events"].to_numpy(), counts["n"].to_numpy(), config.bots_above
            )
    return CleaningRules(above, means, config.outliers_above, max_events, config.bots_above)


def weighted_percentile(
    values: np.ndarray[Any, Any], counts: np.ndarray[Any, Any], percentile: float
) -> int:
    """The smallest value that at least `percentile` % of the counted rows do not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(counts[order])
    # In integers of a thousandth of a percent, so that no rounding moves the border.
    needed = -(-int(reached[-1]) * round(percentile * 1000) // 100_000)
    return int(values[order][np.searchsorted(reached, needed)])


def _histogram(frame: Frame, field: str) -> pl.DataFrame:
    """How often each value occurs: exact percentiles from this need no sort of all the rows."""
    return collect(
        frame.filter(~nw.col(field).is_null()).group_by(field).agg(nw.len().alias("n")).sort(field)
    )


def _event_counts(frame: Frame) -> pl.DataFrame:
    """How many users have each number of events."""
    users = frame.group_by("user").agg(nw.len().alias("events"))
    return collect(users.group_by("events").agg(nw.len().alias("n")).sort("events"))


def cleaned(frame: Frame, spec: FeatureSpec, rules: CleaningRules) -> Frame:
    """The events with impossible play times and song lengths made missing, then missing ones filled.

    Rows are never dropped: a play with an impossible length still was a play. A play time of zero is a
    skip and stays.
    """
    columns = []
    for field in ("duration", "length"):
        if not (spec.duration if field == "duration" else spec.length):
            continue
        name, column = FIELDS[field], nw.col(field)
        value: Any = column
        if f"{name} negative" not in rules.off:
            value = nw.when(~(column < 0)).then(value)
        if field == "length" and f"{name} zero" not in rules.off:
            value = nw.when(column != 0).then(value)
        above = f"{name} above the {rules.percentile:g}th percentile"
        if field in rules.above and above not in rules.off:
            value = nw.when(column <= rules.above[field]).then(value)
        if f"{name} missing" in rules.off:  # what a reader without the rule would take it for
            value = nw.when(column.is_null()).then(nw.lit(0)).otherwise(value).cast(nw.Int64)
        if field in rules.means:
            value = value.fill_null(rules.means[field])
        columns.append(value.alias(field))
    return frame.with_columns(*columns) if columns else frame


def count_rules(
    frame: Frame, spec: FeatureSpec, rules: CleaningRules, window: Window
) -> list[dict[str, Any]]:
    """How many plays and users of a feature window each value rule touches."""
    plays = in_features(frame, window).filter(is_play(spec))
    conditions: dict[str, Any] = {}
    for field in ("length", "duration"):
        name, column = FIELDS[field], nw.col(field)
        conditions[f"{name} missing"] = column.is_null()
        conditions[f"{name} zero"] = column == 0
        conditions[f"{name} negative"] = column < 0
        if field in rules.above:
            above = f"{name} above the {rules.percentile:g}th percentile"
            conditions[above] = column > rules.above[field]
    names = rule_names(rules, spec)
    if not names:
        return []
    per_user = plays.group_by("user").agg(
        nw.len().alias("plays"),
        *[count_where(conditions[name]).alias(f"r{i}") for i, name in enumerate(names)],
    )
    row = collect(
        per_user.select(
            nw.col("plays").sum().cast(nw.Int64).alias("plays"),
            *[nw.col(f"r{i}").sum().cast(nw.Int64).alias(f"rows{i}") for i, _ in enumerate(names)],
            *[count_where(nw.col(f"r{i}") > 0).alias(f"users{i}") for i, _ in enumerate(names)],
        )
    ).row(0, named=True)
    total = row["plays"] or 0
    return [
        {
            "rule": name,
            "rows": row[f"rows{i}"] or 0,
            "users": row[f"users{i}"] or 0,
            "share": (row[f"rows{i}"] or 0) / total if total else 0.0,
        }
        for i, name in enumerate(names)
    ]


def find_bots(
    frame: Frame, spec: FeatureSpec, rules: CleaningRules, window: Window
) -> pl.DataFrame:
    """The users of a feature window that no person can be: columns `user, rule`, a row per broken rule.

    Rules: more events than the fitted percentile; more than 24 h of play in one day; where every event has
    a clock time, more than 10 events in a row with a mean gap under a second. `frame` is cleaned.
    """
    # Begins with no rows of the users' own type, for logs where every rule is off.
    none = in_features(frame, window).select("user").head(0)
    found = [collect(none).with_columns(rule=pl.lit("", pl.String))]
    for rule, users in bot_rules(frame, spec, rules, window).items():
        found.append(collect(users).with_columns(rule=pl.lit(rule)))
    return pl.concat(found).sort("user", "rule")


def bot_rules(
    frame: Frame, spec: FeatureSpec, rules: CleaningRules, window: Window
) -> dict[str, Frame]:
    """The users who break each rule of `find_bots`, by the rule's name, not yet collected."""
    events = in_features(frame, window)
    found: dict[str, Frame] = {}
    counts = events.group_by("user").agg(nw.len().alias("events"))
    if rules.max_events is not None:
        found[events_rule(rules)] = counts.filter(nw.col("events") > rules.max_events)
    if spec.duration:
        long_days = daily(events, spec).filter(nw.col("played_ms") > DAY_MS)
        found[PLAY_RULE] = long_days.select("user").unique()
    if spec.clock:
        gaps = events.select(
            "user",
            (nw.col("time") - nw.col("time").shift(BURST_EVENTS).over("user", order_by="time"))
            .dt.total_milliseconds()
            .alias("span_ms"),
        )
        found[BURST_RULE] = gaps.filter(nw.col("span_ms") < BURST_MS).select("user").unique()
    return {name: users.select("user") for name, users in found.items() if name not in rules.off}


PLAY_RULE = "bot: more than 24 h of play in a day"
BURST_RULE = f"bot: more than {BURST_EVENTS} events at under 1 s mean gap"


def events_rule(rules: CleaningRules) -> str:
    """The name of the rule on events per user."""
    return f"bot: events above the {rules.bots_percentile:g}th percentile"
