"""The pairs of nodes that masked completion judges a graph by, and those that it learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.anomaly.base import Floats
from linkwise.anomaly.describe import wl_colours, wl_keys
from linkwise.anomaly.paths import all_path_lengths, non_neighbours, path_lengths
from linkwise.data.graphs import Graphs, Longs

if TYPE_CHECKING:
    from linkwise.anomaly.masked import MaskedConfig


def judged_pairs(graphs: Graphs, config: MaskedConfig) -> tuple[Longs, Longs, Any, Floats, Longs]:
    """The pairs by which graphs are judged, their graphs, which are edges, weights, and path lengths.

    Pairs (n, 2) are numbered through all graphs. A graph's part is the same in any company.
    """
    parts = []
    n_nodes, n_edges = graphs.n_nodes, graphs.n_edges
    sampled = (n_edges > config.edges) | (n_nodes * (n_nodes - 1) // 2 > config.pairs)
    keys = wl_keys(graphs) if sampled.any() else None
    colours = wl_colours(graphs, config.layers)[-1] if sampled.any() else None
    for graph in range(len(graphs)):
        begin = int(graphs.first[graph])
        edges = graphs.edges(graph) + begin
        rng = np.random.default_rng(0 if keys is None else int(keys[graph]))
        if colours is not None and len(edges) > config.edges:
            # In an order of their nodes' colours: in a file with other numbers like edges are drawn.
            with np.errstate(over="ignore"):
                order = np.argsort(colours[edges].sum(axis=1), kind="stable")
            edges = edges[order[np.sort(rng.choice(len(edges), config.edges, replace=False))]]
        lengths = path_lengths(graphs, edges)
        if n_nodes[graph] * (n_nodes[graph] - 1) // 2 <= config.pairs:
            others, weight, far = _all_others(graphs, graph)
        else:
            others, weight = _some_others(graphs, graph, edges, rng, config.edges)
            far = path_lengths(graphs, others)
        ones = np.full(len(edges), 1 / max(1, len(edges)))
        parts.append(
            (
                np.concatenate([edges, others]),
                np.full(len(edges) + len(others), graph),
                np.arange(len(edges) + len(others)) < len(edges),
                np.concatenate([ones, weight]),
                np.concatenate([lengths, far]),
            )
        )
    pairs, graph_of, there, weights, far = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return pairs, graph_of, there, weights, far


def _all_others(graphs: Graphs, graph: int) -> tuple[Longs, Floats, Longs]:
    """All pairs of a graph without an edge, weights that sum to 1, and path lengths."""
    between = all_path_lengths(graphs, graph)
    u, v = np.nonzero(np.triu(between != 1, 1))
    begin, n = int(graphs.first[graph]), len(between)
    degree = graphs.degree[begin : begin + n]
    drawn = degree / np.maximum(n - 1 - degree, 1)  # of each w that is no neighbour
    weight = drawn[u] + drawn[v]
    if len(weight) and not weight.any():  # no edges: each pair alike
        weight = np.ones(len(u))
    return (
        np.column_stack([u, v]) + begin,
        weight / max(float(weight.sum()), 1e-300),
        between[u, v],
    )


def _some_others(
    graphs: Graphs, graph: int, edges: Longs, rng: np.random.Generator, most: int
) -> tuple[Longs, Floats]:
    """Pairs (u, w) without an edge, u an end of one of the edges; weights that sum to 1."""
    begin, end = int(graphs.first[graph]), int(graphs.first[graph + 1])
    if len(edges):
        ends = rng.permuted(np.resize(edges.ravel(), max(most, 2 * len(edges))))[:most]
    else:
        ends = rng.integers(begin, end, most)
    found = np.sort(draw_others(graphs, ends, rng), axis=1)
    others, count = np.unique(found, axis=0, return_counts=True)
    return others.reshape(-1, 2), count / max(1, count.sum())


def draw_others(graphs: Graphs, ends: Longs, rng: np.random.Generator) -> Longs:
    """Pairs (u, w) of the given nodes and a random one of the same graph that is no neighbour (m, 2).

    A node that is joined to all others draws none.
    """
    owner = np.searchsorted(graphs.first, ends, side="right") - 1
    free = graphs.n_nodes[owner] - 1 - graphs.degree[ends]
    ends, free = ends[free > 0], free[free > 0]
    return np.column_stack([ends, non_neighbours(graphs, ends, rng.integers(0, free))])
