"""The replies of a chat server: read from its JSON, and kept on disk."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linkwise.errors import InputError, ResourceError

log = logging.getLogger("linkwise")

CHARACTERS_PER_TOKEN = 4  # where the server does not report its tokens
NEVER = -9999.0  # a log-probability in place of minus infinity, which is not JSON


@dataclass(frozen=True)
class Token:
    """One token of a reply: its text, its log-probability (nats), and the likeliest tokens at its place."""

    text: str
    log_p: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """A model's reply; `finish` is "stop", or "length" where it was cut; `tokens` () where none are given."""

    text: str
    finish: str = ""
    tokens: tuple[Token, ...] = ()


class Cache:
    """Replies on disk, one JSON line a request, so that a repeated or resumed run pays nothing twice.

    A request is known by the SHA-256 of its body, with the model, and the server's address; what the file
    holds is that and the replies, not the questions. Thread-safe, and several processes may write to one
    file, though each sees only what stood there when it began. A line that a killed run left half-written
    is passed over. Equal requests get equal replies, at any temperature: repeats of a sampled answer need
    another file.

    Raises `InputError` where the file is something else, `ResourceError` where it cannot be read or written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._claims: dict[str, threading.Lock] = {}
        self._found = self._read()

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Cache({str(self.path)!r}, {len(self)} requests)"

    @staticmethod
    def key(request: Mapping[str, Any]) -> str:
        """What a request is known by: the SHA-256 of its JSON, in hexadecimal."""
        written = json.dumps(request, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(written.encode()).hexdigest()

    def claim(self, key: str) -> threading.Lock:
        """A lock for one request: of two equal ones at a time, the second waits for the first one's reply."""
        with self._lock:
            return self._claims.setdefault(key, threading.Lock())

    def get(self, key: str) -> list[Reply] | None:
        """The replies to a request; None where it was not asked yet."""
        return self._found.get(key)

    def put(self, key: str, replies: list[Reply]) -> None:
        """Keep the replies, on disk at once.

        Raises `ResourceError` where the file cannot be written.
        """
        line = json.dumps({"key": key, "replies": [asdict(reply) for reply in replies]}).encode()
        with self._lock:
            self._found[key] = replies
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a+b", buffering=0) as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    size = file.seek(0, os.SEEK_END)
                    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                        line = b"\n" + line  # another run was killed within its last line
                    rest = line + b"\n"
                    while rest:
                        rest = rest[file.write(rest) :]
            except OSError as error:
                raise ResourceError(
                    f"{self.path}: the cache cannot be written ({error.strerror}). Make room or give another "
                    "file; what it holds is kept."
                ) from error

    def _read(self) -> dict[str, list[Reply]]:
        found: dict[str, list[Reply]] = {}
        broken = 0
        try:
            if not self.path.exists():
                return found
            with self.path.open("rb") as file:
                for line in file:
                    try:
                        record = json.loads(line)
                        found[record["key"]] = [_from_record(reply) for reply in record["replies"]]
                    except (ValueError, KeyError, TypeError, RecursionError):
                        broken += bool(line.strip())
        except OSError as error:
            raise ResourceError(
                f"{self.path}: the cache cannot be read ({error.strerror})."
            ) from error
        if broken > len(found) + 1:
            raise InputError(
                f"{self.path}: {broken} of its lines are no replies of a server; give another file for the "
                "cache."
            )
        if broken:
            log.info("%s: %d half-written lines were passed over", self.path, broken)
        return found


def _from_record(record: dict[str, Any]) -> Reply:
    tokens = tuple(
        Token(token["text"], token["log_p"], tuple((text, log_p) for text, log_p in token["top"]))
        for token in record["tokens"]
    )
    return Reply(record["text"], record["finish"], tokens)


def server_words(body: bytes, key: str) -> str:
    """What a server says of an error, in brackets or nothing; never a page, never the key."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for _ in range(2):
        if isinstance(found, dict):
            found = found.get("error") or found.get("message") or found.get("detail")
    if not isinstance(found, str):
        return ""
    if key:
        found = found.replace(key, "[key]")
    return f' ("{" ".join(found.split())[:200]}")'


def read_replies(body: bytes, url: str, key: str) -> tuple[list[Reply], int | None]:
    """The replies of a response's body, and the tokens that the server reports, or None.

    Raises `InputError` where it is no chat completion.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError(
            f"{url}: the answer is not JSON ({len(body):,} bytes). Look whether base_url is that of an "
            "OpenAI-compatible API, up to and with /v1."
        ) from None
    try:
        replies = [_reply(choice) for choice in found["choices"]]
    except (KeyError, TypeError, AttributeError, ValueError):
        replies = []
    if not replies:
        raise InputError(
            f"{url}: the answer is JSON, but holds no chat completion{server_words(body, key)}. Look whether "
            "base_url is that of an OpenAI-compatible API."
        )
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if isinstance(prompt, int) and isinstance(completion, int) and min(prompt, completion) >= 0:
        return replies, prompt + completion
    return replies, None


def read_event(line: bytes, url: str, key: str) -> Reply | None:
    """The piece of a reply in one line of a stream of server-sent events; None where it holds none.

    Raises `InputError` where the line is damaged, or tells of an error.
    """
    name, _, data = line.strip().partition(b":")
    if name != b"data":  # comments that keep a connection open, names of events, empty lines
        return None
    if data.strip() == b"[DONE]":
        return Reply("", "done")
    try:
        found = json.loads(data)
        choices = found.get("choices")
        if choices is None:
            raise KeyError
        if not choices:  # the tokens used, where the server reports them
            return None
        text = (choices[0].get("delta") or {}).get("content") or ""
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{url}: the streamed answer has a piece that is none of a chat completion"
            f"{server_words(data, key)}. Ask again, or look whether base_url is that of an OpenAI-compatible "
            "API."
        ) from None
    return Reply(text, str(choices[0].get("finish_reason") or ""))


def _reply(choice: dict[str, Any]) -> Reply:
    text = choice["message"].get("content") or ""  # null where a model only thought
    if not isinstance(text, str):
        raise TypeError
    given = (choice.get("logprobs") or {}).get("content") or []
    tokens = tuple(
        Token(
            step["token"],
            _log_p(step["logprob"]),
            tuple((top["token"], _log_p(top["logprob"])) for top in step.get("top_logprobs") or []),
        )
        for step in given
    )
    return Reply(text, str(choice.get("finish_reason") or ""), tokens)


def _log_p(value: float | None) -> float:
    return float(value) if value is not None and math.isfinite(value) else NEVER


def estimate(*texts: str) -> int:
    """The tokens of some texts, at 4 characters a token."""
    return sum(-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts)
