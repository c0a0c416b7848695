"""The route that answers questions about a run, as a stream of events."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from linkwise.errors import LinkwiseError
from linkwise.matching.answer import Answer, Session, Turn
from linkwise.serve.asking import Body, find
from linkwise.serve.batching import BusyError
from linkwise.serve.config import ServeConfig
from linkwise.serve.models import Models
from linkwise.serve.problems import without_paths

router = APIRouter(prefix="/v1", tags=["models"])
CONVERSATIONS = 256  # remembered of a run
ALIVE = 10.0  # seconds of silence after which the stream says that it is alive


_TEXT = {"type": "string"}
_EVENT = {"type": "object", "properties": {"event": _TEXT, "data": _TEXT}}


class AskBody(Body):
    """A question."""

    question: str = Field(min_length=1, max_length=4000)
    session: str | None = Field(None, max_length=64)
    """`session` of the answer before, so that "and its pollutants?" is understood."""


@dataclass(frozen=True)
class _Question:
    text: str
    session: str
    show: Callable[[str], None]


class Conversations:
    """A run's records, held in memory, and what the last question of each conversation was about."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._last: OrderedDict[str, Turn | None] = OrderedDict()

    def answer(self, asked: Sequence[_Question]) -> list[Answer | LinkwiseError]:
        """The answers, one after the other."""
        found: list[Answer | LinkwiseError] = []
        for one in asked:
            self.session.last = self._last.pop(one.session, None)
            try:
                found.append(self.session.ask(one.text, one.show))
            except LinkwiseError as error:
                found.append(error)
            self._last[one.session] = self.session.last
            while len(self._last) > CONVERSATIONS:
                self._last.popitem(last=False)
        return found


@router.post(
    "/ask",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
)
async def ask(request: Request, body: AskBody) -> StreamingResponse:
    """A question about a run, answered from its records alone, as server-sent events.

    `line` ({"text"}) for each line as soon as it is known to hold; then `answer` ({"answer", "sources":
    [{"number", "where", "text"}], "refused", "how", "dropped", "session"}), or `problem`.
    """
    entry = find(request, "ask", body.run)
    models: Models = request.app.state.models
    config: ServeConfig = request.app.state.config
    session = body.session or secrets.token_urlsafe(12)
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def show(line: str) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line)

    def load() -> Conversations:
        return Conversations(Session(entry.folder, server=request.app.state.server))

    # One at a time: a line is shown before the next question is begun.
    pool = models.talkers if request.app.state.server is not None else None
    batcher = models.batcher(entry, "ask", load, most=1, pool=pool)
    if len(batcher) >= config.queue:
        raise BusyError
    answer = asyncio.ensure_future(batcher.ask(_Question(body.question, session, show)))

    async def stream() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(config.answer_seconds):
                while not (answer.done() and lines.empty()):
                    line = asyncio.ensure_future(lines.get())
                    await asyncio.wait(
                        (answer, line), timeout=ALIVE, return_when=asyncio.FIRST_COMPLETED
                    )
                    if line.done():
                        yield _event("line", {"text": line.result()})
                    else:
                        line.cancel()
                        if not answer.done():
                            yield ": alive\n\n"
                yield _event("answer", answer.result().as_dict() | {"session": session})
        except TimeoutError:
            yield _problem(504, "the answer took longer than --answer-seconds allows.")
        except BusyError:
            yield _problem(503, "too many requests wait for this model; come again in a moment.")
        except LinkwiseError as error:
            root = request.app.state.catalogue.root
            yield _problem(422, without_paths(str(error), root))
        finally:
            answer.cancel()

    return StreamingResponse(stream(), media_type="text/event-stream")


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _problem(status: int, detail: str) -> str:
    return _event("problem", {"status": status, "detail": detail})
