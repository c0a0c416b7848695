"""Every route of the service, against what the same run says from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

import linkwise
from linkwise.data.engine import collect
from linkwise.data.events import from_epoch_day, read_events
from linkwise.errors import InputError
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task
from linkwise.run import Run

NAMES = {"churn", "songs", "graphs", "codes", "links", "brew", "pairs"}


def get(client: TestClient, path: str, **params: Any) -> Any:
    answer = client.get(f"/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: Any, status: int) -> str:
    """The detail of a problem document, the rest of which is checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"] == "about:blank"
    return str(problem["detail"])


# ----------------------------------------------------------------------------------------------- the records


def test_runs_are_listed_with_their_verdict(client: TestClient, runs: Path) -> None:
    cards = {card["id"]: card for card in get(client, "runs")["runs"]}
    assert set(cards) == NAMES
    report = json.loads((runs / "churn" / "report.json").read_text())
    assert cards["churn"]["lead"] == report["lead"]
    assert cards["churn"]["simulated"] is True
    assert cards["churn"]["asks"] == ["churn", "ask"]
    assert cards["songs"]["verb"] == "recommend"
    assert "map" in cards["codes"]["tables"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_run_has_its_config_and_metrics(client: TestClient, runs: Path, name: str) -> None:
    found = get(client, f"runs/{name}")
    run = Run.open(runs / name)
    assert found["metrics"] == run.metrics
    assert found["info"] == run.info
    assert found["config"]["verb"] == run.config.verb
    schema = pl.read_parquet_schema(runs / name / "ranking.parquet")
    assert found["columns"]["ranking"] == {k: str(v) for k, v in schema.items()}
    assert get(client, f"runs/{name}/report") == json.loads(
        (runs / name / "report.json").read_text()
    )


def test_the_report_page_runs_nothing(client: TestClient, runs: Path) -> None:
    answer = client.get("/v1/runs/churn/report.html")
    assert answer.text == (runs / "churn" / "report.html").read_text()
    policy = answer.headers["content-security-policy"]
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "sandbox" in policy


def test_a_ranking_comes_in_pages(client: TestClient, runs: Path) -> None:
    ranking = pl.read_parquet(runs / "songs" / "ranking.parquet")
    query = ranking["query"][0]
    mine = ranking.filter(pl.col("query") == query, pl.col("model") == "svd")
    seen: list[dict[str, Any]] = []
    after = None
    while True:
        more = {"after": after} if after else {}
        found = get(client, "runs/songs/ranking", query=query, model="svd", limit=7, **more)
        assert found["total"] == len(mine)
        seen += found["rows"]
        after = found["next"]
        if after is None:
            break
    assert [row["item"] for row in seen] == mine["item"].to_list()
    assert [row["score"] for row in seen] == mine["score"].to_list()


def test_a_file_holds_the_rows_that_are_wanted(
    client: TestClient, runs: Path, tmp_path: Path
) -> None:
    params = {"where": "probability:ge:0.5", "sort": "-probability"}
    expected = pl.read_parquet(runs / "churn" / "ranking.parquet").filter(
        pl.col("probability") >= 0.5
    )
    for kind, read in (("csv", pl.read_csv), ("parquet", pl.read_parquet)):
        answer = client.get("/v1/runs/churn/tables/ranking/file", params=params | {"format": kind})
        assert answer.status_code == 200
        assert f'filename="churn-ranking.{kind}"' in answer.headers["content-disposition"]
        path = tmp_path / f"list.{kind}"
        path.write_bytes(answer.content)
        table: pl.DataFrame = read(path)
        assert len(table) == len(expected)
        assert table["probability"].is_sorted(descending=True)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("runs/none", 404, 'no run "none"'),
        ("runs/..%2F..%2Fetc", 404, ""),
        ("runs/%2e%2e", 404, ""),
        ("runs/churn/tables/secrets", 404, "it has ranking"),
        ("runs/churn/tables/..%2Frun.json", 404, ""),
        ("runs/churn/tables/ranking?where=nothing:eq:1", 400, "there are model, query, item"),
        ("runs/churn/tables/ranking?where=score:like:1", 400, "eq, ne, ge"),
        ("runs/churn/tables/ranking?where=score:ge:much", 400, "not"),
        ("runs/churn/tables/ranking?sort=nothing", 400, "there is no column"),
        ("runs/churn/tables/ranking?limit=0", 422, "limit"),
        ("runs/churn/tables/ranking?after=x", 400, "no cursor"),
        ("runs/churn/tables/ranking/at?row=-1", 422, "row"),
        ("runs/churn/tables/ranking/points", 400, 'no column "x"'),
        ("rank/secrets?task=connect", 404, "members or items"),
        ("nothing", 404, "Not Found"),
    ],
)
def test_wrong_readings(client: TestClient, path: str, status: int, said: str) -> None:
    assert said in refused(client.get(f"/v1/{path}"), status)


