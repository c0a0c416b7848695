"""The report as data: what is refused, and that report.json gives back what was saved."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from reports import HOSTILE, report

from linkwise.errors import InputError
from linkwise.report import (
    BarChart,
    BarSeries,
    Column,
    Figure,
    HistogramChart,
    LineChart,
    LineSeries,
    Mark,
    ReliabilitySeries,
    Report,
    ScatterChart,
    ScatterSeries,
    Table,
    Text,
    load,
    save,
)

NAN = float("nan")


def lines(**fields: object) -> LineChart:
    series = LineSeries(name="a", x=[1, 2], y=[3, 4])
    return LineChart(**({"x_label": "x", "y_label": "y", "series": [series]} | fields))


def table(**fields: object) -> Table:
    return Table(**({"caption": "t", "columns": [Column(name="a")], "rows": [(1,)]} | fields))


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: LineSeries(name="a", x=[1, 2], y=[1]), "y has 1 values for 2 values of x"),
    (lambda: LineSeries(name="a", x=[1], y=[1], low=[0], high=[2, 3]), "high has 2 values"),
    (lambda: LineSeries(name="a", x=[1], y=[1], low=[0]), "give both or neither"),
    (lambda: LineSeries(name="a", x=[1], y=[1], low=[3], high=[2]), "low is 3.0, above high"),
    (lambda: LineSeries(name="a", x=[1, 2], y=[1, NAN]), "value 1 is nan: values must be finite"),
    (lambda: LineSeries(name="a", x=[1, 2], y=[1, float("inf")]), "value 1 is inf"),
    (lambda: LineSeries(name="a", x=[1, NAN], y=[1, 2]), "value 1 is nan"),
    (lambda: LineSeries(name="a", x=[1, 2], y=[1, "2"]), "value 1 is '2': expected a number"),
    (lambda: LineSeries(name="a", x=[1, 2], y=[1, True]), "value 1 is True: expected a number"),
    (lambda: LineSeries(name="a", x=[1], y=[10**400]), "more than 308 digits"),
    (lambda: LineSeries(name="a", x=[1], y=5), "expected a sequence of values, got int"),
    (lambda: LineSeries(name="a", x=[2, 1], y=[1, 2]), "x falls from 2.0 to 1.0 at value 1"),
    (lambda: LineSeries(name="a", x=["2020-02-01", "2020-01-01"], y=[1, 2]), "x falls from 2020-02"),
    (lambda: LineSeries(name="a", x=["soon"], y=[1]), "'soon': expected a number or an ISO date"),
    (lambda: LineSeries(name="a", x=[1, "2020-01-01"], y=[1, 2]), "mixes numbers and dates"),
    (
        lambda: LineSeries(name="a", x=["2020-01-01", "2020-01-02T00:00+00:00"], y=[1, 2]),
        "with and without a time zone",
    ),
    (lambda: LineSeries(name="a", x=[], y=[]), "at least 1 item"),
    (lambda: LineSeries(name="a", x=[1], y=[1], colour="red"), "Extra inputs are not permitted"),
    (lambda: lines(series=[]), "at least 1 item"),
    (lambda: lines(marks=[Mark(x="2020-01-01", label="m")]), "mixes numbers and dates"),
    (lambda: lines(log_x=True, series=[LineSeries(name="a", x=[0], y=[1])]), "log_x needs x above 0"),
    (lambda: lines(log_y=True, series=[LineSeries(name="a", x=[1], y=[-1])]), "log_y needs y of 0"),
    (
        lambda: BarChart(categories=["a"], series=[BarSeries(name="s", values=[1, 2])], value_label="v"),
        'series "s" has 2 values for 1 categories',
    ),
    (lambda: BarSeries(name="s", values=[1], low=[1, 2], high=[1]), "low has 2 values"),
    (lambda: HistogramChart(edges=[1, 2], counts=[1, 2], x_label="", y_label=""), "1 bins"),
    (lambda: HistogramChart(edges=[1, 1], counts=[1], x_label="", y_label=""), "edges do not rise"),
    (lambda: HistogramChart(edges=[1, 2], counts=[-1], x_label="", y_label=""), "0 or more"),
    (lambda: HistogramChart(edges=[1, 2], counts=[None], x_label="", y_label=""), "value 0 is None"),
    (
        lambda: HistogramChart(edges=[0, 2], counts=[1], x_label="", y_label="", log_x=True),
        "edges above 0",
    ),
    (
        lambda: ReliabilitySeries(name="m", predicted=[1.2], observed=[1], low=[1], high=[1], count=[1]),
        "predicted must lie between 0 and 1",
    ),
    (lambda: ScatterSeries(name="a", x=[1, 2], y=[1]), "y has 1 values for 2 values of x"),
    (lambda: ScatterSeries(name="a", x=[], y=[]), "at least 1 item"),
    (lambda: ScatterSeries(name="a", x=[1], y=[NAN]), "value 0 is nan"),
    (lambda: ScatterChart(series=[]), "at least 1 item"),
    (lambda: table(rows=[(1, 2)]), "row 0 has 2 values for 1 columns"),
    (lambda: table(rows=[(NAN,)]), "cell 0 is nan"),
    (lambda: table(rows=[(b"x",)]), "cell 0 is b'x'"),
    (lambda: table(columns=[Column(name="a")] * 2, rows=[]), "column names must differ"),
    (lambda: table(columns=[Column(name="a", low="l")], rows=[]), 'column "a": give both'),
    (lambda: table(columns=[Column(name="a", low="l", high="h")], rows=[]), r"no such column: \['h', 'l'\]"),
    (lambda: table(columns=[Column(name="a", low="a", high="a")], rows=[]), "has none of its own"),
    (lambda: table(heat=["b"]), "no such column"),
    (lambda: Text(paragraphs=[]), "at least 1 item"),
    (lambda: Figure(caption="c", alt="", chart=lines()), "at least 1 character"),
    (lambda: Report(title="t", lead=[], simulated=False, beats_baseline=None), "at least 1 item"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_values_are_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_arrays_series_and_dates_become_plain_values() -> None:
    series = LineSeries(
        name="a",
        x=np.array(["2017-04-01", "2017-04-02"], dtype="datetime64[D]"),
        y=np.array([1, 2], dtype=np.int32),
        low=pl.Series([0.5, None]),
        high=[np.float32(1.5), None],
    )
    assert series.x == ("2017-04-01", "2017-04-02")
    assert series.y == (1.0, 2.0)
    assert series.low == (0.5, None)
    assert series.high == (1.5, None)
    assert LineSeries(name="a", x=[date(2020, 1, 1)], y=[1]).x == ("2020-01-01",)
    assert table(rows=[(np.int64(7),)]).rows == ((7,),)
    assert isinstance(table(rows=[(np.int64(7),)]).rows[0][0], int)


def test_text_holds_nothing_that_a_page_cannot() -> None:
    assert Text(paragraphs=["a\x00\x1b\ufffeb\r\nc"]).paragraphs == ("a\ufffd\ufffd\ufffdb\nc",)
    assert table(rows=[("\x07",)]).rows == (("\ufffd",),)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        report().title = "other"


@pytest.mark.parametrize("text", ["plain", *HOSTILE])
def test_a_saved_report_comes_back_equal(text: str, tmp_path: Path) -> None:
    before = report(text, simulated=True, beats_baseline=None)
    path = save(before, tmp_path)
    assert path == tmp_path / "report.json"
    assert load(tmp_path) == before
    assert json.loads(path.read_text(encoding="utf-8"))["format_version"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"], "no half-made file stays"


def test_a_bad_report_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.json: cannot read the report: No such file"):
        load(tmp_path)
    path = save(report(), tmp_path)
    text = path.read_text()
    path.write_text(text.replace('"simulated":false', '"simulated":"perhaps"'))
    with pytest.raises(InputError, match=r"report\.json: simulated: .*run the study again"):
        load(tmp_path)
    path.write_text(text[:-20])
    with pytest.raises(InputError, match=r"report\.json: the file: Invalid JSON"):
        load(tmp_path)
    path.write_text(text.replace('"format_version":1', '"format_version":2'))
    with pytest.raises(InputError, match="format_version"):
        load(tmp_path)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, linkwise.report; "
        "print([m for m in ('matplotlib', 'jinja2', 'pydantic', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
