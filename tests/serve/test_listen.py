"""The service as a process of its own: started, asked at once by many, slow clients, ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from linkwise.recommend.serving import Lists, Wish
from linkwise.serve.listen import timed_protocol


def start(runs: Path, *words: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The process and its address, once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "linkwise", "serve", str(runs), "--port", "0", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://\S+?:\d+", line)
    assert found, line
    return process, found[0]


@pytest.fixture(scope="module")
def service(runs: Path) -> Iterator[str]:
    process, address = start(runs, "--read-seconds", "1", "--queue", "512")
    for _ in range(100):
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                break
        except httpx.HTTPError:
            time.sleep(0.05)
    yield address
    process.send_signal(signal.SIGTERM)
    process.wait(20)


def test_two_hundred_at_once_are_each_answered_with_their_own(service: str, runs: Path) -> None:
    lists = Lists(runs / "songs")
    items = [row["item"] for row in lists.find("", 25)]
    wishes = [(items[k % 25], items[(k * 7 + 1) % 25], 3 + k % 4) for k in range(200)]
    expected = {
        wish: [
            str(item)
            for item in lists.answer([Wish((wish[0], wish[1]), k=wish[2])])[0]["item"]  # type: ignore[index]
        ]
        for wish in set(wishes)
    }
    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=200)) as client:

        def ask(wish: tuple[str, str, int]) -> Any:
            body = {"run": "songs", "history": wish[:2], "k": wish[2]}
            return client.post(f"{service}/v1/recommend", json=body)

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(ask, wishes))
    assert [answer.status_code for answer in answers] == [200] * 200
    for wish, answer in zip(wishes, answers, strict=True):
        assert [row["item"] for row in answer.json()["items"]] == expected[wish]
    text = httpx.get(f"{service}/metrics").text
    batches = float(re.findall(r'linkwise_batch_requests_count\{verb="recommend"\} (\S+)', text)[0])
    assert batches < 200  # some were answered together


def test_a_client_that_does_not_finish_is_let_go(service: str) -> None:
    host, port = service.removeprefix("http://").split(":")
    for begun in (b"", b"GET /v1/runs HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(begun)
            began = time.monotonic()
            said = connection.recv(1000)
            assert said.startswith(b"HTTP/1.1 408")
            assert 0.5 < time.monotonic() - began < 8
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
        assert b"408" in connection.recv(1000)


def test_requests_that_run_are_answered_before_the_end(runs: Path) -> None:
    process, address = start(runs)
    answers: list[httpx.Response] = []
    body = {
        "run": "brew",
        "task": "connect",
        "member": "m1",
        "k": 3,
    }  # loads a language model first
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{address}/v1/rank", json=body, timeout=60))
    )
    for _ in range(100):
        try:
            httpx.get(f"{address}/readyz")
            break
        except httpx.HTTPError:
            time.sleep(0.05)
    asking.start()
    for _ in range(200):
        if "linkwise_requests_running 2.0" in httpx.get(f"{address}/metrics").text:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert [answer.status_code for answer in answers] == [200]
    assert process.wait(30) in (0, -signal.SIGTERM)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{address}/healthz")


def test_other_addresses_need_a_token(runs: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "linkwise",
        "serve",
        str(runs),
        "--host",
        "0.0.0.0",
        "--port",
        "0",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "LINKWISE_TOKEN"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "LINKWISE_TOKEN" in done.stderr
    token = "0123456789abcdef0123"
    process, address = start(runs, "--host", "0.0.0.0", LINKWISE_TOKEN=token)
    address = address.replace("0.0.0.0", "127.0.0.1")
    try:
        for _ in range(100):
            try:
                httpx.get(f"{address}/readyz")
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        assert httpx.get(f"{address}/v1/runs").status_code == 401
        headers = {"authorization": f"Bearer {token}"}
        assert json.loads(httpx.get(f"{address}/v1/runs", headers=headers).text)["runs"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert token not in said


def test_an_address_that_is_taken_is_told(runs: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = [sys.executable, "-m", "linkwise", "serve", str(runs), "--port", port]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "another --port" in done.stderr


def test_small_packets_do_not_wait_for_each_other() -> None:
    """An answer is two packets: with Nagle's algorithm on, the second waits for the client's receipt."""
    from uvicorn import Config
    from uvicorn.server import ServerState

    made: list[Any] = []

    async def connect() -> int:
        bound = socket.socket(
            socket.AF_INET
        )  # as uvicorn binds it: asyncio leaves such sockets as they are
        bound.bind(("127.0.0.1", 0))

        def make() -> Any:
            config = Config(app=lambda *_: None)
            config.load()
            made.append(timed_protocol(5)(config=config, server_state=ServerState(), app_state={}))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(make, sock=bound)
        _, writer = await asyncio.open_connection(*bound.getsockname())
        while not made:
            await asyncio.sleep(0.01)
        of = made[0].transport.get_extra_info("socket")
        found = of.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        server.close()
        return int(found)

    assert asyncio.run(connect()) == 1
