"""Links judged by a chat server: what is asked, what is believed, and what a misbehaving one does."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.chat_server import KEY, Played, Stage, chat, steps
from tests.matching.test_link import files, options

import linkwise
from linkwise.errors import InputError, ResourceError
from linkwise.lm.budget import Budget, OverBudget
from linkwise.lm.server import Server
from linkwise.matching.goals import read_goals
from linkwise.matching.link_goals import relevance_by_server
from linkwise.matching.pollutants import Pollutant


def ratings(goals: list[str], best: str = "6", explained: int = 3) -> str:
    found = [
        {"goal": goal, "relevance": 9 if goal == best else 2, "explanation": None} for goal in goals
    ]
    found.sort(key=lambda rating: -rating["relevance"])
    for rating in found[:explained]:
        rating["explanation"] = f"because of goal {rating['goal']}"
    return json.dumps({"ratings": found})


ALL = [str(k) for k in range(1, 18)]


def asked(body: dict[str, Any]) -> str:
    return str(body["messages"][1]["content"])


def pollutant(name: str) -> Pollutant:
    return Pollutant(name, (name,), (), (), (), (), False)


def test_relevance_in_json(stage: Stage, server: Server) -> None:
    stage.play(chat(f"<think>hm {{}}</think>```json\n{ratings(ALL)}\n```"))
    found = relevance_by_server(server, [pollutant("zinc")], read_goals(None))
    assert found.by == "server: tiny"
    assert found.score[0].tolist() == [0.9 if goal == "6" else 0.2 for goal in ALL]
    assert found.relevance()[0].tolist() == [9 if goal == "6" else 2 for goal in ALL]
    assert found.why[0, 5] == "because of goal 6"
    assert len(found.why) == 3
    assert found.failed == {}
    body = stage.heard[0].body
    schema = body["response_format"]["json_schema"]["schema"]
    assert set(schema["properties"]) == {"ratings"}
    assert "zinc" in asked(body)
    assert len(stage.heard) == 1


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("I would say water.", "not JSON"),
        ('{"ratings": [{"goal": "6", "relevance": 11, "explanation": "x"}]}', "relevance"),
        (ratings(ALL[:-1]), "17 differ"),
        (ratings([*ALL, "18"]), "18 differ"),
        (ratings([*ALL, "6"]), "twice"),
        (ratings(ALL, explained=1), "explained"),
        ("", "not JSON"),
    ],
)
def test_a_bad_answer_is_asked_again_once(
    first: str, why: str, stage: Stage, server: Server
) -> None:  # fmt: skip
    stage.play(chat(first), chat(ratings(ALL)))
    found = relevance_by_server(server, [pollutant("zinc")], read_goals(None))
    assert found.failed == {}
    assert found.score[0, 5] == 0.9
    again = stage.heard[1].body
    assert "response_format" not in again
    assert why in again["messages"][-1]["content"]
    stage.heard.clear()
    stage.play(chat(first))
    found = relevance_by_server(server, [pollutant("zinc")], read_goals(None))
    assert len(stage.heard) == 2
    assert why in found.failed[0]
    assert np.isnan(found.score).all()
    assert found.why == {}


def test_a_server_that_takes_no_schema_is_asked_without(
    stage: Stage, server: Server
) -> None:  # fmt: skip
    def answer(body: dict[str, Any], number: int) -> Played:
        if "response_format" in body:
            return Played({"error": {"message": "no response_format"}}, 400)
        return chat(ratings(ALL))

    stage.answer = answer
    found = relevance_by_server(server, [pollutant("zinc")], read_goals(None))
    assert found.failed == {}
    assert found.score[0, 5] == 0.9


def play_all(body: dict[str, Any], number: int) -> Played:
    """Yes to zinc with log-probabilities, no to others, garbage to nickel; ratings but for mercury."""
    if body["max_tokens"] > 100:
        return chat("no JSON" if "Pollutant: mercury" in asked(body) else ratings(ALL))
    if "Pollutant: nickel" in asked(body):
        return chat("Perhaps.")
    p = 0.9 if "Pollutant: zinc" in asked(body) else 0.2
    word = "Yes" if p > 0.5 else "No"
    return chat(word, logprobs=steps({"Yes": p, "No": 1 - p}, chosen=[word]))


def test_a_run_by_a_server_that_misbehaves(
    stage: Stage, bert: Path, tmp_path: Path
) -> None:  # fmt: skip
    stage.answer = play_all
    paths = files(tmp_path, 5)
    values = options(paths, bert, server=stage.url, model="tiny", near=10)
    run = linkwise.match_links(str(paths["patents"]), out=tmp_path / "run", **values)
    links = run.links
    found = links.filter(pl.col("target_kind") == "pollutant")
    assert set(found["target"]) == {"zinc"}
    assert set(found["by"]) == {"server: tiny"}
    assert found["score"].to_list() == pytest.approx([0.9] * len(found))
    assert len(found) == 5 + 3  # all patents and all sections with a text were looked at
    goals = links.filter(pl.col("target_kind") == "goal")
    assert "mercury" not in set(goals["source"])
    assert len(set(goals["source"])) == 9
    reason = goals.filter(source="zinc", target="6")["reason"].item()
    assert reason == "relevance 9 of 10: because of goal 6"
    failures = json.loads((run.folder / "failures.json").read_text())
    assert {(f["source_kind"], f["target"]) for f in failures} == {
        ("patent", "nickel"), ("technique", "nickel"), ("pollutant", ""),
    }  # fmt: skip
    assert len(failures) == 5 + 3 + 1
    assert "Questions without an answer" in run.report.read_text()
    prompts = [h.body["messages"] for h in stage.heard if h.body["max_tokens"] < 100]
    assert all("Only answer Yes or No" in p[0]["content"] + p[1]["content"] for p in prompts)
    assert KEY not in "".join(
        path.read_text(errors="ignore") for path in run.folder.rglob("*") if path.is_file()
    )


def test_agreement_of_a_server_with_published_pairs(
    stage: Stage, bert: Path, tmp_path: Path
) -> None:  # fmt: skip
    """A server that says yes where the text names the pollutant agrees as the lexicon does."""

    def answer(body: dict[str, Any], number: int) -> Played:
        if body["max_tokens"] > 100:
            return chat(ratings(ALL))
        text, _, rest = asked(body).partition("Pollutant: ")
        yes = rest.partition("\n")[0] in text
        p = 0.8 if yes else 0.1
        return chat("Yes", logprobs=steps({"Yes": p, "No": 1 - p}))

    stage.answer = answer
    paths = files(tmp_path, 40)
    values = options(paths, bert, server=stage.url, model="tiny", published=(str(paths["pairs"]),))
    run = linkwise.match_links(str(paths["patents"]), **values)
    f1 = {
        row["model"]: row["value"]
        for row in run.metrics
        if (row["slice"], row["metric"]) == ("patent-pollutant", "f1")
    }
    assert f1["server: tiny"] == pytest.approx(f1["lexicon"])
    assert f1["server: tiny"] > 0.9
    # Words alone do as well here, and the first line says so.
    lead = json.loads((run.folder / "report.json").read_text())["lead"]
    assert "server: tiny does not agree with the published pairs better than words" in lead[0]


def test_a_spent_budget_ends_the_run_and_it_goes_on_from_there(
    stage: Stage, bert: Path, tmp_path: Path
) -> None:  # fmt: skip
    stage.answer = play_all
    paths = files(tmp_path, 3)
    values = options(paths, bert, server=stage.url, model="tiny", near=2, requests=9)
    call = {"out": tmp_path / "run", **values}
    with pytest.raises(ResourceError, match=r"does not fit the budget: .* --resume goes on"):
        linkwise.match_links(str(paths["patents"]), **call)
    assert not (tmp_path / "run").exists()
    assert len(stage.heard) == 9
    times = 1
    while not (tmp_path / "run").exists():
        times += 1
        assert times < 20
        with contextlib.suppress(ResourceError):
            linkwise.match_links(str(paths["patents"]), resume=True, **call)
    answered = [json.dumps(h.body, sort_keys=True) for h in stage.heard if "n" not in h.body]
    assert len(set(answered)) == len(answered), "no question that was answered is paid for again"


def test_a_budget_ends_the_second_attempt_too(stage: Stage) -> None:
    one = Server(stage.url, "tiny", budget=Budget(requests=1))
    stage.play(chat("nothing"))
    with pytest.raises(OverBudget):
        relevance_by_server(one, [pollutant("zinc")], read_goals(None))


def test_a_server_that_is_not_there_ends_the_run(
    stage: Stage, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    stage.play(Played(b"", 401))
    paths = files(tmp_path, 3)
    values = options(paths, bert, server=stage.url, model="tiny")
    with pytest.raises((ResourceError, InputError), match="lets us not in"):
        linkwise.match_links(str(paths["patents"]), out=tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()
