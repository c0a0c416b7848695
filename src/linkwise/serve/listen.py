"""The service on its address: started, drained at the end, slow clients let go."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linkwise.errors import UsageError, optional
from linkwise.serve.config import ServeConfig, read_token

if TYPE_CHECKING:
    from linkwise.lm.server import Server


def listen(
    root: Path,
    config: ServeConfig,
    *,
    server: Server | None = None,
    access_log: bool = False,
    threads: int = 1,
) -> None:
    """Serve the runs below `root` until SIGTERM or Ctrl-C; a model computes in so many `threads`.

    Raises `UsageError` where the address is taken or needs a token, `ResourceError` where a package lacks.
    """
    token = read_token(config.host)
    # Read by PyTorch when a first model is loaded: importing it here would cost two seconds of every start.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    uvicorn = optional("uvicorn", "serve", "the service")
    optional("fastapi", "serve", "the service")
    optional("prometheus_client", "serve", "the service")
    from linkwise.serve.app import make_app

    app = make_app(root, config, token, server)
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=timed_protocol(config.read_seconds),
        ws="none",
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(config.answer_seconds) + 1,
    )
    service = uvicorn.Server(settings)
    try:
        sockets = [settings.bind_socket()]
    except SystemExit:  # uvicorn has logged the reason, and would end the process
        raise UsageError(
            f"{config.host} port {config.port}: the address cannot be listened on; choose another --port."
        ) from None
    host, port = sockets[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    needs = " Requests need the token." if token else ""
    print(f"Serving {root}: http://{shown}:{port}/ (Ctrl-C ends it).{needs}", file=sys.stderr)
    service.run(sockets=sockets)


def timed_protocol(seconds: float) -> Any:
    """Uvicorn's protocol of HTTP/1.1, that lets a connection go whose request's head is not there in time."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Timed(H11Protocol):  # type: ignore[misc, unused-ignore]
        """Answers 408 to a head that takes too long; bodies are timed by the guard."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # Of sockets that uvicorn binds itself asyncio does not know that they are TCP, and leaves Nagle's
            # algorithm on: each answer of two packets would wait 40 ms for the client's acknowledgement.
            connection = transport.get_extra_info("socket")
            if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._late = asyncio.get_running_loop().call_later(seconds, self._let_go)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None:  # a head was read whole
                self._late.cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            self._late.cancel()
            super().connection_lost(exc)

        def _let_go(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                )
                self.transport.close()

    return Timed
