"""The service: routes, limits, and the dashboard's files, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.staticfiles import StaticFiles

from linkwise import __version__
from linkwise.errors import UsageError
from linkwise.serve import asking, problems, reading, talking
from linkwise.serve.catalogue import Catalogue
from linkwise.serve.config import ServeConfig
from linkwise.serve.guard import Counts, Guard
from linkwise.serve.models import Models

if TYPE_CHECKING:
    from linkwise.lm.server import Server

READERS = 16  # tables that are read at a time
STATIC = Path(__file__).parent / "static"
ABOUT = """The finished runs of a folder: their records, and the models that they hold.

Errors are problem documents (RFC 9457) in the words of the command line. 503 with Retry-After means that too
many requests wait for one model: come again."""


def make_app(
    root: Path,
    config: ServeConfig | None = None,
    token: str | None = None,
    server: Server | None = None,
) -> FastAPI:
    """The service of the runs below `root`; requests must carry `token` where one is given.

    With a `server` its chat model words the answers to questions.

    Raises `UsageError` where `root` is no folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder; give the folder that holds the runs.")
    config = config if config is not None else ServeConfig()
    counts = Counts()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        app.state.catalogue.entries()
        # Tables are read in these threads; each may hold a large one, and Polars has threads of its own.
        to_thread.current_default_thread_limiter().total_tokens = READERS
        app.state.ready = True
        yield
        app.state.ready = False
        app.state.models.close()

    app = FastAPI(
        title="Linkwise",
        version=__version__,
        description=ABOUT,
        lifespan=life,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.config = config
    app.state.models = Models(config, counts)
    app.state.catalogue = Catalogue(root, app.state.models.forget)
    app.state.server = server
    app.state.ready = False
    problems.add_to(app)
    for part in (reading, asking, talking):
        app.include_router(part.router, responses=problems.RESPONSES)
    _add_health(app, counts)
    if STATIC.is_dir():
        app.mount("/app", _Files(directory=STATIC, html=True), name="app")

        @app.get("/", include_in_schema=False)
        def home() -> Response:
            return RedirectResponse("/app/")

    app.add_middleware(Guard, config=config, token=token, counts=counts)
    return app


def _add_health(app: FastAPI, counts: Counts) -> None:
    @app.get("/healthz", tags=["health"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process runs."""
        return "ok\n"

    @app.get("/readyz", tags=["health"], response_class=PlainTextResponse)
    async def readyz(request: Request) -> Response:
        """The folder was read, and requests are taken."""
        ready = request.app.state.ready
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """The service's own numbers, for Prometheus."""
        return Response(generate_latest(counts.registry), media_type=CONTENT_TYPE_LATEST)


class _Files(StaticFiles):
    """The dashboard's files: those with a hash in their name never change; the page is asked for anew."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        if isinstance(response, FileResponse):
            hashed = "/assets/" in str(response.path)
            response.headers["cache-control"] = (
                "public, max-age=31536000, immutable" if hashed else "no-cache"
            )
        return response
