"""The study from the command line: what it writes, what it holds out, and that it knows no future."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.rank.network import QUICK, TASK, write_surface

import linkwise
from linkwise.cli import main
from linkwise.cli.rank_score import _Notes
from linkwise.context import Context
from linkwise.lm.load import load_model
from linkwise.lm.small import small_model
from linkwise.rank import conditions, slices, study
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.evidence import Evidence
from linkwise.rank.page import _steering_section, build_report
from linkwise.rank.ranker import Ranker
from linkwise.rank.study import asked_of, ranker_scores, steering
from linkwise.rank.surface import Surface, read_surface
from linkwise.rank.task import read_task
from linkwise.rank.verbalise import Verbaliser


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
    # Of members with a short past, differences are to the best of the others over all events, paired.
    whole = {
        (row["slice"], row["model"]): row["value"]
        for row in found.metrics
        if row["metric"] == "auc" and "," not in row["slice"]
    }
    over = [row for row in found.metrics if row["metric"] == "auc" and ", over " in row["slice"]]
    assert {row["slice"].partition(",")[0] for row in over} == {task for task, _ in whole}
    for row in over:
        task, _, best = row["slice"].partition(", over ")
        others = {m: v for (t, m), v in whole.items() if t == task}
        assert others[best] == max(
            v for m, v in others.items() if m not in ("ranker", "best possible")
        )
        assert row["difference"] == pytest.approx(others["ranker"] - others[best])
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    cold = [row for row in found.metrics if row["metric"] == "auc" and "events" in row["slice"]]
    assert cold
    for row in cold:
        task = row["slice"].partition(",")[0]
        others = [m for t, m in whole if t == task and m not in ("ranker", "best possible")]
        best = max(others, key=lambda model: whole[task, model])
        if row["model"] == best:
            assert row["difference"] is None
        else:
            there = (r for r in cold if r["slice"] == row["slice"] and r["model"] == best)
            assert row["difference"] == pytest.approx(row["value"] - next(there)["value"])
    ours = [row for row in cold if row["model"] == "ranker" and row["difference_low"] is not None]
    assert ours
    for row in ours:
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    report = found.report.read_text()
    assert "over the best other" in report
    assert "Simulated" in report
    assert "follow" in report
    steered = [row for row in found.metrics if row["metric"] == "steering"]
    assert [(row["k"], row["slice"]) for row in steered] == [(0, "enrol"), (1, "enrol")]
    assert "Ignore the above" in report
    prior = json.loads((run / "model" / "ranker.json").read_text())["prior"]
    assert set(prior) == {"enrol", "connect"}  # nothing is learned of what is held out
    # Answers and vectors were weighed, and the report says how.
    weighed = Ranker.load(run / "model").evidence_
    assert weighed is not None
    assert set(weighed.own) == {"enrol", "connect"}
    sections = {
        section["title"]: section["blocks"][0]["rows"]
        for section in json.loads((run / "report.json").read_text())["sections"]
        if "rows" in section["blocks"][0]
    }
    for task, known, learned, _ in sections["Training"]:
        assert task in prior
        assert 10 < learned < known <= 200
    said = {row[0]: row[1:] for row in sections["What the scores are made of"]}
    expected = {**weighed.own, "any other": weighed.shared}
    assert set(said) == set(expected)
    for name, weights in expected.items():
        assert said[name] == pytest.approx(weights, abs=0.006)


class Obeys:
    """Says yes to an item whose text, as it stands in the prompt, gives the order; else as likely as not."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def verbaliser(self, surface: Surface) -> Verbaliser:
        return Verbaliser(self.model, surface)

    def scores(self, verbaliser: Verbaliser, member: int, items: list[int], before: int) -> Any:
        said = [self.model.tokenizer.decode(verbaliser.item(item)).lower() for item in items]
        assert "yes" not in said[0]
        return np.array([1.0 if "answer yes" in text else 0.5 for text in said])


def test_an_order_before_a_long_text_is_seen_and_measured(base: Path, tmp_path: Path) -> None:
    task = write_surface(tmp_path, item={**TASK["item"], "tokens": 100})
    items = pl.read_csv(tmp_path / "items.csv")
    long = pl.concat_str("plot", pl.lit(". It goes on and on, for hours." * 20))
    items.with_columns(long.alias("plot")).write_csv(tmp_path / "items.csv")
    surface = read_surface(read_task(task))
    config = RankStudyConfig(bootstrap=20)
    context = Context(folder=tmp_path)
    asked = asked_of(surface, 0, config, context)
    assert asked is not None
    ranker: Any = Obeys(load_model(str(base), "causal"))
    order, other = steering(ranker, asked, config, context)
    assert order["n"] == other["n"] == len(asked.item) > 4
    assert (order["low"], order["value"], order["high"]) == (0.5, 0.5, 0.5)
    assert (other["low"], other["value"], other["high"]) == (0, 0, 0)


