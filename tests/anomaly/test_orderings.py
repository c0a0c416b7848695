"""Orderings of nodes: against networkx and slow loops."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx
import numpy as np
import pytest

from linkwise.anomaly.orderings import (
    KINDS,
    SHORT,
    Kind,
    back_edges,
    bandwidth,
    core_numbers,
    orderings,
    own_keys,
)
from linkwise.data.graphs import Graphs, Longs, build_graphs, of_networkx
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.testing.detector import renumbered


def some_graphs() -> tuple[list[nx.Graph], Graphs]:
    """Of several parts, without edges, of one node, with hubs that have too many neighbours to insert."""
    several = [nx.gnp_random_graph(int(n), 3 / n, seed=int(n)) for n in range(5, 45, 3)]
    several += [nx.empty_graph(6), nx.empty_graph(1), nx.empty_graph(0), nx.complete_graph(7)]
    several += [
        nx.star_graph(2 * SHORT),
        nx.path_graph(30),
        nx.barabasi_albert_graph(60, 3, seed=1),
    ]
    several.append(nx.disjoint_union(nx.star_graph(SHORT + 9), nx.cycle_graph(5)))
    return several, of_networkx(several)


def random_keys(graphs: Graphs, draws: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(
        2**64, size=(draws, int(graphs.first[-1])), dtype=np.uint64
    )


def own(order: Longs, graphs: Graphs, graph: int) -> list[int]:
    begin, end = graphs.first[graph], graphs.first[graph + 1]
    return [int(v) for v in order[begin:end] - begin]


def slow_bfs(graph: nx.Graph, key: np.ndarray) -> list[int]:
    found: list[int] = []
    for begun in sorted(graph, key=lambda v: key[v]):
        queue = [] if begun in found else [begun]
        found += queue
        while queue:
            fresh = sorted(set(graph[queue.pop(0)]) - set(found), key=lambda v: key[v])
            queue += fresh
            found += fresh
    return found


def slow_dfs(graph: nx.Graph, key: np.ndarray) -> list[int]:
    found: list[int] = []

    def enter(v: int) -> None:
        found.append(v)
        for u in sorted(graph[v], key=lambda u: key[u]):
            if u not in found:
                enter(u)

    for begun in sorted(graph, key=lambda v: (-graph.degree[v], key[v])):
        if begun not in found:
            enter(begun)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_orderings_are_those_of_slow_loops(kind: Kind) -> None:
    several, graphs = some_graphs()
    keys = random_keys(graphs)
    found = orderings(graphs, kind, keys)
    for draw in range(len(keys)):
        for row, graph in enumerate(several):
            key = keys[draw, graphs.first[row] : graphs.first[row + 1]]
            if kind == "bfs":
                expected = slow_bfs(graph, key)
            elif kind == "dfs":
                expected = slow_dfs(graph, key)
            else:
                core = nx.core_number(graph) if kind == "k-core" else dict.fromkeys(graph, 0)
                rank = [(-core[v], -graph.degree[v], key[v], v) for v in graph]
                expected = [v for *_, v in sorted(rank)]
            assert own(found[draw], graphs, row) == expected


def test_searches_of_connected_graphs_are_those_of_networkx() -> None:
    several = [nx.gnp_random_graph(40, 0.15, seed=k) for k in range(8)]
    several = [graph for graph in several if nx.is_connected(graph)]
    assert len(several) > 3
    graphs = of_networkx(several)
    keys = random_keys(graphs, 3)
    bfs, dfs = orderings(graphs, "bfs", keys), orderings(graphs, "dfs", keys)
    for draw in range(3):
        for row, graph in enumerate(several):
            key = keys[draw, graphs.first[row] : graphs.first[row + 1]]

            def by_key(some: Iterable[int], key: np.ndarray = key) -> list[int]:
                return sorted(some, key=key.__getitem__)

            found = own(bfs[draw], graphs, row)
            edges = nx.bfs_edges(graph, found[0], sort_neighbors=by_key)
            assert found == [found[0], *(v for _, v in edges)]
            found = own(dfs[draw], graphs, row)
            assert graph.degree[found[0]] == max(dict(graph.degree).values())
            edges = nx.dfs_edges(graph, found[0], sort_neighbors=by_key)
            assert found == [found[0], *(v for _, v in edges)]


def test_every_node_is_visited_once() -> None:
    several, graphs = some_graphs()
    assert any(nx.number_connected_components(graph) > 1 for graph in several if len(graph))
    for kind in KINDS:
        for order in orderings(graphs, kind, random_keys(graphs)):
            for row, graph in enumerate(several):
                assert sorted(own(order, graphs, row)) == sorted(graph)


def test_each_start_and_each_neighbour_comes_first_equally_often() -> None:
    graphs = of_networkx([nx.path_graph(3)])
    found = orderings(graphs, "bfs", random_keys(graphs, 6000))
    starts = np.bincount(found[:, 0], minlength=3) / 6000
    np.testing.assert_allclose(starts, 1 / 3, atol=0.03)
    middle = found[found[:, 0] == 1]
    assert (middle[:, 1] == 0).mean() == pytest.approx(0.5, abs=0.04)
    found = orderings(graphs, "bfs", own_keys(graphs, 6000))
    np.testing.assert_allclose(np.bincount(found[:, 0], minlength=3) / 6000, 1 / 3, atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_numbering_nodes_otherwise_changes_draws_alone(kind: Kind) -> None:
    """With keys that move with the nodes, orderings are the same."""
    _, graphs = some_graphs()
    # What renumbering did is told by attributes.
    marked = build_graphs(
        graphs.ids,
        graphs.n_nodes,
        *np.concatenate([graphs.edges(g) + graphs.first[g] for g in range(len(graphs))]).T,
        attributes=np.arange(graphs.first[-1], dtype=np.float64)[:, None],
    )
    shuffled = renumbered(marked, np.random.default_rng(3))
    assert shuffled.attributes is not None
    before = shuffled.attributes[:, 0].astype(np.int64)
    keys = random_keys(graphs)
    found = orderings(shuffled, kind, keys[:, before])
    np.testing.assert_array_equal(before[found], orderings(graphs, kind, keys))


def test_own_keys_move_with_the_nodes_and_know_no_company() -> None:
    graphs = simulate_graphs("2a", 5, width=4, height=5, seed=0)  # colours tell all nodes apart
    keys = own_keys(graphs, 3, seed=7)
    assert len(np.unique(keys)) == keys.size
    assert not np.isin(own_keys(graphs, 3, seed=8), keys).any()
    alone = graphs.select([3])
    begin, end = graphs.first[3], graphs.first[4]
    np.testing.assert_array_equal(own_keys(alone, 3, seed=7), keys[:, begin:end])
    shuffled = renumbered(graphs, np.random.default_rng(1))
    for graph in range(5):
        part = slice(graphs.first[graph], graphs.first[graph + 1])
        assert set(own_keys(shuffled, 3, seed=7)[0, part].tolist()) == set(keys[0, part].tolist())
    rows = [orderings(some, "bfs", own_keys(some, 3, seed=7)) for some in (graphs, shuffled)]
    pairs = [
        [back_edges(some, order) for order in orders]
        for some, orders in zip((graphs, shuffled), rows, strict=True)
    ]
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_core_numbers_are_those_of_networkx() -> None:
    several, graphs = some_graphs()
    found = core_numbers(graphs)
    expected = np.concatenate([[nx.core_number(graph)[v] for v in graph] for graph in several])
    np.testing.assert_array_equal(found, expected.astype(np.int64))


def test_back_edges_and_bandwidth_are_those_of_a_slow_loop() -> None:
    several, graphs = some_graphs()
    for order in orderings(graphs, "bfs", random_keys(graphs)):
        expected, widths = [], []
        for row, graph in enumerate(several):
            place = {v: k for k, v in enumerate(own(order, graphs, row))}
            for k, v in enumerate(place):
                far = sorted(k - place[u] for u in graph[v] if place[u] < k)
                expected += [(int(graphs.first[row]) + k, back) for back in far]
                widths.append(max(far, default=0))
        later, back = back_edges(graphs, order)
        assert list(zip(later.tolist(), back.tolist(), strict=True)) == expected
        assert bandwidth(graphs, order).tolist() == widths


def test_no_row_of_a_breadth_first_search_reaches_behind_the_row_before() -> None:
    """Within a part the first earlier neighbour never moves back: what makes a narrow window enough."""
    graphs = simulate_graphs("3", 5, seed=2)
    order = orderings(graphs, "bfs", random_keys(graphs, 1))[0]
    width = bandwidth(graphs, order)
    place = np.arange(len(order)) - np.repeat(graphs.first[:-1], graphs.n_nodes)
    earliest = place - width
    assert (width[place > 0] > 0).all()
    inner = place > 1
    assert (earliest[inner] >= earliest[np.flatnonzero(inner) - 1]).all()
