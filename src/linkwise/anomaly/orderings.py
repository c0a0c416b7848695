"""Orderings of the nodes of many graphs at once, compiled by numba, and the edges as an ordering sees them.

An ordering is drawn by keys: a random number of each node, by which starts and neighbours are taken and ties
are broken. `draws` orderings of all graphs come at once: keys and orderings are (draws, n_nodes), and each
row of an ordering lists the nodes of the first graph, then those of the second, all numbered through.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from linkwise.anomaly.describe import mixed, wl_colours, wl_keys
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import optional

Keys = np.ndarray[Any, np.dtype[np.uint64]]
Kind = Literal["bfs", "dfs", "degree", "k-core"]
KINDS: tuple[Kind, ...] = ("bfs", "dfs", "degree", "k-core")

SHORT = 64  # neighbours up to which an insertion sort is used


def orderings(graphs: Graphs, kind: Kind, keys: Keys) -> Longs:
    """The nodes in order (draws, n_nodes); smaller keys (draws, n_nodes) come first.

    - `bfs`: breadth first from the node with the smallest key, new neighbours by their keys; the next part
      of the graph from the smallest key that is left. With random keys this is the ordering of GraphRNN (You
      et al. 2018), which renumbers the nodes at random and searches from the first.
    - `dfs`: depth first (preorder) from the node with most neighbours, the next part of the graph from the
      one with most of those that are left; the neighbour with the smallest key is entered first.
    - `degree`: falling numbers of neighbours.
    - `k-core`: falling core numbers, and within a core falling numbers of neighbours.

    Ties are broken by keys. The last three are those of GRAN (Liao et al. 2019).
    """
    keys = np.ascontiguousarray(keys, dtype=np.uint64)
    if kind == "bfs":
        found: Longs = _compiled()["bfs"](graphs.first, graphs.start, graphs.neighbour, keys)
        return found
    owner, degree = graphs.graph_of_node(), graphs.degree
    falling = [-degree, -core_numbers(graphs)] if kind == "k-core" else [-degree]
    order = np.stack([np.lexsort((key, *falling, owner)) for key in keys])
    if kind == "dfs":
        order = _compiled()["dfs"](graphs.start, graphs.neighbour, keys, order)
    return order


def own_keys(graphs: Graphs, draws: int, seed: int = 0) -> Keys:
    """Random keys that are the graphs' own (draws, n_nodes): the same in any company.

    They follow from a graph's Weisfeiler-Lehman key and its nodes' colours. So they move with the nodes when
    these are numbered otherwise; those of one colour may change keys among themselves.
    """
    owner = graphs.graph_of_node()
    colour = wl_colours(graphs)[-1]
    order = np.lexsort((colour, owner))
    place = np.arange(len(order))
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (owner[order][1:] != owner[order][:-1]) | (colour[order][1:] != colour[order][:-1])
    rank = np.empty(len(order), dtype=np.uint64)  # of a node among those of its colour
    rank[order] = place - np.maximum.accumulate(np.where(new, place, 0))
    with np.errstate(over="ignore"):
        node = mixed(colour + mixed(rank))
        word = np.arange(draws, dtype=np.uint64) + mixed(np.uint64(seed))
        graph = mixed(wl_keys(graphs) + mixed(word)[:, None])  # (draws, n_graphs)
        return np.asarray(mixed(node + graph[:, owner]))


def core_numbers(graphs: Graphs) -> Longs:
    """The largest k of each node (n_nodes,) for which a part of its graph has it, and k neighbours of each.

    Batagelj and Zaversnik 2003, linear in the edges.
    """
    found: Longs = _compiled()["core"](graphs.start, graphs.neighbour)
    return found


def back_edges(graphs: Graphs, order: Longs) -> tuple[Longs, Longs]:
    """Each edge once, as an ordering (n_nodes,) sees it: its later end, and how far back the other stands.

    Both (n_edges,); ends are places in `order`, numbered through all graphs. The edges stand by their
    later ends, the nearest first: they are the ones of the rows that GraphRNN writes.
    """
    later, back = _compiled()["back"](graphs.start, graphs.neighbour, order)
    return later, back


def bandwidth(graphs: Graphs, order: Longs) -> Longs:
    """How far back the farthest earlier neighbour of each place stands (n_nodes,); 0 where there is none."""
    later, back = back_edges(graphs, order)
    found = np.zeros(len(order), dtype=np.int64)
    found[later] = back  # of one place the farthest is written last
    return found


@lru_cache(maxsize=1)
def _compiled() -> dict[str, Any]:
    numba = optional("numba", "anomaly", "orderings of nodes")
    loops = {"bfs": _bfs, "dfs": _dfs, "core": _core, "back": _back}
    return {name: numba.njit(loop) for name, loop in loops.items()}


def _bfs(first: Any, start: Any, neighbour: Any, keys: Any) -> Any:
    order = np.empty(keys.shape, np.int64)
    seen = np.zeros(keys.shape[1], np.bool_)
    for draw in range(len(keys)):
        key, out = keys[draw], order[draw]
        seen[:] = False
        for graph in range(len(first) - 1):
            begin, end = first[graph], first[graph + 1]
            if begin == end:
                continue
            begun = begin + np.argmin(key[begin:end])
            starts, tried = out[:0], 0  # all nodes by their keys, where one part is not the whole
            head = tail = begin
            while tail < end:
                out[tail] = begun
                seen[begun] = True
                tail += 1
                while head < tail:
                    x = out[head]
                    head += 1
                    fresh = tail
                    for i in range(start[x], start[x + 1]):
                        y = neighbour[i]
                        if not seen[y]:
                            seen[y] = True
                            out[tail] = y
                            tail += 1
                    if tail - fresh <= SHORT:
                        for i in range(fresh + 1, tail):
                            y, j = out[i], i
                            while j > fresh and key[out[j - 1]] > key[y]:
                                out[j] = out[j - 1]
                                j -= 1
                            out[j] = y
                    else:
                        some = out[fresh:tail].copy()
                        out[fresh:tail] = some[np.argsort(key[some], kind="mergesort")]
                if tail < end:
                    if len(starts) == 0:
                        starts = begin + np.argsort(key[begin:end], kind="mergesort")
                    while seen[starts[tried]]:
                        tried += 1
                    begun = starts[tried]
    return order


def _dfs(start: Any, neighbour: Any, keys: Any, starts: Any) -> Any:
    draws, n = keys.shape
    order = np.empty((draws, n), np.int64)
    seen = np.zeros(n, np.bool_)
    stack, at = np.empty(n, np.int64), np.empty(n, np.int64)
    near = neighbour.copy()
    for draw in range(draws):
        key = keys[draw]
        for x in range(n):
            some = neighbour[start[x] : start[x + 1]]
            near[start[x] : start[x + 1]] = some[np.argsort(key[some], kind="mergesort")]
        seen[:] = False
        tail = 0
        # Parts do not reach into other graphs: the order of starts keeps the graphs apart.
        for begun in starts[draw]:
            if seen[begun]:
                continue
            stack[0], depth = begun, 1
            at[begun], seen[begun], order[draw, tail] = start[begun], True, begun
            tail += 1
            while depth:
                x = stack[depth - 1]
                while at[x] < start[x + 1] and seen[near[at[x]]]:
                    at[x] += 1
                if at[x] == start[x + 1]:
                    depth -= 1
                    continue
                y = near[at[x]]
                seen[y], at[y], order[draw, tail] = True, start[y], y
                tail += 1
                stack[depth] = y
                depth += 1
    return order


def _core(start: Any, neighbour: Any) -> Any:
    n = len(start) - 1
    core = start[1:] - start[:-1]
    # Nodes by their rising numbers of neighbours, and where in it each number begins.
    begin = np.zeros(n + 2, np.int64)
    for v in range(n):
        begin[core[v] + 1] += 1
    begin = np.cumsum(begin)
    node, place, filled = np.empty(n, np.int64), np.empty(n, np.int64), begin.copy()
    for v in range(n):
        place[v] = filled[core[v]]
        node[place[v]] = v
        filled[core[v]] += 1
    for i in range(n):
        v = node[i]
        for k in range(start[v], start[v + 1]):
            u = neighbour[k]
            if core[u] > core[v]:
                # One neighbour less: u changes places with the first of its number.
                w = node[begin[core[u]]]
                if u != w:
                    node[place[u]], node[place[w]] = w, u
                    place[u], place[w] = place[w], place[u]
                begin[core[u]] += 1
                core[u] -= 1
    return core


def _back(start: Any, neighbour: Any, order: Any) -> Any:
    n = len(order)
    place = np.empty(n, np.int64)
    for p in range(n):
        place[order[p]] = p
    later, back = np.empty(len(neighbour) // 2, np.int64), np.empty(len(neighbour) // 2, np.int64)
    count = 0
    for p in range(n):
        x, fresh = order[p], count
        for i in range(start[x], start[x + 1]):
            far = p - place[neighbour[i]]
            if far > 0:
                later[count], back[count] = p, far
                count += 1
        if count - fresh > 1:
            back[fresh:count] = np.sort(back[fresh:count])
    return later, back
