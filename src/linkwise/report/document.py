"""A report as data: what a study hands to the page, and what `report.json` holds.

A `Report` has a verdict, facts and sections; a section has blocks: text, bullets, tables and figures; a
figure holds a chart with all the numbers that it draws. All models are frozen and refuse unknown fields.
Numbers may be given as Python, NumPy or Polars sequences; they are finite or None (None is a gap). All text
is plain: markup in it is shown, never run.

Building a model from bad values raises `pydantic.ValidationError`, which says which value is bad.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from linkwise.report.values import (
    Amounts,
    Cells,
    Numbers,
    PlainText,
    Position,
    Positions,
    Value,
    check_count,
    check_interval,
    check_one_kind,
    check_rising,
)

Format = Literal[
    "text",
    "number",
    "int",
    "float1",
    "float2",
    "float3",
    "float4",
    "percent",
    "percent0",
    "difference",
]
AxisFormat = Literal["number", "percent"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ------------------------------------------------------------------------------------------------- charts


class Mark(_Model):
    """A labelled vertical line at `x`, such as "7 days" or the chosen cut."""

    x: Position
    label: PlainText


class Reference(_Model):
    """A labelled line at one `value` of the value axis, such as the base rate."""

    value: Value
    label: PlainText


class LineSeries(_Model):
    """One line; `low` and `high`, where given, are drawn as a band around it."""

    name: PlainText
    x: Positions
    """Numbers or ISO dates, rising."""
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    baseline: bool = False
    """Draw it grey and dashed: chance, recency alone, popularity."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("y", "low", "high"):
            check_count(name, getattr(self, name), len(self.x), "values of x")
        check_interval(self.low, self.high)
        check_one_kind(self.x)
        check_rising("x", self.x)
        return self


class LineChart(_Model):
    """Curves over numbers or dates: ROC, lift, profit, retention, events per day."""

    kind: Literal["line"] = "line"
    x_label: PlainText
    y_label: PlainText
    series: tuple[LineSeries, ...] = Field(min_length=1)
    log_x: bool = False
    log_y: bool = False
    x_format: AxisFormat = "number"
    y_format: AxisFormat = "number"
    y_from_zero: bool = True
    """Let the value axis begin at 0; has no meaning on a log axis."""
    marks: tuple[Mark, ...] = ()
    references: tuple[Reference, ...] = ()
    interval: PlainText = "95 % interval"
    """What `low` and `high` are."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_one_kind([series.x[0] for series in self.series] + [mark.x for mark in self.marks])
        for series in self.series:
            if self.log_x and (isinstance(series.x[0], str) or series.x[0] <= 0):
                raise ValueError(f'log_x needs x above 0; series "{series.name}" has {series.x[0]}')
            if self.log_y and any(y is not None and y < 0 for y in series.y):
                raise ValueError(f'log_y needs y of 0 or more; series "{series.name}" has less')
        return self


class BarSeries(_Model):
    """One value per category; `low` and `high`, where given, are drawn as error bars."""

    name: PlainText
    values: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    baseline: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("low", "high"):
            check_count(name, getattr(self, name), len(self.values), "values")
        check_interval(self.low, self.high)
        return self


class BarChart(_Model):
    """Amounts per category, first category on top: importances, event shares."""

    kind: Literal["bar"] = "bar"
    categories: tuple[PlainText, ...] = Field(min_length=1)
    series: tuple[BarSeries, ...] = Field(min_length=1)
    value_label: PlainText
    category_label: PlainText = ""
    horizontal: bool = True
    value_format: AxisFormat = "number"
    references: tuple[Reference, ...] = ()
    interval: PlainText = "95 % interval"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for series in self.series:
            check_count(
                f'series "{series.name}"', series.values, len(self.categories), "categories"
            )
        return self


class HistogramChart(_Model):
    """Counts per bin; bin i holds the values from `edges[i]` to below `edges[i + 1]`."""

    kind: Literal["histogram"] = "histogram"
    edges: Amounts = Field(min_length=2)
    counts: Amounts
    x_label: PlainText
    y_label: PlainText
    log_x: bool = False
    log_y: bool = False
    marks: tuple[Mark, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_count("counts", self.counts, len(self.edges) - 1, "bins (edges less one)")
        check_one_kind([self.edges[0], *(mark.x for mark in self.marks)])
        for i in range(1, len(self.edges)):
            if self.edges[i] <= self.edges[i - 1]:
                raise ValueError(
                    f"edges do not rise at value {i}: {self.edges[i - 1]}, {self.edges[i]}"
                )
        if any(count < 0 for count in self.counts):
            raise ValueError("counts must be 0 or more")
        if self.log_x and self.edges[0] <= 0:
            raise ValueError(f"log_x needs edges above 0, got {self.edges[0]}")
        return self


class ReliabilitySeries(_Model):
    """One model's bins: mean predicted probability, observed share with interval, rows in the bin."""

    name: PlainText
    predicted: Numbers = Field(min_length=1)
    observed: Numbers
    low: Numbers
    high: Numbers
    count: Numbers
    baseline: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("observed", "low", "high", "count"):
            check_count(name, getattr(self, name), len(self.predicted), "values of predicted")
        check_interval(self.low, self.high)
        for name in ("predicted", "observed", "low", "high"):
            if any(v is not None and not 0 <= v <= 1 for v in getattr(self, name)):
                raise ValueError(f"{name} must lie between 0 and 1")
        return self


