"""Charts as SVG, drawn with Matplotlib's object interface.

The same chart gives the same bytes. Figures are 5.4 inches wide with 12.5 pt text, to be read on a phone.
Text stays text. Of large data only a part is drawn: see `limits`.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import matplotlib
import numpy as np
from matplotlib import dates
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from linkwise.report.document import (
    AxisFormat,
    BarChart,
    BarSeries,
    Chart,
    HistogramChart,
    LineChart,
    LineSeries,
    Mark,
    NetworkChart,
    Reference,
    ReliabilityChart,
    ReliabilitySeries,
    ScatterChart,
    ScatterSeries,
)
from linkwise.report.inline import inline
from linkwise.report.labels import Labels, columns_of, cut, tick
from linkwise.report.limits import MAX_BARS, MAX_NAMES, MAX_POINTS, MAX_SERIES, Floats, every, thin
from linkwise.report.looks import (
    BASE,
    CARD,
    FIRST,
    GRID,
    HATCHES,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    looks,
)
from linkwise.report.networks import networks
from linkwise.report.scatter import colours, room, window

WIDTH, HEIGHT = 5.4, 3.3  # inches; 72 units of the view box each
TEXT = 12.5  # pt; 11 pixels on a phone
NOTE = 28  # columns of text inside the axes, at most
_CHARACTER = 0.62 * TEXT  # usual width of one character, pt
_AXES = 72 * WIDTH * 0.85  # usual width of the axes, pt

_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "linkwise",  # the same ids every time
    "text.parse_math": False,  # "$5" is five dollars
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib, so all machines lay out alike
    "font.size": TEXT,
    "hatch.linewidth": 0.8,
    "axes.unicode_minus": False,
}
_LOCK = threading.Lock()  # rc_context and catch_warnings change what all threads see


def svg(chart: Chart, alt: str, prefix: str = "figure") -> str:
    """Draw `chart` as one inline SVG element.

    `alt` is its text alternative. `prefix` starts all ids in it: charts on one page need different ones.
    """
    with _LOCK, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that DejaVu lacks; the reader's browser has them
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(WIDTH, _height(chart)), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        drawing = _Drawing(figure)
        match chart:
            case LineChart():
                drawing.lines(chart)
            case BarChart():
                drawing.bars(chart)
            case HistogramChart():
                drawing.histogram(chart)
            case ReliabilityChart():
                drawing.reliability(chart)
            case ScatterChart():
                drawing.points(chart) if chart.x_label else drawing.scatter(chart)
            case NetworkChart():
                networks(drawing.axes, chart, drawing._note)
        file = io.StringIO()
        canvas.print_svg(file, metadata={"Date": None})
    return inline(file.getvalue(), alt, prefix, drawing.label.originals)


def _height(chart: Chart) -> float:
    """Height of the figure in inches."""
    if isinstance(chart, BarChart) and chart.horizontal:
        rows = min(len(chart.categories), MAX_BARS)
        per_row = 0.6 + 0.4 * min(len(chart.series), MAX_SERIES)
        return max(1.9, 0.9 + 0.27 * rows * per_row)
    if isinstance(chart, NetworkChart):
        return WIDTH / 2 * -(-len(chart.pictures) // 2)
    if isinstance(chart, ScatterChart) and not chart.x_label:
        return WIDTH
    return 3.8 if isinstance(chart, ReliabilityChart) else HEIGHT


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _place(x: float | str) -> float:
    """A position on the axis: a number as it is, a date as Matplotlib's day number by its own clock."""
    if isinstance(x, str):
        return float(dates.date2num(datetime.fromisoformat(x).replace(tzinfo=None)))
    return x


def _date(day: float, span: float) -> str:
    """A tick of a date axis that spans `span` days; in English whatever the locale."""
    moment = dates.num2date(day)
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * moment.month - 3 :][:3]
    if span < 3:
        return f"{moment.day} {month} {moment:%H:%M}"
    if span < 150:
        return f"{moment.day} {month}"
    return f"{month} {moment.year}" if span < 1500 else f"{moment.year}"


