"""What stands before every request: token, sizes, times, headers; and hostile texts."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.chat_server import KEY, Played, Stage, chat

from linkwise.errors import UsageError
from linkwise.lm.server import Server
from linkwise.serve.app import make_app
from linkwise.serve.config import ServeConfig, is_own, read_token

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def guarded(runs: Path) -> Iterator[TestClient]:
    with TestClient(make_app(runs, ServeConfig(), TOKEN)) as client:
        yield client


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ü"],
)
def test_without_the_token_nothing_is_told(guarded: TestClient, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given.encode("latin-1")}
    for method, path in (
        ("GET", "/v1/runs"),
        ("GET", "/metrics"),
        ("POST", "/v1/recommend"),
        ("GET", "/v1/openapi.json"),
    ):
        answer = guarded.request(method, path, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
        assert TOKEN not in answer.text


def test_with_the_token_all_is_as_without_one(guarded: TestClient) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/runs", headers=headers).status_code == 200
    assert guarded.get("/v1/runs", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("127.1.2.3", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("example.org", False), ("", False),
    ],
)  # fmt: skip
def test_other_addresses_demand_a_token(
    host: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LINKWISE_TOKEN", raising=False)
    assert is_own(host) is own
    if own:
        assert read_token(host) is None
    else:
        with pytest.raises(UsageError, match="LINKWISE_TOKEN"):
            read_token(host)
    monkeypatch.setenv("LINKWISE_TOKEN", "short")
    with pytest.raises(UsageError, match="5 characters"):
        read_token(host)
    monkeypatch.setenv("LINKWISE_TOKEN", TOKEN)
    assert read_token(host) == TOKEN


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in ("/v1/runs", "/v1/runs/none", "/nothing", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


def test_other_sites_are_not_let_in(client: TestClient) -> None:
    answer = client.options(
        "/v1/recommend",
        headers={"origin": "https://example.org", "access-control-request-method": "POST"},
    )
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_a_large_body_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post("/v1/recommend", content=b"x" * 10_000_000)
    assert answer.status_code == 413
    assert "1024 KiB" in answer.json()["detail"]

    def parts() -> Iterator[bytes]:  # without a length that could be believed
        for _ in range(10_000):
            yield b"x" * 1000

    answer = client.post("/v1/recommend", content=parts())
    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_let_go(runs: Path) -> None:
    app = make_app(runs, ServeConfig(read_seconds=0.2))
    sent: list[Any] = []

    async def run() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/v1/recommend", "raw_path": b"/v1/recommend",
            "query_string": b"", "headers": [(b"content-type", b"application/json")],
            "http_version": "1.1", "scheme": "http", "server": ("x", 1), "client": ("y", 2),
        }  # fmt: skip
        parts = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await asyncio.sleep(60)
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 5
    assert sent[0]["status"] == 408
    assert "--read-seconds" in json.loads(sent[1]["body"])["detail"]


def test_bodies_that_are_no_json_are_refused(client: TestClient) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"k": NaN}',
        b"\xff\xfe",
        b'{"history": "x"}',
        b"[" * 100_000,
    ):
        answer = client.post(
            "/v1/recommend", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422), body[:20]
        if body == b"{":
            assert "the body is no JSON: " in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"


def test_markup_in_the_records_stays_text(runs: Path, tmp_path: Path) -> None:
    import polars as pl

    title = "<script>alert(1)</script>"
    shutil.copytree(runs / "songs", tmp_path / "runs" / "songs")
    path = tmp_path / "runs" / "songs" / "recommendations.parquet"
    pl.read_parquet(path).with_columns(title=pl.lit(title)).write_parquet(path)
    with TestClient(make_app(tmp_path / "runs")) as client:
        answer = client.get("/v1/runs/songs/tables/recommendations", params={"limit": 1})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.json()["rows"][0]["title"] == title
        answer = client.get(f"/v1/runs/{title}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_answer_that_takes_too_long_is_given_up(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linkwise.recommend.serving import Lists

    monkeypatch.setattr(Lists, "answer", lambda self, wishes: time.sleep(2))
    with TestClient(make_app(runs, ServeConfig(answer_seconds=0.3))) as client:
        began = time.monotonic()
        answer = client.post("/v1/recommend", json={"history": []})
        assert answer.status_code == 504
        assert "--answer-seconds" in answer.json()["detail"]
        assert time.monotonic() - began < 1.5
        assert client.get("/v1/runs").status_code == 200  # others are answered meanwhile


def test_a_chat_server_that_hangs_is_told_of(runs: Path, stage: Stage) -> None:
    stage.answer = lambda body, number: Played(b"", delay=3)
    served = Server(stage.url, "tiny", timeout=10, attempts=1)
    with TestClient(make_app(runs, ServeConfig(answer_seconds=0.5), None, served)) as client:
        began = time.monotonic()
        answer = client.post(
            "/v1/ask", json={"run": "links", "question": "Which pollutant has the most patents?"}
        )
        assert time.monotonic() - began < 2.5
        assert "event: problem" in answer.text
        assert '"status": 504' in answer.text


def test_a_chat_server_that_hangs_keeps_no_model_from_answering(runs: Path, stage: Stage) -> None:
    stage.answer = lambda body, number: Played(b"", delay=3)
    served = Server(stage.url, "tiny", timeout=10, attempts=1)
    with TestClient(make_app(runs, ServeConfig(answer_seconds=8), None, served)) as client:
        question = "Which pollutant has the most patents?"
        client.post("/v1/recommend", json={"history": []})  # loaded
        with ThreadPoolExecutor(4) as several:
            asked = [
                several.submit(client.post, "/v1/ask", json={"run": run, "question": question})
                for run in ("links", "churn", "songs", "graphs")
            ]
            until = time.monotonic() + 5
            while len(stage.heard) < 1 and time.monotonic() < until:
                time.sleep(0.02)
            time.sleep(0.3)
            began = time.monotonic()
            assert client.post("/v1/recommend", json={"history": []}).status_code == 200
            assert time.monotonic() - began < 1
            assert not all(one.done() for one in asked)  # some still wait for the server


def test_a_chat_server_words_the_answer_and_its_key_is_never_told(
    runs: Path, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.answer = lambda body, number: chat("Zinc is linked with patents [1].")
    served = Server(stage.url, "tiny", timeout=5)
    with (
        TestClient(make_app(runs, ServeConfig(), None, served)) as client,
        caplog.at_level("DEBUG"),
    ):
        answer = client.post(
            "/v1/ask", json={"run": "links", "question": "Which pollutants does P1 help with?"}
        )
        assert stage.heard
        assert KEY in stage.heard[0].headers["Authorization"]
        assert KEY not in answer.text + caplog.text
        assert KEY not in client.get("/metrics").text
