"""Batches: order, errors of one request alone, the bounded queue, callers who have left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkwise.errors import InputError
from linkwise.serve.batching import Batcher, BusyError


class Slow:
    """Doubles numbers; holds its first batch until it is let go; keeps the batches it got."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def answer(self, asked: Sequence[int]) -> list[Any]:
        self.batches.append(list(asked))
        assert self.go.wait(10)
        return [InputError("odd") if number % 2 else 2 * number for number in asked]


def test_what_waits_is_answered_together_and_in_order() -> None:
    async def run() -> list[Any]:
        slow = Slow()
        with ThreadPoolExecutor(2) as pool:
            batcher: Batcher[int, Any] = Batcher(slow.answer, pool, most=4, waiting=100)
            tasks = [asyncio.ensure_future(batcher.ask(number)) for number in range(10)]
            await asyncio.sleep(0.05)
            slow.go.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert slow.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        return found

    found = asyncio.run(run())
    assert found[::2] == [0, 4, 8, 12, 16]
    assert all(isinstance(error, InputError) for error in found[1::2])


def test_a_full_queue_turns_away_and_loses_nothing() -> None:
    async def run() -> None:
        slow = Slow()
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, Any] = Batcher(slow.answer, pool, most=1, waiting=3)
            first = asyncio.ensure_future(batcher.ask(0))
            await asyncio.sleep(0.05)  # it is being answered, and waits no more
            more = [asyncio.ensure_future(batcher.ask(2 * k)) for k in range(1, 6)]
            await asyncio.sleep(0.05)
            assert [task.done() for task in more] == [False, False, False, True, True]
            for task in more[3:]:
                with pytest.raises(BusyError):
                    await task
            slow.go.set()
            assert await asyncio.gather(first, *more[:3]) == [0, 4, 8, 12]
            assert await batcher.ask(10) == 20  # and later ones are welcome

    asyncio.run(run())


def test_who_has_left_is_not_answered() -> None:
    async def run() -> None:
        slow = Slow()
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, Any] = Batcher(slow.answer, pool, most=1, waiting=10)
            first = asyncio.ensure_future(batcher.ask(0))
            await asyncio.sleep(0.05)
            gone, stays = (asyncio.ensure_future(batcher.ask(n)) for n in (2, 4))
            await asyncio.sleep(0.05)
            gone.cancel()
            slow.go.set()
            assert await asyncio.gather(first, stays) == [0, 8]
            assert slow.batches == [[0], [4]]

    asyncio.run(run())


def test_a_fault_of_the_model_reaches_all_of_its_batch_and_no_later_one() -> None:
    calls = []

    def answer(asked: Sequence[int]) -> list[int]:
        calls.append(asked)
        if len(calls) == 1:
            raise ZeroDivisionError
        return list(asked)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(answer, pool, most=8, waiting=10)
            found = await asyncio.gather(*map(batcher.ask, range(3)), return_exceptions=True)
            assert [type(error) for error in found] == [ZeroDivisionError] * 3
            assert await batcher.ask(7) == 7

    asyncio.run(run())
