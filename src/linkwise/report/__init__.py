"""A run's numbers as one self-contained HTML page.

`document` holds the report as data, `figures` draws its charts, `page` writes the page. Names are imported
when first used, because pydantic, Matplotlib and Jinja take time to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linkwise.report.document import (
        BarChart,
        BarSeries,
        Block,
        Bullets,
        Chart,
        Column,
        Fact,
        Figure,
        HistogramChart,
        LineChart,
        LineSeries,
        Mark,
        NetworkChart,
        NetworkPicture,
        Reference,
        ReliabilityChart,
        ReliabilitySeries,
        Report,
        ScatterChart,
        ScatterSeries,
        Section,
        Table,
        Text,
        interval_columns,
    )
    from linkwise.report.figures import svg
    from linkwise.report.page import load, render, save, write_report

__all__ = [
    "BarChart",
    "BarSeries",
    "Block",
    "Bullets",
    "Chart",
    "Column",
    "Fact",
    "Figure",
    "HistogramChart",
    "LineChart",
    "LineSeries",
    "Mark",
    "NetworkChart",
    "NetworkPicture",
    "Reference",
    "ReliabilityChart",
    "ReliabilitySeries",
    "Report",
    "ScatterChart",
    "ScatterSeries",
    "Section",
    "Table",
    "Text",
    "interval_columns",
    "load",
    "render",
    "save",
    "svg",
    "write_report",
]

_HOMES = {
    "load": "page",
    "render": "page",
    "save": "page",
    "write_report": "page",
    "svg": "figures",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'document')}"), name)
    globals()[name] = value
    return value
