"""The SQL that turns raw columns into the columns of `Events`, shared by DuckDB and Spark.

Narwhals has no lenient casts, URL decoding, md5 or time zones, so this one step is SQL. The two engines'
dialects differ in a few functions only, which `Dialect` holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from linkwise.data.schema import CANONICAL, InputConfig, Layout
from linkwise.data.splits import sample_limit
from linkwise.errors import InputError

TimeForm = Literal["iso", "compact-date", "compact-stamp", "seconds", "milliseconds", "format"]
# How a time may be written, the first that fits; an ISO stamp may lack the clock, or say its offset.
FORMS: dict[TimeForm, re.Pattern[str]] = {
    "iso": re.compile(
        r"\d{4}([-/])\d{1,2}\1\d{1,2}"
        r"([ T]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?)?( UTC| GMT|Z|[+-]\d{2}(:?\d{2})?)?)?"
    ),
    "compact-date": re.compile(r"(19|20|21)\d{6}"),
    "compact-stamp": re.compile(r"(19|20|21)\d{12}"),
    "seconds": re.compile(r"\d{7,10}(\.\d+)?"),
    "milliseconds": re.compile(r"\d{12,13}(\.\d+)?"),
}
# Numbers that are taken for epoch seconds and milliseconds. The ranges do not meet: a column in which
# some rows have the one and some the other is malformed in the fewer, not a thousand years long.
EPOCH_RANGES = {
    "seconds": (1_000_000, 10_000_000_000),
    "milliseconds": (100_000_000_000, 10_000_000_000_000),
}
FIRST_TIME = "TIMESTAMP '1900-01-01 00:00:00'"
LAST_TIME = "TIMESTAMP '2199-12-31 23:59:59.999999'"
SCALES = {"position": 1, "duration": 1000, "length": 1000, "value": 100}  # to ms and hundredths
LARGEST = 10**12  # of a duration, in seconds, and of a value: what is more is no measurement
PAID_WORDS = ("1", "1.0", "true", "t", "yes", "paid", "premium")
EXPECTED = {
    "user": "a user id",
    "item": "an item id",
    "time": "a date, an ISO time stamp, epoch seconds or milliseconds, in all rows alike, 1900 to 2199",
    "position": "a number",
    "event": "a kind of event",
    "duration": "seconds",
    "length": "seconds",
    "value": "a number",
}


class Dialect(Protocol):
    """What differs between the engines' SQL."""

    def try_cast(self, sql: str, type_name: str) -> str:
        """Cast, null where the value does not fit."""

    def trim(self, sql: str) -> str:
        """A text without the spaces, of any script, at its ends."""

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

    def one_of(self, sql: str, values: Sequence[str]) -> str:
        """Whether a text is among the values."""

    def md5(self, sql: str) -> str:
        """The md5 of a text, as 32 hex digits."""

    def big_integer(self) -> str:
        """Name of the 64-bit integer type."""

    def text(self) -> str:
        """Name of the text type."""

    def literal(self, value: str) -> str:
        """A text as a literal."""


@dataclass(frozen=True)
class Column:
    """A raw column: its name and whether the file already gives it a type."""

    name: str
    kind: Literal["text", "integer", "number", "date", "timestamp", "zoned", "boolean"]


def time_form(samples: Sequence[str], where: str) -> TimeForm:
    """How the times of a column are written, from some of its values as text: as most of them are.

    Raises `InputError` where they are none of the known ways.
    """
    values = [value.strip() for value in samples if value.strip()]
    if not values:
        return "iso"
    forms = Counter(form for value in values if (form := _form_of(value)) is not None)
    if not forms:
        raise InputError(
            f'{where} is "{values[0]}"; expected {EXPECTED["time"]}. '
            "Say how it is written with --time-format, in strptime codes such as %d/%m/%Y."
        )
    return forms.most_common(1)[0][0]


def _form_of(value: str) -> TimeForm | None:
    return next((form for form, pattern in FORMS.items() if pattern.fullmatch(value)), None)