# ------------------------------------------------------------------------------------------------- the models


def test_a_list_after_a_history_is_that_of_the_run(client: TestClient, runs: Path) -> None:
    run = Run.open(runs / "songs")
    items = get(client, "recommend/items", run="songs", limit=6)["rows"]
    assert [i["popularity"] for i in items] == sorted(
        (i["popularity"] for i in items), reverse=True
    )
    history = [item["item"] for item in items[:3]]
    for model in ("svd", "item-item"):
        found = post(
            client, "recommend", run="songs", history=[*history, "nothing"], k=5, model=model
        )
        expected = run.recommend(history, k=5, model=model)
        assert [row["item"] for row in found["items"]] == expected["item"].to_list()
        assert [row["reason"] for row in found["items"]] == expected["reason"].to_list()
        assert found["unknown"] == ["nothing"]
    assert found["model"] == "item-item"
    first, *rest = [row["item"] for row in found["items"]]
    without = post(
        client, "recommend", run="songs", history=history, exclude=[first], k=4, model="item-item"
    )
    assert [row["item"] for row in without["items"]] == rest
    assert [row["rank"] for row in without["items"]] == [1, 2, 3, 4]


def test_a_list_of_a_user_is_read(client: TestClient, runs: Path) -> None:
    lists = Run.open(runs / "songs").recommendations
    user = str(lists["user"][0])
    found = post(client, "recommend", user=user, k=3)
    mine = lists.filter(pl.col("user").cast(pl.String) == user, pl.col("rank") <= 3)
    assert [row["item"] for row in found["items"]] == mine["item"].to_list()
    models = get(client, "recommend/models")
    assert models["chosen"] == found["model"]
    assert set(models["models"]) == {"popularity", "item-item", "svd"}


def test_words_find_items(client: TestClient) -> None:
    title = get(client, "recommend/items", limit=1)["rows"][0]["title"]
    word = title.split()[0][:4].lower()
    found = get(client, "recommend/items", q=word, limit=50)["rows"]
    assert title in [row["title"] for row in found]
    assert all(any(w.startswith(word) for w in row["title"].lower().split()) for row in found)


def test_a_users_risk_is_that_of_the_whole_logs_list(
    client: TestClient, runs: Path, music: Path
) -> None:
    """Users scored one at a time, from JSON, against the list that scoring the whole log makes."""
    run = Run.open(runs / "churn")
    whole = linkwise.score(run, str(music))
    events = read_events(music, schema="music-box", on_bad_row="skip")
    rows = collect(events.frame)
    at = str(from_epoch_day(events.end_day))
    for user in whole["user"].to_list()[::200]:
        own = [
            {
                "time": str(from_epoch_day(row["day"])),
                "event": row["event"],
                "item": row["item"],
                "duration": None if row["duration"] is None else row["duration"] / 1000,
                "length": None if row["length"] is None else row["length"] / 1000,
                "device": row["device"],
                "paid": row["paid"],
            }
            for row in rows.filter(pl.col("user") == user).iter_rows(named=True)
        ]
        found = post(client, "churn/score", run="churn", events=own, at=at)
        (expected,) = whole.filter(pl.col("user") == user).to_dicts()
        for name in ("probability", "low", "high", "score"):
            assert found[name] == expected[name]
        assert "; ".join(found["reasons"]) == expected["reason"]
        if not expected["holdout"]:
            assert found["action"] == expected["action"]
    assert found["at"] == at


