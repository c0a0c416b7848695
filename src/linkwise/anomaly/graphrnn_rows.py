"""Graphs as GraphRNN reads them: one sequence of rows of each ordering of each graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from linkwise.anomaly.orderings import Keys, back_edges, bandwidth, orderings
from linkwise.data.graphs import Graphs, Longs, spans
from linkwise.errors import optional

QUANTILE = 0.999  # of rows that a window holds whole
TOLD = 5  # numbers of a bit that are told beforehand


@dataclass(frozen=True)
class Orders:
    """Breadth-first orderings of graphs, and the edges as they see them.

    `order` (draws, n_nodes) are nodes; `later` and `back` (draws, n_edges) the later end of each edge, as a
    place in the ordering, and how far back the other stands. A graph's edges have the same columns in each.
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
    """How far 99.9 of 100 rows reach back over orderings, of those that do; 1 at least."""
    width = np.concatenate([bandwidth(graphs, order) for order in orderings(graphs, "bfs", keys)])
    reaching = width[width > 0]
    return int(np.quantile(reaching, QUANTILE, method="higher")) if len(reaching) else 1


def told(part: Sequences, bits: int) -> Any:
    """What the graph so far tells of each bit before it is written (n_nodes, bits, 5), in single precision.

    Of node i and the one d places before: log(1 + x) of the edges that one has so far, of the paths of
    two and of three edges between the two by the edges that stand, those of row i among them that reach
    farther, and of d; and whether a breadth-first search is past that node: a later one has found i - 1.
    """
    found = _compiled()(part.place, part.later, part.back, bits)
    np.log1p(found[:, :, :4], out=found[:, :, :4])
    return found


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return optional("numba", "anomaly", "GraphRNN").njit(_told)


def _told(place: Any, later: Any, back: Any, bits: int) -> Any:
    n = len(place)
    found = np.zeros((n, bits, 5), np.float32)
    # Neighbours of each node, rising: earlier ones as they stand turned round, then later ones.
    start = np.zeros(n + 1, np.int64)
    for e in range(len(later)):
        start[later[e] + 1] += 1
        start[later[e] - back[e] + 1] += 1
    start = np.cumsum(start)
    near, filled = np.empty(2 * len(later), np.int64), start[:-1].copy()
    first = np.searchsorted(later, np.arange(n + 1))  # edges by their later ends, the nearest first
    for i in range(n):
        for e in range(first[i + 1] - 1, first[i] - 1, -1):
            j = i - back[e]
            near[filled[i]] = j
            near[filled[j]] = i
            filled[i] += 1
            filled[j] += 1
    degree = np.zeros(n, np.int64)
    earliest = 0  # the node by which the last one was found
    for i in range(n):
        for d in range(1, min(place[i], bits) + 1):
            found[i, d - 1, 0] = degree[i - d]
            found[i, d - 1, 3] = d
            found[i, d - 1, 4] = i - d < earliest
        for e in range(first[i], first[i + 1]):
            k = i - back[e]
            for at in range(start[k], start[k + 1]):
                a = near[at]
                if a >= i:
                    break
                if a > k and i - a <= bits:
                    found[i, i - a - 1, 1] += 1
                for also in range(start[a], start[a + 1]):
                    b = near[also]
                    if b >= i:
                        break
                    if b > k and i - b <= bits:
                        found[i, i - b - 1, 2] += 1
        earliest = i
        for e in range(first[i], first[i + 1]):
            earliest = i - back[e]
            degree[earliest] += 1
            degree[i] += 1
    return found