class _Drawing:
    """One figure with one pair of axes; each public method draws one kind of chart on it."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.label = Labels()
        self.axes: Any = figure.subplots()
        figure.patch.set_visible(False)
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.06, h_pad=0.05)
        self.axes.patch.set_visible(False)
        self.axes.spines[["top", "right", "left"]].set_visible(False)
        self.axes.spines["bottom"].set_color(MUTED)
        self.axes.tick_params(which="both", length=0, labelcolor=MUTED, pad=5)
        self.axes.set_axisbelow(True)

    def lines(self, chart: LineChart) -> None:
        axes, series = self.axes, chart.series[:MAX_SERIES]
        if chart.log_x:
            axes.set_xscale("log")
        if chart.log_y:
            axes.set_yscale("log", nonpositive="clip")
        axes.margins(x=0.02)
        handles = []
        for i, (line, look) in enumerate(
            zip(series, looks([one.baseline for one in series]), strict=True)
        ):
            rows = thin(_floats(line.y), MAX_POINTS)
            x = np.array([_place(line.x[row]) for row in rows])
            if line.low is not None and line.high is not None:
                low, high = _floats(line.low)[rows], _floats(line.high)[rows]
                axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
            every: Any = (i * len(x) // 64, max(1, len(x) // 7)) if len(x) > 20 else 1
            if len(x) > 20 and len(series) == 1:
                look["marker"] = ""
            handles += axes.plot(
                x, _floats(line.y)[rows], markevery=every, zorder=3 - i / 10, **look
            )
        if all(y is None for line in series for y in line.y):
            self._note("no values", (0.5, 0.5), "axes fraction", (0, 0), ha="center", color=MUTED)
        self._lines_at(chart.marks, chart.references, "y")
        if isinstance(series[0].x[0], str):
            locator = dates.AutoDateLocator(minticks=3, maxticks=5)
            axes.xaxis.set_major_locator(locator)
            first, last = axes.get_xlim()  # outside these years Matplotlib fails:
            first, last = max(first, _place("0001-01-01")), min(last, _place("9999-12-31"))
            axes.set_xlim(first, last)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda day, _: _date(day, last - first)))
        else:
            numbers = chart.x_format == "number"
            whole = numbers and all(float(x).is_integer() for line in series for x in line.x)
            self._scale("x", chart.x_format, whole=whole)
        self._scale("y", chart.y_format, zero=chart.y_from_zero)
        self._name(chart.x_label, chart.y_label)
        self._label_references(chart.references)
        self._label_marks([(_place(mark.x), mark.label) for mark in chart.marks], inside=True)
        if len(series) > 1:
            self._legend(handles, series)

    def bars(self, chart: BarChart) -> None:
        axes, flat = self.axes, chart.horizontal
        series, n = chart.series[:MAX_SERIES], min(len(chart.categories), MAX_BARS)
        value_axis, category_axis = ("x", "y") if flat else ("y", "x")
        thick = 0.74 / len(series)
        handles = []
        for i, (bar, look) in enumerate(
            zip(series, looks([one.baseline for one in series]), strict=True)
        ):
            at: Floats = np.arange(n, dtype=float) + (i - (len(series) - 1) / 2) * thick
            values = _floats(bar.values[:n])
            style: dict[str, Any] = {
                "facecolor": look["color"],
                "edgecolor": CARD,
                "linewidth": 0.6,
            }
            style["hatch"] = HATCHES[i % len(HATCHES)]
            (axes.barh if flat else axes.bar)(at, np.nan_to_num(values), thick * 0.92, **style)
            handles.append(Patch(**style))
            ends = values
            if bar.low is not None and bar.high is not None:
                low, high = _floats(bar.low[:n]), _floats(bar.high[:n])
                (axes.hlines if flat else axes.vlines)(at, low, high, color=INK, linewidth=1.6)
                ends = np.where(values < 0, np.minimum(values, low), np.maximum(values, high))
                ends = np.where(np.isnan(ends), values, ends)  # no whisker where an end is unknown
        room = 0.05
        if len(series) == 1:
            said = ["–" if np.isnan(v) else tick(v, chart.value_format, digits=3) for v in values]
            longest = max(map(len, said)) * _CHARACTER
            if flat or longest < _AXES / n:
                self._amounts(at, np.nan_to_num(ends), said, flat)
                room = longest / (_AXES * 0.7) + 0.03 if flat else 0.1
        axes.margins(**{value_axis: room, category_axis: 0.01})
        self._lines_at((), chart.references, value_axis)
        self._categories(
            [self.label(name, 28 if flat else 14) for name in chart.categories[:n]], flat
        )
        self._scale(value_axis, chart.value_format, zero=True)
        if flat:
            self._label_marks([(r.value, r.label) for r in chart.references], inside=False)
        else:
            self._label_references(chart.references)
        names = (chart.value_label, chart.category_label)
        self._name(*(names if flat else names[::-1]))
        if len(series) > 1:
            self._legend(handles, series)

    def histogram(self, chart: HistogramChart) -> None:
        axes, edges, counts = self.axes, np.array(chart.edges), np.array(chart.counts)
        floor = 0.5 if chart.log_y else 0.0  # an empty bin has no logarithm
        if chart.log_x:
            axes.set_xscale("log")
        if chart.log_y:
            axes.set_yscale("log")
        axes.margins(x=0.01)
        if len(counts) <= 100:
            full = counts > floor
            axes.bar(
                edges[:-1][full], counts[full] - floor, np.diff(edges)[full], bottom=floor, align="edge",
                facecolor=FIRST, edgecolor=CARD, linewidth=0.8,
            )  # fmt: skip
        else:  # one outline is smaller and faster than a thousand bars
            axes.stairs(
                np.maximum(counts, floor), edges, baseline=floor, fill=True, facecolor=FIRST
            )
        axes.plot(edges[[0, -1]], [floor, floor], linewidth=0)  # let the axis span empty bins too
        self._lines_at(chart.marks, (), "y")
        if chart.log_y:
            axes.set_ylim(floor, max(10.0, 2.0 * counts.max()))
        self._scale("x", "number")
        self._scale("y", "number", zero=True)
        self._name(chart.x_label, chart.y_label)
        self._label_marks([(_place(mark.x), mark.label) for mark in chart.marks], inside=True)

    def reliability(self, chart: ReliabilityChart) -> None:
        axes, series = self.axes, chart.series[:MAX_SERIES]
        handles, end = [], 0.05
        for i, (model, look) in enumerate(
            zip(series, looks([one.baseline for one in series]), strict=True)
        ):
            x, y = _floats(model.predicted), _floats(model.observed)
            low, high = _floats(model.low), _floats(model.high)
            axes.vlines(x, low, high, color=look["color"], linewidth=1.4, alpha=0.7)
            handles += axes.plot(x, y, zorder=3 - i / 10, **look)
            end = max(end, *np.nan_to_num(np.concatenate([x, y, high])))
        end = min(1.0, 1.05 * float(end))
        axes.plot([0, end], [0, end], color=MUTED, linewidth=1, zorder=1)
        self._note("perfect", (end, end), "data", (-14, -2), ha="right", va="top", color=MUTED)
        axes.set(xlim=(0, end), ylim=(0, end))
        self._scale("x", "percent")
        self._scale("y", "percent")
        self._name(chart.x_label, chart.y_label)
        if len(series) > 1:
            self._legend(handles, series)

    def scatter(self, chart: ScatterChart) -> None:
        axes, step = self.axes, every(chart)
        side = 72 * WIDTH  # of the square, pt
        axes.set_axis_off()
        axes.set_position((0, 0, 1, 1))
        groups = [np.column_stack([group.x, group.y])[::step] for group in chart.series]
        left, below, width = window(np.concatenate(groups))
        axes.set(xlim=(left, left + width), ylim=(below, below + width))
        size = float(np.clip(180 / np.sqrt(sum(map(len, groups))), 2.0, 6.0))
        centres = np.array([np.median(points, axis=0) for points in groups])
        coloured = [
            i for i, group in enumerate(chart.series) if not group.baseline and not group.mark
        ]
        marks = [i for i, group in enumerate(chart.series) if group.mark]
        colour = dict(zip(coloured, colours(centres[coloured]), strict=True))
        # The grey below, marks above.
        for i in sorted(range(len(groups)), key=lambda i: (i in marks, i in coloured)):
            # A stroke without length and with a round end is a dot: one path for all, not one element each.
            strokes = np.repeat(groups[i], 3, axis=0)
            strokes[2::3] = np.nan
            look = {"color": SERIES[colour[i]] if i in colour else BASE, "linewidth": size}
            alpha = 0.75 if i in colour else 0.3
            if i in marks:
                look, alpha = {"color": INK, "linewidth": max(5.0, 1.5 * size)}, 1.0
            (path,) = axes.plot(*strokes.T, solid_capstyle="round", alpha=alpha, **look)
            path.get_path().should_simplify = False  # it would leave out dots
        named = [*coloured[:MAX_NAMES], *marks[:MAX_NAMES]]
        written = [cut(chart.series[i].name, NOTE) for i in named]
        sizes = [((columns_of(name) + 1) * _CHARACTER, 1.25 * TEXT) for name in written]
        at = (centres[named] - (left, below)) / width * side
        for name, place in zip(written, room(at, sizes, side), strict=True):
            if place is not None:
                self._note(name, (0, 0), "axes fraction", place, ha="center", va="center")

    def points(self, chart: ScatterChart) -> None:
        """Points of two measures."""
        step = every(chart)
        if chart.log_x:
            self.axes.set_xscale("log")
        handles, strong = [], 0
        for group in chart.series:
            colour = BASE if group.baseline else SERIES[strong % len(SERIES)]
            marker = "." if group.baseline else MARKERS[strong % len(MARKERS)]
            strong += not group.baseline
            some = 1 if group.mark else step
            (handle,) = self.axes.plot(
                group.x[::some], group.y[::some], linestyle="", marker=marker, markersize=4.0,
                markeredgewidth=0.0, color=colour, alpha=0.6,
            )  # fmt: skip
            handles.append(handle)
        self._scale("x", "number")
        self._scale("y", "number")
        self._name(chart.x_label, chart.y_label)
        if len(chart.series) > 1:
            self._legend(handles, chart.series)

    def _name(self, x: str, y: str) -> None:
        """Name the axes: x below; y on top, where it reads without turning one's head."""
        self.axes.set_xlabel(self.label(x, 44), color=MUTED, labelpad=4)
        if y:
            self.axes.set_title(self.label(y, 44), loc="left", fontsize=TEXT, color=MUTED, pad=9)

    def _scale(
        self, which: str, style: AxisFormat, zero: bool = False, whole: bool = False
    ) -> None:
        """Ticks and grid of a value axis.

        With `zero` it begins at 0 unless values are below; with `whole` ticks are whole numbers.
        """
        axes, axis = self.axes, getattr(self.axes, f"{which}axis")
        low, high = getattr(axes, f"get_{which}lim")()
        if axis.get_scale() == "log":
            axis.set_major_locator(
                LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=7)
            )
        else:
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=whole))
            if zero and getattr(axes.dataLim, f"{which}0") >= 0 and high > 0:
                getattr(axes, f"set_{which}lim")(0, None)
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, style)))
        axis.set_minor_formatter(NullFormatter())
        axes.grid(axis=which, which="major", color=GRID, linewidth=0.8)

    def _categories(self, labels: list[str], flat: bool) -> None:
        n = len(labels)
        if flat:
            self.axes.set_yticks(range(n), labels, color=INK)
            self.axes.set_ylim(n - 0.5, -0.5)  # the first on top
            return
        step = int(
            np.ceil(TEXT * 1.2 * n / _AXES)
        )  # leave out labels that have no room even upright
        turned = max(map(columns_of, labels)) * _CHARACTER > _AXES * step / n
        shown = range(0, n, step)
        self.axes.set_xticks(
            shown, [labels[i] for i in shown], color=INK, rotation=90 if turned else 0
        )

    def _amounts(self, at: Floats, ends: Floats, said: list[str], flat: bool) -> None:
        """Write each bar's value at its end."""
        for place, end, text in zip(at, ends, said, strict=True):
            side = -1 if end < 0 else 1
            if flat:
                align = {"ha": "left" if side > 0 else "right", "va": "center_baseline"}
                self._note(text, (end, place), "data", (4 * side, 0), **align)
            else:
                align = {"ha": "center", "va": "bottom" if side > 0 else "top"}
                self._note(text, (place, end), "data", (0, 3 * side), **align)

    def _lines_at(self, marks: Sequence[Mark], references: Sequence[Reference], which: str) -> None:
        """Draw marks, and references across the axis `which`; the axes widen to hold them."""
        look = {"color": INK, "linewidth": 1.1, "zorder": 2}
        for mark in marks:
            self.axes.axvline(_place(mark.x), linestyle=(0, (3, 2)), **look)
        for reference in references:
            line = self.axes.axhline if which == "y" else self.axes.axvline
            line(reference.value, linestyle=(0, (1.5, 2)), **look)

    def _label_references(self, references: Sequence[Reference]) -> None:
        """Label horizontal reference lines, at their right end."""
        for reference in references:
            at = (1, reference.value)
            self._note(reference.label, at, ("axes fraction", "data"), (-2, 3), ha="right")

    def _label_marks(self, marks: Sequence[tuple[float, str]], inside: bool) -> None:
        """Label vertical lines on top, in as many rows as keeps the labels apart.

        Inside, the axes get room above the data; outside, the rows go up from their top.
        """
        right = self.axes.get_xlim()[1]  # settles the limits before positions are asked for
        taken: list[float] = []  # how far right each row of labels reaches, pt
        to_axes = self.axes.transData + self.axes.transAxes.inverted()
        for x, label in sorted(marks):
            at = _AXES * float(to_axes.transform((x, right))[0])
            length = (columns_of(cut(label, NOTE)) + 1) * _CHARACTER
            left = at + length > _AXES
            begin, end = (at - length, at) if left else (at, at + length)
            row = next((i for i, reach in enumerate(taken) if reach <= begin), len(taken))
            taken[row : row + 1] = [end]
            down = -2 - row * TEXT * 1.25 if inside else 3 + row * TEXT * 1.25
            look = {"ha": "right" if left else "left", "va": "top" if inside else "bottom"}
            self._note(label, (x, 1), ("data", "axes fraction"), (-4 if left else 4, down), **look)
        if inside and self.axes.get_yscale() == "linear":
            low, high = self.axes.get_ylim()
            self.axes.set_ylim(low, high + (high - low) * 0.09 * len(taken))

    def _note(
        self,
        text: str,
        at: tuple[float, float],
        coordinates: Any,
        shift: tuple[float, float],
        **look: Any,
    ) -> None:
        """Text inside the axes, `shift` points away from `at`."""
        look = {"color": INK, "va": "bottom", **look}
        self.axes.annotate(
            self.label(text, NOTE),
            at,
            shift,
            xycoords=coordinates,
            textcoords="offset points",
            **look,
        )

    def _legend(
        self,
        handles: list[Any],
        series: Sequence[LineSeries | BarSeries | ReliabilitySeries | ScatterSeries],
    ) -> None:
        labels = [self.label(one.name, 36) for one in series]
        widths = [46 + columns_of(label) * 0.9 * _CHARACTER for label in labels]

        def total(columns: int) -> float:
            return sum(float(part.max()) for part in np.array_split(widths, columns))

        most = max((k for k in range(1, len(labels) + 1) if total(k) <= 72 * WIDTH), default=1)
        rows = -(-len(labels) // most)
        columns = -(-len(labels) // rows)  # no more than fill the rows evenly
        self.figure.set_figheight(self.figure.get_figheight() + 0.2 * rows)
        self.figure.legend(
            handles, labels, loc="outside upper left", ncols=columns, frameon=False, labelcolor=INK,
            handlelength=2.6, columnspacing=1.2, borderpad=0.3,
        )  # fmt: skip
