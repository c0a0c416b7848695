"""`linkwise match link`: the graph, its tables and files, what it learns, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score, roc_auc_score

import linkwise
from linkwise.cli import main
from linkwise.errors import InputError, UsageError
from linkwise.matching.link_agreement import truth_of
from linkwise.matching.link_given import Given, read_given
from linkwise.matching.link_graph import LINKS, NODES, write_graphml
from linkwise.matching.link_pollutants import best_f1_threshold
from linkwise.matching.link_techniques import nearest_by_part
from linkwise.matching.pollutants import read_pollutants
from linkwise.matching.similar import Collection

METALS = ["zinc", "copper", "nickel", "mercury", "cadmium", "chromium"]
OTHERS = ["toluene", "benzene", "dioxins", "asbestos"]


def files(folder: Path, n: int = 60) -> dict[str, Path]:
    """Patents and sections of which each names one or two pollutants, most of them as people say yes to."""
    rng = np.random.default_rng(0)
    names = METALS + OTHERS
    paths = {}
    rows, pairs = [], []
    for k in range(n):
        some = rng.choice(names, 2, replace=False)
        text = (
            f"A filter of kind {k} takes {some[0]} out of waste water. It also removes {some[1]}."
        )
        rows.append((f"P{k}", f"Filter & <co> {k}", text, 2000 + k % 20))
        wrong = rng.choice(names)
        pairs += [(f"P{k}", name, 0.9) for name in {*some, *([wrong] if k % 7 == 0 else [])}]
    paths["patents"] = folder / "patents.csv"
    pl.DataFrame(rows, schema=["id", "title", "abstract", "year"], orient="row").write_csv(
        paths["patents"]
    )
    paths["pairs"] = folder / "pairs.csv"
    pl.DataFrame(pairs, schema=["patent", "pollutant", "score"], orient="row").write_csv(
        paths["pairs"]
    )
    paths["sections"] = folder / "manual.md"
    paths["sections"].write_text(
        "# 1 Air\nGases go up here, as they do.\n## 1.1 Scrubbers\nWash zinc and dioxins out of gas.\n"
        "# 2 Water\n## 2.1 Filters\nFilter copper and toluene out of water. See Section 1.1.\n"
    )
    paths["pollutants"] = folder / "pollutants.json"
    paths["pollutants"].write_text(json.dumps(names))
    return paths


def options(paths: dict[str, Path], lm: Path, **more: Any) -> dict[str, Any]:
    return {
        "sections": str(paths["sections"]), "pollutants": str(paths["pollutants"]), "lm": str(lm),
        "max_tokens": 64, "near": 3, "retrieve": 3, "techniques": 2, "bootstrap": 30, "threads": 1,
        **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> tuple[dict[str, Path], Path]:
    """A run by the command line with published pairs, people's pairs and published goals."""
    folder = tmp_path_factory.mktemp("links")
    paths = files(folder)
    (folder / "people.csv").write_text(
        "section,pollutant,label\nmanual:::1.1,zinc,yes\nmanual:::2.1,zinc,no\n"
        "manual:::2.1,copper,yes\nmanual:::2.1,copper,no\n"
    )
    impacts = {
        f"SDG {goal}": {"title": "x", "pollutants": [{"name": n.upper(), "impact": 10 * goal + k}
                                                     for k, n in enumerate(METALS)]}
        for goal in (3, 6)
    }  # fmt: skip
    (folder / "impact.json").write_text(json.dumps(impacts))
    (folder / "techniques.csv").write_text(
        "pub_number,bref_code,score\nP1,manual:::1.1,.7\nP1,manual:::1.1,.8\nP2,manual:::2,.5\n"
        "P3,nowhere,.6\n"
    )
    words = ["match", "link", "--patents", str(paths["patents"])]
    words += ["--sections", str(paths["sections"]), "--pollutants", str(paths["pollutants"])]
    given = [str(paths["pairs"]), str(folder / "impact.json"), str(folder / "techniques.csv")]
    words += ["--published", ",".join(given), "--labels", str(folder / "people.csv")]
    words += ["--lm", str(bert), "--max-tokens", "64", "--near", "3", "--retrieve", "3"]
    words += ["--techniques", "2", "--bootstrap", "30", "--threads", "1", "--quiet"]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return paths, folder / "run"


