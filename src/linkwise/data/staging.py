"""The SQL that turns raw columns into the columns of `Events`, shared by DuckDB and Spark.

Narwhals has no lenient casts, URL decoding, md5 or time zones, so this one step is SQL. The two engines'
dialects differ in a few functions only, which `Dialect` holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from linkwise.data.schema import CANONICAL, InputConfig, Layout
from linkwise.data.splits import sample_limit
from linkwise.errors import InputError

TimeForm = Literal["date", "compact-date", "naive", "zoned", "seconds", "milliseconds", "format"]
PAID_WORDS = ("1", "1.0", "true", "t", "yes", "paid", "premium")
EXPECTED = {
    "user": "a user id",
    "item": "an item id",
    "time": "a date, an ISO time stamp, or epoch seconds or milliseconds",
    "event": "a kind of event",
    "duration": "seconds",
    "length": "seconds",
    "value": "a number",
}


class Dialect(Protocol):
    """What differs between the engines' SQL."""

    def try_cast(self, sql: str, type_name: str) -> str:
        """Cast, null where the value does not fit."""

    def url_decode(self, sql: str) -> str:
        """Decode %XX and +; null where the result is not UTF-8."""

    def epoch_day(self, timestamp: str) -> str:
        """Days since 1970-01-01 of a local timestamp."""

    def from_epoch(self, microseconds: str, zone: str) -> str:
        """Local timestamp in `zone` of microseconds since 1970-01-01 UTC."""

    def zoned(self, sql: str, zone: str) -> str:
        """Local timestamp in `zone` of a text with an offset; null where it is none."""

    def parse(self, sql: str, form: str) -> str:
        """Local timestamp of a text in strptime codes; null where it is none."""

    def md5(self, sql: str) -> str:
        """The md5 of a text, as 32 hex digits."""

    def big_integer(self) -> str:
        """Name of the 64-bit integer type."""

    def text(self) -> str:
        """Name of the text type."""


@dataclass(frozen=True)
class Column:
    """A raw column: its name and whether the file already gives it a type."""

    name: str
    kind: Literal["text", "integer", "number", "date", "timestamp", "zoned", "boolean"]


def time_form(samples: Sequence[str], where: str) -> TimeForm:
    """How the times of a column are written, from some of its values as text.

    Raises `InputError` where they are none of the known ways.
    """
    values = [value.strip() for value in samples if value.strip()]
    if not values:
        return "naive"
    first = values[0]
    if re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2}", first):
        longest = max(values, key=len)
        return "date" if len(longest) <= 10 else "naive"
    if re.fullmatch(r"(19|20|21)\d{6}", first):
        return "compact-date"
    if re.fullmatch(r"\d{7,10}(\.\d+)?", first):
        return "seconds"
    if re.fullmatch(r"\d{11,14}(\.0*)?", first):
        return "milliseconds"
    if re.match(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}[ T]\d", first):
        return "zoned" if re.search(r"(Z|[+-]\d{2}(:?\d{2})?)$", first[10:]) else "naive"
    raise InputError(
        f'{where} is "{first}"; expected {EXPECTED["time"]}. '
        "Say how it is written with --time-format, in strptime codes such as %d/%m/%Y."
    )


