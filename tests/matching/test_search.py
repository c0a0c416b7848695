"""Exact search against sorting everything, with ties, and whatever the size of a block."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from linkwise.errors import InputError, UsageError
from linkwise.matching import search
from linkwise.matching.search import top_k, top_k_sparse


def sorted_whole(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    columns = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return columns, np.take_along_axis(scores, columns, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 400),
    k=st.integers(1, 30),
    values=st.integers(1, 50),
    seed=st.integers(0, 10**6),
)
def test_equal_to_sorting_everything(n: int, m: int, k: int, values: int, seed: int) -> None:
    """Small whole numbers: products are exact, and ties many."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(0, values, (n, 3)).astype(np.float32)
    items = rng.integers(0, values, (m, 3)).astype(np.float32)
    expected = sorted_whole(queries @ items.T, min(k, m))
    for found in (
        top_k(queries, items, k),
        top_k_sparse(scipy.sparse.csr_matrix(queries), scipy.sparse.csr_matrix(items), k),
    ):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries = rng.integers(-9, 9, (70, 8)).astype(np.float32)
    items = rng.integers(-9, 9, (900, 8)).astype(np.float32)
    whole = top_k(queries, items, 20)
    seen: list[int] = []
    for rows, together in ((1, 16), (7, 4), (70, 64)):
        monkeypatch.setattr(search, "ROWS", rows)
        monkeypatch.setattr(search, "TOGETHER", together)
        seen.clear()
        found = top_k(queries, items, 20, advance=seen.append)
        np.testing.assert_array_equal(found[0], whole[0])
        np.testing.assert_array_equal(found[1], whole[1])
        assert seen[-1] == 70
        assert len(seen) == -(-70 // rows)


def test_vectors_of_length_one_as_a_matrix_product_says() -> None:
    rng = np.random.default_rng(1)
    queries, items = (rng.normal(size=(size, 64)).astype(np.float32) for size in (600, 2000))
    rows, scores = top_k(queries, items, 50)
    exact = queries.astype(np.float64) @ items.T.astype(np.float64)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, 1), atol=1e-4)
    left_out = exact.copy()
    np.put_along_axis(left_out, rows, -np.inf, axis=1)
    assert (left_out.max(axis=1) <= scores[:, -1] + 1e-4).all()


def test_what_is_refused() -> None:
    one = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(InputError, match="3 numbers each and items 4"):
        top_k(one, np.ones((2, 4), dtype=np.float32), 1)
    with pytest.raises(InputError, match="queries have numbers that are not finite"):
        top_k(np.where(one > 0, np.nan, one), one, 1)
    with pytest.raises(InputError, match="items have 1 dimensions"):
        top_k(one, one[0], 1)
    with pytest.raises(UsageError, match="k is 0"):
        top_k(one, one, 0)
    assert top_k(one[:0], one, 2)[0].shape == (0, 2)
    assert top_k(one, one[:0], 2)[0].shape == (2, 0)
