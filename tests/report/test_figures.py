"""Charts as SVG: the same bytes each time, valid, with their text, and true to the numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from reports import charts

from linkwise.report import (
    BarChart,
    BarSeries,
    HistogramChart,
    LineChart,
    LineSeries,
    Mark,
    ReliabilityChart,
    ReliabilitySeries,
    ScatterChart,
    ScatterSeries,
    svg,
)
from linkwise.report.labels import Labels, columns_of, cut, tick
from linkwise.report.limits import (
    MAX_BARS,
    MAX_DOTS,
    MAX_NAMES,
    MAX_POINTS,
    MAX_SERIES,
    left_out,
    thin,
)
from linkwise.report.looks import COLOURS, SERIES, looks
from linkwise.report.scatter import colours, room, window

SVG = "{http://www.w3.org/2000/svg}"
CHARTS = charts()
BINS = ("predicted", "observed", "low", "high")


def texts(drawn: str) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(drawn).iter(SVG + "text")
    ]


def line(x: object, y: object, **fields: object) -> LineChart:
    series = [LineSeries(name="a", x=x, y=y)]
    return LineChart(**({"x_label": "x", "y_label": "y", "series": series} | fields))


@pytest.mark.parametrize("kind", CHARTS)
def test_the_same_chart_gives_the_same_bytes_and_leaves_settings_alone(kind: str) -> None:
    before = dict(matplotlib.rcParams)
    first = svg(CHARTS[kind], "What it shows", "f1")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert svg(CHARTS[kind], "What it shows", "f1") == first, "the user's settings play no part"
    root = ElementTree.fromstring(first)
    assert root.tag == SVG + "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == "What it shows"
    assert root.get("width") == "100%"
    assert root.get("viewBox", "").split()[2] == "388.8", "narrow, for phones"
    assert "name" in " ".join(texts(first)), "text stays text"
    sizes = [float(size) for size in re.findall(r"font-size:\s*([\d.]+)", first)]
    assert sizes
    assert min(sizes) >= 10.5
    assert "<style" not in first, "it would reach the whole page"
    assert not re.search(r"\d{4}-\d\d-\d\dT", first), "no date of drawing"


def test_ids_of_two_charts_do_not_clash() -> None:
    found = []
    for prefix in ("f1", "f2"):
        root = ElementTree.fromstring(svg(CHARTS["upright"], "alt", prefix))
        ids = {e.get("id") for e in root.iter() if e.get("id")}
        used = set()
        for element in root.iter():
            for value in element.attrib.values():
                used |= set(re.findall(r"url\(#([^)]+)\)", value))
            used |= {element.get("href", "")[1:]} - {""}
        assert used
        assert used == ids, "every reference has its target"
        found.append(ids)
    assert not found[0] & found[1]


def test_the_line_runs_through_the_data() -> None:
    root = ElementTree.fromstring(svg(line([0, 1, 2, 4], [0, 10, None, 20]), "alt"))
    colour = COLOURS["c1"][0]
    strokes = [e for e in root.iter(SVG + "path") if colour in e.get("style", "")]
    (path,) = [e for e in strokes if "stroke-width" in e.get("style", "")]
    points = np.array(re.findall(r"[ML]\s*([\d.]+) ([\d.]+)", path.get("d", "")), dtype=float)
    assert re.findall("[ML]", path.get("d", "")) == ["M", "L", "M"], "the gap breaks the line"
    assert len(points) == 3
    markers = [e for e in root.iter(SVG + "use") if colour in e.get("style", "")]
    x, y = (np.array([float(m.get(a, "")) for m in markers]) for a in ("x", "y"))
    np.testing.assert_allclose((x - x[0]) / (x[1] - x[0]), [0, 1, 4], atol=0.01)
    np.testing.assert_allclose((y - y[0]) / (y[1] - y[0]), [0, 1, 2], atol=0.01)


def test_bars_are_as_long_as_their_values() -> None:
    values = [8.0, 4.0, 1.0]
    chart = BarChart(
        categories=["a", "b", "c"], series=[BarSeries(name="", values=values)], value_label="v"
    )
    drawn = svg(chart, "alt")
    root = ElementTree.fromstring(drawn)
    bars = [
        e.get("d", "") for e in root.iter(SVG + "path") if COLOURS["c1"][0] in e.get("style", "")
    ]
    assert len(bars) == 3
    xs = [np.array(re.findall(r"[ML]\s*([\d.]+) ", d), dtype=float) for d in bars]
    lengths = np.array([x.max() - x.min() for x in xs])
    np.testing.assert_allclose(lengths / lengths[0], np.array(values) / 8, atol=0.01)
    tops = [float(re.findall(r"[ML]\s*[\d.]+ ([\d.]+)", d)[0]) for d in bars]
    assert tops == sorted(tops), "the first category is on top"
    assert {"8", "4", "1"} <= set(texts(drawn)), "values stand at the bars"


def test_histogram_heights_follow_counts() -> None:
    few = HistogramChart(edges=[0, 1, 2], counts=[30, 10], x_label="x", y_label="y")
    root = ElementTree.fromstring(svg(few, "alt"))
    bars = [
        e.get("d", "") for e in root.iter(SVG + "path") if COLOURS["c1"][0] in e.get("style", "")
    ]
    ys = [np.array(re.findall(r"[ML]\s*[\d.]+ ([\d.]+)", d), dtype=float) for d in bars]
    assert (ys[0].max() - ys[0].min()) / (ys[1].max() - ys[1].min()) == pytest.approx(3, abs=0.02)
    many = HistogramChart(edges=range(1001), counts=range(1000), x_label="x", y_label="y")
    assert len(svg(many, "alt")) < 60_000


def dots(drawn: str, colour: str) -> np.ndarray:
    """Where the dots of one colour stand."""
    paths = [
        e for e in ElementTree.fromstring(drawn).iter(SVG + "path") if colour in e.get("style", "")
    ]
    (path,) = [e for e in paths if "stroke-linecap: round" in e.get("style", "")]
    return np.array(re.findall(r"M\s*([\d.]+) ([\d.]+)", path.get("d", "")), dtype=float)


def test_each_point_of_a_map_is_drawn_on_one_scale() -> None:
    rng = np.random.default_rng(1)
    near = rng.normal(size=(200, 2)) * (3, 1)
    series = [
        ScatterSeries(name="near", x=near[:, 0], y=near[:, 1]),
        ScatterSeries(name="none", x=[30, 31], y=[5, 5], baseline=True),
    ]
    drawn = svg(ScatterChart(series=series), "alt")
    found = dots(drawn, COLOURS["c1"][0])
    assert found.shape == near.shape, "many dots in one place are not simplified away"
    scale = (found[1:] - found[0]) / (near[1:] - near[0])
    np.testing.assert_allclose(scale[:, 0], -scale[:, 1], rtol=0.1)
    assert len(dots(drawn, COLOURS["base"][0])) == 2
    assert texts(drawn) == ["near"], "points of no group go without a name, and there are no axes"


def test_a_map_of_many_points_is_thinned_and_stays_small() -> None:
    points = np.random.default_rng(0).normal(size=(3 * MAX_DOTS, 2))
    chart = ScatterChart(series=[ScatterSeries(name="a", x=points[:, 0], y=points[:, 1])])
    drawn = svg(chart, "alt")
    assert len(dots(drawn, COLOURS["c1"][0])) == MAX_DOTS
    assert len(drawn) < 250_000
    assert left_out(chart) == "Of each group one point in 3 is drawn."


def test_names_on_a_map_do_not_cover_each_other() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        centres = rng.uniform(0, 400, size=(60, 2))
        sizes = [(float(width), 15.0) for width in rng.uniform(20, 500, size=60)]
        places = room(centres, sizes, 400)
        boxes = [(*p, *size) for p, size in zip(places, sizes, strict=True) if p is not None]
        assert len(boxes) > 5
        for i, (x, y, width, height) in enumerate(boxes):
            assert width / 2 <= x <= 400 - width / 2
            assert height / 2 <= y <= 400 - height / 2
            for c, d, w, h in boxes[:i]:
                assert abs(x - c) >= (width + w) / 2 or abs(y - d) >= (height + h) / 2
    many = [
        ScatterSeries(name=f"name {i}", x=[10 * (i % 5)], y=[10 * i]) for i in range(MAX_NAMES + 5)
    ]
    written = texts(svg(ScatterChart(series=many), "alt"))
    assert "name 0" in written
    assert f"name {MAX_NAMES}" not in written
    assert f"The first {MAX_NAMES} names" in left_out(ScatterChart(series=many))
    # Marks are written beside the groups, and thin nothing out.
    spot = ScatterSeries(name="spot", x=[900], y=[900], mark=True)
    wide = ScatterSeries(name="all", x=np.arange(5000.0), y=np.arange(5000.0))
    assert "spot" in texts(svg(ScatterChart(series=[*many, spot]), "alt"))
    assert left_out(ScatterChart(series=[wide, spot])) == ""


def test_neighbours_on_a_map_differ_in_colour() -> None:
    centres = np.random.default_rng(0).normal(size=(80, 2))
    found = np.array(colours(centres))
    assert set(found) == set(range(len(SERIES)))
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2) + 9 * np.eye(80)
    assert (found != found[distance.argmin(axis=1)]).all()
    assert colours(np.zeros((0, 2))) == []


def test_a_map_of_one_place_has_a_window() -> None:
    assert window(np.array([[3.0, 4.0]])) == (2.5, 3.5, 1.0)


def test_colour_never_stands_alone() -> None:
    found = looks([False] * MAX_SERIES + [True] * 3)
    keys = {(str(look["linestyle"]), look.get("marker")) for look in found}
    assert len(keys) == len(found), "each series differs without its colour"


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_the_ground(scheme: int) -> None:
    def luminance(colour: str) -> float:  # WCAG 2, relative luminance
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    ground = luminance(COLOURS["card"][scheme])
    for name in set(COLOURS) - {"card", "grid"}:
        low, high = sorted([luminance(COLOURS[name][scheme]), ground])
        needed = 4.5 if name in ("ink", "muted") else 3.0
        assert (high + 0.05) / (low + 0.05) >= needed, name


@pytest.mark.parametrize(
    "chart",
    [
        line([1, 2], [None, None]),
        line([1, 2], [None, None], log_x=True, log_y=True),
        line([3], [0], log_y=True, marks=[Mark(x=3, label="m"), Mark(x=3, label="n")]),
        line([1, 2], [1e300, -1e300]),
        line(["0001-01-01", "9999-12-31"], [1, 2]),
        line(["2020-01-01T01:00+02:00"], [1]),
        BarChart(categories=["", "b"], series=[BarSeries(name="", values=[None, 0])], value_label=""),
        HistogramChart(edges=[1, 2, 1000], counts=[0, 0], x_label="", y_label="", log_x=True, log_y=True),
        ReliabilityChart(series=[ReliabilitySeries(name="m", count=[0], **{name: [None] for name in BINS})]),
        ScatterChart(series=[ScatterSeries(name="x" * 500, x=[1, 1], y=[2, 2])]),
        ScatterChart(series=[ScatterSeries(name="", x=[1e300, -1e300], y=[0, 1], baseline=True)]),
    ],
    ids=["gaps", "log gaps", "one point", "huge", "all of time", "zone", "no bar", "no count", "no bin",
         "one place", "no group"],
)  # fmt: skip
def test_poor_data_are_drawn_all_the_same(
    chart: LineChart | BarChart | HistogramChart | ReliabilityChart | ScatterChart,
) -> None:
    ElementTree.fromstring(svg(chart, "alt"))


def test_what_is_not_drawn_is_said() -> None:
    many = MAX_SERIES + 1
    bars = BarChart(
        categories=[str(i) for i in range(MAX_BARS + 2)],
        series=[BarSeries(name=f"s{i}", values=range(MAX_BARS + 2)) for i in range(many)],
        value_label="v",
    )
    assert left_out(bars) == (
        f"The first {MAX_SERIES} of {many} series are drawn. "
        f"The first {MAX_BARS} of {MAX_BARS + 2} categories are drawn."
    )
    assert "thinned" in left_out(line(range(MAX_POINTS + 1), range(MAX_POINTS + 1)))
    assert all(left_out(chart) == "" for chart in CHARTS.values())
    few = LineChart(
        x_label="", y_label="", series=[LineSeries(name=f"s{i}", x=[1], y=[i]) for i in range(many)]
    )
    drawn = texts(svg(few, "alt"))
    assert f"s{MAX_SERIES - 1}" in drawn
    assert f"s{MAX_SERIES}" not in drawn


def test_thinning_keeps_ends_extremes_and_gaps() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=50_000)
    y[31_234], y[7_000] = 99.0, -99.0
    y[20_000:20_400] = np.nan
    rows = thin(y, 300)
    assert len(rows) <= 300
    assert {0, 7_000, 31_234, 49_999} <= set(rows.tolist())
    assert np.isnan(y[rows]).any(), "the gap is still there"
    assert (np.diff(rows) > 0).all()
    assert thin(y[:300], 300).tolist() == list(range(300))


def test_wide_characters_are_measured_wide_and_written_as_they_are() -> None:
    label = Labels()
    first, second = label("小幸运"), label("告白气")
    assert first.strip("\u200b") == second.strip("\u200b") == "WWW"
    assert first != second
    assert [label.originals[first], label.originals[second]] == ["小幸运", "告白气"]
    assert label("plain") == "plain"
    chart = BarChart(
        categories=["小幸运", "_x"], series=[BarSeries(name="", values=[1, 2])], value_label="v"
    )
    assert {"小幸运", "_x"} <= set(texts(svg(chart, "alt")))


def test_labels_are_cut_by_width() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert columns_of(cut("字" * 100_000, 9)) <= 9


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0, "number", "0"),
        (-0.0, "number", "0"),
        (0.25, "number", "0.25"),
        (-1250, "number", "-1,250"),
        (20_000, "number", "20k"),
        (2_500_000, "number", "2.5M"),
        (3e9, "number", "3bn"),
        (1e15, "number", "1e+15"),
        (0.425, "percent", "42.5\u202f%"),
        (1, "percent", "100\u202f%"),
    ],
)
def test_ticks_are_short(value: float, style: str, text: str) -> None:
    assert tick(value, style) == text
