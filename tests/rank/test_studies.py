"""Studies of a ranker: figures against models asked anew, slopes by NumPy, parts that hold all events."""

from __future__ import annotations

import gc
import json
import shutil
import tomllib
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tomli_w
from sklearn.metrics import roc_auc_score

import linkwise
from linkwise.cli import main
from linkwise.metrics.bootstrap import bootstrap_weights
from linkwise.rank import conditions, prompts, scaling, training
from linkwise.rank.baselines import DAY
from linkwise.rank.ranker import Ranker
from linkwise.rank.study import asked_of
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task

FEW = ["--quiet", "--set", "rank.bootstrap=20"]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "FEWEST", 2)


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
    short = prompts._with_history(surface, budget_tokens=64)
    about = json.loads((run / "model" / "study.json").read_text())
    asked = asked_of(surface, about["test_from"], found.config.rank, _context(tmp_path, 0))
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
    # Each AUC divided by that of the largest budget, in the same resamples, drawn here by hand.
    relative = {row["model"]: row for row in found.metrics if row["metric"] == "auc_relative"}
    assert list(relative) == list(rows)
    largest = list(rows)[-1]
    unit = np.unique(asked.member, return_inverse=True)[1]
    drawn = []
    for counts in np.concatenate(
        list(bootstrap_weights(np.random.default_rng(0), 1 + unit.max(), 20))
    ):
        weight = counts[unit]
        both = [
            roc_auc_score(part["label"], part["score"], sample_weight=weight)
            for part in (mine, table.filter(pl.col("model") == largest))
        ]
        drawn.append(both[0] / both[1])
    assert relative["64 tokens"]["value"] == rows["64 tokens"]["value"] / rows[largest]["value"]
    low, high = np.percentile(drawn, (2.5, 97.5))
    assert relative["64 tokens"]["low"] == pytest.approx(low)
    assert relative["64 tokens"]["high"] == pytest.approx(high)
    assert [relative[largest][end] for end in ("value", "low", "high")] == [1, 1, 1]
    # Beyond training are the budgets whose prompts are longer than its sequences (800 tokens).
    report = json.loads((found.folder / "report.json").read_text())
    (said,) = [s for s in report["sections"] if s["title"] == "connect"]
    named = [row[0] for row in said["blocks"][1]["rows"]]
    expected = []
    for name in rows:
        v = ranker.verbaliser(prompts._with_history(surface, budget_tokens=int(name.split()[0])))
        longest = max(
            len(v.prompt(m, t).tokens)
            for m, t in zip(asked.member.tolist(), asked.time.tolist(), strict=True)
        )
        expected.append(f"{name} (beyond training)" if longest > 800 else name)
    assert named == expected
    assert any("beyond training, whose sequences had 800 tokens" in line for line in report["lead"])
    assert "Normalised" in [section["title"] for section in report["sections"]]


def _context(folder: Path, seed: int) -> Any:
    from linkwise.context import Context

    return Context(folder=folder, seed=seed)


def test_parts_of_the_prompt(run: Path, net: Path, tmp_path: Path) -> None:
    found = carried_out("parts", run, tmp_path / "p", "--task", str(net / "tasks" / "enrol.toml"))
    assert "stands one training" not in found.report.read_text()
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
        found = carried_out(name, run, tmp_path / name, "--task", task, "--judged", "40")
        rows = [row for row in auc_rows(found) if row["model"] == "ranker"]
        assert len(rows) > 1
        assert all(row["slice"].startswith("connect, ") for row in rows)
        table = pl.read_parquet(tmp_path / name / "evaluation.parquet")
        n = table.filter(pl.col("model") == "ranker").height
        # Parts of too few events are left out, the others hold each event once.
        whole, *rows = rows
        assert (whole["slice"], whole["n"]) == ("connect, all", n)
        assert 0.8 * n < sum(row["n"] for row in rows) <= n
        # The first line is the gap to the best of the others, by these same labels.
        by = {
            model: roc_auc_score(m["label"], m["score"]) for (model,), m in table.group_by("model")
        }
        best = max(set(by) - {"ranker", "best possible"}, key=lambda model: by[model])
        gap = by["ranker"] - by[best]
        assert whole["difference"] == pytest.approx(gap)
        assert whole["difference_low"] <= gap <= whole["difference_high"]
        first = json.loads((found.folder / "report.json").read_text())["lead"][0]
        low, high = whole["difference_low"], whole["difference_high"]
        assert f"connect {gap:+.3f} [{low:+.3f}, {high:+.3f}] over {best}." in first
        assert "(best on these test events), intervals apart, in " in first
        assert f"in {int(low > 0)} of 1 tasks" in first
        assert "all conditions on the same resamples" not in found.report.read_text()
        assert {row["model"] for row in auc_rows(found)} >= {"logistic", "dcn-v2", "best possible"}
    members = set(table["query"])
    chosen = np.isin(surface.member, np.flatnonzero(surface.members["id"].is_in(list(members))))
    late = chosen & (surface.time >= about["until"]) & (surface.time < about["until"] + 56 * DAY)
    assert n == late.sum()
    week = (surface.time[late] - about["until"]) // (7 * DAY)
    for row in rows:
        assert row["n"] == (week == int(row["slice"].split()[-1]) - 1).sum()


