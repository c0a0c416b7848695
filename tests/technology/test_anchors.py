"""What needs no text: rules against networkx, vectors against planted groups, walks against the graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import polars as pl
import pytest

from linkwise.technology.anchors import (
    RULES,
    cosines,
    ppmi_vectors,
    walk_vectors,
    walks,
    word2vec_vectors,
)
from linkwise.technology.corpus import Corpus, corpus_of


def groups(seed: int = 0, codes: int = 24, patents: int = 500) -> tuple[Corpus, list[list[str]]]:
    """Patents whose codes are of one of three groups, nearly always."""
    rng = np.random.default_rng(seed)
    sets = []
    for _ in range(patents):
        group = rng.integers(3)
        own = rng.choice(codes // 3, size=rng.integers(1, 4), replace=False) * 3 + group
        if rng.random() < 0.05:
            own = np.append(own, rng.integers(codes))
        sets.append(sorted({f"C{k:02d}" for k in own}))
    return corpus_of([2000] * patents, pl.Series(sets)), sets


def all_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.triu_indices(n, 1)
    return a.astype(np.int64), b.astype(np.int64)


def test_rules_are_those_of_networkx() -> None:
    corpus, _ = groups()
    together = corpus.together(corpus.until(2000))
    graph = nx.from_scipy_sparse_array(together)
    a, b = all_pairs(len(corpus.names))
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    found = {name: rule(together, a, b) for name, rule in RULES.items()}
    strength = dict(graph.degree(weight="weight"))
    np.testing.assert_allclose(
        found["degree product"], [strength[x] * strength[y] for x, y in pairs], rtol=1e-6
    )
    common = [len(list(nx.common_neighbors(graph, x, y))) for x, y in pairs]
    np.testing.assert_array_equal(found["common neighbours"], common)
    for name, rule in (
        ("Adamic-Adar", nx.adamic_adar_index),
        ("resource allocation", nx.resource_allocation_index),
    ):
        np.testing.assert_allclose(found[name], [s for *_, s in rule(graph, pairs)], rtol=1e-5)


def test_ppmi_vectors_give_ppmi_back() -> None:
    """With as many numbers as codes, products are the positive part of the table itself."""
    corpus, _ = groups(codes=9)
    together = corpus.together(corpus.until(2000)).toarray().astype(float)
    total = together.sum()
    degree = together.sum(axis=1)
    with np.errstate(divide="ignore"):
        table = np.maximum(np.log(together * total / np.outer(degree, degree)), 0)
    values, vectors = np.linalg.eigh(table)
    kept = values > 1e-9
    best = (vectors[:, kept] * values[kept]) @ vectors[:, kept].T
    length = np.sqrt(np.diag(best))
    found = ppmi_vectors(corpus.together(corpus.until(2000)))
    np.testing.assert_allclose(found @ found.T, best / np.outer(length, length), atol=1e-9)


def test_vectors_part_planted_groups() -> None:
    corpus, sets = groups()
    together = corpus.together(corpus.until(2000))
    group = np.array([int(name[1:]) % 3 for name in corpus.names])
    same = group[:, None] == group
    np.fill_diagonal(same, False)
    longest = max(map(len, sets))
    for vectors in (
        ppmi_vectors(together, size=8),
        word2vec_vectors(sets, corpus.names, 0, window=longest),
        walk_vectors(together, corpus.names, 0),
    ):
        alike = vectors @ vectors.T
        other = group[:, None] != group
        assert alike[same].mean() > alike[other].mean() + 0.2
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    again = walk_vectors(together, corpus.names, 0)
    np.testing.assert_array_equal(again, walk_vectors(together, corpus.names, 0))


def test_walks_step_along_links_as_often_as_they_weigh() -> None:
    corpus, _ = groups(codes=9)
    together = corpus.together(corpus.until(2000))
    table = together.toarray()
    taken = np.zeros_like(table)
    for seed in range(60):
        for path in walks(together, np.random.default_rng(seed)):
            np.add.at(taken, (path[:-1], path[1:]), 1)
    assert not taken[table == 0].any()
    share = taken / taken.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share, table / table.sum(axis=1, keepdims=True), atol=0.02)


def test_a_code_that_stands_alone_has_zeros() -> None:
    sets = [["A", "B"], ["A", "B"], ["C"]]
    corpus = corpus_of([2000] * 3, pl.Series(sets))
    together = corpus.together(corpus.until(2000))
    for vectors in (
        ppmi_vectors(together),
        word2vec_vectors(sets, corpus.names, 0, window=2),
        walk_vectors(together, corpus.names, 0),
    ):
        assert not vectors[2].any()
    nobody = corpus_of([2000], pl.Series([["C"]]))
    assert not ppmi_vectors(nobody.together(nobody.until(2000))).any()


def test_cosines_go_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5))
    a, b = all_pairs(30)
    monkeypatch.setattr("linkwise.technology.anchors.BLOCK", 35)
    np.testing.assert_allclose(cosines(vectors, a, b), (vectors @ vectors.T)[a, b], rtol=1e-5)
