"""Graphs as GraphRNN reads them: one sequence of rows of each ordering of each graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from linkwise.anomaly.orderings import Keys, back_edges, bandwidth, orderings
from linkwise.data.graphs import Graphs, Longs, spans

QUANTILE = 0.999  # of rows that a window holds whole


@dataclass(frozen=True)
class Orders:
    """Breadth-first orderings of graphs, and the edges as they see them.

    `order` (draws, n_nodes) are nodes; `later` and `back` (draws, n_edges) the later end of each edge, as a
    place in the ordering, and how far back the other stands. A graph's edges have the same places in each draw.
    """

    order: Longs
    later: Longs
    back: Longs


@dataclass(frozen=True)
class Sequences:
    """Orderings of graphs one after another: sequence s has `n[s]` nodes, numbered through all sequences.

    `place` (n_nodes,) is each node's in its sequence, `label` (n_nodes,) a column; each edge goes from node
    `later` (n_edges,) `back` (n_edges,) places back.
    """

    n: Longs
    place: Longs
    label: Longs
    later: Longs
    back: Longs

    @property
    def owner(self) -> Longs:
        """The sequence of each node (n_nodes,)."""
        return np.repeat(np.arange(len(self.n)), self.n)


def ordered(graphs: Graphs, keys: Keys) -> Orders:
    """Breadth-first orderings by keys (draws, n_nodes)."""
    order = orderings(graphs, "bfs", keys)
    edges = [back_edges(graphs, one) for one in order]
    later, back = (np.stack(column) for column in zip(*edges, strict=True))
    return Orders(order, later, back)


def sequences(graphs: Graphs, orders: Orders, label: Longs, graph: Longs, draw: Longs) -> Sequences:
    """The sequences of some orderings: of `graph[s]` the one drawn as `draw[s]`.

    `label` (n_nodes,) are columns of labels.
    """
    first_edge = graphs.start[graphs.first] // 2
    n, m = graphs.n_nodes[graph], graphs.n_edges[graph]
    node = spans(graphs.first[graph], n)
    edge = spans(first_edge[graph], m)
    begin = np.cumsum(n) - n
    draw_of_edge = np.repeat(draw, m)
    later = orders.later[draw_of_edge, edge] + np.repeat(begin - graphs.first[graph], m)
    own = orders.order[np.repeat(draw, n), node]
    place = np.arange(len(node)) - np.repeat(begin, n)
    return Sequences(n, place, label[own], later, orders.back[draw_of_edge, edge])


def batches(n_nodes: Longs, draws: int, most: int) -> Iterator[tuple[Longs, Longs]]:
    """Graphs and draws of all sequences, those of like length together, up to `most` nodes at a time."""
    graph = np.repeat(np.argsort(n_nodes, kind="stable"), draws)
    draw = np.tile(np.arange(draws), len(n_nodes))
    begin = 0
    while begin < len(graph):
        within = np.cumsum(n_nodes[graph[begin:]] + 1) <= most
        end = begin + max(1, int(within.sum()))
        yield graph[begin:end], draw[begin:end]
        begin = end


def window(graphs: Graphs, keys: Keys) -> int:
    """How far back the rows of 99.9 of 100 nodes reach, of those that reach back, over orderings; 1 at least."""
    width = np.concatenate([bandwidth(graphs, order) for order in orderings(graphs, "bfs", keys)])
    reaching = width[width > 0]
    return int(np.quantile(reaching, QUANTILE, method="higher")) if len(reaching) else 1
