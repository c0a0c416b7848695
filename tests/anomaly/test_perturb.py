import numpy as np
import pytest

from linkwise.anomaly.perturb import PERTURBATIONS, perturb
from linkwise.data.graphs import Graphs, build_graphs
from linkwise.data.simulate_graphs import simulate_graphs


def labelled() -> Graphs:
    graphs = simulate_graphs("2a", 6, width=4, height=5, seed=1)
    n = int(graphs.first[-1])
    edges = np.concatenate([graphs.edges(g) + graphs.first[g] for g in range(len(graphs))])
    label = np.random.default_rng(0).integers(0, 5, n)
    return build_graphs(
        graphs.ids, graphs.n_nodes, edges[:, 0], edges[:, 1], directed=False,
        node_label=(label, list("CNOSP")),
    )  # fmt: skip


def test_rewiring_keeps_every_degree_and_label_and_changes_a_fifth_of_the_edges() -> None:
    graphs = labelled()
    found = perturb(graphs, "rewired", seed=2)
    np.testing.assert_array_equal(found.degree, graphs.degree)
    np.testing.assert_array_equal(found.node_label, graphs.node_label)
    for graph in range(len(graphs)):
        before = set(map(tuple, graphs.edges(graph).tolist()))
        after = set(map(tuple, found.edges(graph).tolist()))
        assert len(after) == len(before)
        gone = len(before - after) / len(before)
        assert 0.1 < gone <= 0.25


def test_relabelling_changes_labels_alone() -> None:
    graphs = labelled()
    found = perturb(graphs, "relabelled", seed=2)
    np.testing.assert_array_equal(found.neighbour, graphs.neighbour)
    changed = (found.node_label != graphs.node_label).mean()
    assert 0.08 < changed <= 0.2
    plain = simulate_graphs("1", 2, seed=0)
    np.testing.assert_array_equal(perturb(plain, "relabelled").neighbour, plain.neighbour)


def test_joining_adds_one_edge_between_two_whole_graphs() -> None:
    graphs = labelled()
    found = perturb(graphs, "joined", seed=2)
    for graph in range(len(graphs)):
        n = int(graphs.n_nodes[graph])
        edges = found.edges(graph)
        first = edges[(edges < n).all(axis=1)]
        np.testing.assert_array_equal(first, graphs.edges(graph))
        across = ((edges < n).sum(axis=1) == 1).sum()
        assert across == 1
        rest = edges[(edges >= n).all(axis=1)] - n
        assert any(np.array_equal(rest, graphs.edges(g)) for g in range(len(graphs)))
    assert found.node_names == graphs.node_names


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_the_same_seed_makes_the_same_and_small_graphs_pass(kind: str) -> None:
    graphs = labelled()
    one, two = perturb(graphs, kind, seed=5), perturb(graphs, kind, seed=5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(one.neighbour, two.neighbour)
    np.testing.assert_array_equal(one.node_label, two.node_label)
    none = np.zeros(0, dtype=np.int64)
    small = build_graphs(["one", "none", "pair"], np.array([1, 0, 2]), none, none)
    assert len(perturb(small, kind)) == 3  # type: ignore[arg-type]
