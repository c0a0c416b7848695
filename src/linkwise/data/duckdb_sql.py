"""DuckDB's side of the staging SQL: what differs from Spark's, and text that SQL may hold safely."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

# What is read as a stamp; TRY_CAST alone would pass over PM and CET, and know the day of "epoch".
STAMP = r"\d{4}-\d{1,2}-\d{1,2}([ T]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?)?)?"
OFFSET = r"( (UTC|GMT)|Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
WORDS = "('epoch', 'infinity', '-infinity')"  # try_strptime makes 1900 of them


class DuckDB:
    """DuckDB's side of the staging SQL, on a connection whose own zone is UTC."""

    def __init__(self, zone: str = "UTC") -> None:
        self.zone = zone

    def try_cast(self, sql: str, type_name: str) -> str:  # noqa: D102 (the protocol says it)
        cast = f"TRY_CAST({sql} AS {type_name})"
        if type_name == "DOUBLE":  # 1_000 is no thousand
            return f"CASE WHEN NOT contains({sql}, '_') THEN {cast} END"
        if type_name == "TIMESTAMP":
            return f"CASE WHEN regexp_full_match({sql}, '{STAMP}') THEN {cast} END"
        return cast

    def trim(self, sql: str) -> str:  # noqa: D102
        return f"trim({sql})"

    def url_decode(self, sql: str) -> str:  # noqa: D102
        return f"TRY(url_decode(replace({sql}, '+', ' ')))"

    def epoch_day(self, timestamp: str) -> str:  # noqa: D102
        return f"CAST(date_diff('day', DATE '1970-01-01', CAST({timestamp} AS DATE)) AS INTEGER)"

    def from_epoch(self, microseconds: str, zone: str) -> str:  # noqa: D102
        # Bounded first: make_timestamp raises beyond the year 290,000.
        inside = f"CASE WHEN {microseconds} BETWEEN 0 AND 7258118400000000 THEN {microseconds} END"
        if zone == "UTC":
            return f"make_timestamp({inside})"
        return f"timezone('{zone}', make_timestamptz({inside}))"

    def zoned(self, sql: str, zone: str) -> str:  # noqa: D102
        cast = f"timezone('{zone}', TRY_CAST({sql} AS TIMESTAMPTZ))"
        return f"CASE WHEN regexp_full_match({sql}, '{STAMP}{OFFSET}') THEN {cast} END"

    def parse(self, sql: str, form: str) -> str:  # noqa: D102
        parsed = (
            f"CASE WHEN lower({sql}) NOT IN {WORDS} THEN try_strptime({sql}, {quoted(form)}) END"
        )
        return f"timezone('{self.zone}', {parsed})" if re.search("%-?[zZ]", form) else parsed

    def one_of(self, sql: str, values: Sequence[str]) -> str:  # noqa: D102
        # Neither IN nor list_contains: of a long list DuckDB makes a join, and the rows lose their order.
        return f"regexp_full_match({sql}, {quoted('|'.join(map(re.escape, values)))})"

    def md5(self, sql: str) -> str:  # noqa: D102
        return f"md5({sql})"

    def big_integer(self) -> str:  # noqa: D102
        return "BIGINT"

    def text(self) -> str:  # noqa: D102
        return "VARCHAR"

    def literal(self, value: str) -> str:  # noqa: D102
        return quoted(value)


def quoted(value: str | Path) -> str:
    """A text as a literal."""
    return "'" + str(value).replace("'", "''") + "'"


def absolute(path: Path) -> str:
    """A path as DuckDB names the file of a row: absolute, for no "~" or "s3:" to be understood in it."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.absolute keeps "..")


def pattern(path: Path) -> str:
    """A path as DuckDB is asked for it: a name with [, * or ? in it is not to match others."""
    return re.sub(r"([\[*?])", r"[\1]", absolute(path))