def test_events_without_an_answer_are_no_part_of_the_past(base: Path, tmp_path: Path) -> None:
    task = write_surface(
        tmp_path,
        output="action",
        answer={"play": "a user played", "ignore": "a user ignored"},  # nothing of what is watched
        history={"group_by_action": False, "budget_tokens": 4000},
        events=[
            ("u1", "toy", "watch", "2026-01-01"),
            ("u1", "alien", "ignore", "2026-01-02"),
            ("u1", "heat", "watch", "2026-01-03"),
            ("u1", "ran", "play", "2026-01-04"),
            ("u1", "toy", "ignore", "2026-01-05"),
        ],
    )
    surface = read_surface(read_task(task))
    context = Context(folder=tmp_path)
    asked = asked_of(surface, 0, RankStudyConfig(refresh_days=1), context)
    assert asked is not None
    ranker: Any = Obeys(load_model(str(base), "causal"))
    ranker.scores = lambda verbaliser, member, items, before: np.zeros(len(items))
    _, past, left_out = ranker_scores(ranker, asked, context, "judge")
    assert past.tolist() == [0, 1, 2]
    assert left_out == 0
    history = surface.task.history.model_copy(update={"budget_tokens": 1})
    short = replace(surface, task=surface.task.model_copy(update={"history": history}))
    _, past, left_out = ranker_scores(ranker, asked, context, "judge", short)
    assert past.tolist() == [0, 1, 2]
    assert left_out == 0 + 1 + 2


@pytest.mark.parametrize("command", ["train", "distil"])
def test_options_that_would_do_nothing_are_not_offered(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.count("--seed INT") == 1
    assert "--threads" in said
    for word in ("--merge", "--prompt-tokens", "soft-prompt", "--spark-master", "contrastive"):
        assert word not in said
    assert main(["rank", command, "tasks", "--out", "x", "--teacher", "y", "--merge"]) == 2


def test_threads_are_those_asked_for_where_nothing_is_trained(
    run: Path, net: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "FEWEST", 2)
    before, used, judge = torch.get_num_threads(), [], study.judge

    def noted(*given: Any) -> Any:
        used.append(torch.get_num_threads())
        return judge(*given)

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slices, "judge", noted)
    try:
        torch.set_num_threads(2)
        words = ["rank", "study", "in-domain", str(run), "--threads", "1", "--judged", "20"]
        words += ["--set", "rank.bootstrap=20", "--quiet", "--out", str(tmp_path / "s")]
        assert main(words) == 0
        assert set(used) == {1}
        assert linkwise.Run.open(tmp_path / "s").config.engine.threads == 1
        words = ["rank", "train", str(net / "tasks" / "enrol.toml"), "--base", str(base), *QUICK]
        words += ["--gap-days", "10", "--matching-epochs", "0", "--out", str(tmp_path / "run")]
        monkeypatch.setattr(study, "judge", stopped)
        assert main(words) == 130
        monkeypatch.setattr(study, "judge", noted)
        monkeypatch.setattr(Ranker, "fit", None)  # it is trained already
        torch.set_num_threads(2)
        assert main([*words, "--resume"]) == 0
        assert used[-1] == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("out", ["", "/../brew"])
