"""The features of one user up to a cutoff, as one expression for DuckDB, Polars and Spark.

The events of the feature window are aggregated first to one row per user and day, and to distinct pairs of
user and item, then to users: half the time of one level (see `docs/log.md`). All sums are of integers;
floats appear in the last division only, so that every engine returns the same numbers.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import narwhals as nw

from linkwise.churn.windows import Window, in_features
from linkwise.data.engine import Frame, collect, count_where, ratio, total
from linkwise.data.events import Events

KIND_CODES = {"play": "P", "download": "D", "search": "S"}
LAST_DAYS = (1, 3, 7, 14, 30, 60, 90, 180, 365)
MAX_KINDS = 12  # rarer kinds of event count in the totals only
MAX_DEVICES = 5
# Hours of the day at which the parts of the time-of-day profile begin.
DAY_PARTS = {"night": 0, "morning": 6, "afternoon": 12, "evening": 18}
PLAYED_SHARES = (
    "time_percentage_0_to_20",
    "time_percentage_20_to_40",
    "time_percentage_40_to_60",
    "time_percentage_60_to_80",
    "time_percentage_larger_than_80",
)


@dataclass(frozen=True)
class FeatureSpec:
    """Which features there are; fixed on the training feature window and saved with the models."""

    feature_days: int
    kinds: tuple[str, ...]
    devices: tuple[str, ...]
    duration: bool
    length: bool
    item: bool
    value: bool
    paid: bool
    clock: bool

    @property
    def last_days(self) -> tuple[int, ...]:
        """The lengths k of the windows "the last k days", up to the whole feature window."""
        shorter = [k for k in LAST_DAYS if k < self.feature_days]
        return (*shorter, self.feature_days)

    @property
    def short_long(self) -> tuple[int, int]:
        """The two windows that the trend ratios compare: 7 and 30 days, or what the window holds."""
        long = min(30, self.feature_days)
        return min(7, max(1, long // 2)), long

    def to_json(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FeatureSpec:
        """The specification saved by `to_json`."""
        lists = {name: tuple(values[name]) for name in ("kinds", "devices")}
        return cls(**(values | lists))


def kind_codes(kinds: tuple[str, ...]) -> list[str]:
    """The short names of kinds of event in feature names: P, D, S as in the report, else the kind.

    All differ: a kind whose name is taken, or stands for all events, gets a number.
    """
    taken = {*KIND_CODES.values(), "all"}
    if len(kinds) > 1:
        taken.add("event")
    codes = []
    for kind in kinds:
        name = KIND_CODES.get(kind)
        if name is None:
            plain = name = re.sub(r"\W+", "_", kind).strip("_") or "kind"
            number = 1
            while name in taken:
                number += 1
                name = f"{plain}_{number}"
            taken.add(name)
        codes.append(name)
    return codes


def fit_spec(events: Events, window: Window, activity: tuple[str, ...] = ()) -> FeatureSpec:
    """Look at the training feature window, and at nothing else, for the kinds and devices there are.

    Kinds that count as `activity` are kept however rare they are.
    """
    seen = in_features(events.frame, window)
    kinds = collect(seen.group_by("event").agg(nw.len().alias("n")))
    kinds = kinds.sort("n", "event", descending=[True, False])
    devices: tuple[str, ...] = ()
    if "device" in events.columns:
        counts = collect(
            seen.filter(~nw.col("device").is_null()).group_by("device").agg(nw.len().alias("n"))
        ).sort("n", "device", descending=[True, False])
        # A tie between devices goes to `ip`, as in the Music Box report, then to the alphabet.
        top = counts["device"].to_list()[:MAX_DEVICES]
        devices = tuple(sorted(top, key=lambda device: (device != "ip", device)))
    columns = events.columns
    named = kinds["event"].to_list()
    frequent = [*named[:MAX_KINDS], *(kind for kind in named[MAX_KINDS:] if kind in activity)]
    return FeatureSpec(
        feature_days=window.feature_days,
        kinds=tuple(frequent),
        devices=devices,
        duration="duration" in columns,
        length="duration" in columns and "length" in columns,
        item="item" in columns,
        value="value" in columns,
        paid="paid" in columns,
        clock=events.has_clock,
    )


def is_play(spec: FeatureSpec) -> Any:
    """Whether an event is one whose time is measured: a play, or any event on logs without plays."""
    return nw.col("event") == "play" if "play" in spec.kinds else ~nw.col("user").is_null()


def daily(frame: Frame, spec: FeatureSpec) -> Frame:
    """One row per user and day: integer counts and sums of the day's events.

    `reach_i` counts the plays that reached i fifths of their item's length, over plays where both are known.
    """
    col = nw.col
    columns = [nw.len().cast(nw.Int64).alias("n")]
    columns += [
        count_where(col("event") == kind).alias(f"n_{i}") for i, kind in enumerate(spec.kinds)
    ]
    # What several aggregates need is computed once per row, before them: a third of the time less.
    if spec.duration:
        played = nw.when(is_play(spec)).then(col("duration"))
        frame = frame.with_columns(played.alias("play_ms"))
        columns += [
            total(col("play_ms")).alias("played_ms"),
            col("play_ms").count().cast(nw.Int64).alias("timed"),
        ]
    if spec.length:
        # The played share duration / length, compared in integers: no rounding at the borders.
        known = is_play(spec) & (col("length") > 0)
        frame = frame.with_columns(
            nw.when(is_play(spec)).then(col("length")).alias("play_length"),
            nw.when(known).then(col("duration") * 5).alias("fifths"),
        )
        columns += [
            col("play_length").count().cast(nw.Int64).alias("lengths"),
            col("fifths").count().cast(nw.Int64).alias("reach_0"),
        ]
        columns += [
            count_where(col("fifths") >= col("length") * i).alias(f"reach_{i}") for i in range(1, 5)
        ]
    if spec.item:
        columns.append(col("item").count().cast(nw.Int64).alias("items"))
    if spec.value:
        columns += [total(col("value")).alias("value"), col("value").count().alias("valued")]
    if spec.paid:
        columns.append(count_where(col("paid")).alias("paid"))
    columns += [
        count_where(col("device") == device).alias(f"device_{i}")
        for i, device in enumerate(spec.devices)
    ]
    if spec.clock:
        hour = col("time").dt.hour()
        starts = [*DAY_PARTS.values(), 24]
        columns += [
            count_where((hour >= starts[i]) & (hour < starts[i + 1])).alias(part)
            for i, part in enumerate(DAY_PARTS)
        ]
    return frame.group_by("user", "day").agg(*columns)


def user_features(frame: Frame, spec: FeatureSpec, window: Window) -> Frame:
    """One row per user with an event in the feature window; columns `user` and `feature_names(spec)`.

    `frame` are cleaned events. Nothing from the cutoff on is read. What never happened is missing, not 0:
    days since a kind of event never done, shares and ratios of nothing.
    """
    events = in_features(frame, window)
    days = daily(events, spec)
    # Days since the user's active day before this one: the only window function among the features.
    gaps = days.with_columns(
        (nw.col("day") - nw.col("day").shift(1).over("user", order_by="day"))
        .cast(nw.Int64)
        .alias("gap")
    )
    users = gaps.group_by("user").agg(*_user_sums(spec, window))
    if spec.item:
        # Grouped and not unique(), which would number the rows of every pair.
        pairs = events.filter(~nw.col("item").is_null()).group_by("user", "item").agg()
        items = pairs.group_by("user").agg(nw.len().cast(nw.Int64).alias("distinct_items"))
        users = users.join(items, on="user", how="left").with_columns(
            nw.col("distinct_items").fill_null(0)
        )
    named = _features(spec, window)
    return users.select("user", *[expr.alias(name) for name, expr in named.items()]).sort("user")


@lru_cache
def feature_names(spec: FeatureSpec) -> tuple[str, ...]:
    """The names of the features, in the order of their columns."""
    return tuple(_features(spec, Window(spec.feature_days, spec.feature_days, 0, 1)))


def _user_sums(spec: FeatureSpec, window: Window) -> list[Any]:
    """Integer aggregates from days to users."""
    col = nw.col
    day = col("day")

    def last(k: int) -> Any:
        return day >= window.cutoff - k

    def within(name: str, k: int) -> Any:
        if k == spec.feature_days:
            return total(col(name))
        return total(nw.when(last(k)).then(col(name)).otherwise(nw.lit(0)))

    # The ratios' windows may not be among the others (a feature window of 10 days), or be one and the same.
    ratio_days = tuple(dict.fromkeys(spec.short_long))
    kind_days = tuple(dict.fromkeys((*spec.last_days, *ratio_days)))
    t = (day - window.start).cast(nw.Int64)
    sums = [
        nw.len().cast(nw.Int64).alias("active_days"),
        day.min().cast(nw.Int64).alias("first_day"),
        day.max().cast(nw.Int64).alias("last_day"),
        total(t * col("n")).alias("sum_tn"),
        total(col("gap") * col("gap")).alias("sum_gap2"),
    ]
    sums += [within("n", k).alias(f"n_{k}d") for k in spec.last_days]
    for i, _ in enumerate(spec.kinds):
        sums += [within(f"n_{i}", k).alias(f"n_{i}_{k}d") for k in kind_days]
        sums.append(nw.when(col(f"n_{i}") > 0).then(day).max().cast(nw.Int64).alias(f"last_{i}"))
    if spec.duration:
        sums += [total(col(name)).alias(name) for name in ("played_ms", "timed")]
        sums += [within("played_ms", k).alias(f"played_ms_{k}d") for k in ratio_days]
    if spec.length:
        sums += [total(col(f"reach_{i}")).alias(f"reach_{i}") for i in range(5)]
        sums += [within("reach_4", k).alias(f"reach_4_{k}d") for k in ratio_days]
        sums.append(total(col("lengths")).alias("lengths"))
    names = (["items"] if spec.item else []) + (["value", "valued"] if spec.value else [])
    names += ["paid"] if spec.paid else []
    names += [f"device_{i}" for i, _ in enumerate(spec.devices)]
    names += list(DAY_PARTS) if spec.clock else []
    return sums + [total(col(name)).alias(name) for name in names]


def _features(spec: FeatureSpec, window: Window) -> dict[str, Any]:
    """Feature name -> expression over the user sums."""
    col = nw.col
    short, long = spec.short_long
    over = f"{short}d_over_{{}}{long}d"
    last_day = window.cutoff - 1
    whole = f"n_{spec.feature_days}d"
    features: dict[str, Any] = {}

    if spec.length:
        for i, name in enumerate(PLAYED_SHARES):
            between = col(f"reach_{i}") - col(f"reach_{i + 1}") if i < 4 else col("reach_4")
            features[name] = ratio(between, col("reach_0"))
        features[f"{PLAYED_SHARES[4]}_{over.format('')}"] = ratio(
            col(f"reach_4_{short}d"), col(f"reach_4_{long}d")
        )
    if spec.duration:
        plays = col(whole)
        if "play" in spec.kinds:
            plays = col(f"n_{spec.kinds.index('play')}_{spec.feature_days}d")
        # Missing, not 0, for users none of whose plays has a known time: sums of nothing are 0 in Narwhals.
        features["total_play_time"] = nw.when(col("timed") > 0).then(_seconds(col("played_ms")))
        features[f"total_play_time_{over.format('')}"] = ratio(
            col(f"played_ms_{short}d"), col(f"played_ms_{long}d")
        )
        features["average_play_time"] = ratio(_seconds(col("played_ms")), col("timed"))
        features["missing_play_time_share"] = ratio(plays - col("timed"), plays)
        if spec.length:
            features["missing_song_length_share"] = ratio(plays - col("lengths"), plays)
    codes = kind_codes(spec.kinds)
    for i, name in enumerate(codes):
        for k in spec.last_days:
            features[f"freq_{name}_last_{k}"] = col(f"n_{i}_{k}d")
    for i, name in enumerate(codes):
        features[f"{name}_{over.format(name + '_')}"] = ratio(
            col(f"n_{i}_{short}d"), col(f"n_{i}_{long}d")
        )
    for i, name in enumerate(codes):
        features[f"last_{name}_time_from_cutoff"] = nw.lit(last_day) - col(f"last_{i}")
    for i, device in enumerate(spec.devices):
        features[f"device_{device}"] = _majority(spec, i)

    features["last_event_time_from_cutoff"] = nw.lit(last_day) - col("last_day")
    if len(spec.kinds) > 1:
        for k in spec.last_days:
            features[f"freq_all_last_{k}"] = col(f"n_{k}d")
    features["tenure_days"] = nw.lit(window.cutoff) - col("first_day")
    features["active_days"] = col("active_days")
    if spec.item:
        features["distinct_items"] = col("distinct_items")
        features["repeat_share"] = ratio(col("items") - col("distinct_items"), col("items"))
    # Least-squares slope of the day's event count over all days of the window, in events per day per day.
    n = spec.feature_days
    sum_t, sum_t2 = n * (n - 1) // 2, (n - 1) * n * (2 * n - 1) // 6
    spread = n * sum_t2 - sum_t**2
    if spread > 0:
        features["trend_slope"] = (col("sum_tn") * n - col(whole) * sum_t).cast(nw.Float64) / float(
            spread
        )
    gaps = col("active_days") - 1
    sum_gap = col("last_day") - col("first_day")
    features["mean_gap_days"] = ratio(sum_gap, gaps)
    variance = ratio(gaps * col("sum_gap2") - sum_gap * sum_gap, gaps * (gaps - 1))
    features["sd_gap_days"] = variance.sqrt()
    if spec.value:
        features["total_value"] = ratio(col("value"), nw.when(col("valued") > 0).then(nw.lit(100)))
        features["average_value"] = ratio(col("value"), col("valued") * 100)
    if spec.paid:
        features["paid_share"] = ratio(col("paid"), col(whole))
    if spec.clock:
        for part in DAY_PARTS:
            features[f"{part}_share"] = ratio(col(part), col(whole))
    return features


def _seconds(milliseconds: Any) -> Any:
    return milliseconds.cast(nw.Float64) / 1000.0


def _majority(spec: FeatureSpec, i: int) -> Any:
    """1 where device `i` has the most events of the user, ties going to the one listed first."""
    mine = nw.col(f"device_{i}")
    best: Any = mine > 0
    for j, _ in enumerate(spec.devices):
        if j < i:
            best = best & (mine > nw.col(f"device_{j}"))
        elif j > i:
            best = best & (mine >= nw.col(f"device_{j}"))
    return nw.when(best).then(nw.lit(1)).otherwise(nw.lit(0))