def test_known_tasks_and_new_ones(run: Path, tmp_path: Path) -> None:
    found = carried_out("in-domain", run, tmp_path / "i")
    assert {row["slice"] for row in auc_rows(found)} == {"enrol, all", "connect, all"}
    found = carried_out("zero-shot", run, tmp_path / "z")
    assert {row["slice"] for row in auc_rows(found)} == {"follow, new surface"}
    assert {row["split"] for row in auc_rows(found)} == {"held out"}


def copied(run: Path, folder: Path, **changes: Any) -> Path:
    """The run with other values in its config."""
    shutil.copytree(run, folder)
    path = folder / "config.toml"
    config = tomllib.loads(path.read_text())
    config["rank"] |= changes
    path.write_text(tomli_w.dumps(config))
    return folder


def test_more_data_and_larger_models(
    run: Path, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[str, set[str], frozenset[str], int]] = []
    kept: list[weakref.ref[Any]] = []
    fit, mixture = Ranker.fit, training.mixture

    def noted(self: Ranker, surfaces: Any, until: int, context: Any, **other: Any) -> Ranker:
        gc.collect()
        assert not any(ref() for ref in kept), "one of the rankers before is still in memory"
        fit(self, surfaces, until, context, **other)
        assert self.evidence_ is not None
        kept.extend([weakref.ref(self), weakref.ref(self.model.network)])
        return self

    def mixed(
        model: Any,
        verbalisers: Any,
        until: int,
        config: Any,
        context: Any,
        held_out: Any,
        teacher: Any,
    ) -> Any:
        found = mixture(model, verbalisers, until, config, context, held_out, teacher)
        # Answers, matches and texts are all drawn from events: of these members, and of no others.
        surfaces = [v.surface for v in verbalisers]
        told = {name for s in surfaces for name in s.members["id"].gather(np.unique(s.member))}
        learned.append((config.base, told, held_out & told, until))
        return found

    monkeypatch.setattr(Ranker, "fit", noted)
    monkeypatch.setattr(training, "mixture", mixed)
    monkeypatch.setattr(scaling, "SHARES", (0.5, 1.0))
    monkeypatch.setattr(scaling, "SIZES", ("tiny", "small"))
    about = json.loads((run / "model" / "study.json").read_text())
    task = str(net / "tasks" / "connect.toml")
    found = carried_out("data", run, tmp_path / "d", "--task", task, "--judged", "8")
    assert [row["model"] for row in auc_rows(found)] == [
        "50.0% of the members",
        "100.0% of the members",
    ]
    assert "behind each condition stands one training" in found.report.read_text()
    (_, few, held_out, _), (_, every, again, _) = learned
    # The members who judge and weigh are those of the run, whatever the share.
    assert held_out == again
    assert len(held_out) > 1
    assert held_out < few < every
    assert len(few - held_out) == pytest.approx(0.5 * len(every - held_out), abs=5)
    assert {until for *_, until in learned} == {about["until"]}
    # The whole of the data gives the run's own model again.
    known = carried_out("in-domain", run, tmp_path / "i", "--task", task, "--judged", "8")
    whole = next(row for row in auc_rows(known) if row["model"] == "ranker")
    assert auc_rows(found)[1]["value"] == pytest.approx(whole["value"])
    learned.clear()
    new = copied(run, tmp_path / "new", base="tiny")
    found = carried_out("models", new, tmp_path / "m", "--task", task, "--judged", "8")
    assert [base for base, *_ in learned] == ["tiny", "small"]
    assert [row["model"] for row in auc_rows(found)] == ["tiny", "small"]
    assert len(kept) == 8


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("data", {"teacher": "RUN"}, "this run learned from a teacher"),
        ("models", {"teacher": "RUN", "base": "tiny"}, "this run learned from a teacher"),
        ("models", {}, "the sizes are of models that begin untrained"),
        ("models", {"base": "tiny", "train": "lora"}, "with --train lora, and the sizes are"),
        ("data", {"base": "RUN"}, "this run began from another"),
    ],
)
def test_what_cannot_be_trained_anew_alike_is_refused(
    name: str, changes: dict[str, str], message: str, run: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    values = {key: str(run) if value == "RUN" else value for key, value in changes.items()}
    changed = copied(run, tmp_path / "run", **values)
    assert main(["rank", "study", name, str(changed), "--out", str(tmp_path / "s"), *FEW]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["parts", "history"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_answers_that_weigh_nothing_are_said_to(
    name: str, weight: float, run: Path, net: Path, tmp_path: Path
) -> None:
    copy = copied(run, tmp_path / "run")
    path = copy / "model" / "ranker.json"
    about = json.loads(path.read_text())
    about["evidence"] = {
        "shared": [weight, 1.0, 1.0, -1.0, 0.0],
        "own": {"enrol": [weight, 1, 1, -1, 0]},
    }
    path.write_text(json.dumps(about))
    task = str(net / "tasks" / "enrol.toml")
    found = carried_out(name, copy, tmp_path / "s", "--task", task, "--judged", "20")
    lead = json.loads((found.folder / "report.json").read_text())["lead"]
    assert any("In enrol the ranker's answers weigh nothing" in line for line in lead) == (
        not weight
    )
    if name == "parts":
        rows = {row["model"]: row for row in auc_rows(found)}
        table = pl.read_parquet(found.folder / "evaluation.parquet")
        first, last = (
            table.filter(pl.col("model") == m)["score"].to_numpy() for m in ("all", "newest first")
        )
        assert (first == last).all() == (not weight)
        assert (rows["newest first"]["difference"] == 0) or weight


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
