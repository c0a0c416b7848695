"""The map: against scikit-learn, a slow reckoning, planted topics, and poor inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.estimators import map as maps
from linkwise.estimators.map import (
    MapConfig,
    class_tf_idf,
    figure,
    layout,
    place,
    principal_components,
    topics,
    words,
    write_map,
)
from linkwise.report import Report, Section, render

FIELDS = [
    "battery lithium anode",
    "turbine blade rotor",
    "antibody protein cell",
    "laser lens optics",
]


def planted(n: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Vectors about four centres, whose they are, and their texts."""
    rng = np.random.default_rng(seed)
    field = rng.integers(4, size=n)
    vectors = 3 * rng.normal(size=(4, size))[field] + 0.7 * rng.normal(size=(n, size))
    texts = [f"The method comprises a {FIELDS[f]} in material{i}." for i, f in enumerate(field)]
    return vectors.astype(np.float32), field, texts


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Coordinates, planted fields and texts of 400 patents, as if a layout had made them."""
    _, field, texts = planted(400, 1, 1)
    at = np.array([[0, 0], [4, 1], [1, 5], [6, 6]])[field]
    noise = np.random.default_rng(1).normal(size=(400, 2))
    return (at + 0.4 * noise).astype(np.float32), field, texts


# ------------------------------------------------------------------------------------------ components


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_components_are_those_of_scikit_learn(
    kind: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(maps, "ROWS", 64)
    rng = np.random.default_rng(0)
    vectors = (100 + rng.normal(size=(300, 20)) * np.arange(1, 21)).astype(kind)
    expected = PCA(5, svd_solver="full").fit_transform(vectors.astype(np.float64))
    found = principal_components(vectors, 5)
    assert found.dtype == np.float32
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    mapped = np.memmap(tmp_path / "vectors", kind, "w+", shape=vectors.shape)
    mapped[:] = vectors
    assert principal_components(mapped, 5).tobytes() == found.tobytes()


def test_components_are_as_many_as_there_are() -> None:
    assert principal_components(np.ones((7, 3), dtype=np.float32), 50).shape == (7, 3)
    assert not principal_components(np.full((7, 3), 0.1), 50).any()
    assert principal_components(np.eye(1), 50).tolist() == [[0.0]]


def test_bad_vectors_are_named() -> None:
    vectors = np.ones((5, 3))
    vectors[2, 1] = np.nan
    with pytest.raises(InputError, match=r"vector 3 of 5 has a value that is not finite.*Encode"):
        principal_components(vectors, 2)
    with pytest.raises(InputError, match="vectors are 0 of 3 numbers"):
        principal_components(np.ones((0, 3)), 2)


# ---------------------------------------------------------------------------------------------- layout


@pytest.mark.slow  # as are all that import umap: it compiles itself each time
def test_one_seed_gives_one_map_in_which_fields_are_topics() -> None:
    vectors, field, texts = planted(400, 60, 1)
    components = principal_components(vectors, 50)
    told: list[int] = []
    first = layout(components, MapConfig(), 3, told.append)
    assert first.dtype == np.float32
    assert layout(components, MapConfig(), 3).tobytes() == first.tobytes()
    assert layout(components, MapConfig(), 4).tobytes() != first.tobytes()
    found = topics(first, texts, MapConfig())
    assert adjusted_rand_score(field, found.labels) > 0.9
    assert told == sorted(told)
    assert told[-1] == 100


@pytest.mark.slow
def test_one_seed_gives_one_map_of_many() -> None:
    """Above 4,096 points neighbours are found by another way, with random trees; and HDBSCAN in parallel."""
    vectors, _, texts = planted(6000, 20, 2)
    vectors[1000:2000] = vectors[0]  # the same text a thousand times
    components = principal_components(vectors, 50)
    first, again = (layout(components, MapConfig(), 3) for _ in range(2))
    assert np.isfinite(first).all()
    assert first.tobytes() == again.tobytes()
    found = [topics(first, texts, MapConfig()).labels.tobytes() for _ in range(2)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "n", [1, 2, 14, 15, *(pytest.param(n, marks=pytest.mark.slow) for n in (16, 40))]
)
def test_few_points_are_mapped(n: int) -> None:
    vectors, _, texts = planted(n, 8, n)
    components = principal_components(vectors, 50)
    coordinates = layout(components, MapConfig(), 0)
    assert coordinates.shape == (n, 2)
    assert np.isfinite(coordinates).all()
    if n <= 15:
        np.testing.assert_array_equal(coordinates, components[:, :2])
    found = topics(coordinates, texts, MapConfig())
    assert found.labels.shape == (n,)
    figure(coordinates, found, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((50, 4)),
        np.eye(50)[[0] * 49 + [1]],
        np.repeat(np.eye(2), 25, axis=0),
        np.arange(50.0)[:, None],
        np.outer(np.arange(50.0), [1, 2, 3]),
    ],
    ids=["the same", "all but one the same", "two kinds", "one number", "a line"],
)
def test_points_without_spread_are_mapped(vectors: np.ndarray) -> None:
    coordinates = layout(principal_components(vectors, 50), MapConfig(), 0)
    assert coordinates.shape == (50, 2)
    assert np.isfinite(coordinates).all()
    found = topics(coordinates, ["one text"] * 50, MapConfig())
    assert figure(coordinates, found, 0).alt


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ResourceError, match=r'pip install "linkwise\[map\]"'):
        layout(principal_components(planted(30, 5, 0)[0], 5), MapConfig(), 0)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="components"):
        MapConfig(components=1)
    with pytest.raises(ValidationError, match="min_dist"):
        MapConfig(min_dist=2)


# ---------------------------------------------------------------------------------------------- topics


def test_planted_topics_are_found_and_named(
    drawn: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    coordinates, field, texts = drawn
    found = topics(coordinates, texts, MapConfig())
    assert adjusted_rand_score(field, found.labels) > 0.9
    assert found.table["topic"].to_list() == list(range(4))
    assert found.table["n"].is_sorted(descending=True)
    for topic, n, said, x, y in found.table.iter_rows():
        mine = found.labels == topic
        assert n == mine.sum()
        assert set(said[:3]) == set(FIELDS[np.bincount(field[mine]).argmax()].split())
        np.testing.assert_allclose((x, y), np.median(coordinates[mine], axis=0), rtol=1e-6)


def test_points_between_areas_have_no_topic() -> None:
    rng = np.random.default_rng(0)
    areas = [rng.normal(size=(100, 2)) * 0.1 + at for at in ([0, 0], [10, 0])]
    points = np.concatenate([*areas, rng.uniform(-5, 15, size=(20, 2))]).astype(np.float32)
    found = topics(points, [""] * 220, MapConfig())
    assert found.table.height == 2
    assert (found.labels[200:] == -1).sum() > 10
    assert found.table["words"].to_list() == [[], []], "texts are empty"


def test_one_even_cloud_may_have_no_topics() -> None:
    points = np.random.default_rng(0).uniform(size=(9, 2)).astype(np.float32)
    found = topics(points, ["a word"] * 9, MapConfig())
    assert found.labels.tolist() == [-1] * 9
    assert found.table.height == 0
    assert found.table.schema["words"] == pl.List(pl.String)
    assert "no two dense areas" in figure(points, found, 0).note


def test_topics_need_a_text_for_each_point() -> None:
    with pytest.raises(UsageError, match="3 coordinates came with 1 texts"):
        topics(np.zeros((3, 2), dtype=np.float32), ["a"], MapConfig())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Said battery, and the BATTERIES of claim 12", ["battery", "batteries"]),
        ("5G 2020 Wi-Fi n-type x", ["5g", "wi", "fi", "type"]),
        ("リチウム電池", ["リチ", "チウ", "ウム", "ム電", "電池"]),
        ("用于LED灯泡的", ["用于", "led", "灯泡", "泡的"]),
        ("बैटरी चार्जर", ["बैटरी", "चार्जर"]),
        ("แบตเตอรี่"[:3], ["แบ", "บต"]),
        ("cafe\u0301 fiber\ufb01", ["café", "fiberfi"]),
        ("", []),
        ("— 12 _ ½", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_weights_of_words_are_those_of_the_slow_way() -> None:
    rng = np.random.default_rng(5)
    counts = rng.poisson(0.5, size=(6, 40))
    counts[:, 7] = 0
    mean = counts.sum() / len(counts)
    expected = np.zeros(counts.shape)
    for topic in range(6):
        for word in range(40):
            if counts[topic, word]:
                everywhere = sum(counts[other, word] for other in range(6))
                expected[topic, word] = counts[topic, word] * np.log(1 + mean / everywhere)
    found = class_tf_idf(csr_array(counts))
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-12)


def test_of_equal_words_the_first_in_the_alphabet_is_taken() -> None:
    said = [
        "kiwi",
        "fig2",
        "elder",
        "date",
        "cherry",
        "bean",
        "apple",
        "lemon",
        "mango",
        "nut",
        "oak",
    ]
    found = maps._telling_words([" ".join(said), "pear"], [np.array([0]), np.array([1])])
    assert found == [sorted(said)[: maps.WORDS], ["pear"]]


# ----------------------------------------------------------------------------------------------- codes


def test_a_code_stands_where_its_patents_stand() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(60, 2)).astype(np.float32)
    points[50:] += 40
    labels = np.where(np.arange(60) < 50, 1, 0)
    labels[:5] = -1
    code_sets = [
        {"A"} | ({"B"} if i >= 58 else set()) | ({"C"} if i == 3 else set()) for i in range(60)
    ]
    found = place(points, labels, code_sets)
    assert found["id"].to_list() == ["A", "B", "C"]
    assert found["n"].to_list() == [60, 2, 1]
    assert found["topic"].to_list() == [1, 0, -1]
    at = found.select("x", "y").to_numpy()
    best = minimize(lambda p: np.linalg.norm(points - p, axis=1).sum(), np.zeros(2), tol=1e-10).x
    np.testing.assert_allclose(at[0], best, atol=1e-2)
    np.testing.assert_allclose(at[1], points[58:].mean(axis=0), atol=1e-3)
    np.testing.assert_array_equal(at[2], points[3])


def test_patents_without_codes_are_no_hindrance() -> None:
    points = np.zeros((3, 2), dtype=np.float32)
    found = place(points, np.zeros(3, dtype=np.int64), [set(), {"A"}, set()])
    assert found.rows() == [("A", 1, 0.0, 0.0, 0)]
    assert place(points, np.zeros(3, dtype=np.int64), [[], [], []]).height == 0


# --------------------------------------------------------------------------------------- file and figure


def test_the_files_hold_the_map(
    drawn: tuple[np.ndarray, np.ndarray, list[str]], tmp_path: Path
) -> None:
    coordinates, field, texts = drawn
    found = topics(coordinates, texts, MapConfig())
    codes = place(coordinates, found.labels, [{f"H0{f}"} for f in field])
    ids = [f"EP{i}" for i in range(400)]
    years = [2000 + i % 7 for i in range(400)]
    own = [[f"H0{f}"] for f in field]
    titles = {"H01": "Elements"}
    write_map(tmp_path / "model", ids, texts, coordinates, found, codes, titles, years, own)
    points = pl.read_parquet(tmp_path / "model" / "map.parquet")
    assert points.columns == ["id", "kind", "x", "y", "topic", "title", "year", "codes"]
    patents = points.filter(pl.col("kind") == "patent")
    assert patents["id"].to_list() == ids
    np.testing.assert_array_equal(patents.select("x", "y").to_numpy(), coordinates)
    np.testing.assert_array_equal(patents["topic"].to_numpy(), found.labels)
    assert patents["year"].to_list() == years
    assert patents["codes"].to_list() == own
    below = points.filter(pl.col("kind") == "code")
    assert below["id"].to_list() == ["H00", "H01", "H02", "H03"]
    assert below["title"].to_list() == [None, "Elements", None, None]
    assert pl.read_parquet(tmp_path / "model" / "topics.parquet").equals(found.table)


def test_what_is_missing_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    maps.check_installed()
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ResourceError, match=r"linkwise\[map\]"):
        maps.check_installed()


def test_the_figure_says_what_it_shows(
    drawn: tuple[np.ndarray, np.ndarray, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinates, _, texts = drawn
    found = topics(coordinates, texts, MapConfig())
    whole = figure(coordinates, found, 0)
    assert whole.caption == "Map of 400 patents, in 4 topics"
    assert ", ".join(found.table["words"][0][:2]) in whole.alt
    assert sum(len(group.x) for group in whole.chart.series) == 400
    codes = pl.DataFrame(
        {"id": ["A01B1", "H01M4"], "n": [3, 9], "x": [0.5, 2.0], "y": [1.0, 3.0], "topic": [0, 1]}
    )
    marked = figure(coordinates, found, 0, codes)
    assert [(g.name, g.x, g.y) for g in marked.chart.series if g.mark] == [
        ("H01M4", (2.0,), (3.0,)),
        ("A01B1", (0.5,), (1.0,)),
    ]
    assert "the 2 codes with the most patents" in marked.note
    monkeypatch.setattr(maps, "DRAWN", 100)
    part = figure(coordinates, found, 0)
    assert part.caption == "Map of 100 of 400 patents, drawn by lot, in 4 topics"
    assert sum(len(group.x) for group in part.chart.series) == 100
    assert figure(coordinates, found, 0) == part
    assert figure(coordinates, found, 1) != part
    sections = [Section(title="m", blocks=[part])]
    report = Report(title="t", lead=["l"], simulated=True, beats_baseline=None, sections=sections)
    assert "Map of 100 of 400 patents" in render(report)


def test_a_topic_is_called_by_two_different_words() -> None:
    assert maps._name(3, ["image", "images", "camera", "lens"]) == "image, camera"
    assert maps._name(3, ["image", "images"]) == "image"
    assert maps._name(3, []) == "topic 3"
