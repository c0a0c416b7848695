"""`linkwise match label`: what is asked next, what is kept, and how far people agree."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from tests.matching.test_match_pairs import run, sections_of, world, write_world

import linkwise
from linkwise.cli import main
from linkwise.errors import InputError
from linkwise.matching.labelling import COLUMNS, pairs_to_ask, read_labels

__all__ = ["run", "world"]


def ranking_of(probabilities: list[float | None]) -> pl.DataFrame:
    n = len(probabilities)
    return pl.DataFrame(
        {
            "query": [f"p{k}" for k in range(n)], "item": ["s"] * n, "rank": list(range(1, n + 1)),
            "probability": pl.Series(probabilities, dtype=pl.Float64),
        }
    )  # fmt: skip


def labels_of(rows: list[tuple[str, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def test_the_uncertain_come_first_and_nothing_twice() -> None:
    ranking = ranking_of([0.9, 0.52, 0.1, 0.4, 0.99])
    asked = pairs_to_ask(ranking, labels_of([]), "ann", "uncertain", 0)
    assert [one.patent for one in asked] == ["p1", "p3", "p0", "p2", "p4"] or [
        one.patent for one in asked
    ] == ["p1", "p3", "p2", "p0", "p4"]  # .9 and .1 are equally uncertain
    done = labels_of([("p1", "s", "yes", "ann", "uncertain")])
    assert pairs_to_ask(ranking, done, "ann", "uncertain", 0)[0].patent == "p3"
    blind = ranking_of([None, None, None])
    assert pairs_to_ask(blind, labels_of([]), "ann", "uncertain", 0)[0].patent == "p0"


def test_every_fourth_is_another_s_and_all_are_asked() -> None:
    ranking = ranking_of([0.5] * 12)
    done = labels_of([(f"p{k}", "s", "yes", "bob", "random") for k in range(5)])
    asked = pairs_to_ask(ranking, done, "ann", "random", 1)
    assert sorted(one.patent for one in asked) == sorted(f"p{k}" for k in range(12))
    chosen = [one.chosen for one in asked]
    assert chosen[:8] == ["random"] * 3 + ["again"] + ["random"] * 3 + ["again"]
    assert chosen.count("again") == 5
    assert pairs_to_ask(ranking, done, "ann", "random", 1) == asked
    assert pairs_to_ask(ranking, done, "ann", "random", 2) != asked


def answer(monkeypatch: pytest.MonkeyPatch, keys: str, run: linkwise.Run, *words: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{key}\n" for key in keys)))
    return main(["match", "label", str(run.folder), *words])


def test_labels_are_kept_undone_and_gone_on_with(
    run: linkwise.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "labels.csv"
    words = ["--out", str(out), "--person", "ann"]
    assert answer(monkeypatch, "ynxsuuq", run, *words) == 0
    said = capsys.readouterr().err
    assert '"x" is none of the keys' in said
    assert "ann: 1 labelled (1 yes)" in said
    first = read_labels(out)
    assert first["label"].to_list() == ["yes"]
    assert answer(monkeypatch, "nnn", run, *words) == 0  # the input ends
    second = read_labels(out)
    assert len(second) == 4
    assert second.select("patent", "section").is_duplicated().sum() == 0
    assert answer(monkeypatch, "yyyyyyyy", run, "--out", str(out), "--person", "bob") == 0
    said = capsys.readouterr().err
    assert "ann and bob: 2 pairs of both, kappa" in said
    both = read_labels(out).filter(pl.col("chosen") == "again")
    assert set(both["person"]) == {"bob"}
    assert set(both.select("patent", "section").rows()) <= set(
        second.select("patent", "section").rows()
    )


def test_labels_teach_a_judge(
    run: linkwise.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is what --labels reads; figures on uncertain pairs are said to be such."""
    write_world(tmp_path)
    ranking = run.ranking
    truth = pl.read_csv(tmp_path / "labels.csv").filter(pl.col("label") == "yes")
    yes = set(truth.select("patent", "section").rows())
    out = tmp_path / "mine.csv"
    asked = pairs_to_ask(ranking, read_labels(out), "ann", "uncertain", 0)[:150]
    keys = "".join("y" if (one.patent, one.section) in yes else "n" for one in asked)
    assert answer(monkeypatch, keys, run, "--out", str(out), "--person", "ann") == 0
    found = linkwise.match(
        tmp_path / "patents.csv", sections_of(tmp_path), labels=str(out), folds=3, retrieve=3, threads=1,
        bootstrap=20,
    )  # fmt: skip
    assert "because a judge was uncertain" in found.report.read_text()
    assert {
        row["n"] for row in found.metrics if row["metric"] == "auc" and row["slice"] == "all"
    } == {150}


def test_another_file_is_left_alone(run: linkwise.Run, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="the columns are a, b; expected patent"):
        read_labels(out)
    words = ["match", "label", str(run.folder), "--out", str(out), "--person", "ann"]
    assert main(words) == 3
    assert out.read_text() == "a,b\n1,2\n"
    out.write_text(",".join(COLUMNS) + "\np,s,perhaps,ann,random\n")
    with pytest.raises(InputError, match='row 1: the label is "perhaps"'):
        read_labels(out)


def test_without_a_judge_the_likeliest_and_any_come_by_turns() -> None:
    ranking = pl.DataFrame(
        {
            "query": [f"p{k}" for k in range(4) for _ in range(5)],
            "item": [f"s{rank}" for _ in range(4) for rank in range(5)],
            "rank": [rank + 1 for _ in range(4) for rank in range(5)],
            "probability": pl.Series([None] * 20, dtype=pl.Float64),
        }
    )
    asked = pairs_to_ask(ranking, labels_of([]), "ann", "uncertain", 0)
    assert len({(one.patent, one.section) for one in asked}) == 20
    firsts = [one for one in asked if one.chosen == "first"]
    assert {one.section for one in firsts[:4]} <= {"s0"}
    assert {one.chosen for one in asked} == {"first", "random"}
    assert asked[0].section == "s0"


def test_pairs_passed_over_are_not_asked_again(
    run: linkwise.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "labels.csv"
    words = ["--out", str(out), "--person", "ann"]
    assert answer(monkeypatch, "ss?yq", run, *words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "it is not asked again" in said  # the help
    assert "none of the keys" not in said
    assert "answered 0 |" in said
    assert "1 of 1" not in said
    assert "ann: 1 labelled (1 yes), 1 of them now, 2 skipped" in said
    # Nothing is coloured in a pipe: the best sentences stand between marks.
    row = run.ranking.filter(
        query=read_labels(out)["patent"][0], item=read_labels(out)["section"][0]
    )
    assert f">> {row['query_part'][0]} <<" in said
    before = read_labels(out)
    assert before["label"].to_list() == ["", "", "yes"]
    seen = set(before.select("patent", "section").rows())
    left = pairs_to_ask(run.ranking, before, "ann", "uncertain", 0)
    assert not seen & {(one.patent, one.section) for one in left}
    # Another person is asked about all of them, and repeats none that was passed over.
    asked = pairs_to_ask(run.ranking, before, "bob", "uncertain", 0)
    again = {(one.patent, one.section) for one in asked if one.chosen == "again"}
    assert again == {before.select("patent", "section").rows()[2]}
    assert seen <= {(one.patent, one.section) for one in asked}
    # One that was passed over is undone like any other answer.
    assert answer(monkeypatch, "suq", run, *words) == 0
    assert read_labels(out).rows() == before.rows()
