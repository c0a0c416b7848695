"""A chat server of this process, which plays what a test wants, misbehaviour included."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-0123456789"


@dataclass
class Played:
    """One answer of the played server."""

    body: bytes | dict[str, Any] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    parts: tuple[tuple[float, bytes], ...] = ()
    """In place of the body: seconds to wait, and bytes; then the connection is closed."""


@dataclass
class Heard:
    """One request that reached the played server."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Stage:
    """A server on this machine: plays `answer(body, number of the request)`, and keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answer: Callable[[dict[str, Any], int], Played] = lambda body, number: chat("Yes")
        self.lock = threading.Lock()
        stage = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                heard = Heard(self.path, dict(self.headers), json.loads(raw))
                with stage.lock:
                    stage.heard.append(heard)
                    number = len(stage.heard) - 1
                played = stage.answer(heard.body, number)
                if played.delay:  # a test may have replaced sleep
                    time.sleep(played.delay)
                body = (
                    played.body
                    if isinstance(played.body, bytes)
                    else json.dumps(played.body).encode()
                )
                try:
                    self.send_response(played.status)
                    for name, value in played.headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in played.headers and not played.parts:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    for pause, part in played.parts:
                        time.sleep(pause)
                        self.wfile.write(part)
                        self.wfile.flush()
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client did not wait

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def play(self, *answers: Played) -> None:
        """These answers in turn, and the last one from then on."""
        self.answer = lambda body, number: answers[min(number, len(answers) - 1)]


def chat(*texts: str, usage: tuple[int, int] | None = (10, 2), logprobs: Any = None) -> Played:
    choices = [
        {
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
            "logprobs": logprobs,
        }
        for text in texts
    ]
    body: dict[str, Any] = {"choices": choices}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return Played(body)


def stream(*texts: str, pause: float = 0.0, end: bool = True) -> Played:
    """A reply in pieces, as servers stream it; without its `end` the connection is lost."""
    parts = [
        (
            pause,
            b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n",
        )
        for text in texts
    ]
    if end:
        parts += [
            (0.0, b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'),
            (0.0, b"data: [DONE]\n\n"),
        ]
    return Played(headers={"Content-Type": "text/event-stream"}, parts=tuple(parts))


def steps(*places: dict[str, float], chosen: list[str] | None = None) -> dict[str, Any]:
    """Log-probabilities as servers write them, from probabilities; the first of each place is chosen."""
    content = []
    for i, place in enumerate(places):
        top = [{"token": token, "logprob": math.log(p)} for token, p in place.items()]
        first = chosen[i] if chosen else next(iter(place))
        content.append({"token": first, "logprob": math.log(place[first]), "top_logprobs": top})
    return {"content": content}