def events_query(
    layout: Layout,
    columns: dict[str, Column],
    config: InputConfig,
    dialect: Dialect,
    form: TimeForm | None,
    file_date: str | None,
    source: str,
    also: dict[str, str],
) -> str:
    """SQL for the staged events of the relation `source`.

    `columns` maps canonical names to the raw columns at hand; `form` is how the time column is written
    (None for typed times); `file_date` is SQL for the date of a row's file; `also` names further columns,
    SQL over `source`. Every row also gets `bad`, the canonical column that could not be read (null in a good
    row), and `bad_value`, its raw text.
    """
    # One step on the other, each expression written once: engines plan long nested ones slowly.
    raw = {f"@raw {name}": _as_text(column.name, dialect) for name, column in columns.items()}
    own = {f"@own {name}": identifier(column.name) for name, column in columns.items()}
    if file_date is not None:
        own["@own time"] = file_date
    if layout.text_with is not None:
        raw["@raw with"] = _as_text(layout.text_with, dialect)
    measured = [name for name in SCALES if name in columns]
    numbers = {
        f"@number {name}": dialect.try_cast(f'"@raw {name}"', "DOUBLE")
        for name in [*measured, *(["time"] if form in EPOCH_RANGES else [])]
    }
    typed = {f"@new {name}": sql for name, sql in _typed(layout, columns, dialect).items()}
    time = "CAST(NULL AS TIMESTAMP)"  # a log may have positions only
    if file_date is not None:
        time = '"@own time"'
    elif "time" in columns:
        time = _time(columns["time"], config, dialect, form)
    clamped = f'CASE WHEN "@time" BETWEEN {FIRST_TIME} AND {LAST_TIME} THEN "@time" END'
    bad = f"CASE {' '.join(_checks(layout, columns))} END"
    values = " ".join(f"WHEN '{name}' THEN \"@raw {name}\"" for name in EXPECTED if name in columns)
    names = [name for name in CANONICAL if f"@new {name}" in typed or name in ("day", "time")]
    final = {name: f'"@new {name}"' for name in names}
    final["day"] = dialect.epoch_day('"@new time"')
    if file_date is not None:  # a date is no clock time: the log then has none
        final["time"] = "CAST(NULL AS TIMESTAMP)"
    final |= {"bad": '"@bad"', "bad_value": f'CASE "@bad" {values} END'}
    final |= {name: identifier(name) for name in also}
    kept = sampled(columns["user"], config, dialect)
    query = f"SELECT {_listed(raw | own | also)} FROM {source} WHERE {kept}"
    for step in (numbers, typed | {"@time": time}, {"@new time": clamped}, {"@bad": bad}):
        if step:
            query = f"SELECT *, {_listed(step)} FROM ({query})"
    return f"SELECT {_listed(final)} FROM ({query})"


def _listed(columns: dict[str, str]) -> str:
    return ", ".join(f"{sql} AS {identifier(name)}" for name, sql in columns.items())


def _as_text(column: str, dialect: Dialect) -> str:
    text = dialect.trim(f"CAST({identifier(column)} AS {dialect.text()})")
    return f"nullif({text}, '')"


def _typed(layout: Layout, columns: dict[str, Column], dialect: Dialect) -> dict[str, str]:
    """Canonical name -> SQL over the raw texts and numbers, but for the time."""
    typed: dict[str, str] = {}
    for name in ("user", "item"):
        if name not in columns:
            continue
        typed[name] = f'"@raw {name}"'
        if columns[name].kind == "integer":
            typed[name] = dialect.try_cast(f'"@own {name}"', dialect.big_integer())
        if name == "item" and layout.sentinels:
            listed = ", ".join(f"'{value}'" for value in layout.sentinels)
            typed[name] = f'CASE WHEN "@raw item" NOT IN ({listed}) THEN {typed[name]} END'
    typed["event"] = f"'{layout.constant_event}'"
    if "event" in columns:
        typed["event"] = _renamed('"@raw event"', layout.rename, dialect)
    for name, scale in SCALES.items():
        if name in columns:
            number = f'"@number {name}"'
            sane = f"CASE WHEN abs({number}) <= {LARGEST} THEN {number} END"
            typed[name] = dialect.try_cast(f"round(({sane}) * {scale})", dialect.big_integer())
    if "device" in columns:
        typed["device"] = '"@raw device"'
    if "paid" in columns:
        pays = dialect.one_of('lower("@raw paid")', PAID_WORDS)
        typed["paid"] = f"coalesce({pays}, false)"
    if "text" in columns:
        text = '"@raw text"'
        if layout.url_encoded_text:
            text = dialect.url_decode(text)
        if layout.text_with is not None:
            # An empty singer leaves the title alone: concat_ws skips nulls on both engines.
            text = f"concat_ws(' - ', {text}, \"@raw with\")"
        typed["text"] = text
    return typed


