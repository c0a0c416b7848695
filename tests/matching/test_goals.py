"""`linkwise match goals`: goals and labels read, each goal judged unseen, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

import linkwise
from linkwise.cli import main
from linkwise.errors import InputError
from linkwise.matching.config import MatchConfig
from linkwise.matching.goals import read_goals, read_labelled
from linkwise.matching.judge import fit_judge
from linkwise.matching.similar import FEATURES
from linkwise.matching.study import judge

TOPICS = {
    "water": ["river", "lake", "rain", "well", "tap"],
    "school": ["teacher", "pupil", "book", "class", "exam"],
    "energy": ["solar", "wind", "grid", "coal", "battery"],
    "health": ["doctor", "nurse", "fever", "clinic", "vaccine"],
}


def goals_file(folder: Path) -> Path:
    path = folder / "goals.json"
    entries = [
        {"goal": k, "name": name, "targets": [{"text": f"more {' '.join(words)}"}]}
        for k, (name, words) in enumerate(TOPICS.items(), 1)
    ]
    path.write_text(json.dumps(entries))
    return path


def texts_file(folder: Path, n: int = 120, seed: int = 0) -> Path:
    """Texts of three words of a topic and two of any, judged for that topic or another."""
    rng = np.random.default_rng(seed)
    names = list(TOPICS)
    rows = []
    for k in range(n):
        about = int(rng.integers(4))
        asked = about if rng.random() < 0.5 else int(rng.integers(4))
        some = rng.choice(TOPICS[names[about]], 3, replace=False).tolist()
        some += [str(rng.choice(TOPICS[str(rng.choice(names))])) for _ in range(2)]
        rows.append(
            (f"t{k}", f"number {k}: the {' and the '.join(some)}", asked + 1, about == asked)
        )
    path = folder / "texts.csv"
    pl.DataFrame(rows, schema=["id", "text", "goal", "label"], orient="row").write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> linkwise.Run:
    folder = tmp_path_factory.mktemp("goals")
    words = ["match", "goals", str(texts_file(folder)), "--goals", str(goals_file(folder))]
    words += ["--id", "id", "--bootstrap", "50", "--threads", "1", "--quiet"]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return linkwise.Run.open(folder / "run")


def test_metrics_are_those_of_the_written_evaluation(run: linkwise.Run) -> None:
    table = pl.read_parquet(run.folder / "evaluation.parquet")
    assert set(table["model"]) == {"words (TF-IDF)", "text vectors", "weighed"}
    found = {(row["model"], row["metric"]): row for row in run.metrics if row["slice"] == "all"}
    for model in set(table["model"]):
        mine = table.filter(pl.col("model") == model)
        expected = roc_auc_score(mine["label"], mine["score"])
        assert found[model, "auc"]["value"] == pytest.approx(expected)
    weighed = table.filter(pl.col("model") == "weighed")
    right = accuracy_score(weighed["label"], weighed["score"] >= 0.5)
    row = found["weighed", "accuracy"]
    assert row["value"] == pytest.approx(right)
    assert row["value"] > 0.8
    assert row["low"] <= row["value"] <= row["high"]
    assert row["difference"] == pytest.approx(row["value"] - row["baseline"])
    slices = {r["slice"] for r in run.metrics}
    assert slices == {"all", "goal 1", "goal 2", "goal 3", "goal 4"}


def test_every_text_has_all_goals_with_what_speaks_for_them(run: linkwise.Run) -> None:
    ranking = run.ranking
    assert len(ranking) == 120 * 4
    for (_,), own in ranking.group_by("query"):
        own = own.sort("rank")
        assert own["rank"].to_list() == [1, 2, 3, 4]
        assert own["score"].is_sorted(descending=True)
        assert sorted(own["item"]) == ["1", "2", "3", "4"]
    assert ranking["probability"].is_between(0, 1).all()
    texts = pl.read_csv(run.folder.parent / "texts.csv")
    whole = dict(texts.select("id", "text").iter_rows())
    assert all(part in whole[query] for query, part in ranking.select("query", "query_part").rows())
    kept = json.loads((run.folder / "model" / "judge.json").read_text())
    yes = ranking["probability"] >= kept["threshold"]
    assert (ranking["yes"] == yes).all()
    assert "Goal by goal" in run.report.read_text()


def test_costs_set_one_threshold_for_the_list_and_all_figures(run: linkwise.Run) -> None:
    config = run.folder.parent
    again = linkwise.match_goals(
        config / "texts.csv", goals=str(config / "goals.json"), id="id", cost_wrong_yes=3.0,
        bootstrap=20, threads=1,
    )  # fmt: skip
    ranking = again.ranking
    assert (ranking["yes"] == (ranking["probability"] >= 0.75)).all()
    mine = pl.read_parquet(again.folder / "evaluation.parquet").filter(model="weighed")
    found = {
        r["metric"]: r for r in again.metrics if (r["model"], r["slice"]) == ("weighed", "all")
    }
    right = accuracy_score(mine["label"], mine["score"] >= 0.75)
    assert found["accuracy"]["value"] == pytest.approx(right)
    wrong_yes = ((mine["score"] >= 0.75) & (mine["label"] == 0)).mean() or 0.0
    wrong_no = ((mine["score"] < 0.75) & (mine["label"] == 1)).mean() or 0.0
    assert found["cost"]["value"] == pytest.approx(3 * wrong_yes + wrong_no)
    told = "Yes from a probability of 0.75 on: a yes that is wrong costs 3 and a no that is wrong 1"
    assert (again.folder / "report.json").read_text().count(told) == 2


def test_a_goal_s_own_labels_never_reach_its_judge(tmp_path: Path) -> None:
    goals = read_goals(goals_file(tmp_path))
    texts = read_labelled([str(texts_file(tmp_path))], goals, MatchConfig(id="id"))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(texts.ids), 4, len(FEATURES)))
    features[texts.row, texts.goal, 0] += 2 * texts.label
    config = MatchConfig(bootstrap=20)
    found = judge(features, texts, goals, config, 0)
    for goal in range(4):
        there = texts.goal == goal
        turned = texts.label.copy()
        turned[there] = 1 - turned[there]
        other = judge(features, type(texts)(**{**vars(texts), "label": turned}), goals, config, 0)
        for model, p in found.probabilities.items():
            np.testing.assert_array_equal(other.probabilities[model][there], p[there])
        own = features[texts.row, texts.goal]
        slow, _ = fit_judge(own[~there], texts.label[~there], texts.goal[~there], FEATURES)
        np.testing.assert_allclose(
            found.probabilities["weighed"][there], slow.probability(own[there])
        )


def test_without_labels_goals_are_listed_and_nothing_is_judged(tmp_path: Path) -> None:
    texts = pl.DataFrame({"text": ["the doctor and the nurse", "the teacher and the pupil"]})
    found = linkwise.match_goals(texts, goals=str(goals_file(tmp_path)), threads=1)
    assert found.metrics == []
    first = found.ranking.filter(pl.col("rank") == 1)
    assert first["title"].to_list() == ["health", "school"]
    assert first["probability"].null_count() == 2
    assert "nothing is judged" in found.report.read_text()


def test_the_packaged_goals() -> None:
    goals = read_goals(None)
    assert goals.ids == [str(k) for k in range(1, 18)]
    assert all(len(about) >= 5 for about in goals.about)


def test_goals_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "goals.csv"
    path.write_text("id,title,text,parent\nA,Water,clean water,\nB,Air,,\nA1,Rivers,no waste,A\n")
    goals = read_goals(path)
    assert (goals.ids, goals.names) == (["A", "B"], ["Water", "Air"])
    assert goals.about == [["Water", "clean water", "Rivers", "no waste"], ["Air"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,title,text,parent\nA,Water,x,\nA1,Rivers,y,Z\nB,Air,,\n", 'the parent "Z" of "A1"'),
        ("id,title\nA,Water\n", "1 goals were found"),
        ("id,title\nA,Water\nA,Air\n", 'the goal "A" stands twice'),
        ("id,name\nA,Water\n", 'no column "title"'),
    ],
)
def test_goals_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "goals.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_goals(path)
    broken = tmp_path / "goals.json"
    for content, words in (("[", "not JSON"), ('[{"goal": 1}]', "entry 1"), ("{}", "0 goals")):
        broken.write_text(content)
        with pytest.raises(InputError, match=words):
            read_goals(broken)


def labelled(tmp_path: Path, text: str, **options: str) -> object:
    path = tmp_path / "texts.csv"
    path.write_text(text)
    return read_labelled([str(path)], read_goals(goals_file(tmp_path)), MatchConfig(**options))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,goal,label\na,1,maybe\n", 'row 1: the label is "maybe"'),
        ("text,goal,label\na,1,yes\nb,9,no\n", 'row 2: the goal is "9"'),
        ("text,goal\na,1\n", 'a column "goal" and none "label"'),
        ("text,goal,label\n,1,yes\nb,2,no\n", "row 1: the text is empty"),
        ("words\na\n", None),
        ("one,two\na,b\n", 'no column "text"'),
    ],
)
def test_texts_that_are_none(text: str, said: str | None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said or "no column"):
        labelled(tmp_path, text)


def test_ids_and_people_who_disagree(tmp_path: Path) -> None:
    rows = "id,text,goal,label\nx,a,1,yes\nx,a,1,no\nx,a,2,TRUE\ny,b,1,0\ny,b,1,False\nz,c,,\n"
    found = labelled(tmp_path, rows, id="id")
    assert found.ids == ["x", "y", "z"]  # type: ignore[attr-defined]
    pairs = zip(found.row, found.goal, found.label, strict=True)  # type: ignore[attr-defined]
    assert sorted(pairs) == [(0, 1, 1.0), (1, 0, 0.0)]
    assert "1 pairs of text and goal are left out" in found.notes[0]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match='row 2: the id "x" stands already'):
        labelled(tmp_path, "id,text\nx,a\nx,b\n", id="id")
    with pytest.raises(InputError, match='no column "key"'):
        labelled(tmp_path, "id,text\nx,a\n", id="key")


def test_labels_of_one_kind_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "texts.csv"
    rows = "".join(f"text {k},{k % 4 + 1},yes\n" for k in range(60))
    path.write_text(f"text,goal,label\n{rows}")
    words = ["match", "goals", str(path), "--goals", str(goals_file(tmp_path)), "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 3
    assert "60 labels are yes and 0 no" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
    assert main(["match", "goals", str(tmp_path / "none.csv"), "--out", str(tmp_path / "r")]) == 3


def test_a_column_called_id_is_taken_where_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,text\nx7,A net against malaria\nx8,Solar roofs of schools\n"
    )
    run = linkwise.match_goals(tmp_path / "t.csv", threads=1)
    assert run.ranking["query"].unique(maintain_order=True).to_list() == ["x7", "x8"]
    report = json.loads((run.folder / "report.json").read_text())
    (table,) = [
        block
        for part in report["sections"]
        for block in part["blocks"]
        if part["title"] == "Goals found"
    ]
    shown = [row[0] for row in table["rows"]]
    assert shown[0].startswith("x7 A net against malaria, ")
    assert shown[1].startswith("x8 Solar roofs of schools, ")
    assert table["columns"][1]["name"] == "similarity"
    first = run.ranking.filter(rank=1)["score"].to_list()
    assert [row[1] for row in table["rows"]] == pytest.approx(first)
    # One id of two texts is none, and that is said.
    (tmp_path / "t.csv").write_text("id,text\nx,A net against malaria\nx,Solar roofs of schools\n")
    run = linkwise.match_goals(tmp_path / "t.csv", threads=1)
    assert run.ranking["query"].unique(maintain_order=True).to_list() == ["1", "2"]
    assert "several texts of one id: texts are numbered" in run.report.read_text()
