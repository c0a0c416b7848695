"""Cheap references: descriptions against slow ones, and the contract."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from linkwise.anomaly.config import ReferenceConfig
from linkwise.anomaly.describe import (
    TIMES,
    laplacian_eigenvalues,
    netlsd_vectors,
    size_vectors,
    wl_colours,
    wl_keys,
    wl_vectors,
)
from linkwise.anomaly.references import Reference
from linkwise.data.graphs import Graphs, of_networkx
from linkwise.data.simulate_graphs import plant, simulate_graphs
from linkwise.metrics.binary import auc
from linkwise.testing.detector import DetectorContract, renumbered


def some_graphs(n: int = 12, labels: bool = True) -> tuple[list[nx.Graph], Graphs]:
    rng = np.random.default_rng(0)
    several = [nx.gnp_random_graph(int(k), 0.35, seed=int(k)) for k in rng.integers(2, 14, n)]
    if labels:
        for graph in several:
            nx.set_node_attributes(graph, {v: "ab"[v % 2] for v in graph}, "label")
            nx.set_edge_attributes(graph, {e: "xy"[sum(e) % 2] for e in graph.edges}, "label")
    return several, of_networkx(several)


def slow_colours(graph: nx.Graph, rounds: int) -> list[dict[int, object]]:
    """Nested tuples in place of hashes."""
    colours: dict[int, object] = {v: graph.nodes[v].get("label", "") for v in graph}
    found = [colours]
    for _ in range(rounds):
        colours = {
            v: (
                colours[v],
                tuple(
                    sorted((repr(colours[u]), graph.edges[v, u].get("label", "")) for u in graph[v])
                ),
            )
            for v in graph
        }
        found.append(colours)
    return found


@pytest.mark.parametrize("labels", [True, False])
def test_colours_are_those_of_nested_tuples(labels: bool) -> None:
    several, graphs = some_graphs(labels=labels)
    got = wl_colours(graphs, 3)
    for rounds in range(4):
        slow = [c for graph in several for c in map(repr, slow_colours(graph, rounds)[-1].values())]
        # Equal where those are equal, and nowhere else.
        assert len(set(zip(slow, got[rounds].tolist(), strict=True))) == len(set(slow))
        assert len(set(got[rounds].tolist())) == len(set(slow))


def test_counts_of_subtrees_are_those_of_the_colours() -> None:
    _, graphs = some_graphs()
    found = wl_vectors(graphs, 2)
    assert found.shape == (len(graphs), 2**18)
    np.testing.assert_array_equal(np.asarray(found.sum(axis=1)).ravel(), 3 * graphs.n_nodes)
    kernel = (found @ found.T).toarray()
    colours = wl_colours(graphs, 2)
    owner = graphs.graph_of_node()
    for a in range(len(graphs)):
        for b in range(len(graphs)):
            slow = 0
            for row in colours:
                mine, theirs = row[owner == a], row[owner == b]
                slow += sum(int((theirs == c).sum()) for c in mine)
            assert kernel[a, b] == slow


def test_keys_are_equal_for_graphs_that_are() -> None:
    rng = np.random.default_rng(0)
    graphs = simulate_graphs("3", 10, width=4, height=4, seed=0)
    np.testing.assert_array_equal(wl_keys(renumbered(graphs, rng)), wl_keys(graphs))
    assert len(set(wl_keys(graphs).tolist())) == 10
    cliques = of_networkx([nx.complete_graph(k) for k in (3, 4, 4, 5)])
    assert len(set(wl_keys(cliques).tolist())) == 3


def test_heat_traces_are_those_of_the_eigenvalues() -> None:
    several, graphs = some_graphs()
    found = netlsd_vectors(graphs)
    for k, graph in enumerate(several):
        values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
        expected = np.exp(-np.outer(TIMES, values)).sum(axis=1) / len(values)
        np.testing.assert_allclose(found[k], expected, atol=1e-9)


def test_a_large_spectrum_is_near_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = simulate_graphs("2c", 1, width=20, height=30, seed=0)
    whole = laplacian_eigenvalues(graphs, 0)
    monkeypatch.setattr("linkwise.anomaly.describe.DENSE", 100)
    near = laplacian_eigenvalues(graphs, 0)
    assert near.shape == whole.shape
    np.testing.assert_allclose(near[:150], whole[:150], atol=1e-6)
    np.testing.assert_allclose(near[-150:], whole[-150:], atol=1e-6)
    assert np.abs(near - whole).max() < 0.2


def test_size_is_nodes_and_edges() -> None:
    several, graphs = some_graphs()
    expected = [[np.log1p(len(g)), np.log1p(g.number_of_edges())] for g in several]
    np.testing.assert_allclose(size_vectors(graphs), expected)


def test_a_label_that_no_training_graph_has_is_strange() -> None:
    def labelled(name: str) -> nx.Graph:
        graph = nx.path_graph(4)
        nx.set_node_attributes(graph, {v: name if v == 0 else "a" for v in graph}, "label")
        return graph

    detector = Reference(ReferenceConfig(description="labels")).fit(
        of_networkx([labelled("a"), labelled("b"), labelled("a")])
    )
    known, new = detector.decision_function(of_networkx([labelled("b"), labelled("z")]))
    assert known == 0
    assert new > 0


class TestSize(DetectorContract):
    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="size"))


class TestDegrees(DetectorContract):
    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="degrees", neighbours=3))


class TestSubtrees(DetectorContract):
    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="wl", rounds=2))


class TestDirections(DetectorContract):
    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="wl", rounds=2, metric="cosine"))


class TestHeat(DetectorContract):
    noise = 1e-6

    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="netlsd"))


class TestSupportVectors(DetectorContract):
    noise = 1e-6

    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="degrees", by="svm"))


class TestForest(DetectorContract):
    def make(self) -> Reference:
        return Reference(ReferenceConfig(description="wl", by="forest"))


def test_a_planted_part_is_found_by_the_nodes_that_add_most() -> None:
    """Counts of subtrees blame the nodes among which nearly all edges were put in."""
    normal = simulate_graphs("2b", 60, width=5, height=8, seed=1)
    planted, strange = plant(simulate_graphs("2b", 15, width=5, height=8, seed=2), size=6, seed=3)
    fitted = Reference(ReferenceConfig(description="wl")).fit(normal)
    found = []
    for graph in range(len(planted)):
        contributions = fitted.contributions(planted, graph)
        assert contributions is not None
        own = strange[planted.first[graph] : planted.first[graph + 1]]
        found.append(auc(own.astype(int), contributions.node))
    assert np.mean(found) > 0.85