def test_a_ranked_list_is_that_of_the_ranker(client: TestClient, runs: Path) -> None:
    run = Run.open(runs / "brew")
    (task,) = get(client, "rank/tasks", run="brew")["rows"]
    assert task["name"] == "connect"
    assert task["trained"] is True
    path = next(Path(run.config.paths[0]).parent.glob("connect.toml"))
    surface = read_surface(read_task(path))
    ranker = Ranker.load(run.folder / "model")
    verbaliser = ranker.verbaliser(surface)
    member = surface.members["id"][5]
    found = post(client, "rank", task="connect", member=member, k=4)
    scores = ranker.scores(verbaliser, 5, range(len(surface.items)))
    order = np.argsort(-scores, kind="stable")[:4]
    assert [row["item"] for row in found["items"]] == [surface.items["id"][int(k)] for k in order]
    assert [row["score"] for row in found["items"]] == pytest.approx(scores[order].tolist())
    some = [row["item"] for row in found["items"]][::-1]
    again = post(client, "rank", task="connect", member=member, candidates=some, k=2)
    assert [row["item"] for row in again["items"]] == some[::-1][:2]
    prompt = post(client, "rank/prompt", task="connect", member=member, candidate=some[0])
    assert prompt["parts"][0]["name"] == "instruction"
    assert prompt["tokens"] == sum(part["tokens"] for part in prompt["parts"])
    rows = get(client, "rank/members", task="connect", q=member, limit=3)["rows"]
    assert member in [row["id"] for row in rows]


def test_pairs_of_codes_are_those_of_the_list(client: TestClient, runs: Path) -> None:
    listed = pl.read_parquet(runs / "codes" / "pairs.parquet")
    found = post(client, "forecast/pairs", k=3)["pairs"]
    assert [(row["a"], row["b"]) for row in found] == listed.head(3).select("a", "b").rows()
    a, b = listed.select("a", "b").row(7)
    (one,) = post(client, "forecast/pairs", codes=[b, a])["pairs"]
    assert (one["a"], one["b"], one["rank"]) == (a, b, listed["rank"][7])
    mine = post(client, "forecast/pairs", codes=[a], k=1000)["pairs"]
    assert all(a in (row["a"], row["b"]) for row in mine)
    evaluation = pl.read_parquet(runs / "codes" / "evaluation.parquet")
    rest = evaluation.join(listed, left_on=["query", "item"], right_on=["a", "b"], how="anti")
    query, item = rest.select("query", "item").row(0)
    rows = post(client, "forecast/pairs", codes=[item, query])["pairs"]
    expected = rest.filter(pl.col("query") == query, pl.col("item") == item)
    assert {row["model"]: row["rank"] for row in rows} == dict(
        expected.select("model", "rank").iter_rows()
    )


def test_neighbours_of_a_code_are_nearest_by_cosine(client: TestClient, runs: Path) -> None:
    from safetensors.numpy import load_file

    (name, table), *_ = load_file(runs / "codes" / "model" / "vectors.safetensors").items()
    codes = json.loads((runs / "codes" / "model" / "codes.json").read_text())["codes"]
    row = int(np.flatnonzero(np.linalg.norm(table, axis=1) > 0)[3])
    length = np.linalg.norm(table, axis=1)
    cosine = {
        code: float(vector @ table[row] / (length[row] * norm))
        for code, vector, norm in zip(codes, table, length, strict=True)
        if norm > 0 and code != codes[row]
    }
    found = post(client, "forecast/neighbours", code=codes[row], k=5)
    assert found["vectors"] == name
    best = sorted(cosine, key=lambda code: -cosine[code])[:5]
    assert [one["code"] for one in found["neighbours"]] == best
    assert found["neighbours"][0]["cosine"] == pytest.approx(cosine[best[0]], abs=1e-5)


