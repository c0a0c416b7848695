"""Feature names in plain words, for sentences and reasons."""

from __future__ import annotations

import re

KINDS = {"P": "plays", "D": "downloads", "S": "searches", "all": "events", "event": "events"}

FIXED = {
    "total_play_time": "Total play time",
    "average_play_time": "Average play time",
    "missing_play_time_share": "Share of plays without a play time",
    "missing_song_length_share": "Share of plays without a song length",
    "tenure_days": "Days since the first event in the window",
    "active_days": "Active days",
    "distinct_items": "Distinct items",
    "repeat_share": "Share of repeats",
    "trend_slope": "Trend of daily activity",
    "mean_gap_days": "Mean gap between active days",
    "sd_gap_days": "Spread of the gaps between active days",
    "total_value": "Total value",
    "average_value": "Average value of an event",
    "paid_share": "Share of events as a paying user",
    "last_event_time_from_cutoff": "Days since the last event",
    "time_percentage_larger_than_80": "Share of plays heard past 80 %",
}


def kind_words(code: str) -> str:
    """The plural of a kind of event: plays, or `Home` events."""
    return KINDS.get(code, f'"{code.replace("_", " ")}" events')


def describe_feature(name: str) -> str:
    """A feature's name in words, capitalised."""
    if name in FIXED:
        return FIXED[name]
    if match := re.fullmatch(r"freq_(.+)_last_(\d+)", name):
        days = "the last day" if match[2] == "1" else f"the last {match[2]} days"
        return _capital(f"{kind_words(match[1])} in {days}")
    if match := re.fullmatch(r"last_(.+)_time_from_cutoff", name):
        return _capital(f"days since the last of the {kind_words(match[1])}")
    if match := re.fullmatch(r"time_percentage_(\d+)_to_(\d+)", name):
        return f"Share of plays broken off at {match[1]} to {match[2]} %"
    if match := re.fullmatch(r"(.*?)_?(\d+)d_over_.*?(\d+)d", name):
        what = _RATIOS.get(match[1], kind_words(match[1]))
        return f"Share of {match[3]} days' {what} that fell in the last {match[2]}"
    if match := re.fullmatch(r"(night|morning|afternoon|evening)_share", name):
        return f"Share of events in the {match[1]}"
    if match := re.fullmatch(r"device_(.+)", name):
        return f"Mostly on device {match[1]}"
    return _capital(name.replace("_", " "))


def is_share(name: str) -> bool:
    """Whether a feature is a share between 0 and 1."""
    return bool(re.search(r"^(?!freq_|last_).*_share$|^time_percentage_|\dd_over_.*\dd$", name))


def percent(share: float, digits: int = 0) -> str:
    """A share as text: .256 is 26 %."""
    return f"{100 * share:.{digits}f} %"


def format_value(name: str, value: float) -> str:
    """A feature's value with its unit, to three digits."""
    if is_share(name):
        return percent(value)
    if name in ("total_play_time", "average_play_time"):
        return _duration(value)
    if name == "trend_slope":
        return f"{value:+.2g} events a day per day"
    if "time_from_cutoff" in name or (name.endswith("_days") and name != "active_days"):
        return f"{value:.3g} days" if value != 1 else "1 day"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def reason(name: str, value: float | None) -> str:
    """One feature of one user as a phrase: `no plays for 12 days`; None is a value that is missing."""
    if match := re.fullmatch(r"last_(.+)_time_from_cutoff", name):
        kind = kind_words(match[1])
        if value is None:
            return f"no {kind} at all"
        if value < 1:
            return f"{kind} up to the last day"
        return f"no {kind} for {format_value(name, value)}"
    if match := re.fullmatch(r"freq_(.+)_last_(\d+)", name):
        when = "on the last day" if match[2] == "1" else f"in the last {match[2]} days"
        kind = kind_words(match[1])
        if value == 1:
            kind = kind.removesuffix("es" if match[1] == "S" else "s")
        return f"{value:,.0f} {kind} {when}" if value else f"no {kind} {when}"
    if match := re.fullmatch(r"(.*?)_?(\d+)d_over_.*?(\d+)d", name):
        what = _RATIOS.get(match[1], kind_words(match[1]))
        if value is None:
            return f"no {what} in {match[3]} days"
        return f"{percent(value)} of {match[3]} days' {what} fell in the last {match[2]}"
    if name == "trend_slope" and value is not None:
        if value == 0:
            return "activity level"
        way = "falling" if value < 0 else "rising"
        if abs(value) < SLIGHT:
            return f"activity slightly {way}"
        return f"activity {way}, each day by {abs(value):.2g} events a day"
    if value is None:
        if name == "mean_gap_days":
            return "active on one day only"
        if name == "sd_gap_days":
            return "active on fewer than three days"
        played = "play" in name or name.startswith(("time_percentage", "missing_song"))
        return "no plays of known length" if played else f"no {_lower(describe_feature(name))}"
    if name.startswith("device_"):
        return f"mostly {'' if value else 'not '}on device {name.removeprefix('device_')}"
    if name == "mean_gap_days":
        return f"{format_value(name, value)} from one active day to the next"
    if name == "active_days":
        return "active on one day only" if value == 1 else f"active on {value:.0f} days"
    if name == "tenure_days":
        return f"first seen {format_value(name, value)} ago"
    return f"{_lower(describe_feature(name))}: {format_value(name, value)}"


def theme(name: str, value: float | None) -> str:
    """What a reason is about: equal for two that tell the same, such as `no plays` for 12 and in 7 days."""
    silence = re.fullmatch(r"(?:freq|last)_(.+?)_(?:last_\d+|time_from_cutoff)", name)
    if silence and (value is None or (value == 0) == name.startswith("freq")):
        return f"no {kind_words(silence[1])}"
    return reason(name, value)


# Slopes below this move a month's daily activity by less than a third of an event.
SLIGHT = 0.01
_RATIOS = {
    "total_play_time": "play time",
    "time_percentage_larger_than_80": "plays heard past 80 %",
}


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