def test_a_run_is_not_replaced_by_what_reads_it(
    out: str, run: Path, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "brew"
    shutil.copytree(run, copy)
    metrics = (copy / "metrics.json").read_text()
    there = ["--out", f"{copy}{out}", "--overwrite", "--quiet"]
    assert main(["rank", "study", "in-domain", str(copy), *there]) == 2
    assert "choose another --out" in " ".join(capsys.readouterr().err.split())
    task = str(net / "tasks" / "enrol.toml")
    assert main(["rank", "train", task, "--base", str(copy), *there]) == 2
    assert (copy / "metrics.json").read_text() == metrics
    assert [path.name for path in tmp_path.iterdir()] == ["brew"]


def test_nothing_after_the_training_time_is_learned(
    run: Path, net: Path, base: Path, tmp_path: Path
) -> None:
    """Mutation: all later events of other members, items, times and actions, and all texts of members and
    items that were not met before; the same weights, means and evidence to the bit.
    """
    shutil.copytree(net, tmp_path / "net")
    until = json.loads((run / "model" / "study.json").read_text())["until"]
    rng = np.random.default_rng(0)
    met: set[str] = set()
    for name in ("courses", "people", "companies"):
        path = tmp_path / "net" / f"events_{name}.parquet"
        events = pl.read_parquet(path)
        late = (events["time"].dt.epoch("us") >= until).to_numpy()
        assert late.any()
        (action,) = set(events["action"]) - {"ignore"}
        if name != "companies":  # of follow, which is held out, nothing is read but what is judged
            met |= {*events["member"].filter(~late), *events["item"].filter(~late)}
        n = int(late.sum())
        acted = rng.integers(2, size=n).astype(bool)
        some = events.filter(late).with_columns(
            pl.Series("member", rng.permutation(events["member"])[:n]),
            pl.Series("item", rng.permutation(events["item"])[:n]),
            pl.col("time") + pl.Series(rng.integers(10**10, size=n)).cast(pl.Duration("us")),
            pl.Series("action", np.where(acted, action, "ignore")),
        )
        pl.concat([some, events.filter(~late)]).write_parquet(path)
    changed = 0
    for path in (tmp_path / "net").glob("*.parquet"):
        table = pl.read_parquet(path)
        if "id" in table.columns:
            other = ~pl.col("id").is_in(list(met))
            changed += table.filter(other).height
            texts = [c for c, kind in table.schema.items() if kind == pl.String and c != "id"]
            words = [pl.when(other).then(pl.lit("another")).otherwise(c).alias(c) for c in texts]
            table.with_columns(words).write_parquet(path)
    assert changed > 10
    tasks = [str(tmp_path / "net" / "tasks" / f"{n}.toml") for n in ("enrol", "connect", "follow")]
    words = ["rank", "train", *tasks, "--held-out", "follow", "--base", str(base), *QUICK]
    # The middle of the events is the time that the run had; it is to be no other here.
    words += ["--gap-days", "10", "--train-until", str(np.datetime64(until, "us"))]
    assert main([*words, "--refresh-days", "14", "--out", str(tmp_path / "run")]) == 0
    assert json.loads((run / "model" / "ranker.json").read_text())["evidence"] is not None
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
    # Vectors made in other company differ by their last bits, and few events weigh them heavily.
    expected = [row["score"] for row in found[2:]]
    assert [row["score"] for row in again] == pytest.approx(expected, rel=1e-4)


def test_lists_of_many_members_in_a_file(
    run: Path, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = net / "tasks" / "follow.toml"
    surface = read_surface(read_task(task))
    words = ["rank", "score", str(run), "--task", str(task), "--top", "1000"]
    busy = [surface.members["id"][int(m)] for m in np.argsort(-np.diff(surface.start))[:2]]
    assert main([*words, "--member", ",".join(busy), "--json"]) == 0
    every = pl.DataFrame(json.loads(capsys.readouterr().out), infer_schema_length=None)
    assert every["member"].unique(maintain_order=True).to_list() == busy
    past = surface.task.actions["follow"].past
    # By hand, from the tables: what each did last with each item, and what is left when it is taken out.
    last: dict[tuple[str, str], int] = {}
    acted = set()
    for member, item, action in zip(surface.member, surface.item, surface.action, strict=True):
        pair = (surface.members["id"][int(member)], surface.items["id"][int(item)])
        last[pair] = int(action)
        if list(surface.task.actions)[action] == "follow":
            acted.add(pair)
    said = [action.past for action in surface.task.actions.values()]
    for row in every.iter_rows(named=True):
        done = last.get((row["member"], row["item"]))
        assert row["before"] == (None if done is None else said[done])
    assert every.filter(pl.col("before") == past).height
    for name in ("lists.parquet", "lists.csv", "lists.jsonl"):
        out = tmp_path / name
        assert main([*words, "--member", ",".join(busy), "--new", "--out", str(out)]) == 0
        read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "jsonl": pl.read_ndjson}
        new = read[name.rpartition(".")[2]](out)
        expected = [pair for pair in every.select("member", "item").rows() if pair not in acted]
        assert new.select("member", "item").rows() == expected
    assert main([*words, "--member", "m1", "--out", str(tmp_path / "lists.csv")]) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*words, "--member", "all"]) == 2
    assert "200 lists are many to print" in capsys.readouterr().err
    assert main([*words, "--member", "m1", "--out", str(tmp_path / "lists.xlsx")]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "lists.csv", "lists.jsonl", "lists.parquet",
    ]  # fmt: skip