def test_a_text_is_matched_as_the_runs_own_were(client: TestClient, runs: Path) -> None:
    """A patent's own text, as if it were new: what is retrieved and said are the run's.

    Its probability is that of a text that no pool has in it.
    """
    ranking = pl.read_parquet(runs / "pairs" / "ranking.parquet")
    nodes = pl.read_parquet(runs / "pairs" / "nodes.parquet").filter(pl.col("kind") == "query")
    for row in nodes.head(4).iter_rows(named=True):
        found = post(client, "match", run="pairs", text=row["text"], k=4)["items"]
        mine = ranking.filter(pl.col("query") == row["id"])
        assert {one["item"] for one in found} == set(mine["item"])
        assert [one["rank"] for one in found] == [1, 2, 3, 4]
        assert [one["score"] for one in found] == sorted((o["score"] for o in found), reverse=True)
        said = {line["item"]: line for line in mine.iter_rows(named=True)}
        for one in found:
            assert one["query_part"] == said[one["item"]]["query_part"]
            assert one["item_part"] == said[one["item"]]["item_part"]
            assert one["probability"] == pytest.approx(said[one["item"]]["probability"], abs=0.2)
            assert one["yes"] == (one["probability"] >= 0.5)


def test_texts_that_are_matched_together_do_not_move_each_other(runs: Path) -> None:
    from linkwise.matching.serving import Asked, Matcher

    run = Run.open(runs / "pairs")
    matcher = Matcher(run.folder, run.config.pairs)
    texts = ["A muffler for an engine. It is silent.", "Lime takes sulphur.", "...", "A bag."]
    together = matcher.answer([Asked(text, k=3) for text in texts])
    assert isinstance(together[2], InputError)
    for text, listed in zip(texts, together, strict=True):
        (alone,) = matcher.answer([Asked(text, k=3)])
        if isinstance(alone, InputError) or isinstance(listed, InputError):
            assert type(alone) is type(listed)
            continue
        assert [one["item"] for one in alone] == [one["item"] for one in listed]  # type: ignore[index]
        for one, other in zip(alone, listed, strict=True):  # type: ignore[arg-type]
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_graph_is_judged_as_from_a_file(client: TestClient, runs: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    edges = sorted({tuple(sorted(pair)) for pair in rng.integers(0, 30, (60, 2)).tolist()})
    edges = [(u, v) for u, v in edges if u != v]
    pl.DataFrame(
        {
            "graph": ["g"] * len(edges),
            "source": [u for u, _ in edges],
            "target": [v for _, v in edges],
        }
    ).write_csv(tmp_path / "g.csv")
    (expected,) = linkwise.detect_score(runs / "graphs", str(tmp_path / "g.csv")).to_dicts()
    named = [(f"n{u:02}", f"n{v:02}") for u, v in edges]
    found = post(client, "detect", edges=named, false_alarms=0.2)
    assert found["p_value"] == expected["p_value"]
    assert found["p_value_by_size"] == expected["p_value_by_size"]
    assert found["score"] == pytest.approx(expected["score"])
    assert (found["n_nodes"], found["n_edges"]) == (expected["nodes"], expected["edges"])
    assert found["flagged"] == (expected["p_value"] <= 0.2)
    assert set(found["picture"]["node_names"]) == {name for edge in named for name in edge}


def test_a_question_is_answered_line_by_line(client: TestClient, runs: Path) -> None:
    question = "Which pollutant has the most patents?"
    expected = linkwise.ask(runs / "links", question)
    events = asked(client, run="links", question=question)
    lines = [data["text"] for name, data in events if name == "line"]
    name, answer = events[-1]
    assert name == "answer"
    assert answer["answer"] == expected.text == "\n".join(lines)
    assert answer["sources"][0]["where"] == expected.sources[0].where
    assert answer["refused"] is False


def test_a_conversation_goes_on_and_others_do_not_hear_it(client: TestClient, runs: Path) -> None:
    first = asked(client, run="links", question="Which pollutants does P1 help with?")[-1][1]
    assert not first["refused"]
    session = first["session"]
    asked(client, run="links", question="Which pollutants does P2 help with?")
    again = asked(client, run="links", question="and its techniques?", session=session)[-1][1]
    assert "P1" in again["answer"]
    alone = asked(client, run="links", question="and its techniques?")[-1][1]
    assert "P1" not in alone["answer"]


def test_what_is_not_on_record_is_refused(client: TestClient) -> None:
    answer = asked(client, run="churn", question="Who is the president of France?")[-1][1]
    assert answer["refused"]
    name, problem = asked(client, run="churn", question=" ")[-1]
    assert name == "problem"
    assert problem["status"] == 422


def asked(client: TestClient, **body: Any) -> list[tuple[str, Any]]:
    """The events of an answer, by name."""
    answer = client.post("/v1/ask", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("recommend", {}, 400, "user or history"),
        ("recommend", {"history": ["nothing"]}, 422, "none of the items"),
        ("recommend", {"history": [], "k": 0}, 422, 'k is "0": input should be'),
        ("recommend", {"history": [], "k": 5000}, 400, "--candidates"),
        ("recommend", {"history": ["1"] * 2001}, 400, "--history"),
        ("recommend", {"history": [], "model": "../../x"}, 400, "no model"),
        ("recommend", {"user": "nobody"}, 422, 'no user "nobody"'),
        ("recommend", {"user": "1", "colour": 1}, 422, "there is no field colour"),
        ("forecast/neighbours", {}, 422, "code is missing"),
        ("recommend", {"history": [], "run": "churn"}, 404, "does not answer recommend"),
        ("churn/score", {"events": []}, 422, "events"),
        ("churn/score", {"events": [{"time": "soon"}]}, 422, 'event 1: time is "soon"'),
        ("churn/score", {"events": [{"time": "2015-04-01"}], "at": "1999-01-01"}, 422, "gone"),
        ("rank", {"task": "none", "member": "m1"}, 422, "it has connect"),
        ("rank", {"task": "connect", "member": "none"}, 422, 'no member "none"'),
        ("rank", {"task": "connect", "member": "m1", "at": "soon"}, 400, "at is"),
        ("forecast/pairs", {"codes": ["none"]}, 422, "carries the code"),
        ("forecast/neighbours", {"code": "none"}, 422, "carries the code"),
        ("detect", {"edges": []}, 422, "no node"),
        ("detect", {"edges": [["a", "b"]], "labels": {"z": "1"}}, 422, '"z"'),
        ("detect", {"edges": [["a", "b"]], "labels": {"a": "1"}}, 422, 'node "b" has no label'),
        ("match", {"run": "pairs", "text": "..."}, 422, "no word"),
        ("match", {"run": "links", "text": "zinc"}, 404, "does not answer match"),
        ("ask", {"run": "none", "question": "what?"}, 404, "no run"),
    ],
)
def test_wrong_requests(
    client: TestClient, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    assert said in refused(client.post(f"/v1/{path}", json=body), status)


def test_messages_do_not_tell_where_the_runs_lie(client: TestClient, runs: Path) -> None:
    answer = client.post("/v1/recommend", json={"user": "nobody"})
    assert str(runs) not in answer.text
    assert "songs" in answer.text


def test_the_document_describes_every_route(client: TestClient) -> None:
    document = get(client, "openapi.json")
    assert {
        "/v1/runs", "/v1/runs/{run}", "/v1/runs/{run}/ranking", "/v1/recommend", "/v1/churn/score",
        "/v1/rank", "/v1/forecast/pairs", "/v1/detect", "/v1/ask", "/healthz", "/readyz", "/metrics",
    } <= set(document["paths"])  # fmt: skip
    for path, methods in document["paths"].items():
        for about in methods.values():
            assert about.get("description") or about.get("summary"), path


def test_health_and_numbers(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").status_code == 200
    get(client, "runs")
    text = client.get("/metrics").text
    assert 'linkwise_requests_total{method="GET",route="/v1/runs",status="200"}' in text