def test_the_tables_are_as_promised(made: tuple[dict[str, Path], Path]) -> None:
    run = linkwise.Run.open(made[1])
    nodes, links = run.nodes, run.links
    assert dict(nodes.schema) == NODES
    assert dict(links.schema) == LINKS
    assert list(links.columns) == [
        "source_kind", "source", "target_kind", "target", "score", "origin", "by", "reason",
        "source_part", "target_part",
    ]  # fmt: skip
    kinds = set(links.select("source_kind", "target_kind").iter_rows())
    assert kinds == {
        ("patent", "technique"), ("patent", "pollutant"), ("technique", "pollutant"),
        ("pollutant", "goal"),
    }  # fmt: skip
    assert links["score"].is_between(0, 1).all()
    assert set(links["origin"]) == {"model", "person", "published"}
    assert nodes.select("kind", "id").is_unique().all()
    counts = dict(nodes["kind"].value_counts().iter_rows())
    # The section "Water" has no text of its own, and stands in a published pair.
    assert counts == {"patent": 60, "technique": 4, "pollutant": 10, "goal": 17}
    known = set(nodes.select("kind", "id").iter_rows())
    for side in ("source", "target"):
        assert set(links.select(f"{side}_kind", side).iter_rows()) <= known
    assert nodes.filter(pl.col("kind") == "patent")["year"].null_count() == 0
    assert nodes.filter(pl.col("kind") != "patent")["year"].null_count() == 31
    ranking = run.ranking
    assert ranking.columns[:5] == ["model", "query", "item", "score", "rank"]
    for _, own in ranking.group_by("query_kind", "query", "item_kind"):
        own = own.sort("rank")
        assert own["rank"].to_list() == list(range(1, len(own) + 1))
        assert own["score"].is_sorted(descending=True)


