"""What stands before every request: the token, the limits, the headers; and what is counted of it."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from linkwise.serve.config import ServeConfig
from linkwise.serve.problems import MEDIA_TYPE

OPEN = ("/healthz", "/readyz")  # asked by supervisors, without a token
# The dashboard's files hold no data: the page asks for the token, and sends it with what it fetches.
OPEN_BELOW = ("/app/",)
CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; worker-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}


class Counts:
    """The service's own numbers, for Prometheus; in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "linkwise_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "linkwise_request_seconds",
            "Seconds from a request to its answer's end.",
            ("route",),
            registry=self.registry,
            buckets=(
                0.001,
                0.0025,
                0.005,
                0.01,
                0.025,
                0.05,
                0.1,
                0.25,
                0.5,
                1,
                2.5,
                5,
                10,
                30,
                60,
            ),
        )
        self.running = Gauge(
            "linkwise_requests_running", "Requests being answered.", registry=self.registry
        )
        self.models = Gauge("linkwise_models_loaded", "Models in memory.", registry=self.registry)
        self.batch = Histogram(
            "linkwise_batch_requests",
            "Requests that a model answered together.",
            ("verb",),
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )


class _Refused(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        self.status, self.title, self.detail = status, title, detail


class Guard:
    """ASGI middleware: refuses what has no token, is too large, or comes in too slowly; counts the rest.

    A body is read whole before the app sees the request, so that no half-read one holds a worker.
    """

    def __init__(self, app: Any, *, config: ServeConfig, token: str | None, counts: Counts) -> None:
        self.app = app
        self.config = config
        self.token = None if token is None else token.encode()
        self.counts = counts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        started = False

        async def sent(message: Any) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message = {**message, "headers": self._with_ours(message.get("headers", []))}
            await send(message)

        self.counts.running.inc()
        try:
            try:
                self._check_token(scope)
                body = await self._body(scope, receive)
                await self.app(scope, _replay(body, receive), sent)
            except _Refused as refused:
                if started:
                    raise
                await _refuse(sent, refused)
        finally:
            self.counts.running.dec()
            # The route's pattern, not the path: names of runs would make a series of each.
            route = getattr(scope.get("route"), "path", None) or "other"
            self.counts.requests.labels(route, scope["method"], str(status)).inc()
            self.counts.seconds.labels(route).observe(time.perf_counter() - began)

    def _check_token(self, scope: Any) -> None:
        path = scope["path"]
        if self.token is None or path in OPEN or path == "/" or path.startswith(OPEN_BELOW):
            return
        given = b""
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        if not hmac.compare_digest(given, self.token):
            raise _Refused(
                401,
                "Unauthorized",
                "this needs the service's token: Authorization: Bearer TOKEN.",
            )

    async def _body(self, scope: Any, receive: Any) -> bytes:
        """The whole body; refused where it is too large, or not there in time."""
        most = self.config.body_kib * 1024
        said = next((v for n, v in scope["headers"] if n == b"content-length"), b"0")
        if said.isdigit() and int(said) > most:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.config.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        break
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise self._too_large()
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise _Refused(
                408,
                "Request Timeout",
                f"the request was not there after {self.config.read_seconds:g} seconds (--read-seconds).",
            ) from None
        return b"".join(parts)

    def _too_large(self) -> _Refused:
        return _Refused(
            413,
            "Content Too Large",
            f"the body is larger than {self.config.body_kib} KiB (--body-kib).",
        )

    def _with_ours(self, headers: Any) -> list[Any]:
        """The answer's headers with ours, where the app has not set its own."""
        named = {bytes(name).lower() for name, _ in headers}
        ours = HEADERS | {
            b"content-security-policy": CONTENT_SECURITY.encode(),
            b"cache-control": b"no-store",
        }
        return [*headers, *((n, v) for n, v in ours.items() if n not in named)]


def _replay(body: bytes, receive: Any) -> Any:
    """A `receive` that gives the body that was read, then what comes after it."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Any, refused: _Refused) -> None:
    body = json.dumps(
        {
            "type": "about:blank",
            "title": refused.title,
            "status": refused.status,
            "detail": refused.detail,
        }
    ).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    if refused.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="linkwise"'))
    if refused.status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
