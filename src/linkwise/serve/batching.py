"""Requests for one model, answered together: a bounded queue, one batch at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class BusyError(Exception):
    """The queue is full; come again after `retry_after` seconds."""

    retry_after = 1


class Batcher(Generic[Asked, Answered]):
    """Answers requests in batches with `answer_all`, in a thread of `pool`, one batch at a time.

    While a batch is answered the next requests gather, so that waiting alone makes batches: an idle model
    answers at once. `answer_all` gets up to `most` requests and gives one answer or one exception for each,
    in their order. More than `waiting` requests in the queue raise `BusyError` at once: nothing hangs, and
    nothing is dropped in silence. Requests that were given up by their callers are not answered.
    """

    def __init__(
        self,
        answer_all: Callable[[Sequence[Asked]], Sequence[Answered | Exception]],
        pool: Executor,
        *,
        most: int,
        waiting: int,
    ) -> None:
        self.answer_all = answer_all
        self.pool = pool
        self.most = most
        self.waiting = waiting
        self._queue: deque[tuple[Asked, asyncio.Future[Answered]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    async def ask(self, request: Asked) -> Answered:
        """The answer to one request; raises what answering it raised, or `BusyError`."""
        if len(self._queue) >= self.waiting:
            raise BusyError
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answered] = loop.create_future()
        self._queue.append((request, future))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        """Answer what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch: list[tuple[Asked, asyncio.Future[Answered]]] = []
                while self._queue and len(batch) < self.most:
                    request, future = self._queue.popleft()
                    if not future.done():
                        batch.append((request, future))
                if not batch:
                    continue
                found: Sequence[Answered | Exception]
                try:
                    found = await loop.run_in_executor(
                        self.pool, self.answer_all, [request for request, _ in batch]
                    )
                except Exception as error:
                    found = [error] * len(batch)
                for (_, future), answer in zip(batch, found, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._worker = None