def select_events(
    layout: Layout,
    columns: dict[str, Column],
    config: InputConfig,
    dialect: Dialect,
    form: TimeForm | None,
    file_date: str | None,
) -> str:
    """The SELECT list of the staged events, over a relation `raw`.

    `columns` maps canonical names to the raw columns at hand; `form` is how the time column is written
    (None for typed times); `file_date` is SQL for the date of a row's file. Every row also gets `bad`, the
    canonical column that could not be read (null in a good row), and `bad_value`, its raw text.
    """
    typed: dict[str, str] = {}
    raw: dict[str, str] = {}

    def as_text(name: str) -> str:
        return f"nullif(trim(CAST({_quote(columns[name].name)} AS {dialect.text()})), '')"

    for name in ("user", "item"):
        if name not in columns:
            continue
        raw[name] = as_text(name)
        if columns[name].kind == "integer":
            typed[name] = f"CAST({_quote(columns[name].name)} AS {dialect.big_integer()})"
        else:
            typed[name] = raw[name]
        if name == "item" and layout.sentinels:
            listed = ", ".join(f"'{value}'" for value in layout.sentinels)
            typed[name] = f"CASE WHEN {raw[name]} NOT IN ({listed}) THEN {typed[name]} END"
    if "event" in columns:
        raw["event"] = as_text("event")
        typed["event"] = _renamed(raw["event"], layout.rename)
    else:
        typed["event"] = f"'{layout.constant_event}'"
    if file_date is not None:
        raw["time"], time = "''", file_date
    else:
        raw["time"] = as_text("time")
        time = _time(columns["time"], raw["time"], config, dialect, form)
    typed["time"] = (
        f"CASE WHEN {time} BETWEEN TIMESTAMP '1900-01-01 00:00:00' "
        f"AND TIMESTAMP '2199-12-31 00:00:00' THEN {time} END"
    )
    for name, scale in (("duration", 1000), ("length", 1000), ("value", 100)):
        if name in columns:
            raw[name] = as_text(name)
            number = dialect.try_cast(raw[name], "DOUBLE")
            typed[name] = dialect.try_cast(f"round({number} * {scale})", dialect.big_integer())
    if "device" in columns:
        typed["device"] = as_text("device")
    if "paid" in columns:
        words = ", ".join(f"'{word}'" for word in PAID_WORDS)
        typed["paid"] = f"coalesce(lower({as_text('paid')}) IN ({words}), false)"
    if "text" in columns:
        text = as_text("text")
        if layout.url_encoded_text:
            text = dialect.url_decode(text)
        if layout.text_with is not None:
            # An empty singer leaves the title alone: concat_ws skips nulls on both engines.
            text = f"concat_ws(' - ', {text}, nullif(trim({_quote(layout.text_with)}), ''))"
        typed["text"] = text

    checks = [
        f"WHEN {typed[name]} IS NULL THEN '{name}'"
        for name in ("user", "time")
        if name in layout.required
    ]
    checks += [
        f"WHEN {raw[name]} IS NOT NULL AND {typed[name]} IS NULL THEN '{name}'"
        for name in ("duration", "length", "value")
        if name in typed
    ]
    if "event" in columns:
        checks.append(f"WHEN {typed['event']} IS NULL THEN 'event'")
    bad = f"CASE {' '.join(checks)} END"
    values = " ".join(
        f"WHEN '{name}' THEN {raw[name]}" for name in ("user", "time", *EXPECTED) if name in raw
    )
    typed["day"] = dialect.epoch_day(typed["time"])
    if file_date is not None:  # a date is no clock time: the log then has none
        typed["time"] = "CAST(NULL AS TIMESTAMP)"
    chosen = [f"{typed[name]} AS {_quote(name)}" for name in CANONICAL if name in typed]
    chosen += [f"{bad} AS bad", f"CASE ({bad}) {values} END AS bad_value"]
    return ",\n  ".join(chosen)


def sampled(column: Column, config: InputConfig, dialect: Dialect) -> str:
    """The WHERE condition that keeps a share of the users; rows without a user stay, to be counted."""
    if config.sample == 1:
        return "true"
    text = f"trim(CAST({_quote(column.name)} AS {dialect.text()}))"
    return f"coalesce({dialect.md5(text)} < '{sample_limit(config.sample)}', true)"


def _time(
    column: Column, raw: str, config: InputConfig, dialect: Dialect, form: TimeForm | None
) -> str:
    name = _quote(column.name)
    if column.kind in ("date", "timestamp"):
        return f"CAST({name} AS TIMESTAMP)"
    if column.kind == "zoned":
        return dialect.zoned(f"CAST({name} AS {dialect.text()})", config.timezone)
    if form == "format":
        assert config.time_format is not None
        return dialect.parse(raw, config.time_format)
    if form == "compact-date":
        return dialect.parse(raw, "%Y%m%d")
    if form in ("seconds", "milliseconds"):
        scale = 1_000_000 if form == "seconds" else 1_000
        number = dialect.try_cast(raw, "DOUBLE")
        micros = dialect.try_cast(f"round({number} * {scale})", dialect.big_integer())
        return dialect.from_epoch(micros, config.timezone)
    if form == "zoned":
        return dialect.zoned(raw, config.timezone)
    return dialect.try_cast(f"replace({raw}, '/', '-')", "TIMESTAMP")


def _renamed(sql: str, rename: dict[str, str]) -> str:
    if not rename:
        return sql
    cases = " ".join(f"WHEN {_literal(old)} THEN {_literal(new)}" for old, new in rename.items())
    return f"CASE {sql} {cases} ELSE {sql} END"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def bad_row_message(file: str, line: int | None, column: str, source: str, value: str) -> str:
    """One sentence on a malformed value: what, where, got, expected, mend."""
    where = f"{file} line {line}" if line is not None else file
    got = f'{source} is "{value}"' if value else f"{source} is empty"
    return (
        f"{where}: {got}; expected {EXPECTED[column]}. "
        "Use --on-bad-row=skip to drop such rows (counted in the cleaning ledger)."
    )
