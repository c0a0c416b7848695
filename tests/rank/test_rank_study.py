"""The study from the command line: what it writes, what it holds out, and that it knows no future."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from tests.rank.network import QUICK

import linkwise
from linkwise.cli import main


def test_what_a_run_holds(run: Path) -> None:
    found = linkwise.Run.open(run)
    table = pl.read_parquet(run / "evaluation.parquet")
    assert table.columns == ["model", "slice", "query", "item", "rank", "score", "label"]
    assert set(table["model"]) == {
        "ranker", "popularity", "logistic", "boosting", "dcn-v2", "two-towers", "best possible"
    }  # fmt: skip
    for row in found.metrics:
        if row["metric"] != "auc" or "," in row["slice"]:
            continue
        mine = table.filter((pl.col("model") == row["model"]) & (pl.col("slice") == row["slice"]))
        assert row["value"] == pytest.approx(roc_auc_score(mine["label"], mine["score"]))
        assert row["n"] == len(mine)
        assert row["split"] == ("held out" if row["slice"] == "follow" else "test")
    ranking = found.ranking
    assert {"model", "query", "item", "score", "rank"} <= set(ranking.columns)
    best = ranking.filter(pl.col("rank") == 1)
    assert best["query"].n_unique() == len(best)
    report = found.report.read_text()
    assert "Simulated" in report
    assert "follow" in report
    for row in (row for row in found.metrics if row["metric"] == "steering"):
        assert -1 < row["low"] <= row["value"] <= row["high"] < 1
    assert {row["k"] for row in found.metrics if row["metric"] == "steering"} == {0, 1}
    assert "Ignore the above" in report
    prior = json.loads((run / "model" / "ranker.json").read_text())["prior"]
    assert set(prior) == {"enrol", "connect"}  # nothing is learned of what is held out


def test_nothing_after_the_training_time_is_learned(
    run: Path, net: Path, base: Path, tmp_path: Path
) -> None:
    """Mutation: all later events acted on where they were not; the same weights to the bit."""
    import shutil

    shutil.copytree(net, tmp_path / "net")
    until = json.loads((run / "model" / "study.json").read_text())["until"]
    for name in ("courses", "people", "companies"):
        path = tmp_path / "net" / f"events_{name}.parquet"
        events = pl.read_parquet(path)
        (action,) = set(events["action"]) - {"ignore"}
        other = (
            pl.when(pl.col("action") == "ignore").then(pl.lit(action)).otherwise(pl.lit("ignore"))
        )
        late = pl.col("time").dt.epoch("us") >= until
        events.with_columns(
            pl.when(late).then(other).otherwise("action").alias("action")
        ).write_parquet(path)
    tasks = [str(tmp_path / "net" / "tasks" / f"{n}.toml") for n in ("enrol", "connect", "follow")]
    words = ["rank", "train", *tasks, "--held-out", "follow", "--base", str(base), *QUICK]
    words += ["--gap-days", "10", "--refresh-days", "14"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    for name in ("lm/model.safetensors", "ranker.json"):
        one, two = ((folder / "model" / name).read_bytes() for folder in (run, tmp_path / "run"))
        assert one == two


def test_show_and_score(run: Path, net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = str(net / "tasks" / "open.toml")  # a surface that the run never met
    assert main(["rank", "show", task, "--member", "m3", "--base", str(run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "Will the member open the following mail:" in shown["prompt"]
    assert shown["prompt"].strip().endswith("Answer: The member will")
    assert sum(shown["tokens"].values()) > 100
    assert (
        main(["rank", "score", str(run), "--task", task, "--member", "m3", "--top", "4", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in found] == [1, 2, 3, 4]
    assert np.all(np.diff([row["score"] for row in found]) <= 0)
    some = ",".join(row["item"] for row in found[2:])
    words = ["rank", "score", str(run), "--task", task, "--member", "m3", "--items", some, "--json"]
    assert main(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in found[2:]])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--held-out", "buy"], 2, "--held-out has buy; the tasks are enrol"),
        (["--held-out", "enrol"], 2, "--held-out names every task"),
        (["--train-until", "soon"], 2, '--train-until is "soon"'),
        (["--gap-days", "999"], 3, "nothing to judge"),
        (["--base", "tiny", "--train", "lora"], 2, "train all of it"),
    ],
)
def test_wrong_calls(
    words: list[str], code: int, message: str, net: Path, base: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if "--base" not in words:
        words = [*words, "--base", str(base)]
    task = str(net / "tasks" / "enrol.toml")
    found = main(["rank", "train", task, *QUICK, *words, "--out", str(tmp_path / "run")])
    assert found == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_from_python(net: Path, base: Path) -> None:
    found = linkwise.rank(
        net / "tasks" / "enrol.toml",
        base=str(base),
        judged=10,
        bootstrap=20,
        max_tokens=400,
        gap_days=5,
    )
    assert found.config.rank.gap_days == 5
    assert {row["slice"] for row in found.metrics} >= {"enrol"}
