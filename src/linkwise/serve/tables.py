"""A run's tables as pages of rows, searches and points on a map; every name is looked up, none trusted."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.errors import InputError, UsageError

MOST_ROWS = 1000  # of a page
SEARCHED_AT_ONCE = 65_536  # rows, between which a search may have found enough
MOST_CATEGORIES = 256  # of a colour; the rest are one more
SAID = {
    "eq": "equal to",
    "ne": "other than",
    "ge": "at least",
    "le": "at most",
    "gt": "above",
    "lt": "below",
    "has": "containing",
    "starts": "beginning with",
}


@dataclass(frozen=True)
class Page:
    """Rows of a table, how many there are in all, and the cursor of the next page, if there is one."""

    rows: list[dict[str, Any]]
    total: int
    next: str | None


@dataclass(frozen=True)
class Wanted:
    """Which rows of a table, in which order.

    `where`: conditions `column:operator:value`, all of which hold; `sort`: a column, with `-` before it from
    the highest down; `columns`: those to be had, by default all.
    """

    where: tuple[str, ...] = ()
    sort: str | None = None
    columns: tuple[str, ...] = ()

    def of(self, path: Path, number: bool = False) -> pl.LazyFrame:
        """The rows; with `number` also `row`, the place of each in the file.

        Raises `UsageError` for a column, an operator or a value that does not fit.
        """
        frame = pl.scan_parquet(path)
        schema = frame.collect_schema()
        if number:
            frame = frame.with_row_index("row")
        for text in self.where:
            frame = frame.filter(_condition(text, schema))
        if self.sort:
            name = self.sort.removeprefix("-")
            _known(name, schema)
            if isinstance(schema[name], pl.List | pl.Struct):
                raise UsageError(f'rows cannot be sorted by "{name}", which is a {schema[name]}.')
            frame = frame.sort(
                name, descending=self.sort.startswith("-"), nulls_last=True, maintain_order=True
            )
        if self.columns:
            for name in self.columns:
                _known(name, schema)
            frame = frame.select(*(["row"] if number else []), *dict.fromkeys(self.columns))
        return frame


def _known(name: str, schema: pl.Schema) -> None:
    if name not in schema:
        raise UsageError(f'there is no column "{name[:80]}"; there are {", ".join(schema)}.')


def _condition(text: str, schema: pl.Schema) -> pl.Expr:
    """`column:operator:value` as an expression; the value is a literal of the column's type."""
    name, _, rest = text.partition(":")
    operator, colon, value = rest.partition(":")
    _known(name, schema)
    if operator not in SAID or not colon:
        raise UsageError(
            f'where is "{text[:80]}"; expected column:operator:value with an operator of {", ".join(SAID)}.'
        )
    column, kind = pl.col(name), schema[name]
    if operator == "has" and kind == pl.List(pl.String):
        return column.list.contains(value)
    if value == "" and operator in ("eq", "ne"):
        return column.is_null() if operator == "eq" else column.is_not_null()
    if operator in ("has", "starts"):
        held = column.cast(pl.String).str.to_lowercase()
        wanted = pl.lit(value.lower())
        return (
            held.str.starts_with(wanted)
            if operator == "starts"
            else held.str.contains(wanted, literal=True)
        )
    try:
        literal = _literal(value, kind)
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise UsageError(
            f'where is "{text[:80]}": {name} is of {kind}, not "{value[:40]}".'
        ) from error
    compared: pl.Expr = getattr(column, f"__{operator}__")(literal)
    return compared


def _literal(value: str, kind: pl.DataType) -> pl.Expr:
    if kind == pl.Boolean:
        if value not in ("true", "false"):
            raise ValueError(value)
        return pl.lit(value == "true")
    if kind.is_integer():
        return pl.lit(int(value), dtype=pl.Int64)
    if kind.is_float():
        return pl.lit(float(value))
    if kind == pl.Date:
        return pl.lit(date.fromisoformat(value))
    if isinstance(kind, pl.Datetime):
        return pl.lit(datetime.fromisoformat(value))
    if kind in (pl.String, pl.Categorical):
        return pl.lit(value)
    raise ValueError(value)


