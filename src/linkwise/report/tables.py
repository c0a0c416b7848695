"""Tables ready to be shown: cells as text, the data behind a chart as a table, a table as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from linkwise.report.document import (
    BarChart,
    Chart,
    Column,
    HistogramChart,
    LineChart,
    NetworkChart,
    ReliabilityChart,
    ScatterChart,
    Table,
)

Cell = str | int | float | None

LONGEST_CELL = 400  # characters; longer texts are cut

_FORMATS: dict[str, Callable[[float], str]] = {
    "int": lambda v: f"{v:,.0f}",
    "float1": lambda v: f"{v:,.1f}",
    "float2": lambda v: f"{v:,.2f}",
    "float3": lambda v: f"{v:,.3f}",
    "float4": lambda v: f"{v:,.4f}",
    "percent": lambda v: f"{100 * v:,.1f}\u202f%",
    "percent0": lambda v: f"{100 * v:,.0f}\u202f%",
    "difference": lambda v: f"{v:+,.3f}",
}


@dataclass(frozen=True)
class ShownCell:
    """A cell as the page writes it: `shade` from 0 to 1 where the column is a heat map."""

    text: str
    right: bool
    shade: float | None = None


@dataclass(frozen=True)
class ShownTable:
    """A table as the page writes it; `folded` rows come after `rows` and are closed at first."""

    caption: str
    headers: list[ShownCell]
    rows: list[list[ShownCell]]
    folded: list[list[ShownCell]]
    row_header: bool
    note: str


def show_number(value: float) -> str:
    """A number for people at full use: six digits, more for whole numbers; None is written elsewhere."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value)}"
    return f"{value:.6g}"


def show(table: Table, cap: int) -> ShownTable:
    """`table` as text, at most `cap` rows of it; where rows are left out the note says so."""
    names = [column.name for column in table.columns]
    inside = {end for column in table.columns for end in (column.low, column.high)}
    shown = [i for i, name in enumerate(names) if name not in inside]
    rights = [
        _right(column, [row[i] for row in table.rows]) for i, column in enumerate(table.columns)
    ]
    shades = _shades(table, names)
    rows = []
    for r, row in enumerate(table.rows[:cap]):
        cells = []
        for i in shown:
            column = table.columns[i]
            text = show_cell(row[i], column)
            if column.low is not None and column.high is not None and row[i] is not None:
                low, high = (
                    show_cell(row[names.index(end)], column) for end in (column.low, column.high)
                )
                text += f" [{low}, {high}]"
            cells.append(ShownCell(text, rights[i], shades.get((r, i))))
        rows.append(cells)
    note = table.note
    if len(table.rows) > cap:
        said = f"{cap:,} of {len(table.rows):,} rows are shown here; all of them are in {table.source}."
        note = f"{note} {said}".strip()
    return ShownTable(
        caption=table.caption,
        headers=[ShownCell(names[i], rights[i]) for i in shown],
        rows=rows[: table.limit],
        folded=rows[table.limit :],
        row_header=not rights[shown[0]],
        note=note,
    )


