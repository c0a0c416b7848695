"""The churn features as one SQL statement, written from their definition and not from the package's code.

Every feature is computed straight from the events, the slow and obvious way: filtered aggregates, a calendar
of every user and day for the slope, `lag` for the gaps, `row_number` for the majority.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SHORT_NAMES = {"play": "P", "download": "D", "search": "S"}
BINS = {
    "0_to_20": "played_share < 0.2",
    "20_to_40": "played_share >= 0.2 AND played_share < 0.4",
    "40_to_60": "played_share >= 0.4 AND played_share < 0.6",
    "60_to_80": "played_share >= 0.6 AND played_share < 0.8",
    "larger_than_80": "played_share >= 0.8",
}
PARTS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}


def features_sql(
    table: str,
    columns: Sequence[str],
    kinds: Sequence[str],
    devices: Sequence[str],
    cutoff: int,
    feature_days: int,
) -> str:
    """SQL giving `user` and its features over the days [cutoff - feature_days, cutoff) of `table`."""
    windows = [k for k in (1, 3, 7, 14, 30, 60, 90, 180, 365) if k < feature_days] + [feature_days]
    long = min(30, feature_days)
    short = min(7, max(1, long // 2))
    first = cutoff - feature_days
    is_play = "event = 'play'" if "play" in kinds else "true"

    def since(k: int) -> str:
        return f"day >= {cutoff - k}"

    def count(*conditions: str) -> str:
        return f"count(*) FILTER (WHERE {' AND '.join(f'({c})' for c in conditions)})"

    def over(numerator: str, denominator: str) -> str:
        return f"CAST({numerator} AS DOUBLE) / nullif({denominator}, 0)"

    out: dict[str, str] = {}
    if "duration" in columns:
        played = "sum(duration) FILTER (WHERE is_play {})"
        out["total_play_time"] = f"{played.format('')} / 1000.0"
        out[f"total_play_time_{short}d_over_{long}d"] = over(
            # A user with plays in the long window only has played for 0 seconds in the short one.
            f"coalesce({played.format('AND ' + since(short))}, 0)",
            played.format("AND " + since(long)),
        )
        out["average_play_time"] = "avg(duration) FILTER (WHERE is_play) / 1000.0"
        out["missing_play_time_share"] = over(
            count("is_play", "duration IS NULL"), count("is_play")
        )
    if "duration" in columns and "length" in columns:
        known = count("played_share IS NOT NULL")
        for name, condition in BINS.items():
            out[f"time_percentage_{name}"] = over(count(condition), known)
        out[f"time_percentage_larger_than_80_{short}d_over_{long}d"] = over(
            count("played_share >= 0.8", since(short)), count("played_share >= 0.8", since(long))
        )
        out["missing_song_length_share"] = over(
            count("is_play", "length IS NULL"), count("is_play")
        )
    for kind in kinds:
        name = SHORT_NAMES.get(kind, re.sub(r"[^A-Za-z0-9_]+", "_", kind))
        done = f"event = '{kind}'"
        for k in windows:
            out[f"freq_{name}_last_{k}"] = count(done, since(k))
        out[f"{name}_{short}d_over_{name}_{long}d"] = over(
            count(done, since(short)), count(done, since(long))
        )
        out[f"last_{name}_time_from_cutoff"] = f"{cutoff - 1} - max(day) FILTER (WHERE {done})"
    out["last_event_time_from_cutoff"] = f"{cutoff - 1} - max(day)"
    if len(kinds) > 1:
        for k in windows:
            out[f"freq_all_last_{k}"] = count(since(k))
    out["tenure_days"] = f"{cutoff} - min(day)"
    out["active_days"] = "count(DISTINCT day)"
    if "item" in columns:
        out["distinct_items"] = "count(DISTINCT item)"
        out["repeat_share"] = "1 - " + over("count(DISTINCT item)", "count(item)")
    if "value" in columns:
        out["total_value"] = "sum(value) / 100.0"
        out["average_value"] = "avg(value) / 100.0"
    if "paid" in columns:
        out["paid_share"] = over(count("paid"), "count(*)")
    if "time" in columns:
        for name, (begin, end) in PARTS.items():
            in_part = f"hour(time) >= {begin} AND hour(time) < {end}"
            out[f"{name}_share"] = over(count(in_part), "count(*)")

    share = "NULL"
    if "duration" in columns and "length" in columns:
        share = (
            f"CASE WHEN {is_play} AND duration IS NOT NULL AND length > 0 "
            "THEN least(greatest(CAST(duration AS DOUBLE) / length, 0), 1) END"
        )
    plain = ",\n    ".join(f'{sql} AS "{name}"' for name, sql in out.items())
    slope = ", trend_slope" if feature_days > 1 else ""
    majority = "".join(
        f", CAST(coalesce(favourite = '{device}', false) AS INTEGER) AS \"device_{device}\""
        for device in devices
    )
    device = "device" if "device" in columns else "NULL"
    return f"""
WITH seen AS (
  SELECT *, {is_play} AS is_play, {share} AS played_share
  FROM {table} WHERE day >= {first} AND day < {cutoff}
),
plain AS (
  SELECT user,
    {plain}
  FROM seen GROUP BY user
),
calendar AS (
  SELECT user, unnest(range({first}, {cutoff})) AS day FROM (SELECT DISTINCT user FROM seen)
),
counted AS (
  SELECT calendar.user, calendar.day, count(seen.event) AS n
  FROM calendar LEFT JOIN seen ON calendar.user = seen.user AND calendar.day = seen.day
  GROUP BY calendar.user, calendar.day
),
slopes AS (SELECT user, regr_slope(n, day - {first}) AS trend_slope FROM counted GROUP BY user),
stepped AS (
  SELECT user, day - lag(day) OVER (PARTITION BY user ORDER BY day) AS gap
  FROM (SELECT DISTINCT user, day FROM seen)
),
gaps AS (
  SELECT user, avg(gap) AS mean_gap_days, stddev_samp(gap) AS sd_gap_days
  FROM stepped GROUP BY user
),
used AS (
  SELECT user, {device} AS device, count(*) AS n FROM seen WHERE {device} IS NOT NULL GROUP BY ALL
),
favourites AS (
  SELECT user, device AS favourite FROM used
  QUALIFY row_number() OVER (PARTITION BY user ORDER BY n DESC, device <> 'ip', device) = 1
)
SELECT plain.*{slope}, mean_gap_days, sd_gap_days{majority}
FROM plain
JOIN slopes ON plain.user = slopes.user
JOIN gaps ON plain.user = gaps.user
LEFT JOIN favourites ON plain.user = favourites.user
ORDER BY plain.user
"""
