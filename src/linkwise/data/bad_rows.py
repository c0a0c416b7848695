"""Malformed rows of a log: how many were dropped, and one sentence on the one that stopped the reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linkwise.data.files import shown
from linkwise.data.groups import FileGroup
from linkwise.data.lines import MEND_UTF8, NOT_UTF8, Malformed, find_json_line, find_line
from linkwise.data.staging import EXPECTED

SKIP = "Use --on-bad-row=skip to drop such rows (counted in the cleaning ledger)."


@dataclass(frozen=True)
class BadRows:
    """Rows that were dropped while reading: why, how many, and of how many users (None: unknown)."""

    rule: str
    rows: int
    users: int | None


def misread(group: FileGroup, file: Path, line: int | None, what: str) -> str:
    """One sentence on a row that cannot be cut into its fields: what, where, expected, mend."""
    where = f"{shown(file)} line {line}" if line is not None else shown(file)
    if what == NOT_UTF8:
        return f"{where}: {what}. {MEND_UTF8} Or use {SKIP[4:]}"
    expected = ""
    if what.startswith("the row has"):
        delimiter = {"\t": "tabs", ",": "commas", ";": "semicolons"}.get(
            group.delimiter, f'"{group.delimiter}"'
        )
        expected = f"; expected {len(group.source_names)}, separated by {delimiter}"
    elif group.format == "csv" and "quote" in what:
        expected = '; expected quotes around whole fields, and "" for a quote within one'
    return f"{where}: {what}{expected}. {SKIP}"


def locate(group: FileGroup, column: str, value: str, name: str, row: int | None = None) -> str:
    """One sentence on a value that cannot be read: what, where, got, expected, mend.

    `name` is the file's path; `row` the number of the row (the first is 1) where the file has no lines.
    """
    source = group.layout.columns.get(column, column)
    file = next((f for f in group.files if str(f.path) == name), group.files[0])
    where = shown(file.path)
    found: Malformed | int | None = None
    if group.format == "csv" and source in group.source_names:
        found = find_line(file, group.source_names.index(source), value, group.cut)
    elif group.format == "json":
        found = find_json_line(file, source, value)
    if isinstance(found, Malformed):
        return misread(group, file.path, found.line, found.words)
    if found is not None:
        where += f" line {found}"
    elif row is not None:
        where += f" row {row}"
    expected = EXPECTED[column]
    if column == "time" and group.time_format is not None:
        expected = f'a time written like --time-format "{group.time_format}", 1900 to 2199'
    if column in ("user", "item") and value:
        expected += ": a whole number below 2^63, or a text"
    got = f'{source} is "{printable(value)}"' if value else f"{source} is empty"
    return f"{where}: {got}; expected {expected}. {SKIP}"


def printable(text: str, most: int = 120) -> str:
    """A text from a file for one line of a terminal: no control characters, and not too long."""
    kept = text if len(text) <= most else f"{text[:most]}..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in kept)
