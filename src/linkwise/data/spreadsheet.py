"""Tables as CSV files that a spreadsheet opens without running anything in them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars as pl

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def write_csv(table: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV that a spreadsheet opens without running anything in it."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.columns)
        for row in table.iter_rows():
            writer.writerow([neutral(value) for value in row])


def neutral(value: Any) -> Any:
    """Text that begins like a formula gets an apostrophe in front; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return "'" + value
    return round(value, 6) if isinstance(value, float) else value
