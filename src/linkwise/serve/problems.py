"""Errors as problem documents (RFC 9457), in the words of the command line."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from linkwise.errors import InputError, LinkwiseError, ResourceError, UsageError
from linkwise.serve.batching import BusyError
from linkwise.serve.catalogue import NoRunError

log = logging.getLogger("linkwise.serve")
MEDIA_TYPE = "application/problem+json"
LONGEST_GOT = 80  # characters of what was got that a message repeats
STATUS = ((NoRunError, 404), (UsageError, 400), (InputError, 422), (ResourceError, 503))


WHEN = {
    400: "The request asks for what there is not: a column, an operator, a setting.",
    401: "The service's token is missing or wrong.",
    404: "There is no such run, table or route, or the run cannot be read.",
    408: "The request did not come in in time.",
    413: "The body is too large.",
    422: "A field is missing or wrong, or the records cannot answer this.",
    503: "Too many requests wait, or the machine lacks something; with Retry-After, come again.",
    504: "The answer took too long.",
}
_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
# What the service's own description says of problems, for every route below /v1.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
    for status, text in WHEN.items()
}


def problem(
    status: int, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """A problem document as a response."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    } | more
    return Response(json.dumps(body), status, headers=headers, media_type=MEDIA_TYPE)


def add_to(app: FastAPI) -> None:
    """Let the app answer every error with a problem document."""

    @app.exception_handler(LinkwiseError)
    async def _ours(request: Request, error: LinkwiseError) -> Response:
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        return problem(status, without_paths(str(error), request.app.state.catalogue.root))

    @app.exception_handler(BusyError)
    async def _busy(request: Request, error: BusyError) -> Response:
        return problem(
            503,
            "too many requests wait for this model; come again in a moment.",
            {"Retry-After": str(error.retry_after)},
        )

    @app.exception_handler(TimeoutError)
    async def _late(request: Request, error: TimeoutError) -> Response:
        return problem(504, "the answer took longer than --answer-seconds allows.")

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return problem(422, explain(error), errors=[_place(item) for item in error.errors()])

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, str(error.detail), headers)

    @app.exception_handler(Exception)
    async def _ours_to_mend(request: Request, error: Exception) -> Response:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return problem(500, "this should not have happened; the server's log says more.")


def without_paths(text: str, root: Path) -> str:
    """A message without the place of the runs' folder on this machine, which is nobody's business."""
    for place in dict.fromkeys((str(root), str(root.absolute()), str(root.resolve()))):
        text = text.replace(f"{place}/", "")
    return text


def explain(error: RequestValidationError) -> str:
    """What is wrong with a request: field, what was got, and what was expected."""
    parts = []
    for item in error.errors():
        message = str(item["msg"]).removeprefix("Value error, ")
        name = ".".join(str(part) for part in item["loc"] if part not in ("body", "query", "path"))
        if item["type"] == "json_invalid":
            why = item.get("ctx", {}).get("error", message)
            parts.append(f"the body is no JSON: {why}, at character {item['loc'][-1]}")
        elif item["type"] == "extra_forbidden":
            parts.append(f"there is no field {name}; /v1/openapi.json names those there are")
        elif item["type"] == "missing":
            parts.append(f"{name} is missing" if name else "the body is missing; expected JSON")
        elif isinstance(item.get("input"), str | int | float) and name:
            got = str(item["input"])
            got = got if len(got) <= LONGEST_GOT else f"{got[:LONGEST_GOT]}..."
            parts.append(f'{name} is "{got}": {message[0].lower()}{message[1:]}')
        else:
            parts.append(f"{name}: {message}" if name else message)
    return "; ".join(parts) + "."


def _place(item: dict[str, Any]) -> dict[str, Any]:
    return {"at": list(item["loc"]), "expected": str(item["msg"])}
