"""Metrics of rankings against ranx, ir-measures and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from linkwise.errors import InputError
from linkwise.metrics.ranking import (
    MISSING,
    evaluate_ranked,
    full_ranks,
    of_lists,
    paired_tests,
    per_query,
)


def random_queries(seed: int, n: int = 30, items: int = 25) -> tuple[np.ndarray, list[list[int]]]:
    """Scores without ties (n, items), and one to five targets of each query."""
    rng = np.random.default_rng(seed)
    scores = np.stack([rng.permutation(items) for _ in range(n)]).astype(np.float32)
    targets = [sorted(rng.choice(items, rng.integers(1, 6), replace=False)) for _ in range(n)]
    return scores, targets


def ranked(scores: np.ndarray, targets: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.repeat(np.arange(len(targets)), [len(t) for t in targets])
    items = np.concatenate([np.asarray(t) for t in targets]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in targets])]).astype(np.int64)
    return full_ranks(scores, rows, items), offsets


@pytest.mark.slow  # ranx compiles for nine seconds
@pytest.mark.parametrize("k", [1, 3, 10, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_ranx_and_ir_measures(k: int, seed: int) -> None:
    import ir_measures as measures
    import ranx

    scores, targets = random_queries(seed)
    qrels = {f"q{q:02d}": {f"i{i}": 1 for i in t} for q, t in enumerate(targets)}
    run = {
        f"q{q:02d}": {f"i{i}": float(s) for i, s in enumerate(row)} for q, row in enumerate(scores)
    }
    found = per_query(*ranked(scores, targets), k)
    for ours, theirs in (
        ("recall", f"recall@{k}"),
        ("ndcg", f"ndcg@{k}"),
        ("mrr", f"mrr@{k}"),
        ("hit_rate", f"hit_rate@{k}"),
    ):
        expected = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), theirs, return_mean=False)
        np.testing.assert_allclose(found[ours], expected, err_msg=theirs)
    for ours, measure in (
        ("recall", measures.R @ k),
        ("ndcg", measures.nDCG @ k),
        ("mrr", measures.RR @ k),
        ("hit_rate", measures.Success @ k),
    ):
        each = {m.query_id: m.value for m in measures.iter_calc([measure], qrels, run)}
        np.testing.assert_allclose(found[ours], [each[q] for q in sorted(each)], atol=1e-6)


def test_ranks_are_pessimistic() -> None:
    scores = np.array([[3, 1, 1, 1, -np.inf], [0, 0, 0, 0, 0]], dtype=np.float32)
    rows, items = np.array([0, 0, 0, 1, 0, 0]), np.array([0, 1, 4, 2, 5, -1])
    assert full_ranks(scores, rows, items).tolist() == [1, 4, 5, 5, MISSING, MISSING]


def test_ranks_equal_a_loop_over_large_and_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 6, (40, 17)).astype(np.float32)
    rows, items = rng.integers(0, 40, 500), rng.integers(0, 17, 500)
    expected = [int((scores[r] >= scores[r, i]).sum()) for r, i in zip(rows, items, strict=True)]
    assert full_ranks(scores, rows, items).tolist() == expected


def test_targets_outside_the_catalogue_are_missed() -> None:
    found = per_query(np.array([1, MISSING, MISSING]), np.array([0, 2, 3]), 10)
    assert found["recall"].tolist() == [0.5, 0]
    assert found["hit_rate"].tolist() == [1, 0]
    assert found["mrr"].tolist() == [1, 0]
    ideal = 1 + 1 / math.log2(3)
    np.testing.assert_allclose(found["ndcg"], [1 / ideal, 0])


def test_a_query_without_targets_is_refused() -> None:
    with pytest.raises(InputError, match="without targets"):
        per_query(np.array([1]), np.array([0, 1, 1]), 5)


def test_lists_by_hand() -> None:
    lists = np.array([[0, 1], [0, -1]])
    counts = np.array([8, 4, 4, 0])
    found = of_lists(lists, counts, 4)
    assert found["coverage"] == 0.5
    np.testing.assert_allclose(found["novelty"], [(1 + 2) / 2, 1])
    # Fewer events than item 0 have three of the four items, than item 1 one.
    np.testing.assert_allclose(found["popularity_percentile"], [(0.75 + 0.25) / 2, 0.75])


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(3)
    base, other = rng.random(60), rng.random(60) + 0.1
    rows = evaluate_ranked(
        {"popularity": {("ndcg", 10): base}, "ease": {("ndcg", 10): other}},
        baseline="popularity",
        samples=500,
        seed=9,
    )
    draws = np.random.default_rng(9).integers(0, 60, (500, 60))
    first, second = rows
    assert (first.model, first.difference, first.baseline) == ("popularity", None, None)
    assert second.value == pytest.approx(other.mean())
    expected = np.percentile(other[draws].mean(axis=1), (2.5, 97.5))
    np.testing.assert_allclose((second.low, second.high), expected)
    apart = np.percentile((other - base)[draws].mean(axis=1), (2.5, 97.5))
    np.testing.assert_allclose((second.difference_low, second.difference_high), apart)
    assert second.difference == pytest.approx(other.mean() - base.mean())
    (test,) = paired_tests({"ease": other, "popularity": base}, samples=500, seed=9)
    np.testing.assert_allclose((test.difference, test.low, test.high), (second.difference, *apart))


def test_paired_tests_by_their_formulas() -> None:
    """The t statistic by its formula, and Holm's correction by hand."""
    rng = np.random.default_rng(4)
    a = rng.random(40)
    values = {"a": a, "b": a + rng.normal(0.02, 0.1, 40), "c": a + 0.3 + rng.normal(0, 0.1, 40)}
    found = {(t.first, t.second): t for t in paired_tests(values, samples=50, seed=1)}
    raw = {}
    for one, other in found:
        apart = values[one] - values[other]
        t = apart.mean() / (apart.std(ddof=1) / math.sqrt(40))
        raw[one, other] = 2 * stats.t.sf(abs(t), df=39)
    smallest, middle, largest = sorted(raw, key=lambda pair: raw[pair])
    assert found[smallest].p == pytest.approx(3 * raw[smallest])
    assert found[middle].p == pytest.approx(max(3 * raw[smallest], 2 * raw[middle]))
    assert found[largest].p == pytest.approx(max(3 * raw[smallest], 2 * raw[middle], raw[largest]))


def test_paired_tests_of_equal_models_and_of_one_query() -> None:
    same = np.array([0.0, 1.0, 0.5])
    (equal,) = paired_tests({"a": same, "b": same.copy()}, samples=20)
    assert (equal.difference, equal.p) == (0, 1)
    (moved,) = paired_tests({"a": same, "b": same + 1}, samples=20)
    assert (moved.difference, moved.p) == (-1, 0)
    (single,) = paired_tests({"a": same[:1], "b": same[1:2]}, samples=20)
    assert single.p is None
