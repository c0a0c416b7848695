"""Shortest paths and neighbourhoods against networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from linkwise.anomaly.compiled import compiled
from linkwise.anomaly.paths import (
    all_path_lengths,
    neighbourhoods,
    non_neighbours,
    path_counts,
    path_lengths,
)
from linkwise.data.graphs import of_networkx
from linkwise.errors import ResourceError

SEVERAL = [nx.gnp_random_graph(n, p, seed=n) for n, p in ((14, 0.1), (1, 0.5), (20, 0.2), (9, 0.9))]
SEVERAL += [nx.complete_graph(4), nx.empty_graph(3)]
GRAPHS = of_networkx(SEVERAL)


def length_without(graph: nx.Graph, u: int, v: int) -> int:
    barred = graph.copy()
    barred.remove_edges_from([(u, v)])
    return nx.shortest_path_length(barred, u, v) if nx.has_path(barred, u, v) else 0


def test_paths_are_those_of_the_graph_without_the_edge() -> None:
    pairs, slow = [], []
    for begin, graph in zip(GRAPHS.first, SEVERAL, strict=False):
        for u in graph:
            for v in graph:
                pairs.append((begin + u, begin + v))
                slow.append(length_without(graph, u, v))
    np.testing.assert_array_equal(path_lengths(GRAPHS, np.array(pairs)), slow)
    assert {0, 2, 3, 4} <= set(slow)
    assert path_lengths(GRAPHS, np.zeros((0, 2), dtype=np.int64)).shape == (0,)


def test_paths_of_two_and_three_edges_are_counted_without_the_edge() -> None:
    for begin, graph in zip(GRAPHS.first, SEVERAL, strict=False):
        pairs = [(u, v) for u in graph for v in graph if u != v]
        slow = []
        for u, v in pairs:
            barred = graph.copy()
            barred.remove_edges_from([(u, v)])
            lengths = [len(path) - 1 for path in nx.all_simple_paths(barred, u, v, cutoff=3)]
            slow.append([lengths.count(2), lengths.count(3)])
        got = path_counts(GRAPHS, np.array(pairs).reshape(-1, 2) + begin)
        np.testing.assert_array_equal(got, np.array(slow).reshape(-1, 2))


def test_all_paths_are_those_of_networkx() -> None:
    for row, graph in enumerate(SEVERAL):
        slow = np.zeros((len(graph), len(graph)), dtype=int)
        for u, reached in nx.all_pairs_shortest_path_length(graph):
            for v, length in reached.items():
                slow[u, v] = length
        np.testing.assert_array_equal(all_path_lengths(GRAPHS, row), slow)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_neighbourhoods_are_balls_about_both_ends_without_the_edge(hops: int) -> None:
    begin, graph = int(GRAPHS.first[2]), SEVERAL[2]
    pairs = np.array([*graph.edges, (0, 1), (3, 7)]) + begin
    found = neighbourhoods(GRAPHS, pairs, hops, 10**9)
    assert len(found) == len(pairs)
    bounds = [*found.place[:, 0].tolist(), len(found.node)]
    for k, (u, v) in enumerate((pairs - begin).tolist()):
        barred = graph.copy()
        barred.remove_edges_from([(u, v)])
        depth = nx.multi_source_dijkstra_path_length(barred, {u, v}, cutoff=hops, weight=None)
        own = found.node[bounds[k] : bounds[k + 1]] - begin
        assert sorted(own.tolist()) == sorted(depth)
        assert own[found.place[k] - bounds[k]].tolist() == [u, v]
        mine = (found.target >= bounds[k]) & (found.target < bounds[k + 1])
        got = {
            (int(found.node[s]) - begin, int(found.node[t]) - begin)
            for s, t in zip(found.source[mine], found.target[mine], strict=True)
        }
        assert mine.sum() == len(got)
        assert got == {(y, x) for x in depth if depth[x] < hops for y in barred[x]}
        fewer = found.fewer[bounds[k] : bounds[k + 1]]
        assert {int(v) for v in own[fewer == 1]} == ({u, v} if graph.has_edge(u, v) else set())


def test_neighbourhoods_end_where_memory_does() -> None:
    pairs = GRAPHS.edges(2) + GRAPHS.first[2]
    whole = neighbourhoods(GRAPHS, pairs, 2, 10**9)
    few = neighbourhoods(GRAPHS, pairs, 2, len(whole.source) // 3)
    assert 1 < len(few) < len(pairs)
    np.testing.assert_array_equal(few.node, whole.node[: len(few.node)])
    assert len(neighbourhoods(GRAPHS, pairs, 2, 1)) == 1


def test_non_neighbours_are_counted_through() -> None:
    for begin, graph in zip(GRAPHS.first, SEVERAL, strict=False):
        for u in graph:
            slow = [w for w in sorted(graph) if w != u and w not in graph[u]]
            node = np.full(len(slow), begin + u)
            got = non_neighbours(GRAPHS, node, np.arange(len(slow)))
            np.testing.assert_array_equal(got - begin, slow)


def test_without_numba_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with pytest.raises(ResourceError, match=r"linkwise\[anomaly\]"):
        all_path_lengths(GRAPHS, 0)
