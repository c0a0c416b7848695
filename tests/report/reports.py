"""Reports to test with: one that has every kind of block and chart, and one that is hostile everywhere."""

from __future__ import annotations

from html.parser import HTMLParser

from linkwise.report import (
    BarChart,
    BarSeries,
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
)

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "{{7*7}}{% for x in y %}",
    "--><!--]]></svg></style></title><a href='http://evil.example/'>",
    "$x^2$ \\frac{1}{2}",
    "javascript:alert(1)",
    "=HYPERLINK(1)",
    "\x00\x1b[31m\u202e",
)


def charts(text: str = "name") -> dict[str, Chart]:
    """One chart of each kind, with `text` in every place that takes text."""
    return {
        "line": LineChart(
            x_label=text,
            y_label=text,
            interval=text,
            series=[
                LineSeries(
                    name=text, x=[0, 7, 14.5], y=[0.125, None, 0.75], low=[0, None, 0.5], high=[1, 2, 3]
                ),
                LineSeries(name=text + "2", x=[0, 7], y=[0.1, 0.2], baseline=True),
            ],
            marks=[Mark(x=7, label=text)],
            references=[Reference(value=0.3125, label=text)],
        ),
        "dates": LineChart(
            x_label=text,
            y_label=text,
            series=[LineSeries(name=text, x=["2017-03-30", "2017-04-02"], y=[3, 4])],
            marks=[Mark(x="2017-04-01", label=text)],
        ),
        "bar": BarChart(
            categories=[text, "b"],
            series=[BarSeries(name=text, values=[2, -1.5], low=[1, -2], high=[3, -1])],
            value_label=text,
            category_label=text,
            references=[Reference(value=1, label=text)],
        ),
        "upright": BarChart(
            categories=[text, "b"],
            series=[
                BarSeries(name=text, values=[0.25, 0.5]),
                BarSeries(name="other", values=[0.75, None], baseline=True),
            ],
            value_label=text,
            value_format="percent",
            horizontal=False,
            references=[Reference(value=0.4, label=text)],
        ),
        "histogram": HistogramChart(
            edges=[1, 2, 4, 8], counts=[10, 0, 300], x_label=text, y_label=text, log_x=True, log_y=True,
            marks=[Mark(x=3, label=text)],
        ),
        "reliability": ReliabilityChart(
            series=[
                ReliabilitySeries(
                    name=text, predicted=[0.1, 0.6], observed=[0.2, 0.5], low=[0.1, 0.4], high=[0.3, 0.7],
                    count=[40, 60],
                )
            ],
            x_label=text,
            y_label=text,
            interval=text,
        ),
        "scatter": ScatterChart(
            series=[
                ScatterSeries(name=text, x=[0.25, 1.5, 3], y=[2, 2.5, 2]),
                ScatterSeries(name=text + "2", x=[1.125], y=[0], baseline=True),
            ]
        ),
        "points": ScatterChart(
            series=[
                ScatterSeries(name=text, x=[0.5, 1.75, 3], y=[2, 2.5, 2.25]),
                ScatterSeries(name=text + "2", x=[1.375], y=[1.125], baseline=True),
            ],
            x_label=text,
            y_label=text,
            log_x=True,
        ),
        "network": NetworkChart(
            pictures=[
                NetworkPicture(
                    name=text, x=[0, 1, 1], y=[0, 0, 1], node_weight=[1.0, 0.125, 0.0],
                    edges=[(0, 1), (1, 2)], edge_weight=[0.875, 0.0], missing=[(0, 2)],
                ),
                NetworkPicture(name=text + "2", x=[0.5], y=[0.5], node_weight=[0.0]),
            ]
        ),
    }  # fmt: skip


def report(
    text: str = "name",
    simulated: bool = False,
    beats_baseline: bool | None = True,
    figures: bool = True,
) -> Report:
    """A report with every kind of block, and `text` in every place that takes text."""
    drawn = [
        Figure(caption=text, alt=f"{text} {kind}", chart=chart, note=text)
        for kind, chart in (charts(text).items() if figures else ())
    ]
    table = Table(
        caption=text,
        columns=[
            Column(name=text),
            Column(name="AUC", format="float3", low="low", high="high"),
            Column(name="low"),
            Column(name="high"),
            Column(name="share", format="percent"),
        ],
        rows=[(text, 0.91234, 0.9, 0.92, 0.125), (text, None, None, None, text)],
        heat=["share"],
        note=text,
        limit=1,
        source=text,
    )
    return Report(
        title=text,
        lead=[text, "second line"],
        simulated=simulated,
        beats_baseline=beats_baseline,
        facts=[Fact(label=text, value=text, note=text), Fact(label="code", value=text, code=True)],
        sections=[
            Section(
                title=text, blocks=[Text(paragraphs=[text]), Bullets(items=[text]), *drawn, table]
            ),
            Section(
                title="Second",
                blocks=[Text(paragraphs=[text], tone=t) for t in ("note", "warning")],
            ),
        ],
        details=[Fact(label=text, value=text, note=text)],
    )


class Page(HTMLParser):
    """What a browser would find in a page: elements with attributes, and the text of tables."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._cell: str | None = None
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag in ("style", "head"):
            self._hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append(self._cell)
            self._cell = None
        elif tag in ("style", "head"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell += data
        if not self._hidden:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]