def page(
    path: Path, wanted: Wanted, *, limit: int = 100, after: str | None = None, stamp: object = ()
) -> Page:
    """The next `limit` rows behind the cursor `after`.

    A cursor holds for the same run (`stamp`), rows and order; another one is refused with `UsageError`.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise UsageError(f"limit is {limit}; expected 1 to {MOST_ROWS}.")
    mark = _mark(path.name, wanted, stamp)
    start = 0 if after is None else _offset(after, mark)
    frame = wanted.of(path)
    found, counted = pl.collect_all([frame.slice(start, limit), frame.select(pl.len())])
    total = int(counted.item())
    stop = start + len(found)
    return Page(plain(found), total, _cursor(stop, mark) if stop < total else None)


def _mark(name: str, wanted: Wanted, stamp: object) -> str:
    text = json.dumps([name, wanted.where, wanted.sort, repr(stamp)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cursor(offset: int, mark: str) -> str:
    return base64.urlsafe_b64encode(f"{offset}.{mark}".encode()).decode().rstrip("=")


def _offset(cursor: str, mark: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        offset, _, held = text.partition(".")
        start = int(offset)
    except (ValueError, binascii.Error) as error:
        raise UsageError("after is no cursor; give the `next` of the page before.") from error
    if held != mark or not 0 <= start < 2**62:
        raise UsageError(
            "after is the cursor of another list, or the run has changed since; begin again without it."
        )
    return start


def plain(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: numbers that are none become null, times are texts."""
    floats = [name for name, kind in frame.schema.items() if kind.is_float()]
    times = [name for name, kind in frame.schema.items() if kind.is_temporal()]
    return frame.with_columns(
        *(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats),
        *(pl.col(name).cast(pl.String) for name in times),
    ).to_dicts()


def plain_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same of rows that are no table."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in rows
    ]


class Names:
    """The words of some of a table's columns, held in memory to be searched by the beginnings of words."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        frame = pl.scan_parquet(path)
        for name in columns:
            _known(name, frame.collect_schema())
        words = pl.concat_str(
            [pl.col(name).cast(pl.String) for name in columns], separator=" ", ignore_nulls=True
        )
        # A blank before each word, so that a word's beginning is found as " beginning".
        spaced = (" " + words.str.to_lowercase()).str.replace_all(r"[^\p{L}\p{N}]+", " ")
        self.words: pl.Series = frame.select(spaced.alias("words")).collect()["words"]

    def find(self, text: str, limit: int) -> list[int]:
        """Rows in which each word of `text` begins a word, the first `limit` of them."""
        wanted = pl.Series([text.lower()]).str.replace_all(r"[^\p{L}\p{N}]+", " ")[0].split()
        if not wanted:
            return []
        wanted.sort(key=len, reverse=True)  # the rarest first, it may be
        found: list[int] = []
        for first in range(0, len(self.words), SEARCHED_AT_ONCE):
            some = self.words.slice(first, SEARCHED_AT_ONCE)
            rows = np.arange(first, first + len(some))
            for word in wanted:
                held = some.str.contains(f" {word}", literal=True).fill_null(False)
                some, rows = some.filter(held), rows[held.to_numpy()]
            found += rows.tolist()
            if len(found) >= limit:
                break
        return found[:limit]


def counts(
    path: Path, wanted: Wanted, by: str, distinct: str | None, limit: int
) -> list[dict[str, Any]]:
    """How many rows, or different values of `distinct`, each value of a column has: `value, n`, most first.

    Raises `UsageError` for a column that is not there or holds lists.
    """
    frame = Wanted(wanted.where).of(path)
    schema = frame.collect_schema()
    for name in (by, *([distinct] if distinct else [])):
        _known(name, schema)
        if isinstance(schema[name], pl.List | pl.Struct):
            raise UsageError(f'rows cannot be counted by "{name}", which is a {schema[name]}.')
    n = pl.col(distinct).n_unique() if distinct else pl.len()
    grouped = frame.group_by(pl.col(by).alias("value")).agg(n.alias("n"))
    return plain(grouped.sort("n", "value", descending=[True, False]).head(limit).collect())


def quantiles(path: Path, wanted: Wanted, column: str, n: int) -> tuple[int, list[float]]:
    """How many rows have a number in a column, and n + 1 of these numbers at equal steps, from the lowest.

    Raises `UsageError` for a column that is not there or holds no numbers.
    """
    frame = Wanted(wanted.where).of(path)
    schema = frame.collect_schema()
    _known(column, schema)
    if not schema[column].is_numeric():
        raise UsageError(f'the column "{column}" is of {schema[column]}; expected numbers.')
    values = frame.select(pl.col(column).cast(pl.Float64)).filter(pl.col(column).is_finite())
    held = values.collect()[column].sort().to_numpy()
    if not len(held):
        return 0, []
    at = np.round(np.linspace(0, len(held) - 1, n + 1)).astype(np.int64)
    return len(held), held[at].tolist()


def rows_at(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Some rows by their place in the file, each with `row`, in the order asked for."""
    if not rows:
        return []
    # Only the part of the file that they stand in: a filter by row alone would read all of it.
    first, last = min(rows), max(rows)
    frame = pl.scan_parquet(path).with_row_index("row").slice(first, last - first + 1)
    found = plain(frame.filter(pl.col("row").is_in(list(rows))).collect())
    by_row = {record["row"]: record for record in found}
    return [by_row[row] for row in rows if row in by_row]


