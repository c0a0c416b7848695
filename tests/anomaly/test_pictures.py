import networkx as nx
import numpy as np
import pytest
from pydantic import ValidationError

from linkwise.anomaly.base import Contributions
from linkwise.anomaly.pictures import MOST, layout, picture
from linkwise.data.graphs import of_networkx
from linkwise.report import NetworkPicture


def edges_of(graph: nx.Graph) -> np.ndarray:
    return np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2)


def test_a_path_is_drawn_as_a_line_and_a_ring_round() -> None:
    at = layout(6, edges_of(nx.path_graph(6)))
    steps = np.linalg.norm(np.diff(at, axis=0), axis=1)
    np.testing.assert_allclose(steps, 1.0, atol=0.1)
    assert np.linalg.norm(at[5] - at[0]) == pytest.approx(5.0, abs=0.4)
    ring = layout(12, edges_of(nx.cycle_graph(12)))
    radius = np.linalg.norm(ring - ring.mean(axis=0), axis=1)
    assert radius.std() / radius.mean() < 0.05


def test_parts_that_do_not_hang_together_lie_apart() -> None:
    both = nx.disjoint_union(nx.cycle_graph(8), nx.path_graph(4))
    both.add_node(12)
    at = layout(13, edges_of(both))
    assert len(np.unique(at.round(6), axis=0)) == 13
    boxes = [(at[some].min(axis=0), at[some].max(axis=0)) for some in (range(8), range(8, 12))]
    (low, high), (low2, high2) = boxes
    assert (low > high2).any() or (low2 > high).any()


def test_what_adds_most_is_heaviest_and_missing_edges_are_drawn() -> None:
    graphs = of_networkx([nx.cycle_graph(5)])
    pairs = np.array([[0, 1], [0, 4], [0, 2], [1, 3]])
    found = Contributions(
        0.5, np.zeros(5), pairs, np.array([2.0, 0.5, 1.5, -1.0]),
        np.array([True, True, False, False]),
    )  # fmt: skip
    drawn = picture(graphs, 0, "ring", found)
    weight = dict(zip(drawn.edges, drawn.edge_weight, strict=True))
    assert weight[0, 1] == 1.0
    assert weight[0, 4] == 0.25
    assert drawn.missing == ((0, 2),)
    plain = picture(graphs, 0, "ring", None)
    assert set(plain.edge_weight) == {0.0}


def test_of_a_large_graph_the_heaviest_neighbourhood_is_drawn() -> None:
    graph = nx.path_graph(400)
    node = np.zeros(400)
    node[300] = 1.0
    none = np.zeros((0, 2), dtype=np.int64)
    found = Contributions(0.0, node, none, np.zeros(0), np.zeros(0, dtype=bool))
    drawn = picture(of_networkx([graph]), 0, "path", found)
    assert len(drawn.x) == MOST
    assert drawn.node_weight.count(1.0) == 1
    assert "120 of 400 nodes" in drawn.name
    assert len(drawn.edges) == MOST - 1


def test_edges_to_nowhere_are_refused() -> None:
    with pytest.raises(ValidationError, match="the nodes are 0 to 1"):
        NetworkPicture(
            name="x", x=[0, 1], y=[0, 1], node_weight=[0, 0], edges=[(0, 2)], edge_weight=[1]
        )