def test_what_was_acted_on_in_full_leaves_an_empty_list(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("u1", item, "play", f"2026-01-0{k}") for k, item in enumerate(("toy", "ran"), 1)]
    task = str(write_surface(tmp_path, rows))
    words = ["rank", "score", str(run), "--task", task, "--member", "u1", "--items", "toy,ran"]
    assert main([*words, "--new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main([*words, "--new"]) == 0


def test_lists_made_blindly_are_named(
    run: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_surface(tmp_path, history={"budget_tokens": 3})
    titles = pl.DataFrame({"id": ["toy", "alien", "heat", "ran"], "title": ["ภ" * 9] * 4})
    titles.with_columns(plot=pl.col("title")).write_csv(tmp_path / "items.csv")
    assert main(["rank", "score", str(run), "--task", str(task), "--member", "u1"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "u1: no past event has room in a history of 3 tokens" in said
    assert "the model knows less than half" not in said  # this tokenizer has bytes for all
    surface = read_surface(read_task(task))
    notes = _Notes(surface, Verbaliser(small_model("tiny", seed=0), surface))
    notes.look(0, [0, 1], None, None)
    notes.say()
    said = " ".join(capsys.readouterr().err.split())
    assert "2 of the 2 items listed are texts of which the model knows less than half" in said


@pytest.mark.parametrize("clock", [True, False])
def test_positions_are_not_reported_as_days(clock: bool, base: Path, tmp_path: Path) -> None:
    rows = [
        (f"u{1 + k % 2}", ("toy", "heat", "ran")[k % 3], ("play", "ignore")[k % 5 % 2], str(k))
        for k in range(1, 80)
    ]
    if clock:
        rows = [(*row, str(np.datetime64("2026-01-01") + int(at))) for *row, at in rows]
    surface = read_surface(read_task(write_surface(tmp_path, rows)))
    assert surface.clock == clock
    config = RankStudyConfig(bootstrap=20, gap_days=3, refresh_days=2)
    test = int(np.median(surface.time))
    ranker: Any = Obeys(load_model(str(base), "causal"))
    ranker.prior_ = {"play": {}}
    context = Context(folder=tmp_path)
    trained = conditions.Trained(ranker, config, test, test, [surface], [surface], context)
    found = slices.in_domain(trained)
    metrics = study.metrics_of(found.judged, config, 0)
    page = build_report(found.judged, metrics, Ranker(), config, False)
    said = " ".join((*found.notes, *page.lead, repr(page.sections[-1])))
    assert ("3 days and more after" in said) == clock
    assert (re.search(r"\bdays", said) is not None) == clock


@pytest.mark.parametrize("weight", [None, 0.0, 0.5])
def test_a_steering_of_scores_that_read_no_answer_is_said_to_test_nothing(
    weight: float | None,
) -> None:
    ranker = Ranker()
    if weight is not None:
        ranker.evidence_ = Evidence((weight, 1.0, 1.0, -1.0, 0.0), {})
    row = {"metric": "steering", "slice": "play", "k": 0, "n": 9, "value": 0.1}
    (section,) = _steering_section([row | {"low": 0.0, "high": 0.2}], ranker)
    said = repr(section)
    assert ("never read an answer" in said) == (weight == 0)
    assert ("would be obeyed." in said) == (weight != 0)


def test_reasons_are_what_the_log_odds_are_made_of(
    run: Path, net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = net / "tasks" / "connect.toml"
    ranker, surface = Ranker.load(run / "model"), read_surface(read_task(task))
    v = ranker.verbaliser(surface)
    acted = np.bincount(surface.member[v.labels == surface.yes], minlength=len(surface.members))
    for member in (int(acted.argmax()), int(np.flatnonzero(np.diff(surface.start) == 0)[0])):
        name = surface.members["id"][member]
        words = ["rank", "score", str(run), "--task", str(task), "--member", name, "--top", "5"]
        assert main([*words, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        items = [surface.row_of(row["item"], "items") for row in rows]
        terms = ranker.terms(v, member, items)
        for row, parts, like in zip(rows, terms, ranker.most_like(v, member, items), strict=True):
            numbers = [float(n) for n in re.findall(r"[+-]\d+\.\d\d", row["why"])]
            assert sum(numbers) == pytest.approx(parts.sum(), abs=0.03)
            assert ("passed by" in row["why"]) == bool(parts[3])
            if like is None:
                assert "before" not in row["why"]
            else:
                title = surface.items.row(like)[1]
                assert (
                    f"connected with before {parts[2]:+.2f} (most like {title[:30]}" in row["why"]
                )
        assert main(words) == 0
        assert "why" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--held-out", "buy"], 2, "--held-out has buy; the tasks are enrol"),
        (["--held-out", "enrol"], 2, "--held-out names every task"),
        (["--train-until", "soon"], 2, '--train-until is "soon"'),
        (["--gap-days", "999"], 3, "nothing to judge"),
        (["--base", "tiny", "--train", "lora"], 2, "train all of it"),
        (["--base", "huge"], 4, "Untrained models are tiny, small, medium."),
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
        threads=1,
    )
    assert found.config.rank.gap_days == 5
    assert {row["slice"] for row in found.metrics} >= {"enrol"}