def test_a_later_run_reads_the_vectors_that_were_kept(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linkwise.lm.encode import TextEncoder

    paths = files(tmp_path)
    kept = str(tmp_path / "vectors")
    first = linkwise.match_links(
        str(paths["patents"]), **options(paths, bert, vectors=kept), out=tmp_path / "a"
    )

    def none(*_: Any) -> Any:
        raise AssertionError("a text was embedded again")

    monkeypatch.setattr(TextEncoder, "_vectors", none)
    again = linkwise.match_links(
        str(paths["patents"]), **options(paths, bert, vectors=kept), out=tmp_path / "b"
    )
    assert again.links.drop("score").equals(first.links.drop("score"))
    np.testing.assert_allclose(again.links["score"], first.links["score"], atol=1e-5)
    with pytest.raises(AssertionError, match="embedded again"):
        linkwise.match_links(str(paths["patents"]), **options(paths, bert), out=tmp_path / "c")


def test_the_map_has_the_patents_and_the_pollutants_they_are_linked_with(
    tmp_path: Path, bert: Path
) -> None:
    paths = files(tmp_path)
    (tmp_path / "README").write_text("Simulated texts.")
    run = linkwise.match_links(
        str(paths["patents"]), **options(paths, bert, map=True), out=tmp_path / "run"
    )
    points = pl.read_parquet(run.folder / "map.parquet")
    patents = points.filter(pl.col("kind") == "patent")
    read = pl.read_csv(paths["patents"])
    assert patents.select("id", "title", "year").rows() == read.select("id", "title", "year").rows()
    linked = run.links.filter(source_kind="patent", target_kind="pollutant")
    marks = points.filter(pl.col("kind") == "pollutant")
    assert set(marks["id"]) == set(linked["target"])
    # A pollutant of one or two patents stands on the line between them.
    for mark in marks.iter_rows(named=True):
        own = patents.filter(
            pl.col("id").is_in(linked.filter(target=mark["id"])["source"].implode())
        )
        for axis in ("x", "y"):
            assert own[axis].min() - 1e-4 <= mark[axis] <= own[axis].max() + 1e-4  # type: ignore[operator]
    page = run.report.read_text()
    assert "Map of the patents" in page
    assert "imulated" in page.split("<main")[-1][:3000]


def test_given_pairs_stand_beside_the_model_s(made: tuple[dict[str, Path], Path]) -> None:
    links = linkwise.Run.open(made[1]).links
    said = links.filter(pl.col("origin") == "person")
    assert said.select("source", "target", "score", "by").rows() == [
        ("manual:::1.1", "zinc", 1.0, "people.csv")
    ]
    published = links.filter(pl.col("origin") == "published")
    techniques = published.filter(pl.col("target_kind") == "technique")
    assert techniques.select("source", "target", "score").rows() == [
        ("P1", "manual:::1.1", 0.8), ("P2", "manual:::2", 0.5),
    ]  # fmt: skip
    goals = published.filter(pl.col("target_kind") == "goal")
    assert len(goals) == 12
    assert goals.filter(source="copper", target="6")["score"].to_list() == [0.61]
    text = (made[1] / "report.html").read_text()
    assert "1 of 4 pairs of techniques.csv are left out: their technique is not known" in text
    assert "1 pairs of people.csv are left out: people disagree" in text
    pair = links.filter(pl.col("source") == "P1", pl.col("target_kind") == "pollutant")
    assert set(pair["origin"]) == {"model", "published"}


def test_evidence_names_what_it_found(made: tuple[dict[str, Path], Path]) -> None:
    links = linkwise.Run.open(made[1]).links
    found = links.filter(pl.col("origin") == "model", pl.col("target_kind") == "pollutant")
    texts = dict(pl.read_csv(made[0]["patents"]).select("id", "abstract").iter_rows())
    named = found.filter(
        pl.col("source_kind") == "patent", pl.col("reason").str.starts_with("names it")
    )
    assert len(named) > 60
    for row in named.iter_rows(named=True):
        assert row["target"].rstrip("s") in row["target_part"]
        assert row["target_part"] in row["source_part"]
        assert (
            row["source_part"] in f"{row['source']} {texts[row['source']]}"
            or "Filter" in (row["source_part"])
        )
    goals = links.filter(pl.col("origin") == "model", pl.col("target_kind") == "goal")
    assert set(goals["by"]) == {"text similarity"}
    top = goals.filter(pl.col("reason").str.contains(": "))
    assert set(top["source"].value_counts()["count"]) == {3}


def test_agreement_is_that_of_the_written_evaluation(made: tuple[dict[str, Path], Path]) -> None:
    run = linkwise.Run.open(made[1])
    table = pl.read_parquet(run.folder / "evaluation.parquet")
    assert table.columns == ["model", "slice", "query", "item", "rank", "score", "label"]
    pairs = table.filter(pl.col("slice") == "patent-pollutant")
    rows = {
        (row["model"], row["metric"]): row
        for row in run.metrics
        if row["slice"] == "patent-pollutant"
    }
    models = ["words (TF-IDF)", "text vectors", "lexicon", "lexicon + text vectors", "weighed"]
    assert list(dict.fromkeys(pairs["model"])) == models
    for model in models:
        mine = pairs.filter(pl.col("model") == model)
        assert len(mine) == 600
        expected = roc_auc_score(mine["label"], mine["score"])
        assert rows[model, "auc"]["value"] == pytest.approx(expected)
    mine = pairs.filter(pl.col("model") == "lexicon")
    expected = f1_score(mine["label"], mine["score"] > 0)
    assert rows["lexicon", "f1"]["value"] == pytest.approx(expected)
    # What is named is what was published, but for some: the judge finds that on unseen pollutants.
    mine = pairs.filter(pl.col("model") == "weighed")
    expected = f1_score(mine["label"], mine["score"] >= 0.5)
    assert rows["weighed", "f1"]["value"] == pytest.approx(expected)
    assert rows["weighed, yes from the largest F1", "f1"]["value"] > 0.9
    assert rows["weighed", "auc"]["difference_low"] is not None
    alone = {row["slice"] for row in run.metrics if row["slice"].startswith("patent-pollutant: ")}
    assert len(alone) == 10
    correlated = {row["slice"] for row in run.metrics if row["metric"] == "rank_correlation"}
    assert correlated == {
        "pollutant-goal: the goals of a pollutant", "pollutant-goal: the pollutants of a goal",
    }  # fmt: skip


def test_links_are_from_even_odds_on_and_the_first_lines_say_how_many_are_right(
    made: tuple[dict[str, Path], Path], bert: Path
) -> None:
    run = linkwise.Run.open(made[1])
    own = run.links.filter(
        pl.col("origin") == "model", pl.col("source_kind") == "patent",
        pl.col("target_kind") == "pollutant",
    )  # fmt: skip
    assert len(own)
    assert own["score"].min() >= 0.5
    rows = {
        row["metric"]: row
        for row in run.metrics
        if (row["slice"], row["model"]) == ("patent-pollutant", "weighed")
    }
    lead = " ".join(json.loads((made[1] / "report.json").read_text())["lead"])
    for words in (
        f"{len(own)} links, all from a probability of 0.5 on",
        f"by these {own['score'].sum():.0f} ({own['score'].mean():.0%}) of them should agree",
        f"precision {rows['precision']['value']:.3f}",
        f"recall {rows['recall']['value']:.3f}",
    ):
        assert words in lead, words
    # By pollutant: those with the most yes first.
    report = json.loads((made[1] / "report.json").read_text())
    tables = [block for part in report["sections"] for block in part["blocks"]]
    table = next(b for b in tables if b.get("caption", "").startswith("By pollutant"))
    names = [column["name"] for column in table["columns"]]
    yes = [row[names.index("yes")] for row in table["rows"]]
    pairs = pl.read_csv(made[0]["pairs"])["pollutant"].value_counts()
    assert yes == sorted(pairs["count"].to_list(), reverse=True)
    # What is a probability, and what a similarity, stands over the column.
    of = {
        part["title"]: part["blocks"][0]["columns"][1]["name"]
        for part in report["sections"]
        if part["title"].startswith("From ")
    }
    assert of == {
        "From patents to techniques": "similarity", "From patents to pollutants": "probability",
        "From techniques to pollutants": "similarity", "From pollutants to goals": "similarity",
    }  # fmt: skip
    # A higher threshold: fewer links.
    sure = linkwise.match_links(
        str(made[0]["patents"]),
        **options(made[0], bert, published=(str(made[0]["pairs"]),), link_from=0.9),
    )
    fewer = sure.links.filter(pl.col("origin") == "model", pl.col("target_kind") == "pollutant")
    assert fewer["score"].min() >= 0.9


def test_a_pollutant_s_own_pairs_never_reach_its_judge(
    made: tuple[dict[str, Path], Path], bert: Path, tmp_path: Path
) -> None:
    """Turned labels of a pollutant leave its scores as they were; those of others change."""
    paths = dict(made[0])
    pairs = pl.read_csv(paths["pairs"])
    turned = tmp_path / "pairs.csv"
    mine = pairs.filter(pl.col("pollutant") == "zinc")["patent"]
    others = [f"P{k}" for k in range(60) if f"P{k}" not in set(mine)][:20]
    pl.concat(
        [
            pairs.filter(pl.col("pollutant") != "zinc"),
            pl.DataFrame({"patent": others, "pollutant": "zinc", "score": 0.9}),
        ]
    ).write_csv(turned)
    tables = []
    for path in (paths["pairs"], turned):
        run = linkwise.match_links(
            str(paths["patents"]), **options(paths, bert, published=(str(path),))
        )
        table = pl.read_parquet(run.folder / "evaluation.parquet").filter(
            pl.col("model") == "weighed", pl.col("slice") == "patent-pollutant"
        )
        tables.append(table.sort("query", "item"))
    zinc = pl.col("item") == "zinc"
    before, after = (table.filter(zinc) for table in tables)
    assert (before["label"] != after["label"]).any()
    np.testing.assert_array_equal(before["score"], after["score"])
    assert (tables[0].filter(~zinc)["score"] != tables[1].filter(~zinc)["score"]).any()


def test_the_graph_is_read_back_by_networkx(made: tuple[dict[str, Path], Path]) -> None:
    run = linkwise.Run.open(made[1])
    graph = networkx.read_graphml(run.folder / "graph.graphml")
    assert graph.is_directed()
    assert graph.number_of_nodes() == len(run.nodes)
    assert graph.number_of_edges() == len(run.links)
    node = graph.nodes["patent:P3"]
    assert (node["title"], node["year"]) == ("Filter & <co> 3", 2003)
    edges = graph.get_edge_data("patent:P1", "technique:manual:::1.1").values()
    assert {(edge["origin"], type(edge["score"])) for edge in edges} >= {("published", float)}


def test_nothing_in_a_text_breaks_the_graph(tmp_path: Path) -> None:
    nasty = 'a "b" & <c> \x00\x0b ]]> \ud7ff é\n\ttab'
    nodes = pl.DataFrame(
        [("patent", nasty, nasty, nasty, 1999), ("goal", "1", "x", None, None)],
        schema=NODES, orient="row",
    )  # fmt: skip
    links = pl.DataFrame(
        [("patent", nasty, "goal", "1", 0.25, "model", nasty, None, nasty, None)] * 2,
        schema=LINKS, orient="row",
    )  # fmt: skip
    write_graphml(nodes, links, tmp_path / "g.graphml")
    graph = networkx.read_graphml(tmp_path / "g.graphml")
    clean = nasty.replace("\x00", "").replace("\x0b", "")
    assert graph.nodes[f"patent:{clean}"]["title"] == clean
    assert graph.number_of_edges() == 2
    assert [e["score"] for *_, e in graph.edges(data=True)] == [0.25, 0.25]


def test_without_given_pairs_links_need_names_and_vectors(
    made: tuple[dict[str, Path], Path], bert: Path
) -> None:
    paths = made[0]
    run = linkwise.match_links(pl.read_csv(paths["patents"]), **options(paths, bert))
    assert run.metrics == []
    links = run.links.filter(pl.col("target_kind") == "pollutant")
    assert set(links["by"]) == {"lexicon + text vectors"}
    assert links["reason"].str.starts_with("names").all()
    assert (links["score"] >= 0.5).all()
    assert "their links are not judged" in run.report.read_text()
    config = run.folder / "config.toml"
    assert 'verb = "match-link"' in config.read_text()
    assert "[link]" in config.read_text()
    assert "[match]" not in config.read_text()


def test_a_run_is_repeated_from_its_config(
    made: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    words = ["run", str(made[1] / "config.toml"), "--quiet", "--out", str(tmp_path / "again")]
    assert main([*words, "--set", "techniques=1"]) == 0
    again = linkwise.Run.open(tmp_path / "again")
    assert again.config.link.techniques == 1
    first = linkwise.Run.open(made[1])
    assert again.metrics == first.metrics
    mine = again.links.filter(pl.col("target_kind") == "technique", pl.col("origin") == "model")
    assert len(mine) == 60


def test_empty_and_endless_texts(tmp_path: Path, bert: Path) -> None:
    paths = files(tmp_path, 3)
    long = "Water runs over a stone and on. " * 32_000 + "At the end there is cadmium in it."
    assert len(long) > 1_000_000
    with paths["patents"].open("a") as file:
        file.write(f'P98,,,2001\nP99,Long,"{long}",2001\n')
    # Nothing of this text is named by the pollutants' names.
    with paths["patents"].open("a") as file:
        file.write("P97,Chair,Somebody sits on it.,2001\n")
    run = linkwise.match_links(str(paths["patents"]), **options(paths, bert))
    links = run.links
    assert len(links.filter(pl.col("source") == "P98")) == 0
    assert "1 patents have no text" in run.report.read_text()
    assert len(links.filter(pl.col("source") == "P97", pl.col("target_kind") == "pollutant")) == 0
    ranked = run.ranking.filter(pl.col("query") == "P97", pl.col("item_kind") == "pollutant")
    assert len(ranked) == 3
    ranked = run.ranking.filter(pl.col("query") == "P99", pl.col("item_kind") == "pollutant")
    assert "cadmium" in ranked["item"].to_list()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("patents", "id,title,abstract\nA,x,y\nA,x,z\n", "as in"),
        ("sections", "id,title,text,parent\nA,a,x,B\nB,b,y,A\n", "in a circle"),
        ("sections", "id,title\nA,a\n", "no section has a text"),
        ("pollutants", "name\nZinc\nZINC\n", "stands already as entry 1"),
        ("published", "patent,pollutant\nP1,Unobtainium\n", "none of its 1 pairs is of a known"),
        ("published", "patent,goal\nP1,3\n", "expected two kinds that are linked"),
        ("published", "patent,pollutant,score\nP1,zinc,7\n", 'row 1: the score is "7"'),
        ("labels", "patent,pollutant,label\nP1,zinc,maybe\n", 'row 1: the label is "maybe"'),
        ("labels", "patent,pollutant\nP1,zinc\n", 'no column "label"'),
    ],
)
def test_what_is_refused(
    name: str, content: str, said: str, tmp_path: Path, bert: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    paths = files(tmp_path, 3)
    (tmp_path / "bad.csv").write_text(content)
    paths[name] = tmp_path / "bad.csv"
    words = ["match", "link", "--lm", str(bert), "--quiet", "--out", str(tmp_path / "run")]
    for option in ("patents", "sections", "pollutants", "published", "labels"):
        if option in paths:
            words += [f"--{option}", str(paths[option])]
    assert main(words) == 3
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_wrong_usage(tmp_path: Path, bert: Path) -> None:
    paths = files(tmp_path, 3)
    with pytest.raises(UsageError, match="--sections and --pollutants"):
        linkwise.match_links(str(paths["patents"]), pollutants=str(paths["pollutants"]))
    with pytest.raises(UsageError, match="--server and --model go together"):
        linkwise.match_links(str(paths["patents"]), **options(paths, bert, server="http://x/v1"))
    (tmp_path / "two.csv").write_text(
        "version,patent,pollutant\nv1,P1,zinc\nv2,P1,zinc\nv2,P2,zinc\n"
    )
    known: Any = {"patent": {"P1": 0, "P2": 0}, "pollutant": {"zinc": 0}}
    with pytest.raises(UsageError, match="versions v1, v2; choose one with --version"):
        read_given(tmp_path / "two.csv", "published", known)
    with pytest.raises(UsageError, match='no version "v3"'):
        read_given(tmp_path / "two.csv", "published", known, "v3")
    found, _ = read_given(tmp_path / "two.csv", "published", known, "v2")
    assert (len(found.table), found.by) == (2, "two.csv, v2")
    (tmp_path / "impact.json").write_text('{"SDG 3": {"pollutants": [{"name": "zinc"}]}}')
    with pytest.raises(InputError, match="name and impact"):
        read_given(tmp_path / "impact.json", "published", known)


def test_categories_are_read_as_texts(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {"pub_number": ["P1", "P2"], "bref_code": ["S", "S"], "version": ["v1", "v1"],
         "score": pl.Series([0.5, 0.75], dtype=pl.Float32)},
    )  # fmt: skip
    path = tmp_path / "c.parquet"
    table.cast({pl.String: pl.Categorical}).write_parquet(path)
    known: Any = {"patent": {"P1": 0, "P2": 0}, "technique": {"S": 0}}
    found, notes = read_given(path, "published", known)
    assert found.table.rows() == [("P1", "S", 0.5, 1), ("P2", "S", 0.75, 1)]
    assert notes == []


def test_truth_of_published_and_of_people() -> None:
    def given(origin: Any, rows: list[tuple[str, str, int]]) -> Given:
        frame = pl.DataFrame(rows, schema=["source", "target", "label"], orient="row")
        return Given(("patent", "pollutant"), origin, "f", frame.with_columns(score=1.0))

    label, known = truth_of(
        [given("published", [("a", "x", 1), ("b", "y", 1)])], ["a", "b", "c"], ["x", "y", "z"]
    )
    assert known.tolist() == [[True, True, False]] * 2 + [[False] * 3]
    assert label[:2, :2].tolist() == [[1, 0], [0, 1]]
    label, known = truth_of(
        [given("person", [("a", "x", 0), ("b", "y", 1)])], ["a", "b"], ["x", "y"]
    )
    assert known.tolist() == [[True, False], [False, True]]
    assert label.tolist() == [[0, 0], [0, 1]]


def test_the_threshold_of_the_largest_f1_is_found_by_trying_all() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        label = (rng.random(30) < 0.3).astype(float)
        label[0] = 1
        score = rng.integers(0, 8, 30) / 8 + label / 8
        best = max(f1_score(label, score >= at) for at in np.unique(score))
        at = best_f1_threshold(label, score)
        assert f1_score(label, score >= at) == pytest.approx(best)


def test_the_nearest_by_their_best_part_are_those_of_a_slow_search() -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 40, 25)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    vectors = rng.normal(size=(start[-1], 6)).astype(np.float32)
    names = [str(k) for k in range(25)]
    items = Collection(names, names, names, [""] * int(start[-1]), start, vectors[:25], vectors)
    queries = rng.normal(size=(9, 6)).astype(np.float32)
    best = np.maximum.reduceat(queries @ vectors.T, start[:-1], axis=1)
    expected = np.argsort(-best, axis=1)
    for k in (1, 5, 25, 100):
        np.testing.assert_array_equal(nearest_by_part(queries, items, k), expected[:, :k])