class ReliabilityChart(_Model):
    """Predicted against observed probability; the diagonal is perfect calibration."""

    kind: Literal["reliability"] = "reliability"
    series: tuple[ReliabilitySeries, ...] = Field(min_length=1)
    x_label: PlainText = "Predicted probability"
    y_label: PlainText = "Observed share"
    interval: PlainText = "95 % interval"


class ScatterSeries(_Model):
    """A group of points of a map; its name is written at the median of its points."""

    name: PlainText
    x: Amounts = Field(min_length=1)
    y: Amounts
    baseline: bool = False
    """Draw it grey, and without its name: points of no group."""
    mark: bool = False
    """Draw it in ink above the others: a place of note. Names of groups are written first."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_count("y", self.y, len(self.x), "values of x")
        return self


class ScatterChart(_Model):
    """Points on a map, the most important group first: near means alike, so no axes are drawn.

    With `x_label` and `y_label` they are points of two measures: axes are drawn, and groups in a legend.
    """

    kind: Literal["scatter"] = "scatter"
    series: tuple[ScatterSeries, ...] = Field(min_length=1)
    x_label: PlainText = ""
    y_label: PlainText = ""
    log_x: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.x_label) != bool(self.y_label):
            raise ValueError("give both x_label and y_label, or neither")
        if self.log_x and any(x <= 0 for group in self.series for x in group.x):
            raise ValueError("log_x needs x above 0")
        return self


class NetworkPicture(_Model):
    """One graph as it is drawn: places of its nodes, and how much each node and edge weighs (0 to 1)."""

    name: PlainText
    x: Amounts = Field(min_length=1)
    y: Amounts
    node_weight: Amounts
    edges: tuple[tuple[int, int], ...] = ()
    edge_weight: Amounts = ()
    missing: tuple[tuple[int, int], ...] = ()
    """Pairs without an edge that are drawn dashed."""
    node_names: tuple[PlainText, ...] = ()
    """Names of all nodes, or none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_count("y", self.y, len(self.x), "values of x")
        check_count("node_names", self.node_names or None, len(self.x), "values of x")
        check_count("node_weight", self.node_weight, len(self.x), "values of x")
        check_count("edge_weight", self.edge_weight, len(self.edges), "edges")
        for pair in (*self.edges, *self.missing):
            if not all(0 <= node < len(self.x) for node in pair):
                raise ValueError(f"edge {pair}: the nodes are 0 to {len(self.x) - 1}")
        return self


class NetworkChart(_Model):
    """Graphs side by side, two to a row; what weighs more is drawn thicker and in colour."""

    kind: Literal["network"] = "network"
    pictures: tuple[NetworkPicture, ...] = Field(min_length=1, max_length=12)


Chart = Annotated[
    LineChart | BarChart | HistogramChart | ReliabilityChart | ScatterChart | NetworkChart,
    Field(discriminator="kind"),
]

# ------------------------------------------------------------------------------------------------- blocks