def show_cell(value: Cell, column: Column) -> str:
    """One cell as text, in the column's format; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value if len(value) <= LONGEST_CELL else value[: LONGEST_CELL - 1] + "…"
    return _FORMATS.get(column.format, show_number)(value)


def _right(column: Column, values: Sequence[Cell]) -> bool:
    if column.align is not None:
        return column.align == "right"
    if column.format != "text":
        return True
    return any(v is not None for v in values) and not any(isinstance(v, str) for v in values)


def _shades(table: Table, names: Sequence[str]) -> dict[tuple[int, int], float]:
    """Shade of each heat cell by (row, column): 0 for the least value of its scale, 1 for the greatest."""
    columns = [names.index(name) for name in table.heat]
    groups = [columns] if table.heat_scale == "table" else [[column] for column in columns]
    shades = {}
    for group in groups:
        cells = {
            (r, i): float(value)
            for r, row in enumerate(table.rows)
            for i in group
            if isinstance(value := row[i], int | float)
        }
        low, high = min(cells.values(), default=0.0), max(cells.values(), default=0.0)
        shades.update(
            {at: (v - low) / (high - low) if high > low else 0.5 for at, v in cells.items()}
        )
    return shades


def data_of(chart: Chart) -> Table:
    """Every number of the series that `chart` draws."""
    match chart:
        case LineChart():
            return _line_data(chart)
        case BarChart():
            columns: dict[str, Sequence[Cell]] = {
                chart.category_label or "category": chart.categories
            }
            for bar in chart.series:
                _add(columns, bar.name or chart.value_label, bar.values, bar.low, bar.high)
        case HistogramChart():
            columns = {"from": chart.edges[:-1], "below": chart.edges[1:]}
            _add(columns, chart.y_label or "count", chart.counts)
        case ReliabilityChart():
            columns = {"model": [m.name for m in chart.series for _ in m.predicted]}
            for field in ("predicted", "observed", "low", "high", "count"):
                columns[field] = [value for m in chart.series for value in getattr(m, field)]
        case ScatterChart():
            columns = {"group": [group.name for group in chart.series for _ in group.x]}
            for axis in ("x", "y"):
                name = getattr(chart, f"{axis}_label") or axis
                columns[name] = [value for group in chart.series for value in getattr(group, axis)]
        case NetworkChart():
            columns = _network_data(chart)
    return _table(columns)


def _network_data(chart: NetworkChart) -> dict[str, Sequence[Cell]]:
    """One row for each node, edge and missing edge of each picture."""
    rows: list[tuple[Cell, ...]] = []
    for picture in chart.pictures:
        rows += [
            (picture.name, "node", node, None, weight)
            for node, weight in enumerate(picture.node_weight)
        ]
        rows += [
            (picture.name, "edge", *pair, weight)
            for pair, weight in zip(picture.edges, picture.edge_weight, strict=True)
        ]
        rows += [(picture.name, "missing edge", *pair, None) for pair in picture.missing]
    names = ("graph", "part", "node", "other node", "weight")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _line_data(chart: LineChart) -> Table:
    """One column per series where all have the same x, else one row per series and point."""
    x_name = chart.x_label or "x"
    if all(series.x == chart.series[0].x for series in chart.series):
        columns: dict[str, Sequence[Cell]] = {x_name: chart.series[0].x}
        for line in chart.series:
            _add(columns, line.name or chart.y_label, line.y, line.low, line.high)
        return _table(columns)
    columns = {"series": [line.name for line in chart.series for _ in line.x]}
    _add(columns, x_name, [x for line in chart.series for x in line.x])
    _add(columns, chart.y_label or "y", [y for line in chart.series for y in line.y])
    for end in ("low", "high"):
        if any(getattr(line, end) for line in chart.series):
            values = [getattr(line, end) or [None] * len(line.x) for line in chart.series]
            _add(columns, end, [value for part in values for value in part])
    return _table(columns)


def _add(
    columns: dict[str, Sequence[Cell]],
    name: str,
    values: Sequence[Cell],
    low: Sequence[Cell] | None = None,
    high: Sequence[Cell] | None = None,
) -> None:
    """Add columns under `name`, or `name (2)` where there is one already."""
    n = 2
    base = name
    while name in columns:
        name, n = f"{base} ({n})", n + 1
    columns[name] = values
    if low is not None and high is not None:
        _add(columns, f"{name}, low", low)
        _add(columns, f"{name}, high", high)


def _table(columns: dict[str, Sequence[Cell]]) -> Table:
    rows: Any = zip(*columns.values(), strict=True)
    return Table.model_construct(
        kind="table", caption="Data", columns=tuple(_number_column(*c) for c in columns.items()),
        rows=tuple(rows), note="", limit=10**9, heat=(), heat_scale="table", source="report.json",
    )  # fmt: skip


def _number_column(name: str, values: Sequence[Cell]) -> Column:
    return Column(name=name, format="text" if any(isinstance(v, str) for v in values) else "number")


def csv_link(table: Table) -> str:
    """A `data:` address that holds all rows of `table` as CSV, numbers at full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_harmless(column.name) for column in table.columns])
    writer.writerows([[_harmless(cell) for cell in row] for row in table.rows])
    return "data:text/csv;charset=utf-8," + quote(file.getvalue(), safe=",:.-_")


def _harmless(cell: Cell) -> Cell:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r\n" and cell else cell
