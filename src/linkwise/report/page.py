"""The page: a `Report` as one HTML file that loads nothing and runs nothing.

Every figure is followed by its numbers. The file stays under `LIMIT` bytes: where it would be larger, long
tables show fewer rows, and say so and where the rest lie.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape
from pydantic import ValidationError

from linkwise.errors import InputError
from linkwise.report.document import (
    Bullets,
    Chart,
    Figure,
    HistogramChart,
    LineChart,
    NetworkChart,
    ReliabilityChart,
    Report,
    ScatterChart,
    Table,
    Text,
)
from linkwise.report.figures import svg
from linkwise.report.limits import left_out
from linkwise.report.looks import COLOURS
from linkwise.report.tables import csv_link, data_of, show

LIMIT = 5_000_000  # bytes
# Most rows of a table, most rows of a figure's data, longest CSV link; the first that fits is taken.
_CAPS = [(1000, 500, 24_000), (300, 150, 0), (100, 40, 0), (25, 10, 0), (10, 0, 0)]


def render(report: Report) -> str:
    """The report as one HTML page, less than 5 MB.

    Raises `InputError` where text and drawings alone are larger than that.
    """
    drawn: dict[int, Markup] = {}
    size = 0
    for caps in _CAPS:
        html = _template().render(
            report=report,
            sections=_sections(report, drawn, *caps),
            colours=COLOURS,
            simulated=report.simulated,
        )
        size = len(html.encode())
        if size < LIMIT:
            return html
    raise InputError(
        f'report "{report.title}": the page is {size / 1e6:.1f} MB even with the shortest tables; '
        f"the limit is {LIMIT / 1e6:.0f} MB. Leave out figures or text."
    )


def save(report: Report, folder: Path) -> Path:
    """Write `report` to ``folder/report.json``, and return that path."""
    return _write(Path(folder) / "report.json", report.model_dump_json() + "\n")


def load(folder: Path) -> Report:
    """Read ``folder/report.json``.

    Raises `InputError` where it is missing or is not a report.
    """
    path = Path(folder) / "report.json"
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the report: {error.strerror}. Is this a run's folder?"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path}: {where}: {first['msg']} ({error.error_count()} in all). "
            "The file is damaged or from another version; run the study again."
        ) from error


def write_report(folder: Path) -> Path:
    """Write ``folder/report.html`` from ``folder/report.json``, whole or not at all, and return its path.

    Raises `InputError` as `load` and `render` do.
    """
    return _write(Path(folder) / "report.html", render(load(folder)))


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


@cache
def _template() -> Template:
    source = files("linkwise.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    return environment.from_string(source)


def _breakable(text: str) -> Markup:
    """Text, escaped, whose lines may break after underscores, as in long names of features."""
    return escape(text).replace("_", Markup("_<wbr>"))


def _sections(
    report: Report, drawn: dict[int, Markup], rows: int, data_rows: int, csv_size: int
) -> list[dict[str, Any]]:
    """What the template writes: blocks in groups, neighbouring figures in one, and all of them numbered."""
    sections = []
    figures = tables = 0
    for n, section in enumerate(report.sections, 1):
        groups: list[dict[str, Any]] = []
        for block in section.blocks:
            match block:
                case Figure():
                    figures += 1
                    if not groups or groups[-1]["kind"] != "figures":
                        groups.append({"kind": "figures", "figures": []})
                    if figures not in drawn:
                        drawn[figures] = Markup(svg(block.chart, block.alt, f"f{figures}"))
                    groups[-1]["figures"].append(
                        {"number": figures, "caption": block.caption, "svg": drawn[figures]}
                        | {"note": f"{block.note} {_drawn_note(block.chart)}".strip()}
                        | _data(block.chart, data_rows, csv_size)
                    )
                case Table():
                    tables += 1
                    table = {
                        "number": tables,
                        "table": show(block, rows),
                        "external": block.external,
                    }
                    groups.append({"kind": "table"} | table)
                case Text() | Bullets():
                    groups.append({"kind": block.kind, "block": block})
        sections.append({"id": f"s{n}", "title": section.title, "groups": groups})
    return sections


def _data(chart: Chart, rows: int, csv_size: int) -> dict[str, Any]:
    table = data_of(chart)
    link = csv_link(table) if len(table.rows) <= csv_size // 8 else ""
    return {
        "data": show(table, rows),
        "csv": link if len(link) <= csv_size else "",
        "lines": _lines(chart),
    }


def _lines(chart: Chart) -> list[str]:
    """Marks and reference lines with their values at full precision: they are drawn numbers too."""
    marks = [(mark.label, mark.x) for mark in getattr(chart, "marks", ())]
    references = [
        (reference.label, reference.value) for reference in getattr(chart, "references", ())
    ]
    return [
        f"Marked: {label}, at {x if isinstance(x, str) else repr(x).removesuffix('.0')}."
        for label, x in marks + references
    ]


def _drawn_note(chart: Chart) -> str:
    """What a reader must know to read the drawing."""
    said = left_out(chart)
    if isinstance(chart, HistogramChart | NetworkChart | ScatterChart):
        return said
    if isinstance(chart, ReliabilityChart) or any(s.low is not None for s in chart.series):
        shape = "Bands" if isinstance(chart, LineChart) else "Error bars"
        said = f"{said} {shape}: {chart.interval}.".strip()
    return said