class Text(_Model):
    """Paragraphs. The tone "note" or "warning" sets them off from the rest."""

    kind: Literal["text"] = "text"
    paragraphs: tuple[PlainText, ...] = Field(min_length=1)
    tone: Literal["plain", "note", "warning"] = "plain"


class Bullets(_Model):
    """A list of short points."""

    kind: Literal["bullets"] = "bullets"
    items: tuple[PlainText, ...] = Field(min_length=1)


class Column(_Model):
    """A table's column.

    `low` and `high` name two other columns, which are then shown inside this one: ``0.91 [0.90, 0.92]``.
    """

    name: PlainText
    format: Format = "text"
    """How numbers are shown. "percent" takes shares: 0.25 is 25.0 %; "difference" shows the sign."""
    align: Literal["left", "right"] | None = None
    """None: text left, numbers right."""
    low: PlainText | None = None
    high: PlainText | None = None


def interval_columns(
    name: str, format: Format, low: str | None = None, high: str | None = None
) -> tuple[Column, Column, Column]:
    """Columns of a value and the ends of its interval, shown as one; by default `NAME low`, `NAME high`."""
    low, high = low or f"{name} low", high or f"{name} high"
    return (
        Column(name=name, format=format, low=low, high=high),
        Column(name=low, format=format),
        Column(name=high, format=format),
    )


class Table(_Model):
    """Rows of cells. The first `limit` rows are shown and the rest folded away."""

    kind: Literal["table"] = "table"
    caption: PlainText
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Cells, ...]
    note: PlainText = ""
    limit: int = Field(20, ge=1)
    heat: tuple[PlainText, ...] = ()
    """Names of columns whose cells are shaded by value, as in a cohort table."""
    heat_scale: Literal["table", "column"] = "table"
    """Shade all `heat` columns on one scale, or each on its own."""
    external: bool = False
    """The numbers are from elsewhere, such as a published report: never marked as simulated."""
    source: PlainText = "report.json"
    """File of the run folder that holds all rows; named where the page shows only some."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"column names must differ, got {names}")
        for i, row in enumerate(self.rows):
            check_count(f"row {i}", row, len(names), "columns")
        for column in self.columns:
            if (column.low is None) != (column.high is None):
                raise ValueError(f'column "{column.name}": give both low and high, or neither')
        ranged = {column.name for column in self.columns if column.low is not None}
        ends = {
            end for column in self.columns for end in (column.low, column.high) if end is not None
        }
        if ranged & ends:
            raise ValueError(f"{sorted(ranged & ends)}: a low or high column has none of its own")
        unknown = (ends | set(self.heat)) - set(names)
        if unknown:
            raise ValueError(f"no such column: {sorted(unknown)}; the columns are {names}")
        return self


class Figure(_Model):
    """A chart with its caption and `alt`, which tells in words what the chart shows."""

    kind: Literal["figure"] = "figure"
    caption: PlainText
    alt: PlainText = Field(min_length=1)
    chart: Chart
    note: PlainText = ""


Block = Annotated[Text | Bullets | Table | Figure, Field(discriminator="kind")]

# ------------------------------------------------------------------------------------------------- report


class Fact(_Model):
    """A label and its value, both as shown; `code` sets the value as code, for commands."""

    label: PlainText
    value: PlainText
    note: PlainText = ""
    code: bool = False


class Section(_Model):
    """A title and the blocks below it."""

    title: PlainText = Field(min_length=1)
    blocks: tuple[Block, ...] = ()


class Report(_Model):
    """A whole report."""

    format_version: Literal[1] = 1
    title: PlainText = Field(min_length=1)
    lead: tuple[PlainText, ...] = Field(min_length=1)
    """The verdict in plain words; its first line stands first on the page."""
    simulated: bool
    """The data are simulated: the page says so on top and beside every number."""
    beats_baseline: bool | None
    """Does the study beat its trivial baseline? False is said before the lead; None: not asked."""
    facts: tuple[Fact, ...] = ()
    """Key numbers, under the lead."""
    sections: tuple[Section, ...] = ()
    details: tuple[Fact, ...] = ()
    """How the report was made, at its foot: command, seed, versions, inputs."""
