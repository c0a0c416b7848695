"""Chat models behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, OpenAI.

Standard library only. The key is read from the environment when a request is sent, goes into one header, and
stands nowhere else: not in the repr, a log, an error or the cache. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import os
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import HTTPException, IncompleteRead
from itertools import chain
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.lm.budget import Budget
from linkwise.lm.replies import (
    CHARACTERS_PER_TOKEN,
    Cache,
    Reply,
    estimate,
    read_event,
    read_replies,
    server_words,
)

log = logging.getLogger("linkwise")

MAX_BYTES = 16 * 2**20  # of a response
BACKOFF = 0.5  # seconds before the second attempt, doubled before each further one
LONGEST_PAUSE = 60.0  # seconds, whatever Retry-After says


@dataclass(frozen=True)
class Server:
    """A chat model behind an OpenAI-compatible API.

    `base_url` is the part before ``/chat/completions``: ``http://127.0.0.1:8000/v1``. `key_variable` names
    the environment variable with the key; unset, or "", no key is sent. The key goes to whichever server
    `base_url` names: give another provider's variable with another provider's address.

    `timeout` is in seconds, for one attempt; `attempts` counts the first one. `options` are further fields of
    the request, and replace those of `complete`; None leaves a field out: ``{"max_tokens": None,
    "max_completion_tokens": 500}``. What `cache` holds is neither asked nor paid for again.

    Raises `UsageError` where a value cannot be used.
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    attempts: int = 4
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    budget: Budget = field(default_factory=Budget, compare=False)
    cache: Cache | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if not self.model:
            raise UsageError("the server's model has no name; give the one that it serves.")
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise UsageError(f"timeout is {self.timeout}; expected seconds above 0.")
        if self.attempts < 1:
            raise UsageError(f"attempts is {self.attempts}; expected 1 or more.")
        taken = sorted({"messages", "model", "n", "stream"} & set(self.options))
        if taken:
            raise UsageError(f'options has "{taken[0]}", which has a place of its own.')
        try:
            json.dumps(dict(self.options), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the server's options cannot be written as JSON ({error}).") from None

    def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        temperature: float | None = 0.0,
        top_logprobs: int | None = None,
        n: int = 1,
    ) -> list[Reply]:
        """The model's `n` replies to a conversation, of at most `max_tokens` tokens each.

        A temperature of None is left to the server. `top_logprobs` asks for the log-probabilities (nats) of
        that many tokens at each position; where the server gives none, `Reply.tokens` is empty. A server that
        gives one reply at a time is asked again until there are `n`.

        Tries again after 429, 5xx and lost connections, with growing pauses, or as long as Retry-After says
        (60 s at most).

        Raises `InputError` where the server refuses this request or its answer cannot be used,
        `ResourceError` where it cannot be reached, lets nobody in or lacks the model, `OverBudget` before a
        request that does not fit, and `UsageError` where a key would leave unencrypted.
        """
        if max_tokens < 1 or n < 1 or not messages:
            raise UsageError(
                f"{len(messages)} messages, max_tokens={max_tokens}, n={n}; expected 1 or more of each."
            )
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "n": None,
        }
        if top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        body |= self.options
        found: list[Reply] = []
        while len(found) < n:
            body["n"] = n - len(found) if n - len(found) > 1 else None
            sent = {name: value for name, value in body.items() if value is not None}
            found += self._cached(sent, len(found))
        return found[:n]

    def stream(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        temperature: float | None = 0.0,
    ) -> Iterator[str]:
        """The model's reply in pieces, as they come; joined they are what `complete` gives.

        Tries again as `complete` does, but only until the first piece: what was given out is not taken back.
        A server that does not stream gives one piece; so does the cache, which is that of `complete`.

        Raises what `complete` raises, and `ResourceError` where the connection is lost within the reply.
        """
        if max_tokens < 1 or not messages:
            raise UsageError(
                f"{len(messages)} messages, max_tokens={max_tokens}; expected 1 or more of each."
            )
        fields = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            **self.options,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        if self.cache is None:
            yield from self._streamed(body)
            return
        key = self.cache.key({"base_url": self._base, "body": body, "already": 0})
        found = self.cache.get(key)
        if found is None:
            parts = []
            for piece in self._streamed(body):
                parts.append(piece)
                yield piece
            self.cache.put(key, [Reply("".join(parts))])
        else:
            yield found[0].text

    def _streamed(self, body: dict[str, Any]) -> Iterator[str]:
        data = json.dumps(body | {"stream": True}).encode()
        key = self._key()
        prompt = estimate(*(message.get("content", "") for message in body["messages"]))
        most = prompt + int(body.get("max_completion_tokens", body.get("max_tokens", 0)))
        for attempt in range(1, self.attempts + 1):
            self.budget.take(most)
            wait: float | None = None
            used = most  # until it is known to be less
            length = 0  # characters given out
            try:
                with self._open(data, key) as response:
                    if response.status == 200:
                        for piece in self._pieces(response, key):
                            length += len(piece)
                            yield piece
                        used = prompt + -(-length // CHARACTERS_PER_TOKEN)
                        return
                    used = 0
                    trouble = f"the server answers {response.status}"
                    answer = _Answer(
                        response.status, response.headers, b"".join(self._chunks(response))
                    )
                    wait = self._pause_or_raise(answer, key)
            except (HTTPException, OSError) as error:
                used = 0 if isinstance(error, URLError) else most
                trouble = self._trouble(error)
            finally:
                self.budget.settle(most, used)
            if length:
                raise ResourceError(
                    f"{self._url}: {trouble}, {length:,} characters into the reply. Ask again, or raise "
                    "timeout."
                )
            self._pause(attempt, wait, trouble)
        raise self._gave_up(trouble)

    def _pieces(self, response: Any, key: str) -> Iterator[str]:
        """The text of a streamed response (server-sent events), or of one that is not streamed."""
        if "event-stream" not in response.headers.get("Content-Type", ""):
            yield read_replies(b"".join(self._chunks(response)), self._url, key)[0][0].text
            return
        line, ended = b"", False
        for chunk in chain(self._chunks(response), [b"\n"]):
            *lines, line = (line + chunk).split(b"\n")
            for one in lines:
                piece = read_event(one, self._url, key)
                if piece is None:
                    continue
                ended |= piece.finish != ""
                if piece.text:
                    yield piece.text
        if not ended:
            raise IncompleteRead(b"")

    def _cached(self, body: dict[str, Any], already: int) -> list[Reply]:
        if self.cache is None:
            return self._post(body)
        # `already` tells the third of five equal requests from the second.
        key = self.cache.key({"base_url": self._base, "body": body, "already": already})
        with self.cache.claim(key):
            found = self.cache.get(key)
            if found is None:
                found = self._post(body)
                self.cache.put(key, found)
            return found

    def _post(self, body: dict[str, Any]) -> list[Reply]:
        data = json.dumps(body).encode()
        key = self._key()
        prompt = estimate(*(message.get("content", "") for message in body["messages"]))
        longest = int(body.get("max_completion_tokens", body.get("max_tokens", 0)))
        most = prompt + longest * body.get("n", 1)
        for attempt in range(1, self.attempts + 1):
            self.budget.take(most)
            wait: float | None = None
            used = most  # until it is known to be less
            try:
                answer = self._exchange(data, key)
                if answer.status == 200:
                    replies, reported = read_replies(answer.body, self._url, key)
                    told = prompt + estimate(*(reply.text for reply in replies))
                    used = told if reported is None else reported
                    return replies
                used = 0
                trouble = f"the server answers {answer.status}"
                wait = self._pause_or_raise(answer, key)
            except (HTTPException, OSError) as error:
                if isinstance(error, URLError):  # the request did not get through
                    used = 0
                trouble = self._trouble(error)
            finally:
                self.budget.settle(most, used)
            self._pause(attempt, wait, trouble)
        raise self._gave_up(trouble)

    def _trouble(self, error: Exception) -> str:
        """What became of the connection; raises where trying again cannot mend it."""
        if not isinstance(error, URLError):
            return _no_connection(error, self.timeout)
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise ResourceError(
                f"{self._url}: the server's certificate is not trusted. Name its authority in the "
                "environment variable SSL_CERT_FILE."
            ) from None
        return _no_connection(error.reason, self.timeout)

    def _pause(self, attempt: int, wait: float | None, trouble: str) -> None:
        """Wait before the next attempt, if there is one."""
        if attempt < self.attempts:
            pause = BACKOFF * 2 ** (attempt - 1) if wait is None else wait
            pause = min(pause, LONGEST_PAUSE)
            log.info("%s: %s; trying again in %.1f s", self._url, trouble, pause)
            time.sleep(pause)

    def _gave_up(self, trouble: str) -> ResourceError:
        return ResourceError(
            f"{self._url}: {trouble}, in {self.attempts} attempts. Look whether it runs and is not "
            "overloaded; ask fewer questions at a time, or raise timeout or attempts."
        )

    def _open(self, data: bytes, key: str) -> Any:
        """Send a request; its response, to be closed."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = Request(self._url, data=data, headers=headers, method="POST")
        return _opener(_is_loopback(self._url)).open(request, timeout=self.timeout)

    def _exchange(self, data: bytes, key: str) -> _Answer:
        with self._open(data, key) as response:
            return _Answer(response.status, response.headers, b"".join(self._chunks(response)))

    def _chunks(self, response: Any) -> Iterator[bytes]:
        """The bytes of a response as they come, within the limits of size and time."""
        end = time.monotonic() + self.timeout  # urllib's timeout is for each read alone
        size = 0
        while chunk := response.read1(2**16):
            size += len(chunk)
            if size > MAX_BYTES:
                raise InputError(
                    f"{self._url}: the answer has more than {MAX_BYTES // 2**20} MiB; lower max_tokens, "
                    "top_logprobs or n."
                )
            if time.monotonic() > end:
                raise TimeoutError
            yield chunk
        if response.length:
            raise IncompleteRead(b"")

    def _pause_or_raise(self, answer: _Answer, key: str) -> float | None:
        """Seconds that the server asks to wait; raises where trying again cannot mend it."""
        status = answer.status
        if status == 429 or status >= 500:
            return _retry_after(answer.headers.get("Retry-After"))
        if 300 <= status < 400:
            raise ResourceError(
                f"{self._url}: the server sends on to another address ({status}), which is not followed, so "
                "that the key stays here. Give the final address as base_url."
            )
        if status in (401, 403):  # the server's own words may hold parts of the key
            state = "was sent" if key else "is not set"
            name = self.key_variable or "key_variable"
            raise ResourceError(
                f"{self._url}: the server lets us not in ({status}); the key from {name} {state}. Set it to "
                f'a key that may use "{self.model}".'
            )
        words = server_words(answer.body, key)
        if status == 404:
            raise ResourceError(
                f'{self._url}: no such address or no model "{self.model}" there (404){words}. Look at '
                f"{self._base}/models, and give base_url up to and with /v1."
            )
        raise InputError(
            f"{self._url}: the server refuses the request ({status}){words}. Shorten the messages, or change "
            "the fields that it does not take by options."
        )

    @property
    def _base(self) -> str:
        return self.base_url.rstrip("/")

    @property
    def _url(self) -> str:
        return f"{self._base}/chat/completions"

    def _key(self) -> str:
        """The key, or "" where none is to be sent."""
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        # Refused here, for http.client would quote the whole header in its error.
        if not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"the key in {self.key_variable} has spaces or characters that no header can hold."
            )
        if key and urlsplit(self._url).scheme == "http" and not _is_loopback(self._url):
            raise UsageError(
                f"{self._url}: the key in {self.key_variable} would be sent unencrypted to another machine. "
                'Use https, or a tunnel to 127.0.0.1, or give key_variable="" to send no key.'
            )
        return key


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Message
    body: bytes


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        there = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:  # also of a name that no address can have
        there = False
    # What does not fit is not shown: it may hold a password.
    if not there or parts.scheme not in ("http", "https"):
        raise UsageError("base_url is not an http or https address, as http://127.0.0.1:8000/v1.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "base_url holds a user, a query or a fragment; give the address alone, and the key by "
            "key_variable."
        )
    if not all("!" <= character <= "~" for character in url):
        raise UsageError(
            "base_url has spaces or characters outside ASCII; write them as %20 or punycode."
        )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=2)
def _opener(loopback: bool) -> OpenerDirector:
    """Without handlers of redirects and errors; made once, for reading the certificates takes time.

    What is for this machine goes past any proxy, which would see the key.
    """
    opener = OpenerDirector()
    for handler in (ProxyHandler({} if loopback else None), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    return opener


def _no_connection(reason: object, timeout: float) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return f"no connection ({reason.strerror})"
    return "the connection was lost"


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number of them or an HTTP date; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
