"""`linkwise match`: two sides and labels read, retrieved, judged unseen, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

import linkwise
from linkwise.cli import main
from linkwise.data.sections import read_sections
from linkwise.errors import InputError, UsageError
from linkwise.matching.judges import Pairs, cross_fit
from linkwise.matching.labels import Labelled, confounded, folds_of, kappa, read_pairs
from linkwise.matching.pairs import places_of, pools_of
from linkwise.matching.retrieve import retrieve
from linkwise.matching.sides import PIECE, Pieces, Side, embed_pieces, pieces_of, side_of_sections

TOPICS = {
    "dust": ["filter", "particle", "cyclone", "bag", "smoke"],
    "water": ["sewage", "sludge", "effluent", "drain", "rinse"],
    "noise": ["sound", "muffler", "barrier", "engine", "silence"],
    "heat": ["boiler", "steam", "exchanger", "furnace", "fuel"],
    "acid": ["scrubber", "sulphur", "lime", "absorber", "gas"],
    "waste": ["landfill", "bin", "compost", "recycle", "scrap"],
}


def write_world(folder: Path, n: int = 60, seed: int = 0) -> dict[str, Path]:
    """Sections of three documents with two topics each, patents of one topic, and labels of both kinds."""
    rng = np.random.default_rng(seed)
    names = list(TOPICS)
    for k, document in enumerate(("alpha", "beta", "gamma")):
        lines = []
        for number, topic in enumerate(names[2 * k : 2 * k + 2], 1):
            lines += [f"# {number} About {topic}", f"## {number}.1 Means against {topic}"]
            lines += [f"Use a {word} of the {topic} kind." for word in TOPICS[topic]]
        (folder / f"{document}.md").write_text("\n".join(lines) + "\n")
    rows, labels = [], []
    for k in range(n):
        topic = str(rng.choice(names))
        some = rng.choice(TOPICS[topic], 2, replace=False)
        rows.append((f"p{k}", f"A {some[0]}", f"It has a {some[1]} of its own. It is number {k}."))
        for asked in {topic, str(rng.choice(names))}:
            at = names.index(asked)
            section = f"{('alpha', 'beta', 'gamma')[at // 2]}:::{at % 2 + 1}.1"
            labels.append((f"p{k}", section, "yes" if asked == topic else "no"))
    pl.DataFrame(rows, schema=["id", "title", "abstract"], orient="row").write_csv(
        folder / "patents.csv"
    )
    pl.DataFrame(labels, schema=["patent", "section", "label"], orient="row").write_csv(
        folder / "labels.csv"
    )
    return {name: folder / f"{name}.csv" for name in ("patents", "labels")}


def sections_of(folder: Path) -> list[str]:
    return [str(folder / f"{name}.md") for name in ("alpha", "beta", "gamma")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def run(world: Path) -> linkwise.Run:
    words = ["match", str(world / "patents.csv"), *sections_of(world)]
    words += ["--labels", str(world / "labels.csv"), "--folds", "3", "--retrieve", "3"]
    words += ["--bootstrap", "50", "--threads", "1", "--quiet", "--out", str(world / "run")]
    assert main(words) == 0
    return linkwise.Run.open(world / "run")


def test_metrics_are_those_of_the_written_evaluation(run: linkwise.Run) -> None:
    table = pl.read_parquet(run.folder / "evaluation.parquet")
    assert table["model"].unique(maintain_order=True).to_list() == [
        "words (TF-IDF)", "text vectors", "weighed",
    ]  # fmt: skip
    found = {(r["model"], r["metric"], r["slice"], r["k"]): r for r in run.metrics}
    for model in table["model"].unique():
        mine = table.filter(pl.col("model") == model)
        row = found[model, "auc", "all", None]
        assert row["value"] == pytest.approx(roc_auc_score(mine["label"], mine["score"]))
        assert row["n"] == len(mine)
    assert found["weighed", "auc", "all", None]["value"] > 0.9
    assert {r["split"] for r in run.metrics} == {"by-document"}
    # What was not retrieved is a no at the end: recall there is at most that of the judge, and of retrieval.
    ranking = run.ranking
    listed = set(ranking.select("query", "item").rows())
    labels = pl.read_csv(run.folder.parent / "labels.csv").filter(pl.col("label") == "yes")
    share = np.mean([(p, s) in listed for p, s in labels.select("patent", "section").rows()])
    recall = found["retrieved by text vectors", "recall_at", "all", 3]
    assert recall["value"] == pytest.approx(share)
    assert found["weighed", "recall", "retrieved first", None]["value"] <= share + 1e-12


def report_of(run: linkwise.Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "report.json").read_text())
    return found


def test_the_first_lines_have_both_stages_and_one_threshold(run: linkwise.Run) -> None:
    report = report_of(run)
    rows = {
        r["metric"]: r
        for r in run.metrics
        if (r["model"], r["slice"]) == ("weighed", "retrieved first")
    }
    lead = " ".join(report["lead"])
    assert f"AUC {rows['auc']['value']:.3f}" in lead.partition("Both stages together")[2]
    assert f"recall {rows['recall']['value']:.3f}" in lead.partition("Both stages together")[2]
    assert "Beware" not in lead
    assert report["beats_baseline"] is not None
    # The figures are those of the yes that is written, and the page tells it in the same words twice.
    about = json.loads((run.folder / "model" / "judge.json").read_text())
    assert about["threshold"] == 0.5
    told = "Yes from a probability of 0.5 on: a yes that is wrong costs 1 and a no that is wrong 1"
    assert (run.folder / "report.json").read_text().count(told) == 2
    table = pl.read_parquet(run.folder / "evaluation.parquet").filter(model="weighed")
    found = next(
        r for r in run.metrics if (r["model"], r["slice"], r["metric"]) == ("weighed", "all", "f1")
    )
    assert found["value"] == pytest.approx(f1_score(table["label"], table["score"] >= 0))


def _long(table: dict[str, Any]) -> int:
    """Columns of sentences, beside the first: more than two of them are wider than the page."""
    first = table["rows"][0] if table["rows"] else ()
    return sum(isinstance(cell, str) and len(cell) > 24 for cell in first[1:])


def test_the_page_names_sections_by_their_ids_in_few_columns(run: linkwise.Run) -> None:
    """Wide tables hid their last column at 1200 pixels; two sections may have one title."""
    tables = [block for part in report_of(run)["sections"] for block in part["blocks"]]
    found = next(b for b in tables if b.get("caption", "").startswith("The surest patents"))
    assert [c["name"] for c in found["columns"]] == [
        "patent -> section", "probability", "of the patent", "of the section",
    ]  # fmt: skip
    assert len(found["rows"]) == 15 * 3  # the best three of fifteen
    ranking = run.ranking
    query = ranking.sort("score", descending=True)["query"][0]
    mine = ranking.filter(query=query).sort("rank")
    for row, item in zip(found["rows"][:3], mine["item"], strict=True):
        assert row[0].startswith(f"{query} ")
        assert f"-> {item} Means against" in row[0]
    assert not [b for b in tables if b.get("kind") == "table" and _long(b) > 2]
    # All is retrieved at 6 of 6: by the counts that is no certainty.
    recall = next(r for r in run.metrics if (r["metric"], r["k"]) == ("recall_at", 5))
    assert recall["value"] < 1 or recall["low"] < 1


def test_labels_that_go_with_the_patents_are_told(world: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(200) < 0.5).astype(float)
    mixed = Labelled(np.repeat(np.arange(50), 4), np.arange(200), label)
    names = [f"p{k}" for k in range(50)]
    assert confounded(mixed, names) == []
    alike = Labelled(mixed.query, mixed.item, (mixed.query % 2).astype(float))
    (told,) = confounded(alike, names)
    # By hand: 4 pairs of a coin are both kinds with 1 - 2 / 16.
    assert told.startswith(
        "Of 50 patents with two labelled pairs or more 0 have both a yes and a no"
    )
    assert told.endswith("44 would")
    one = np.where(np.arange(200) < 120, 0, np.arange(200))
    (_, most) = confounded(Labelled(one, mixed.item, (one == 0).astype(float)), list(map(str, one)))
    assert most == "120 of the 120 pairs with yes are of one patent, 0"
    # A run says so, and has no verdict.
    sections = [f"{d}:::{n}.1" for d in ("alpha", "beta", "gamma") for n in (1, 2)]
    rows = [
        (f"p{k}", section, "yes" if k < 20 else "no") for k in range(40) for section in sections[:4]
    ]
    pl.DataFrame(rows, schema=["patent", "section", "label"], orient="row").write_csv(
        tmp_path / "labels.csv"
    )
    found = linkwise.match(
        world / "patents.csv", sections_of(world), labels=str(tmp_path / "labels.csv"), folds=3,
        split="random", bootstrap=20, threads=1,
    )  # fmt: skip
    report = report_of(found)
    assert report["beats_baseline"] is None
    assert any(line.startswith("Beware: Of 40 patents") for line in report["lead"])
    assert any("--split by-patent" in line for line in report["lead"])


def test_without_a_judge_nothing_is_called_judged(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["match", str(world / "patents.csv"), *sections_of(world), "--retrieve", "2"]
    assert main([*words, "--threads", "1", "--out", str(tmp_path / "run")]) == 0
    facts = {
        f["label"]: f["value"] for f in report_of(linkwise.Run.open(tmp_path / "run"))["facts"]
    }
    assert facts["Listed for each patent"] == "2"
    assert facts["Judge"] == "none"
    err = capsys.readouterr().err
    assert "list what was retrieved" in err
    assert "judge what was retrieved" not in err


def test_sections_and_patents_by_their_titles_alone_are_told(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a", "b"], "title": ["A filter", "A boiler"]}).write_csv(
        tmp_path / "s.csv"
    )
    table = pl.DataFrame({"id": ["p"], "title": ["A filter"]})
    found = linkwise.match(table, [str(tmp_path / "s.csv")], threads=1)
    lead = " ".join(report_of(found)["lead"])
    assert "No section has a text of its own: all 2 are matched by their titles" in lead
    assert "No document has an abstract" in lead


def test_the_ranking_has_the_retrieved_by_the_judge_with_reasons(run: linkwise.Run) -> None:
    ranking = run.ranking
    assert len(ranking) == 60 * 3
    for (_,), own in ranking.group_by("query"):
        own = own.sort("rank")
        assert own["rank"].to_list() == [1, 2, 3]
        assert own["score"].is_sorted(descending=True)
    p = 1 / (1 + np.exp(-ranking["score"].to_numpy()))
    np.testing.assert_allclose(ranking["probability"], p)
    about = json.loads((run.folder / "model" / "judge.json").read_text())
    assert (ranking["yes"].to_numpy() == (p >= about["threshold"])).all()
    nodes = pl.read_parquet(run.folder / "nodes.parquet")
    text = {(kind, name): said for kind, name, _, said in nodes.rows()}
    for query, item, mine, theirs in ranking.select(
        "query", "item", "query_part", "item_part"
    ).rows():
        assert mine in text["query", query]
        assert theirs in text["item", item]
    page = run.report.read_text()
    for heading in ("How well pairs are judged", "What retrieval finds", "disagree", "Found"):
        assert heading in page


def test_a_finished_run_s_judge_says_the_same_of_the_same(run: linkwise.Run, world: Path) -> None:
    again = linkwise.match(
        world / "patents.csv", sections_of(world), judge=str(run.folder), retrieve=3, threads=1
    )
    both = again.ranking.join(run.ranking, on=["query", "item"], how="inner")
    assert len(both) == len(run.ranking)
    np.testing.assert_allclose(both["score"], both["score_right"], atol=1e-6)
    assert again.metrics == []
    assert "no labels were given here" in again.report.read_text()


def test_a_repeated_config_gives_the_same(run: linkwise.Run, tmp_path: Path) -> None:
    assert (
        main(["run", str(run.folder / "config.toml"), "--out", str(tmp_path / "b"), "--quiet"]) == 0
    )
    assert linkwise.Run.open(tmp_path / "b").ranking.equals(run.ranking)
    assert linkwise.Run.open(tmp_path / "b").metrics == run.metrics


def test_a_resumed_run_embeds_nothing_twice(
    run: linkwise.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linkwise.matching import pairs

    asked: list[str] = []
    whole = pairs.Compared.embed

    def embed(self: Any, texts: Any) -> Any:
        asked.extend(texts)
        return whole(self, texts)

    def stop(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pairs.Compared, "embed", embed)
    words = ["run", str(run.folder / "config.toml"), "--out", str(tmp_path / "b"), "--quiet"]
    with monkeypatch.context() as broken:
        broken.setattr(pairs, "word_counter", stop)
        assert main(words) == 130
    first = set(asked)
    assert len(asked) == 6 + 36 + 60  # pieces and sentences of the sections, pieces of the patents
    asked.clear()
    assert main([*words, "--resume"]) == 0
    assert linkwise.Run.open(tmp_path / "b").ranking.equals(run.ranking)
    assert asked
    assert not set(asked) & first  # what is left are the patents' sentences


# ------------------------------------------------------------------------------------- sides, pieces


def test_pieces_hold_the_whole_text_and_long_ones_are_cut() -> None:
    text = " ".join(f"Sentence number {k} of a long description." for k in range(200))
    found = pieces_of(text)
    assert " ".join(found) == text
    assert max(map(len, found)) < PIECE
    assert pieces_of("short") == ["short"]
    million = "word " * 200_000
    assert sum(len(piece) for piece in pieces_of(million)) > 0.9 * len(million)


def test_sections_stand_under_their_titles_and_headings_are_left_out(world: Path) -> None:
    side = side_of_sections(read_sections(sections_of(world)))
    assert side.ids[0] == "alpha:::1.1"
    assert side.titles[0] == "About dust > Means against dust"
    assert side.document == ["alpha", "alpha", "beta", "beta", "gamma", "gamma"]
    assert side.notes == ("6 headings without a text of their own are not matched.",)


def fake_embed(texts: Any) -> Any:
    """A vector of its own for each text."""
    rows = [np.random.default_rng(abs(hash(text)) % 2**32).normal(size=8) for text in texts]
    found = np.array(rows, dtype=np.float32).reshape(-1, 8)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_retrieval_is_that_of_all_pieces_with_all_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)

    def side(n: int) -> Pieces:
        texts = [
            " ".join(
                f"Text {rng.integers(10**6)} says this and that."
                for _ in range(rng.integers(1, 90))
            )
            for _ in range(n)
        ]
        return embed_pieces(texts, fake_embed)

    queries, items = side(40), side(25)
    whole = queries.vectors @ items.vectors.T
    slow = np.array(
        [
            [
                whole[
                    queries.start[q] : queries.start[q + 1], items.start[i] : items.start[i + 1]
                ].max()
                for i in range(25)
            ]
            for q in range(40)
        ]
    )
    expected = np.argsort(-slow, axis=1, kind="stable")[:, :7]
    for together in (1, 5, 512):  # how many are taken at a time changes nothing
        monkeypatch.setattr("linkwise.matching.retrieve.TOGETHER", together)
        rows, cosines = retrieve(queries, items, 7)
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(cosines, np.take_along_axis(slow, expected, 1), rtol=1e-5)
    assert retrieve(queries, items, 99)[0].shape == (40, 25)
    with pytest.raises(UsageError, match="--retrieve is 0"):
        retrieve(queries, items, 0)


def test_pools_and_places() -> None:
    candidates = np.array([[0, 2], [2, 1], [0, 1]])
    assert [p.tolist() for p in pools_of(candidates, 4)] == [[0, 2], [1, 2], [0, 1], []]
    labelled = Labelled(np.array([0, 1, 2]), np.array([2, 2, 2]), np.ones(3))
    assert places_of(labelled, candidates).tolist() == [1, 0, -1]


# -------------------------------------------------------------------------------------------- labels


def small_sides() -> tuple[Side, Side]:
    queries = Side(["a", "b", "c"], ["A", "B", "C"], ["one", "two", "ONE "], ["a", "b", "c"])
    items = Side(["x", "y"], ["X", "Y"], ["ex", "why"], ["d", "e"])
    return queries, items


def labels_file(folder: Path, rows: list[tuple[Any, ...]]) -> Path:
    path = folder / "pairs.csv"
    pl.DataFrame(rows, schema=["patent", "section", "label"], orient="row").write_csv(path)
    return path


def test_pairs_of_equal_texts_count_once_and_disputed_ones_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkwise.matching.labels.FEWEST", 1)
    rows = [("a", "x", "yes"), ("c", "x", "1"), ("b", "x", "no"), ("b", "y", "y"), ("b", "y", "n")]
    found = read_pairs(
        labels_file(tmp_path, [*rows, ("c", "y", None)]), *small_sides(), (None, None, "label")
    )
    assert (found.query.tolist(), found.item.tolist()) == ([0, 1], [0, 0])
    assert found.label.tolist() == [1, 0]
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("z", "x", "yes")], 'row 1: the patent is "z", which is not among the 3 patents'),
        ([("a", "q", "yes")], 'row 1: the section is "q", which is not among the 2 sections'),
        ([("a", "x", "maybe")], 'row 1: the label is "maybe"; expected yes or no'),
        ([("a", "x", "yes"), ("b", "x", "yes")], "2 labels are yes and 0 no; a judge needs 20"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, rows: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_pairs(labels_file(tmp_path, rows), *small_sides(), (None, None, "label"))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = labels_file(tmp_path, [("a", "x", "yes")])
    with pytest.raises(InputError, match="no column ours; name it with --patent-column"):
        read_pairs(path, *small_sides(), ("ours", None, "label"))


def test_folds_never_part_a_group() -> None:
    rng = np.random.default_rng(1)
    items = Side([f"s{k}" for k in range(30)], [""] * 30, [f"text {k}" for k in range(30)],
                 [f"d{k % 6}" for k in range(30)])  # fmt: skip
    labelled = Labelled(
        rng.integers(0, 50, 300), rng.integers(0, 30, 300), (rng.random(300) < 0.4).astype(float)
    )
    for split, owner in (
        ("by-document", labelled.item % 6), ("by-patent", labelled.query), ("random", np.arange(300)),
    ):  # fmt: skip
        fold, group = folds_of(labelled, items, split, 3, 0)  # type: ignore[arg-type]
        assert set(fold) == {0, 1, 2}
        for one in np.unique(owner):
            assert len(set(fold[owner == one])) == 1
            assert len(set(group[owner == one])) == 1
        assert np.bincount(fold).max() - np.bincount(fold).min() <= np.bincount(owner).max()
    with pytest.raises(InputError, match="of 6 documents, and 7 folds need as many"):
        folds_of(labelled, items, "by-document", 7, 0)


def test_a_fold_s_own_labels_never_reach_its_judge() -> None:
    rng = np.random.default_rng(2)
    from linkwise.matching.judges import FeatureJudge
    from linkwise.matching.similar import FEATURES

    n = 200
    label = (rng.random(n) < 0.5).astype(float)
    features = rng.normal(size=(n, len(FEATURES)))
    features[:, 0] += label
    pairs = Pairs(np.arange(n), np.arange(n), features)
    group = np.repeat(np.arange(20), 10)
    fold = group % 4

    def tried(label: Any) -> Any:
        labelled = Labelled(np.arange(n), np.arange(n), label)
        return cross_fit(lambda k: FeatureJudge(), pairs, labelled, fold, group, (1.0, 1.0))

    before = tried(label)
    for number in range(4):
        mine = fold == number
        turned = np.where(mine, 1 - label, label)
        after = tried(turned)
        np.testing.assert_array_equal(after.log_odds[mine], before.log_odds[mine])
        np.testing.assert_array_equal(after.yes[mine], before.yes[mine])
        assert not np.array_equal(after.log_odds[~mine], before.log_odds[~mine])
    assert f1_score(label, before.yes) > 0.55


def test_kappa_is_that_of_a_library() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(60) < 0.3, rng.random(60) < 0.4
    assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert kappa([True, False], [True, False]) == 1
    assert np.isnan(kappa([True, True], [True, True]))
    with pytest.raises(InputError, match="2 and 1 answers"):
        kappa([True, True], [True])


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"judge": "server"}, "--judge server, --server and --model go together"),
        ({"judge": "cross-encoder"}, "a cross-encoder is learned from labelled pairs"),
        ({"examples": 3}, "--examples and --chain-of-thought go with --judge server"),
        ({"four_bit": True}, "a model in 4 bits is tuned with --train lora"),
    ],
)
def test_options_that_do_not_go_together(world: Path, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        linkwise.match(world / "patents.csv", sections_of(world), **options)


def test_what_is_not_there_is_said_before_any_work(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linkwise.matching import pairs

    monkeypatch.setattr(pairs, "Compared", None)  # nothing is embedded
    with pytest.raises(InputError, match=r"none\.md: there is no such file"):
        linkwise.match(world / "patents.csv", tmp_path / "none.md")
    with pytest.raises(InputError, match="this is a folder; name the file"):
        linkwise.match(world / "patents.csv", tmp_path)
    with pytest.raises(InputError, match="a masked model"):
        linkwise.match(world / "patents.csv", sections_of(world), judge="minilm")
    with pytest.raises(
        InputError, match=r"there is no such folder.* Other judges are weighed, cross"
    ):
        linkwise.match(world / "patents.csv", sections_of(world), judge=str(tmp_path / "none"))


def test_labels_from_a_spreadsheet_are_read(world: Path, tmp_path: Path) -> None:
    text = (world / "labels.csv").read_text()
    queries = Side([f"p{k}" for k in range(60)], [""] * 60, [f"t{k}" for k in range(60)], [""] * 60)
    items = side_of_sections(read_sections(sections_of(world)))
    plain = read_pairs(world / "labels.csv", queries, items, (None, None, "label"))
    for name, data in (
        ("bom.csv", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()),
        ("semicolons.csv", text.replace(",", ";").encode()),
    ):
        (tmp_path / name).write_bytes(data)
        found = read_pairs(tmp_path / name, queries, items, (None, None, "label"))
        np.testing.assert_array_equal(found.query, plain.query)
        np.testing.assert_array_equal(found.label, plain.label)


def test_a_circle_of_sections_and_doubled_ids_are_refused(world: Path, tmp_path: Path) -> None:
    circle = tmp_path / "circle.csv"
    circle.write_text("id,title,text,parent\na,A,one,b\nb,B,two,a\n")
    with pytest.raises(InputError, match="go in a circle"):
        linkwise.match(world / "patents.csv", circle, threads=1)
    twice = tmp_path / "twice.csv"
    twice.write_text("id,title,abstract\np,A,one\np,B,two\n")
    with pytest.raises(InputError, match="p"):
        linkwise.match(twice, sections_of(world), threads=1)


def test_patents_without_any_text_are_left_out(world: Path) -> None:
    table = pl.DataFrame(
        {"id": ["p", "q"], "title": ["A filter", ""], "abstract": ["against smoke", ""]}
    )
    found = linkwise.match(table, sections_of(world), threads=1, retrieve=2)
    assert found.ranking["query"].unique().to_list() == ["p"]
    assert "1 documents without a text are left out" in found.report.read_text()


def test_columns_that_matching_does_not_use_never_stop_it(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two columns of codes are no trouble, unless codes are asked for; what families leave out is said."""
    table = pl.DataFrame(
        {
            "id": ["p", "q", "r"], "title": ["A filter", "A filter", "A boiler"],
            "abstract": ["against smoke", "against smoke", "of steam"],
            "ipc_code": ["B01D", "B01D", "F22B"], "cpc_code": ["B01D", "B01D", "F22B"],
            "family_id": ["1", "1", "2"],
        }
    )  # fmt: skip
    table.write_csv(tmp_path / "p.csv")
    words = ["match", str(tmp_path / "p.csv"), *sections_of(world), "--threads", "1"]
    assert main([*words, "--retrieve", "2", "--out", str(tmp_path / "run")]) == 0
    told = '2 documents were read; left out: 1 later members of a family (column "family_id").'
    assert told in " ".join(capsys.readouterr().err.split())
    assert told in (tmp_path / "run" / "report.json").read_text().replace("\\", "")
    with pytest.raises(InputError, match='no column "nothing"'):
        linkwise.match(table, sections_of(world), codes="nothing", threads=1)


def test_labels_by_another_column_of_the_sections(tmp_path: Path) -> None:
    """The message names the option, and with it the labels are found."""
    (tmp_path / "p.csv").write_text("id,title,abstract\np,A filter,It takes smoke\n")
    (tmp_path / "s.csv").write_text("number,sec_id,codes,title,text\n1,7,A:::1,One,x\n1,8,,Two,y\n")
    labels = labels_file(tmp_path, [("p", "7", "yes")])
    with pytest.raises(InputError, match="--section-id names the column"):
        linkwise.match(tmp_path / "p.csv", [str(tmp_path / "s.csv")], labels=str(labels), threads=1)
    with pytest.raises(InputError, match="1 labels are yes and 0 no"):
        linkwise.match(
            tmp_path / "p.csv", [str(tmp_path / "s.csv")], labels=str(labels), section_id="sec_id",
            threads=1,
        )  # fmt: skip
