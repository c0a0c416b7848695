"""Replies in pieces: what comes, when it is tried again, and what is told of a stream that breaks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.chat_server import KEY, Played, Stage, chat, stream

from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.lm import server as server_module
from linkwise.lm.budget import Budget, OverBudget, Spent
from linkwise.lm.replies import Cache
from linkwise.lm.server import Server

ASK = [{"role": "user", "content": "Is water wet?"}]  # 13 characters: 4 tokens by estimate


@pytest.fixture
def server(stage: Stage) -> Server:
    return Server(stage.url, "tiny", timeout=5)


def test_pieces_come_as_they_are_sent(stage: Stage, server: Server) -> None:
    stage.play(stream("Yes", ", it ", "is.", pause=0.15))
    began = time.monotonic()
    pieces = server.stream(ASK, max_tokens=20)
    assert next(pieces) == "Yes"
    assert time.monotonic() - began < 0.4  # before the rest was sent
    assert list(pieces) == [", it ", "is."]
    (heard,) = stage.heard
    assert heard.body == {
        "model": "tiny", "messages": ASK, "max_tokens": 20, "temperature": 0.0, "stream": True,
    }  # fmt: skip
    assert server.budget.spent == Spent(1, 4 + 3)


def test_lines_may_be_cut_anywhere(stage: Stage, server: Server) -> None:
    whole = b"".join(part for _, part in stream("Größe ", "“5”").parts)
    whole = b": keep-alive\n\nevent: x\n" + whole.replace(b"\n", b"\r\n")
    one_by_one = tuple((0.0, bytes([byte])) for byte in whole)
    headers = {"Content-Type": "text/event-stream; charset=utf-8"}
    stage.play(Played(headers=headers, parts=one_by_one))
    assert "".join(server.stream(ASK, max_tokens=20)) == "Größe “5”"


def test_a_last_line_without_its_end_counts(stage: Stage, server: Server) -> None:
    parts = (*stream("Yes", end=False).parts, (0.0, b"data: [DONE]"))
    stage.play(Played(headers={"Content-Type": "text/event-stream"}, parts=parts))
    assert list(server.stream(ASK, max_tokens=20)) == ["Yes"]


def test_a_server_that_does_not_stream_gives_one_piece(stage: Stage, server: Server) -> None:
    stage.play(replace(chat("Yes."), headers={"Content-Type": "application/json"}))
    assert list(server.stream(ASK, max_tokens=20)) == ["Yes."]


def test_it_is_tried_again_only_before_the_first_piece(stage: Stage, server: Server) -> None:
    lost = Played(headers={"Content-Type": "text/event-stream"}, parts=((0.0, b": hello\n\n"),))
    stage.play(
        Played(status=500), Played(b"", headers={"Content-Length": "9"}), lost, stream("Yes")
    )
    assert list(server.stream(ASK, max_tokens=20)) == ["Yes"]
    assert len(stage.heard) == 4
    stage.heard.clear()
    stage.play(stream("Yes, ", end=False), stream("No"))
    pieces = server.stream(ASK, max_tokens=20)
    assert next(pieces) == "Yes, "
    with pytest.raises(
        ResourceError, match=r"connection was lost, 5 characters into the reply\. Ask"
    ):
        next(pieces)
    assert len(stage.heard) == 1


def test_429_waits_as_long_as_the_server_says(
    stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(server_module.time, "sleep", pauses.append)
    stage.play(Played(status=429, headers={"Retry-After": "7"}), stream("Yes"))
    assert list(server.stream(ASK, max_tokens=20)) == ["Yes"]
    assert pauses[0] == 7


def test_a_stream_that_trickles_ends_with_the_time(stage: Stage, server: Server) -> None:
    stage.play(stream(*"abcdefghij", pause=0.1))
    quick = replace(server, timeout=0.35)
    found: list[str] = []
    with pytest.raises(ResourceError, match=r"no answer within 0\.35 s, \d characters into"):
        found += quick.stream(ASK, max_tokens=20)
    assert len(stage.heard) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"data: {oops",
        b'data: {"error": {"message": "no room"}}',
        b'data: {"choices": [{"delta": {"content": 5}}]}',
        b"data: [1]",
    ],
)
def test_damaged_pieces_are_named(stage: Stage, server: Server, line: bytes) -> None:
    stage.play(
        Played(headers={"Content-Type": "text/event-stream"}, parts=((0.0, line + b"\n\n"),))
    )
    with pytest.raises(InputError, match="piece that is none of a chat completion"):
        list(server.stream(ASK, max_tokens=20))
    assert len(stage.heard) == 1


def test_huge_streams_are_cut(
    stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_BYTES", 2**16)
    stage.play(stream("x" * 2**15, "y" * 2**15, "z" * 2**15))
    with pytest.raises(InputError, match="more than 0 MiB"):
        list(server.stream(ASK, max_tokens=20))


def test_refusals_are_told_once_and_without_the_key(stage: Stage, server: Server) -> None:
    for status in (301, 400, 401, 404):
        stage.heard.clear()
        stage.play(Played(json.dumps({"error": f"bad key {KEY}"}).encode(), status))
        with pytest.raises((InputError, ResourceError)) as caught:
            list(server.stream(ASK, max_tokens=20))
        assert "secret" not in str(caught.value)
        assert len(stage.heard) == 1


def test_the_budget_and_the_cache_are_those_of_complete(
    stage: Stage, server: Server, tmp_path: Path
) -> None:
    kept = replace(server, cache=Cache(tmp_path / "cache.jsonl"), budget=Budget(requests=1))
    stage.play(stream("Yes", "."))
    assert list(kept.stream(ASK, max_tokens=20)) == ["Yes", "."]
    assert list(kept.stream(ASK, max_tokens=20)) == ["Yes."]
    assert kept.complete(ASK, max_tokens=20)[0].text == "Yes."
    with pytest.raises(OverBudget):
        list(kept.stream(ASK, max_tokens=21))
    assert len(stage.heard) == 1
    with pytest.raises(UsageError):
        list(kept.stream([], max_tokens=20))
