"""The page: safe, complete, honest about simulated data and lost baselines, and small."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from reports import HOSTILE, Page, charts, report

from linkwise.errors import InputError
from linkwise.report import (
    Bullets,
    Column,
    Figure,
    LineChart,
    LineSeries,
    Report,
    Section,
    Table,
    Text,
    render,
    save,
    write_report,
)
from linkwise.report import page as page_module
from linkwise.report.tables import data_of, show, show_number


def with_blocks(*blocks: Text | Bullets | Table | Figure) -> Report:
    section = Section(title="s", blocks=blocks)
    return Report(title="t", lead=["l"], simulated=False, beats_baseline=None, sections=[section])


def curve(n: int, seed: int = 0) -> Figure:
    y = np.random.default_rng(seed).normal(size=n)
    chart = LineChart(x_label="x", y_label="y", series=[LineSeries(name="a", x=range(n), y=y)])
    return Figure(caption="c", alt="a", chart=chart)


@pytest.fixture(scope="module")
def plain() -> Page:
    return Page(render(report("name", simulated=True)))


@pytest.fixture(scope="module")
def hostile() -> Page:
    return Page(render(report(" ".join(HOSTILE))))


def test_nothing_runs_and_nothing_breaks_out(hostile: Page, plain: Page) -> None:
    assert len(hostile.elements) > 100
    for tag, attributes in hostile.elements:
        assert tag not in ("script", "img", "iframe", "object", "embed", "form", "base"), tag
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    names = [tag for tag, _ in hostile.elements]
    expected = [tag for tag, _ in plain.elements]
    for tag in ("a", "svg", "style", "title", "table", "section", "h1", "h2"):
        assert names.count(tag) == expected.count(tag), f"the texts changed the number of <{tag}>"


def test_hostile_text_is_shown_as_it_is(hostile: Page) -> None:
    assert hostile.text.count("<script>alert(1)</script>") > 20
    assert hostile.text.count("{{7*7}}{% for x in y %}") > 20
    assert "49" not in re.findall(r"\d+", hostile.text)
    (alt,) = {a["aria-label"] for a in hostile.all("svg") if a["aria-label"].endswith("histogram")}
    assert alt.startswith(
        "<script>alert(1)</script> \"><img src=x onerror=alert(1)> ' onload='alert(1)"
    )
    assert any("HYPERLINK" in row[0] for table in hostile.tables for row in table)


def test_spreadsheets_run_no_formula_of_a_name() -> None:
    figure = Figure(caption="c", alt="a", chart=charts("=HYPERLINK(1)")["bar"])
    (link,) = [a["href"] for a in Page(render(with_blocks(figure))).all("a") if "download" in a]
    rows = list(csv.reader(io.StringIO(unquote(link.partition(",")[2]))))
    assert rows[1][0] == "'=HYPERLINK(1)"
    assert rows[2] == ["b", "-1.5", "-2.0", "-1.0"], "negative numbers stay numbers"


def test_nothing_is_loaded_from_outside(hostile: Page) -> None:
    for tag, attributes in hostile.elements:
        for name in (
            "src",
            "href",
            "xlink:href",
            "action",
            "data",
            "poster",
            "srcset",
            "background",
        ):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, name, value)
    (policy,) = [a["content"] for a in hostile.all("meta") if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    html = render(report(figures=False))
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert all(a.get("rel") != "stylesheet" for a in hostile.all("link"))


def test_every_figure_has_its_text_alternative_and_its_data(plain: Page) -> None:
    kinds = list(charts())
    assert [a["aria-label"] for a in plain.all("svg")] == [f"name {kind}" for kind in kinds]
    assert all(a["role"] == "img" for a in plain.all("svg"))
    assert len(plain.all("figure")) == len(plain.all("figcaption")) == len(kinds)
    assert plain.text.count("Download as CSV") == len(kinds)
    for i in range(1, len(kinds) + 1):
        assert f"Figure {i}." in plain.text


def test_the_data_tables_hold_the_numbers_drawn(plain: Page) -> None:
    line, dates, bar, upright, histogram, reliability = plain.tables[:6]
    assert line[1:] == [
        ["name", "0", "0.125", "0", "1"],
        ["name", "7", "–", "–", "2"],
        ["name", "14.5", "0.75", "0.5", "3"],
        ["name2", "0", "0.1", "–", "–"],
        ["name2", "7", "0.2", "–", "–"],
    ]
    assert dates[1:] == [["2017-03-30", "3"], ["2017-04-02", "4"]]
    assert bar[0] == ["name", "name (2)", "name (2), low", "name (2), high"]
    assert bar[1:] == [["name", "2", "1", "3"], ["b", "-1.5", "-2", "-1"]]
    assert upright == [["category", "name", "other"], ["name", "0.25", "0.75"], ["b", "0.5", "–"]]
    assert histogram == [
        ["from", "below", "name"],
        ["1", "2", "10"],
        ["2", "4", "0"],
        ["4", "8", "300"],
    ]
    assert reliability[1:] == [
        ["name", "0.1", "0.2", "0.1", "0.3", "40"],
        ["name", "0.6", "0.5", "0.4", "0.7", "60"],
    ]
    assert "Marked: name, at 7." in plain.text
    assert "Marked: name, at 0.3125." in plain.text
    assert "Marked: name, at 2017-04-01." in plain.text


def test_data_are_exact_in_the_csv_and_true_to_six_digits_in_the_table() -> None:
    figure = curve(200)
    assert isinstance(figure.chart, LineChart)
    y = figure.chart.series[0].y
    page = Page(render(with_blocks(figure)))
    np.testing.assert_allclose([float(row[1]) for row in page.tables[0][1:]], y, rtol=1e-5)
    (link,) = [a["href"] for a in page.all("a") if "download" in a]
    rows = list(csv.reader(io.StringIO(unquote(link.partition(",")[2]))))
    assert [float(row[1]) for row in rows[1:]] == list(y)


def test_lines_over_the_same_x_share_rows() -> None:
    series = [LineSeries(name=n, x=[1, 2], y=[3, 4]) for n in ("a", "b")]
    data = data_of(LineChart(x_label="x", y_label="y", series=series))
    assert [column.name for column in data.columns] == ["x", "a", "b"]
    assert data.rows == ((1, 3, 3), (2, 4, 4))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (1234567.0, "1234567"),
        (0.1 + 0.2, "0.3"),
        (-2.5e-7, "-2.5e-07"),
        (1e20, "1e+20"),
    ],
)
def test_numbers_are_shown_plainly(value: float, text: str) -> None:
    assert show_number(value) == text


def test_columns_show_their_format_and_ranges() -> None:
    formats = ("text", "int", "float2", "percent", "percent0", "difference")
    table = Table(
        caption="t",
        columns=[
            *(Column(name=f, format=f) for f in formats),
            Column(name="AUC", format="float3", low="low", high="high"),
            Column(name="low", format="float3"),
            Column(name="high", format="float3"),
        ],
        rows=[("a", 12345, 0.5, 0.1234, 0.1234, 0.0514, 0.91234, 0.9, None), (None,) * 9],
    )
    shown = show(table, 10)
    assert [header.text for header in shown.headers] == [*formats, "AUC"]
    assert [cell.text for cell in shown.rows[0]] == [
        "a", "12,345", "0.50", "12.3\u202f%", "12\u202f%", "+0.051", "0.912 [0.900, –]",
    ]  # fmt: skip
    assert {cell.text for cell in shown.rows[1]} == {"–"}
    assert [cell.right for cell in shown.headers] == [False] + [True] * 6


def test_heat_shades_from_least_to_greatest() -> None:
    columns = [Column(name=n, format="percent") for n in "ab"]
    rows = [(0.0, 10.0), (1.0, 20.0), (None, 15.0)]
    one = show(Table(caption="", columns=columns, rows=rows, heat=["a", "b"]), 9)
    assert [[cell.shade for cell in row] for row in one.rows] == [[0, 0.5], [0.05, 1], [None, 0.75]]
    each = show(
        Table(caption="", columns=columns, rows=rows, heat=["a", "b"], heat_scale="column"), 9
    )
    assert [[cell.shade for cell in row] for row in each.rows] == [[0, 0], [1, 1], [None, 0.5]]


def test_long_tables_fold_and_say_what_they_leave_out() -> None:
    rows = [(f"user {i}", i) for i in range(1500)]
    columns = [Column(name="user"), Column(name="rank", format="int")]
    table = Table(caption="t", columns=columns, rows=rows, limit=5, source="ranking.parquet")
    page = Page(render(with_blocks(table)))
    assert [len(found) - 1 for found in page.tables] == [5, 995]
    assert "995 more rows" in page.text
    assert "1,000 of 1,500 rows are shown here; all of them are in ranking.parquet." in page.text
    assert page.tables[0][1] == ["user 0", "0"]
    assert page.tables[1][1] == ["user 5", "5"]


def test_simulated_data_are_called_simulated_wherever_shown(plain: Page) -> None:
    assert plain.text.strip().startswith("Simulated data.")
    # The title, two sections, one table with its caption, and each figure; not the foot.
    assert plain.text.count("(simulated)") == 1 + 2 + 1 + len(charts())
    simulated, real = (render(report("name", simulated=s, figures=False)) for s in (True, False))
    assert "<title>name (simulated data)</title>" in simulated
    assert "imulated data" not in real
    assert "(simulated)" not in real


def test_figures_from_elsewhere_are_not_called_simulated() -> None:
    def made(external: bool) -> str:
        table = Table(
            caption="Published", columns=[Column(name="a")], rows=[(1,)], external=external
        )
        sections = [Section(title="s", blocks=[table])]
        simulated = Report(
            title="t", lead=["l"], simulated=True, beats_baseline=None, sections=sections
        )
        return Page(render(simulated)).text

    assert "Published (simulated)" in made(False)
    assert "Published (simulated)" not in made(True)


def test_the_first_line_tells_whether_the_baseline_is_beaten() -> None:
    assert "Does not beat the baseline" in _lead(False)[0]
    assert "Beats the baseline" in _lead(True)[0]
    assert _lead(None) == ["The verdict.", "second line"]
    assert _lead(False)[1:] == ["The verdict.", "second line"]


def _lead(beats: bool | None) -> list[str]:
    """The lines between the title and the contents."""
    html = render(report("The verdict.", beats_baseline=beats, figures=False))
    part = html[html.index("</h1>") : html.index('<nav class="fold"')]
    return [line.strip() for line in Page(part).text.split("\n") if line.strip()]


def test_long_names_may_break_after_underscores() -> None:
    table = Table(caption="t", columns=[Column(name="a")], rows=[("mean_gap_<b>",)])
    html = render(with_blocks(table))
    assert "mean_<wbr>gap_<wbr>&lt;b&gt;" in html
    assert Page(html).tables[0][1] == ["mean_gap_<b>"]


def test_contents_lead_to_every_section(plain: Page) -> None:
    targets = {a["id"] for _, a in plain.elements if "id" in a}
    links = [a["href"][1:] for a in plain.all("a") if a["href"].startswith("#")]
    assert set(links) == {"s1", "s2", "details"}
    assert set(links) <= targets
    ids = [a["id"] for _, a in plain.elements if "id" in a]
    assert len(ids) == len(set(ids)), "ids are unique on the page"


def test_the_page_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "word " * 60
    columns = [Column(name=str(i)) for i in range(20)]
    table = Table(caption="t", columns=columns, rows=[[text] * 20] * 1500, source="all.parquet")
    html = render(with_blocks(curve(3000), table))
    assert len(html.encode()) < page_module.LIMIT
    assert "300 of 1,500 rows are shown here; all of them are in all.parquet." in html
    assert "150 of 3,000 rows are shown here; all of them are in report.json." in html
    monkeypatch.setattr(page_module, "LIMIT", 40_000)
    assert len(render(with_blocks(curve(3000), Bullets(items=["a"]))).encode()) < 40_000
    monkeypatch.setattr(page_module, "LIMIT", 5_000)
    with pytest.raises(InputError, match=r"the page is 0\.0 MB even with the shortest tables"):
        render(with_blocks(Text(paragraphs=["a"])))


def test_one_report_gives_one_page(tmp_path: Path) -> None:
    made = report("name", simulated=True, figures=False)
    save(made, tmp_path)
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    html = path.read_bytes()
    assert html.decode("utf-8") == render(made)
    assert {file.name for file in tmp_path.iterdir()} == {"report.json", "report.html"}
    path.write_text("kept")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError):
        write_report(tmp_path)
    assert path.read_text() == "kept", "a failure leaves the old page"
