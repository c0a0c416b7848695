"""Spark's side of the staging SQL: what differs from DuckDB's, down to what each takes for a number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from linkwise.data.duckdb_sql import OFFSET, STAMP
from linkwise.errors import UsageError

# strptime codes as Spark's patterns: (beside a separator, beside another number).
PATTERNS = {
    "Y": ("yyyy", "yyyy"),
    "y": ("yy", "yy"),
    "m": ("M", "MM"),
    "d": ("d", "dd"),
    "j": ("D", "DDD"),
    "H": ("H", "HH"),
    "I": ("h", "hh"),
    "M": ("m", "mm"),
    "S": ("s", "ss"),
    "f": ("SSSSSS", "SSSSSS"),
    "b": ("MMM", "MMM"),
    "B": ("MMMM", "MMMM"),
    "p": ("a", "a"),
    "z": ("[XXX][XX]", "[XXX][XX]"),
}
# A number as DuckDB reads it; Spark alone would also take 1.5d and 0x1p3.
NUMBER = "^ *[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)? *$"
# What trim() takes away on DuckDB: Unicode's space separators. Spark's takes the first of them only.
SPACES = " \u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"


class Spark:
    """Spark's side of the staging SQL, in a session whose own zone is UTC."""

    def __init__(self, zone: str = "UTC") -> None:
        self.zone = zone

    def try_cast(self, sql: str, type_name: str) -> str:  # noqa: D102 (the protocol says it)
        if type_name == "DOUBLE":
            return f"CASE WHEN {sql} RLIKE '{NUMBER}' THEN TRY_CAST({sql} AS DOUBLE) END"
        if type_name == "TIMESTAMP":
            return f"CASE WHEN {sql} RLIKE {literal(f'^{STAMP}$')} THEN TRY_CAST({sql} AS TIMESTAMP) END"
        return f"TRY_CAST({sql} AS {type_name})"

    def trim(self, sql: str) -> str:  # noqa: D102
        return f"trim(BOTH '{SPACES}' FROM {sql})"

    def url_decode(self, sql: str) -> str:  # noqa: D102
        # A percent sign before anything but two hex digits stands for itself.
        decoded = f"try_url_decode(regexp_replace({sql}, '%(?![0-9A-Fa-f]{{2}})', '%25'))"
        broken = f"contains({decoded}, '\ufffd') AND NOT contains(upper({sql}), '%EF%BF%BD')"
        return f"CASE WHEN NOT ({broken}) THEN {decoded} END"

    def epoch_day(self, timestamp: str) -> str:  # noqa: D102
        return f"unix_date(CAST({timestamp} AS DATE))"

    def from_epoch(self, microseconds: str, zone: str) -> str:  # noqa: D102
        inside = f"CASE WHEN {microseconds} BETWEEN 0 AND 7258118400000000 THEN {microseconds} END"
        return _in_zone(f"timestamp_micros({inside})", zone)

    def zoned(self, sql: str, zone: str) -> str:  # noqa: D102
        # An offset may follow minutes on DuckDB, on Spark only seconds.
        whole = f"regexp_replace({sql}, '([ T][0-9]+:[0-9]+)(?=[Z +-])', '$1:00')"
        cast = _in_zone(f"TRY_CAST({whole} AS TIMESTAMP)", zone)
        return f"CASE WHEN {sql} RLIKE {literal(f'^{STAMP}{OFFSET}$')} THEN {cast} END"

    def parse(self, sql: str, form: str) -> str:  # noqa: D102
        parsed = f"try_to_timestamp({sql}, {literal(pattern(form))})"
        return _in_zone(parsed, self.zone) if re.search("%-?z", form) else parsed

    def one_of(self, sql: str, values: Sequence[str]) -> str:  # noqa: D102
        return f"{sql} IN ({', '.join(map(literal, values))})"

    def md5(self, sql: str) -> str:  # noqa: D102
        return f"md5(CAST({sql} AS BINARY))"

    def big_integer(self) -> str:  # noqa: D102
        return "BIGINT"

    def text(self) -> str:  # noqa: D102
        return "STRING"

    def literal(self, value: str) -> str:  # noqa: D102
        return literal(value)


def _in_zone(timestamp: str, zone: str) -> str:
    return timestamp if zone == "UTC" else f"from_utc_timestamp({timestamp}, '{zone}')"


def pattern(form: str) -> str:
    """A time format in strptime codes as Spark's pattern."""
    tokens = re.findall(r"%-?.|[^%]+", form)
    codes = [token[-1] if token[0] == "%" and token != "%%" else "" for token in tokens]
    parts = []
    for i, (token, code) in enumerate(zip(tokens, codes, strict=True)):
        if not code:
            parts.append("'" + ("%" if token == "%%" else token).replace("'", "''") + "'")
        elif code not in PATTERNS:
            raise UsageError(
                f'--time-format "{form}" has {token}, which Spark does not read; it reads '
                f"{' '.join('%' + known for known in PATTERNS)}. Use --engine duckdb for others."
            )
        else:
            beside = "".join(codes[max(i - 1, 0) : i] + codes[i + 1 : i + 2])
            parts.append(PATTERNS[code][any(near in "YymdjHIMSf" for near in beside)])
    return "".join(parts)


def literal(value: str) -> str:
    """A text as a literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
