"""The first stage: the items of which any piece goes best with any piece of a query, exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from linkwise.errors import UsageError, optional
from linkwise.matching.search import best_of_blocks
from linkwise.matching.sides import Pieces

Longs = np.ndarray[Any, np.dtype[np.int64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]

TOGETHER = 512  # pieces of queries at a time


def retrieve(
    queries: Pieces, items: Pieces, k: int, *, advance: Callable[[int], None] = lambda done: None
) -> tuple[Longs, Singles]:
    """The k items (n, k) of the largest cosine of any two pieces with each query, and these (n, k).

    The best come first, of equal ones the item that stands earlier; k is cut to the number of items.

    Raises `UsageError` where k is less than 1.
    """
    torch = optional("torch", "lm", "a search of vectors")
    if k < 1:
        raise UsageError(f"--retrieve is {k}; expected 1 or more.")
    turned = torch.from_numpy(items.vectors).T.contiguous()

    def blocks() -> Iterator[Any]:
        begin = 0
        while begin < len(queries):
            end = int(np.searchsorted(queries.start, queries.start[begin] + TOGETHER, "right")) - 1
            end = min(max(end, begin + 1), len(queries))  # a query of more pieces goes alone
            inside = slice(int(queries.start[begin]), int(queries.start[end]))
            found = (torch.from_numpy(queries.vectors[inside]) @ turned).numpy()
            found = _largest(found, items.start, 1)
            yield torch.from_numpy(_largest(found, queries.start[begin : end + 1], 0))
            begin = end

    return best_of_blocks(blocks(), len(queries), len(items), k, advance)


def _largest(values: Any, start: Longs, axis: int) -> Any:
    """The largest of each span of rows or columns; as they are where each is a span of its own."""
    starts = start[:-1] - start[0]
    if len(starts) == values.shape[axis]:
        return values
    return np.ascontiguousarray(np.maximum.reduceat(values, starts, axis=axis))
