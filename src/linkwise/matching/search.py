"""The k items that go best with each query, exactly: no index, no approximation, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from linkwise.errors import InputError, UsageError, optional

Singles = np.ndarray[Any, np.dtype[np.float32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

ROWS = (
    512  # queries at a time: their scores stay in the processor's cache while the best are chosen
)
TOGETHER = 16  # columns of which first the best alone counts


def top_k(
    queries: Singles,
    items: Singles,
    k: int,
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[Longs, Singles]:
    """The k items of the largest products with each query: their rows and the products, both (n, k).

    `queries` (n, d), `items` (m, d). The best come first, of equal products the item that stands earlier; k
    is cut to m. Equal to sorting all m products of each query, up to the last bits of the products.

    Raises `InputError` where the sizes differ or a number is not finite, `UsageError` where k is less than 1.
    """
    torch = optional("torch", "lm", "a search of vectors")
    queries, items = (_checked(name, v) for name, v in (("queries", queries), ("items", items)))
    if queries.shape[1] != items.shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} numbers each and items {items.shape[1]}; expected as many."
        )
    turned = torch.from_numpy(items).T.contiguous()

    def blocks() -> Iterator[Any]:
        for start in range(0, len(queries), ROWS):
            yield torch.from_numpy(queries[start : start + ROWS]) @ turned

    return best_of_blocks(blocks(), len(queries), len(items), k, advance)


def top_k_sparse(
    queries: Any, items: Any, k: int, *, advance: Callable[[int], None] = lambda done: None
) -> tuple[Longs, Singles]:
    """The same of sparse rows (scipy), as word counts are."""
    torch = optional("torch", "lm", "a search of vectors")
    turned = items.T.tocsr()

    def blocks() -> Iterator[Any]:
        for start in range(0, queries.shape[0], ROWS):
            dense = (queries[start : start + ROWS] @ turned).toarray().astype(np.float32)
            yield torch.from_numpy(dense)

    return best_of_blocks(blocks(), queries.shape[0], items.shape[0], k, advance)


def _checked(name: str, vectors: Singles) -> Singles:
    if vectors.ndim != 2:
        raise InputError(f"{name} have {vectors.ndim} dimensions; expected vectors in rows.")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(vectors.sum(axis=1, dtype=np.float64)).all():
        raise InputError(f"{name} have numbers that are not finite.")
    return vectors


def best_of_blocks(
    blocks: Iterator[Any], n: int, m: int, k: int, advance: Callable[[int], None]
) -> tuple[Longs, Singles]:
    """The k best columns (n, k), and their scores, of n rows of scores that come in blocks (b, m)."""
    if k < 1:
        raise UsageError(f"k is {k}; expected 1 or more.")
    k = min(k, m)
    rows, scores = np.empty((n, k), dtype=np.int64), np.empty((n, k), dtype=np.float32)
    done = 0
    for block in blocks:
        some = slice(done, done + len(block))
        rows[some], scores[some] = _best_of(block, k)
        done += len(block)
        advance(done)
    return rows, scores


def _best_of(scores: Any, k: int) -> tuple[Longs, Singles]:
    """The columns of the k largest of each row (b, m), and these, the largest first, of equals the earlier.

    The k-th largest maximum of a group of columns is a lower bound of the k-th largest value. So all that is
    to be sorted are the few values that reach it, which stand in k groups.
    """
    import torch

    b, m = scores.shape
    groups = m // TOGETHER
    if groups <= 2 * k:
        values, columns = torch.topk(scores, min(k + 1, m), dim=1)
        doubtful = torch.zeros(b, dtype=torch.bool)
    else:
        even = groups * TOGETHER
        maxima = scores[:, :even].reshape(b, TOGETHER, groups).amax(1)
        top = torch.topk(maxima, k, dim=1)
        least = top.values[:, -1:]
        doubtful = (maxima >= least).sum(1) > k  # several groups end at the bound
        members = (top.indices[:, :, None] + torch.arange(0, even, groups)).reshape(b, -1)
        if even < m:
            members = torch.cat([members, torch.arange(even, m).expand(b, -1)], dim=1)
        found = scores.gather(1, members)
        row, place = torch.nonzero(found >= least, as_tuple=True)
        counts = torch.bincount(row, minlength=b)
        at = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
        width = max(k + 1, int(counts.max()))
        few = torch.full((b, width), -torch.inf)
        where = torch.zeros((b, width), dtype=torch.long)
        few[row, at], where[row, at] = found[row, place], members[row, place]
        values, order = torch.topk(few, k + 1, dim=1)
        columns = where.gather(1, order)
    if values.shape[1] > k:  # of equals at the end, which are in?
        doubtful |= values[:, k] == values[:, k - 1]
        values, columns = values[:, :k], columns[:, :k]
    equal = torch.nonzero((values[:, 1:] == values[:, :-1]).any(1))[:, 0]
    if len(equal):
        columns[equal], values[equal] = _earlier_first(columns[equal], values[equal])
    best: Longs = columns.numpy()
    products: Singles = values.numpy()
    for number in torch.nonzero(doubtful)[:, 0].tolist():
        whole = scores[number].numpy()
        best[number] = np.argsort(-whole, kind="stable")[:k]
        products[number] = whole[best[number]]
    return best, products


def _earlier_first(columns: Any, values: Any) -> tuple[Any, Any]:
    """Columns and values (b, k) by the values, the largest first, of equals the earlier column."""
    import torch

    order = torch.argsort(columns, dim=1)
    columns, values = columns.gather(1, order), values.gather(1, order)
    order = torch.argsort(values, dim=1, descending=True, stable=True)
    return columns.gather(1, order), values.gather(1, order)