@dataclass(frozen=True)
class Elsewhere:
    """Values by which points are coloured that stand in another table.

    The colour of a point is the largest `value` of the rows `wanted` whose `key` is the point's `id`.
    """

    path: Path
    value: str
    key: str
    wanted: Wanted

    def joined(self, table: pl.DataFrame) -> pl.DataFrame:
        """The points (with `id`) with their values, in their order.

        Raises `UsageError` for columns that are not there, or a value that is no number.
        """
        frame = self.wanted.of(self.path)
        schema = frame.collect_schema()
        for name in (self.value, self.key):
            _known(name, schema)
        if not schema[self.value].is_numeric() or schema[self.key] != pl.String:
            raise UsageError(
                f"points are coloured by numbers of their ids; {self.value} is of {schema[self.value]}, "
                f"{self.key} of {schema[self.key]}."
            )
        largest = frame.group_by(pl.col(self.key).alias("id")).agg(
            pl.col(self.value).cast(pl.Float64).max().alias("colour of point")
        )
        return table.join(largest.collect(), on="id", how="left", maintain_order="left")


def points(
    path: Path,
    wanted: Wanted,
    *,
    x: str = "x",
    y: str = "y",
    colour: str | None = None,
    elsewhere: Elsewhere | None = None,
) -> bytes:
    """Points as one block of bytes.

    An unsigned 32-bit length, little-endian like all that follows, of a JSON header, padded with blanks to
    four bytes: `n`, `x` and `y` (the ranges that -1 to 1 stand for), `colour` (its column, and either
    `categories`, or the `range` that 0 to 1 stand for). Then float32 x (n,), float32 y (n,), uint32 rows in
    the file (n,), and with a colour float32 (n,): the category's number, or a value of 0 to 1; NaN where
    there is none. `colour` is a column, or a condition as of `Wanted`, which points meet or not.

    Raises `InputError` where x or y are no numbers, and `UsageError` for a colour that cannot be.
    """
    about_colour = elsewhere.value if elsewhere else colour
    if elsewhere:
        names = [x, y, "id"]
    elif colour and ":" in colour:
        names = [x, y, colour.partition(":")[0]]
    else:
        names = [x, y, *([colour] if colour else [])]
    table = Wanted(wanted.where, None, tuple(names)).of(path, number=True).collect()
    for name in (x, y):
        if not table.schema[name].is_numeric():
            raise InputError(f'the column "{name}" is of {table.schema[name]}; expected numbers.')
    table = table.filter(pl.col(x).is_finite(), pl.col(y).is_finite())
    header: dict[str, Any] = {"n": len(table)}
    blocks = []
    spans = [(float(table[name].min() or 0), float(table[name].max() or 0)) for name in (x, y)]  # type: ignore[arg-type]
    # One scale for both, so that distances stay what they are.
    half = max(high - low for low, high in spans) / 2 or 1.0
    for name, axis, (low, high) in zip(("x", "y"), (x, y), spans, strict=True):
        middle = (low + high) / 2
        header[name] = [middle - half, middle + half]
        blocks.append(((table[axis].to_numpy().astype(np.float64) - middle) / half).astype("<f4"))
    blocks.append(table["row"].to_numpy().astype("<u4"))
    if about_colour:
        if elsewhere:
            about, values = _scale(elsewhere.joined(table)["colour of point"])
        elif ":" in about_colour:
            met = table.select(_condition(about_colour, table.schema)).to_series()
            about = {"categories": [about_colour.partition(":")[2].partition(":")[2]]}
            values = np.where(met.fill_null(False).to_numpy(), 0.0, np.nan)
        else:
            about, values = _colours(table[about_colour])
        header["colour"] = {"column": about_colour} | about
        blocks.append(values.astype("<f4"))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([struct.pack("<I", len(text)), text, *(block.tobytes() for block in blocks)])


def _scale(values: pl.Series) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Numbers between their lowest, as 0, and their highest, as 1."""
    held = values.cast(pl.Float64).to_numpy()
    some = held[np.isfinite(held)]
    if not len(some):
        return {"range": [0.0, 0.0]}, np.full(len(held), np.nan)
    low, high = float(some.min()), float(some.max())
    found = np.where(np.isfinite(held), (held - low) / ((high - low) or 1.0), np.nan)
    return {"range": [low, high]}, found


def _colours(values: pl.Series) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """A column as numbers to colour by, and what they mean."""
    if values.dtype.is_numeric() and values.n_unique() > 24:
        return _scale(values)
    if isinstance(values.dtype, pl.List | pl.Struct):
        raise UsageError(
            f'points cannot be coloured by "{values.name}", which is a {values.dtype}.'
        )
    texts = values.cast(pl.String)
    counts = texts.drop_nulls().value_counts(sort=True)
    names = counts[counts.columns[0]].to_list()
    if values.dtype.is_numeric():
        names.sort(key=float)
    kept = names[:MOST_CATEGORIES]
    number = {name: place for place, name in enumerate(kept)}
    other = len(kept) if len(names) > len(kept) else None
    found = texts.replace_strict(number, default=other, return_dtype=pl.Float32).to_numpy()
    found = np.where(texts.is_null().to_numpy(), np.nan, found)
    categories = [*kept, *(["other"] if other is not None else [])]
    return {"categories": categories}, found
