"""Shortest paths and neighbourhoods in `Graphs`, edge by edge, compiled by numba."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.anomaly.compiled import compiled
from linkwise.data.graphs import Graphs, Longs


@dataclass(frozen=True)
class Neighbourhoods:
    """What k layers of message passing at both ends of pairs of nodes can see, each pair by itself.

    `node` (m,) are nodes of the graphs, those of one pair after those of another; `place` (n_pairs, 2) says
    where in it the ends of each pair stand. `source` and `target` (n_messages,) are places too, one of each
    direction of an edge. `fewer` (m,) is 1 where a node's edge to the other end was taken away.
    """

    node: Longs
    source: Longs
    target: Longs
    place: Longs
    fewer: Longs

    def __len__(self) -> int:
        return len(self.place)


def path_lengths(graphs: Graphs, pairs: Longs) -> Longs:
    """Edges on the shortest path between two nodes that is not the edge between them itself (n_pairs,).

    `pairs` (n_pairs, 2) are nodes as they are numbered through all graphs; 0 where there is no such path.
    By breadth-first search from the first node, ended at the second.
    """
    found: Longs = compiled(_of_pairs)(graphs.start, graphs.neighbour, _pairs(pairs))
    return found


def path_counts(graphs: Graphs, pairs: Longs) -> Longs:
    """How many paths of two and of three edges join two nodes, the edge between them left out (n_pairs, 2).

    `pairs` (n_pairs, 2) are two different nodes each, as they are numbered through all graphs.
    """
    found: Longs = compiled(_counts)(graphs.start, graphs.neighbour, _pairs(pairs))
    return found


def all_path_lengths(graphs: Graphs, graph: int) -> Longs:
    """Edges on the shortest path between any two nodes of a graph (n_nodes, n_nodes), 0 where there is none.

    Its nodes are numbered from 0; 1 stands for neighbours.
    """
    begin, end = int(graphs.first[graph]), int(graphs.first[graph + 1])
    found: Longs = compiled(_of_all)(graphs.start, graphs.neighbour, begin, end)
    return found


def neighbourhoods(graphs: Graphs, pairs: Longs, hops: int, most: int) -> Neighbourhoods:
    """The nodes within `hops` of either end of each pair, in the graph without the edge between the two.

    Messages to nodes of the last hop are left out: `hops` layers do not bring them to the ends. Where there
    are more than `most` messages, only the first of the pairs are taken (at least one), so that memory is
    bounded; call it again with the rest.
    """
    return Neighbourhoods(
        *compiled(_near)(graphs.start, graphs.neighbour, _pairs(pairs), hops, most)
    )


def non_neighbours(graphs: Graphs, node: Longs, number: Longs) -> Longs:
    """Of each node the `number`-th other node of its graph, counted from 0, that is no neighbour (n,).

    `number` lies below n_nodes - 1 - degree.
    """
    owner = np.searchsorted(graphs.first, node, side="right") - 1
    found: Longs = compiled(_none)(
        graphs.start, graphs.neighbour, graphs.first[owner], node, number
    )
    return found


def _pairs(pairs: Longs) -> Longs:
    return np.ascontiguousarray(pairs, dtype=np.int64).reshape(-1, 2)


def _of_pairs(start: Any, neighbour: Any, pairs: Any) -> Any:
    n = len(start) - 1
    seen = np.full(n, -1)  # the last pair whose search came by: nothing is cleared between two
    depth = np.zeros(n, np.int64)
    queue = np.empty(n, np.int64)
    found = np.zeros(len(pairs), np.int64)
    for k in range(len(pairs)):
        u, v = pairs[k]
        queue[0], head, tail = u, 0, 1
        seen[u], depth[u] = k, 0
        while head < tail and seen[v] != k:
            x = queue[head]
            head += 1
            for i in range(start[x], start[x + 1]):
                y = neighbour[i]
                if seen[y] != k and not (x == u and y == v):
                    seen[y], depth[y] = k, depth[x] + 1
                    queue[tail] = y
                    tail += 1
        if u != v and seen[v] == k:
            found[k] = depth[v]
    return found


def _of_all(start: Any, neighbour: Any, begin: int, end: int) -> Any:
    n = end - begin
    found = np.zeros((n, n), np.int64)
    queue = np.empty(n, np.int64)
    for u in range(n):
        queue[0], head, tail = u, 0, 1
        while head < tail:
            x = queue[head]
            head += 1
            for i in range(start[begin + x], start[begin + x + 1]):
                y = neighbour[i] - begin
                if y != u and found[u, y] == 0:
                    found[u, y] = found[u, x] + 1
                    queue[tail] = y
                    tail += 1
    return found


def _near(start: Any, neighbour: Any, pairs: Any, hops: int, most: int) -> Any:
    n = len(start) - 1
    seen, depth, where = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64)
    # Empty lists by a comprehension: numba learns their kind from it.
    node, source = [0 for _ in range(0)], [0 for _ in range(0)]
    target, fewer = [0 for _ in range(0)], [0 for _ in range(0)]
    done = 0
    place = np.zeros((len(pairs), 2), np.int64)
    while done < len(pairs) and (done == 0 or len(source) < most):
        u, v = pairs[done]
        head = len(node)
        for end in (u, v):
            seen[end], depth[end], where[end] = done, 0, len(node)
            node.append(end)
            fewer.append(0)
        place[done, 0], place[done, 1] = head, head + 1
        while head < len(node):
            x = node[head]
            if depth[x] < hops:
                for i in range(start[x], start[x + 1]):
                    y = neighbour[i]
                    if (x == u and y == v) or (x == v and y == u):
                        fewer[head] = 1
                        continue
                    if seen[y] != done:
                        seen[y], depth[y], where[y] = done, depth[x] + 1, len(node)
                        node.append(y)
                        fewer.append(0)
                    source.append(where[y])
                    target.append(head)
            head += 1
        done += 1
    return np.array(node), np.array(source), np.array(target), place[:done], np.array(fewer)


def _counts(start: Any, neighbour: Any, pairs: Any) -> Any:
    marked = np.full(len(start) - 1, -1)  # with the last pair whose v it is a neighbour of
    found = np.zeros((len(pairs), 2), np.int64)
    for k in range(len(pairs)):
        u, v = pairs[k]
        for i in range(start[v], start[v + 1]):
            if neighbour[i] != u:
                marked[neighbour[i]] = k
        for i in range(start[u], start[u + 1]):
            a = neighbour[i]
            if a != v:
                found[k, 0] += marked[a] == k
                for j in range(start[a], start[a + 1]):
                    found[k, 1] += marked[neighbour[j]] == k
    return found


def _none(start: Any, neighbour: Any, first: Any, node: Any, number: Any) -> Any:
    found = np.empty(len(node), np.int64)
    for k in range(len(node)):
        u, w = node[k], first[k] + number[k]
        passed = False
        for i in range(start[u], start[u + 1]):
            # The node itself stands between its neighbours, which rise.
            if not passed and u < neighbour[i]:
                passed = True
                if u <= w:
                    w += 1
            if neighbour[i] <= w:
                w += 1
        if not passed and u <= w:
            w += 1
        found[k] = w
    return found
