"""With the network cut, everything works: nothing asks for another host."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.serve.test_api import get, post

from linkwise.serve.app import make_app


def test_every_question_is_answered_without_a_network(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for = []
    connect = socket.socket.connect

    def cut(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith("127."):
            asked_for.append(address)
            raise OSError("the network is cut")
        connect(self, address)

    def unknown(host: Any, *_: Any, **__: Any) -> Any:
        asked_for.append(host)
        raise socket.gaierror("the network is cut")

    monkeypatch.setattr(socket.socket, "connect", cut)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="cut"):  # it is
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    asked_for.clear()
    with TestClient(make_app(runs)) as client:  # no model is loaded yet
        assert client.get("/app/").status_code == 200
        assert client.get("/readyz").status_code == 200
        for card in get(client, "runs")["runs"]:
            assert get(client, f"runs/{card['id']}/report")["sections"]
            assert client.get(f"/v1/runs/{card['id']}/report.html").status_code == 200
        assert post(client, "recommend", run="songs", history=[], k=3)["items"]
        (task,) = get(client, "rank/tasks", run="brew")["rows"]
        member = get(client, "rank/members", task=task["name"], limit=1)["rows"][0]["id"]
        assert post(client, "rank", task=task["name"], member=member, k=2)["items"]
        assert post(client, "forecast/pairs", k=2)["pairs"]
        assert post(client, "match", run="pairs", text="A muffler for an engine.")["items"]
        assert post(client, "detect", edges=[["a", "b"], ["b", "c"]])["p_value"] is not None
        event = {"time": "2017-06-20", "event": "play", "item": "1", "duration": 100}
        assert post(client, "churn/score", events=[event], at="2017-06-24")["reasons"]
        body = {"run": "links", "question": "Which pollutant has the most patents?"}
        assert "event: answer" in client.post("/v1/ask", json=body).text
    assert asked_for == []
