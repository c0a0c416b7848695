"""Studies of a ranker: figures against models asked anew, slopes by NumPy, parts that hold all events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

import linkwise
from linkwise.cli import main
from linkwise.rank import studies
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task

FEW = ["--quiet", "--set", "rank.bootstrap=20"]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "FEWEST", 2)


def carried_out(name: str, run: Path, out: Path, *words: str) -> Any:
    assert main(["rank", "study", name, str(run), "--out", str(out), *FEW, *words]) == 0
    return linkwise.Run.open(out)


def auc_rows(found: Any) -> list[dict[str, Any]]:
    return [row for row in found.metrics if row["metric"] == "auc"]


def test_history_asks_the_same_events_with_other_budgets(
    run: Path, net: Path, tmp_path: Path
) -> None:
    task = str(net / "tasks" / "connect.toml")
    found = carried_out("history", run, tmp_path / "h", "--task", task)
    rows = {row["model"]: row for row in auc_rows(found)}
    assert next(iter(rows)) == "64 tokens"
    assert len({row["n"] for row in rows.values()}) == 1
    # One condition asked anew, event by event.
    table = pl.read_parquet(tmp_path / "h" / "evaluation.parquet")
    mine = table.filter(pl.col("model") == "64 tokens")
    assert rows["64 tokens"]["value"] == pytest.approx(roc_auc_score(mine["label"], mine["score"]))
    ranker = Ranker.load(run / "model")
    surface = read_surface(read_task(task))
    short = studies._with_history(surface, budget_tokens=64)
    about = json.loads((run / "model" / "study.json").read_text())
    asked = studies.asked_of(surface, about["test_from"], found.config.rank, _context(tmp_path, 0))
    assert asked is not None
    v = ranker.verbaliser(short)
    for row in range(0, len(asked.item), 7):
        (score,) = ranker.scores(
            v, int(asked.member[row]), [int(asked.item[row])], int(asked.time[row])
        )
        assert mine["score"][row] == pytest.approx(score, abs=1e-6)
    (slope,) = [row for row in found.metrics if row["metric"] == "auc_slope"]
    x = [np.log2(float(name.split()[0])) for name in rows]
    by_hand = np.polyfit(x, [row["value"] for row in rows.values()], 1)[0]
    assert slope["value"] == pytest.approx(by_hand)
    assert found.report.read_text().count("tokens of history") > 1


def _context(folder: Path, seed: int) -> Any:
    from linkwise.context import Context

    return Context(folder=folder, seed=seed)


def test_parts_of_the_prompt(run: Path, net: Path, tmp_path: Path) -> None:
    found = carried_out("parts", run, tmp_path / "p", "--task", str(net / "tasks" / "enrol.toml"))
    rows = {row["model"]: row for row in auc_rows(found)}
    assert list(rows) == ["all", "no member text", "no history", "newest first"]
    for name in list(rows)[1:]:
        assert rows[name]["difference"] == pytest.approx(rows[name]["value"] - rows["all"]["value"])


def test_the_length_of_the_past_and_weeks_part_the_events(
    run: Path, net: Path, tmp_path: Path
) -> None:
    task = str(net / "tasks" / "connect.toml")
    surface = read_surface(read_task(task))
    about = json.loads((run / "model" / "study.json").read_text())
    for name in ("cold-start", "decay"):
        found = carried_out(name, run, tmp_path / name, "--task", task)
        rows = [row for row in auc_rows(found) if row["model"] == "ranker"]
        assert len(rows) > 1
        assert all(row["slice"].startswith("connect, ") for row in rows)
        table = pl.read_parquet(tmp_path / name / "evaluation.parquet")
        n = table.filter(pl.col("model") == "ranker").height
        # Parts of too few events are left out, the others hold each event once.
        assert 0.8 * n < sum(row["n"] for row in rows) <= n
        assert {row["model"] for row in auc_rows(found)} >= {"logistic", "dcn-v2", "best possible"}
    members = set(table["query"])
    chosen = np.isin(surface.member, np.flatnonzero(surface.members["id"].is_in(list(members))))
    late = (
        chosen
        & (surface.time >= about["until"])
        & (surface.time < about["until"] + 56 * studies.DAY)
    )
    assert n == late.sum()
    week = (surface.time[late] - about["until"]) // (7 * studies.DAY)
    for row in rows:
        assert row["n"] == (week == int(row["slice"].split()[-1]) - 1).sum()


def test_known_tasks_and_new_ones(run: Path, tmp_path: Path) -> None:
    found = carried_out("in-domain", run, tmp_path / "i")
    assert {row["slice"] for row in auc_rows(found)} == {"enrol, all", "connect, all"}
    found = carried_out("zero-shot", run, tmp_path / "z")
    assert {row["slice"] for row in auc_rows(found)} == {"follow, new surface"}
    assert {row["split"] for row in auc_rows(found)} == {"held out"}


def test_more_data_and_larger_models(
    run: Path, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[str, int, int]] = []
    fit = Ranker.fit

    def noted(self: Ranker, surfaces: Any, until: int, context: Any, **other: Any) -> Ranker:
        members = {name for s in surfaces for name in s.members["id"].gather(np.unique(s.member))}
        learned.append((self.config.base, len(members), until))
        return fit(self, surfaces, until, context, **other)

    monkeypatch.setattr(Ranker, "fit", noted)
    monkeypatch.setattr(studies, "SHARES", (0.5, 1.0))
    monkeypatch.setattr(studies, "SIZES", ("tiny", "small"))
    about = json.loads((run / "model" / "study.json").read_text())
    task = str(net / "tasks" / "connect.toml")
    found = carried_out("data", run, tmp_path / "d", "--task", task, "--judged", "8")
    assert [row["model"] for row in auc_rows(found)] == [
        "50.0% of the members",
        "100.0% of the members",
    ]
    assert learned[0][1] < learned[1][1]
    assert {until for *_, until in learned} == {about["until"]}
    # The whole of the data gives the run's own model again.
    again = carried_out("in-domain", run, tmp_path / "i", "--task", task, "--judged", "8")
    whole = next(row for row in auc_rows(again) if row["model"] == "ranker")
    assert auc_rows(found)[1]["value"] == pytest.approx(whole["value"])
    learned.clear()
    found = carried_out("models", run, tmp_path / "m", "--task", task, "--judged", "8")
    assert [base for base, *_ in learned] == ["tiny", "small"]
    assert [row["model"] for row in auc_rows(found)] == ["tiny", "small"]


def test_the_best_possible_is_the_simulation_s_own_chance(run: Path, net: Path) -> None:
    table = pl.read_parquet(run / "evaluation.parquet").filter(
        (pl.col("model") == "best possible") & (pl.col("slice") == "connect")
    )
    truth = pl.read_parquet(net / "truth.parquet").filter(pl.col("surface") == "people")
    for row in table.head(20).iter_rows(named=True):
        drawn = truth.filter((pl.col("member") == row["query"]) & (pl.col("item") == row["item"]))
        assert row["score"] in drawn["p_connect"].to_list()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 2, "there is no study"),
        (["zero-shot", "--task", "connect"], 3, "all of these tasks were trained on"),
        (["in-domain", "--task", "follow"], 3, "none of these tasks was trained on"),
    ],
)
def test_wrong_studies(
    words: list[str], code: int, message: str, run: Path, net: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name, *rest = words
    if rest:
        rest[1] = str(net / "tasks" / f"{rest[1]}.toml")
    out = tmp_path / "out"
    assert main(["rank", "study", name, str(run), "--out", str(out), *FEW, *rest]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