def test_too_few_pairs_are_links_and_teach_nothing(tmp_path: Path, bert: Path) -> None:
    paths = files(tmp_path, 6)
    run = linkwise.match_links(
        str(paths["patents"]), **options(paths, bert, published=(str(paths["pairs"]),))
    )
    assert run.metrics == []
    assert len(run.links.filter(pl.col("origin") == "published")) >= 12
    lead = json.loads((run.folder / "report.json").read_text())["lead"]
    assert any("too little to learn from" in line for line in lead)
    with pytest.raises(UsageError, match=r"documents\.text is abstract, claims"):
        linkwise.match_links(str(paths["patents"]), **options(paths, bert, text="abstract,claims"))


@pytest.mark.real_data
def test_the_published_pairs_are_read_whole(shared_data: Path) -> None:
    folder = shared_data / "codefest_dashboard"
    some = read_pollutants(folder / "pollutants.json", "v1")
    assert len(some) == 74
    assert all(one.known for one in some)
    patents = pl.read_parquet(folder / "patents.parquet")["pub_number"]
    known: Any = {
        "patent": dict.fromkeys(patents),
        "pollutant": {one.id: 0 for one in some},
        "goal": dict.fromkeys(map(str, range(1, 18))),
    }
    path = folder / "pollutant_patent_scores.parquet"
    found, notes = read_given(path, "published", known, "v1")
    assert (len(found.table), notes) == (26_219, [])
    impacts, notes = read_given(folder / "sdg_pollutant_impact_v1.json", "published", known)
    assert notes == []
    assert set(impacts.table["target"]) == set(known["goal"])