def _checks(layout: Layout, columns: dict[str, Column]) -> list[str]:
    """The conditions on which a row is malformed, and the name of the column that is to blame."""
    missing: list[str] = [n for n in ("user", "time", "position") if n in layout.required]
    missing += ["event"] if "event" in columns else []
    known = [name for name in ("time", "item", *SCALES) if name in columns]
    measured = [name for name in known if name not in layout.required]
    if "item" in columns and columns["item"].kind != "integer":
        measured.remove("item")  # a text is always an id, and a sentinel is none on purpose
    checks = [f"WHEN \"@new {name}\" IS NULL THEN '{name}'" for name in missing]
    return checks + [
        f'WHEN "@raw {name}" IS NOT NULL AND "@new {name}" IS NULL THEN \'{name}\''
        for name in measured
    ]


def sampled(column: Column, config: InputConfig, dialect: Dialect) -> str:
    """The WHERE condition that keeps a share of the users; rows without a user stay, to be counted."""
    if config.sample == 1:
        return "true"
    text = _as_text(column.name, dialect)
    return f"coalesce({dialect.md5(text)} < '{sample_limit(config.sample)}', true)"


def _time(column: Column, config: InputConfig, dialect: Dialect, form: TimeForm | None) -> str:
    """SQL for a row's local time, over the raw texts and numbers."""
    if column.kind in ("date", "timestamp"):
        return 'TRY_CAST("@own time" AS TIMESTAMP)'  # Parquet may hold days beyond the year 290,000
    raw = '"@raw time"'
    if column.kind == "zoned":
        return dialect.zoned(raw, config.timezone)
    if form == "format":
        assert config.time_format is not None
        return dialect.parse(raw, config.time_format)
    if form == "compact-date":
        return dialect.parse(raw, "%Y%m%d")
    if form == "compact-stamp":
        return dialect.parse(raw, "%Y%m%d%H%M%S")
    if form in EPOCH_RANGES:
        least, most = EPOCH_RANGES[form]
        scale = 1_000_000 if form == "seconds" else 1_000
        number = '"@number time"'
        inside = f"CASE WHEN {number} >= {least} AND {number} < {most} THEN {number} END"
        micros = dialect.try_cast(f"round(({inside}) * {scale})", dialect.big_integer())
        return dialect.from_epoch(micros, config.timezone)
    # Row by row, with an offset or without: one column may hold both.
    stamp, clock = f"replace({raw}, '/', '-')", f"substr({raw}, 11)"
    offset = " OR ".join(
        f"{clock} LIKE '{sign}'" for sign in ("%+%", "%-%", "%Z", "% UTC", "% GMT")
    )
    zoned = dialect.zoned(stamp, config.timezone)
    return f"CASE WHEN {offset} THEN {zoned} ELSE {dialect.try_cast(stamp, 'TIMESTAMP')} END"


def _renamed(sql: str, rename: dict[str, str], dialect: Dialect) -> str:
    if not rename:
        return sql
    literal = dialect.literal
    cases = " ".join(f"WHEN {literal(old)} THEN {literal(new)}" for old, new in rename.items())
    return f"CASE {sql} {cases} ELSE {sql} END"


def identifier(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
