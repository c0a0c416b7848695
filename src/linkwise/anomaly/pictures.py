"""Where the nodes of a graph are drawn, and what of a large one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.anomaly.base import Contributions
from linkwise.data.graphs import Graphs, Longs

if TYPE_CHECKING:
    from linkwise.report.document import NetworkPicture

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOST = 120  # nodes that are drawn
FEW_MISSING = 8  # missing edges that are drawn
GAP = 1.0  # between parts, in edges
HEAVIEST = 10  # nodes, and edges, that are shown as heavy


def layout(n: int, edges: Longs) -> Floats:
    """Places of nodes (n, 2): each part that hangs together by itself, the largest first, in rows.

    Within a part distances are near to the lengths of shortest paths.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    adjacency = csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, part = connected_components(adjacency, directed=False)
    found = np.zeros((n, 2))
    sizes = np.bincount(part)
    width = x = y = below = 0.0
    for number in np.argsort(-sizes, kind="stable"):
        nodes = np.flatnonzero(part == number)
        place = _layout_of_one(adjacency[nodes][:, nodes])
        place -= place.min(axis=0)
        extent = place.max(axis=0) + GAP
        if width and x + extent[0] > width:
            x, y = 0.0, below
        width = width or max(float(extent.max()), np.sqrt(n))
        found[nodes] = place * (1, -1) + (x, y)
        x += extent[0]
        below = min(below, y - extent[1])
    return found


def _layout_of_one(adjacency: Any) -> Floats:
    """Stress majorisation of all pairs' path lengths (Gansner, Koren and North 2004, there with weights) by
    scikit-learn's SMACOF, from the classic solution."""
    from scipy.sparse.csgraph import shortest_path
    from sklearn.manifold import smacof

    n = adjacency.shape[0]
    if n == 1:
        return np.zeros((1, 2))
    length = shortest_path(adjacency, directed=False, unweighted=True)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    centred = length**2 - (length**2).mean(axis=0)
    centred = -0.5 * (centred - centred.mean(axis=1, keepdims=True))
    values, vectors = np.linalg.eigh(centred)
    # A little of a circle, so that nodes with one place come apart.
    start = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 1e-9)) + 0.05 * circle
    found = smacof(length, n_components=2, init=start, n_init=1, max_iter=200, eps=1e-4)[0]
    return np.asarray(found, dtype=np.float64)


def picture(
    graphs: Graphs,
    graph: int,
    name: str,
    contributions: Contributions | None,
    names: Sequence[str] | None = None,
) -> NetworkPicture:
    """A graph with the weight of its ten heaviest nodes and edges: their part of the score, of the largest.

    Of a graph with more than 120 nodes the neighbourhood of the heaviest node is drawn (or, without
    contributions, of the node with most neighbours). `names` of its nodes go into the picture.
    """
    from linkwise.report import NetworkPicture

    n = int(graphs.n_nodes[graph])
    edges = graphs.edges(graph)
    node, edge = np.zeros(n), np.zeros(len(edges))
    missing = np.zeros((0, 2), dtype=np.int64)
    if contributions is not None:
        node = np.maximum(contributions.node, 0.0)
        there = np.asarray(contributions.there, dtype=np.bool_)
        weight = {
            (min(u, v), max(u, v)): value
            for (u, v), value in zip(
                contributions.edges[there].tolist(), contributions.edge[there].tolist(), strict=True
            )
        }
        edge = np.array([max(0.0, weight.get((u, v), 0.0)) for u, v in edges.tolist()])
        absent = np.flatnonzero(~there & (contributions.edge > 0))
        absent = absent[np.argsort(-contributions.edge[absent], kind="stable")][:FEW_MISSING]
        if len(absent) and len(edge):
            # A missing edge is drawn where it weighs as much as the edges that are named.
            bar = np.sort(edge)[-min(len(edge), FEW_MISSING)]
            absent = absent[contributions.edge[absent] >= bar]
        missing = contributions.edges[absent]
    kept = _near_heaviest(n, edges, node, edge)
    place = np.full(n, -1)
    place[kept] = np.arange(len(kept))
    inside = (place[edges] >= 0).all(axis=1) if len(edges) else np.zeros(0, dtype=np.bool_)
    missing = missing[(place[missing] >= 0).all(axis=1)] if len(missing) else missing
    at = layout(len(kept), place[edges[inside]])
    node, edge = _heaviest(node), _heaviest(edge)
    heaviest = max(float(edge.max(initial=0.0)), float(node.max(initial=0.0)), 1e-12)
    said = name if len(kept) == n else f"{name} ({len(kept)} of {n:,} nodes)"
    return NetworkPicture(
        name=said,
        x=at[:, 0].tolist(),
        y=at[:, 1].tolist(),
        node_weight=(node[kept] / heaviest).tolist(),
        edges=tuple(map(tuple, place[edges[inside]].tolist())),
        edge_weight=(edge[inside] / heaviest).tolist(),
        missing=tuple(map(tuple, place[missing].tolist())),
        node_names=() if names is None else tuple(names[node] for node in kept),
    )


def _heaviest(weight: Floats) -> Floats:
    """The ten largest weights, and 0 for the others."""
    found = np.zeros(len(weight))
    at = np.argsort(-weight, kind="stable")[:HEAVIEST]
    found[at] = weight[at]
    return found


def _near_heaviest(n: int, edges: Longs, node: Floats, edge: Floats) -> Longs:
    """Node numbers to draw: all, or of a large graph those nearest to the heaviest."""
    if n <= MOST:
        return np.arange(n)
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order

    mass = node.copy()
    np.add.at(mass, edges[:, 0], edge / 2)
    np.add.at(mass, edges[:, 1], edge / 2)
    if not mass.any():
        mass = np.bincount(edges.ravel(), minlength=n).astype(np.float64)
    adjacency = csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    order = breadth_first_order(
        adjacency, int(mass.argmax()), directed=False, return_predecessors=False
    )
    return np.sort(order[:MOST])
