"""Graphs as GRAN writes them: in an ordering, block after block, and many such steps as one batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.anomaly.orderings import back_edges
from linkwise.data.graphs import Graphs, Longs

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Ordered:
    """Graphs, each in one ordering: place p of graph g is its node number p - first[g] in that ordering.

    The edges of place p to earlier ones are `start[p]:start[p + 1]` of `later` and `back` (n_edges,): p
    itself, and how far back the other end stands, the nearest first.
    """

    first: Longs
    start: Longs
    later: Longs
    back: Longs


@dataclass(frozen=True)
class Blocks:
    """Steps of writing, (n_steps,) each: in `graph` the nodes `begin` to `end` - 1 are new, all before there.

    Those of one graph stand together.
    """

    graph: Longs
    begin: Longs
    end: Longs

    def __len__(self) -> int:
        return len(self.graph)

    def at(self, rows: Any) -> Blocks:
        """Some of them."""
        return Blocks(self.graph[rows], self.begin[rows], self.end[rows])

    @property
    def pairs(self) -> Longs:
        """Pairs of a new node and an earlier one (n_steps,)."""
        found: Longs = (self.end * (self.end - 1) - self.begin * (self.begin - 1)) // 2
        return found


@dataclass(frozen=True)
class Steps:
    """Steps as one graph of many parts, one for each step: its nodes are those there and those that are new.

    Of nodes (n,): `step`, `place` (from `low` on, a row of `lags`), `new` (0 of those there, else the number
    in the block from 1 on), and `age` (how long before the block it came, 0 of new ones). `source` and
    `target` are the edges among those there, in both directions. `late`, `early` (n_pairs,) are pairs of a
    new node and any before it, `there` whether they have an edge, `pair_step` their steps. `about`
    (n_steps, 3) is the share of the nodes that are there, log n, and edges there for each node there. `lags`
    (n_places, window + 1) tell of each place which of the `window` before it it has an edge to, and, in the
    last column, log(1 + the number of edges to places farther back).
    """

    step: Longs
    place: Longs
    new: Longs
    age: Longs
    source: Longs
    target: Longs
    late: Longs
    early: Longs
    there: Any
    pair_step: Longs
    about: Floats
    lags: Floats


def ordered(graphs: Graphs, order: Longs) -> Ordered:
    """Graphs in an ordering (n_nodes,), nodes numbered through all graphs."""
    later, back = back_edges(graphs, order)
    start = np.searchsorted(later, np.arange(int(graphs.first[-1]) + 1))
    return Ordered(graphs.first, start, later, back)


def blocks(n_nodes: Longs, size: int, stride: int) -> Blocks:
    """Blocks of `size` nodes, begun at every `stride`-th node of graphs of so many (n_graphs,).

    Blocks without a pair of nodes (a single first node) are left out: there is nothing to write.
    """
    count = -(-n_nodes // stride)
    begin = _spans(np.zeros(len(n_nodes), dtype=np.int64), count) * stride
    graph = np.repeat(np.arange(len(n_nodes)), count)
    found = Blocks(graph, begin, np.minimum(begin + size, n_nodes[graph]))
    return found.at(found.end > 1)


def messages(graphs: Ordered, some: Blocks) -> Longs:
    """Messages of a layer in each step (n_steps,): both ways along edges there, and along all new pairs."""
    base = graphs.first[some.graph]
    found: Longs = 2 * (graphs.start[base + some.begin] - graphs.start[base] + some.pairs)
    return found


def parts(cost: Longs, most: int) -> Iterator[slice]:
    """Runs of steps whose costs (n_steps,) add up to `most` or less; a dearer step is a run of its own."""
    begin = 0
    total = np.concatenate([[0], np.cumsum(cost)])
    while begin < len(cost):
        end = max(begin + 1, int(np.searchsorted(total, total[begin] + most, side="right")) - 1)
        yield slice(begin, end)
        begin = end


def steps_of(graphs: Ordered, some: Blocks, window: int) -> Steps:
    """The steps as one batch."""
    begin, end = some.begin, some.end
    base = graphs.first[some.graph]
    n_new = end - begin
    shift = np.cumsum(end) - end  # of each step's nodes in the batch
    number = np.arange(len(some))
    step = np.repeat(number, end)
    position = _spans(np.zeros(len(some), dtype=np.int64), end)
    new = np.maximum(position - begin[step] + 1, 0)
    low = int(base.min(initial=0))

    first_edge, begun = graphs.start[base], graphs.start[base + begin]
    edge = _spans(first_edge, begun - first_edge)
    of = np.repeat(number, begun - first_edge)
    at = graphs.later[edge] - base[of] + shift[of]
    earlier = at - graphs.back[edge]

    row_step = np.repeat(number, n_new)
    row = _spans(
        begin, n_new
    )  # the new nodes of each step, by their positions: they have as many pairs
    row_first = np.cumsum(row) - row
    written = graphs.start[base + end] - begun
    edge = _spans(begun, written)
    of = np.repeat(number, written)
    place = graphs.later[edge] - base[of]
    which = (np.cumsum(n_new) - n_new)[of] + place - begin[of]
    there = np.zeros(int(row.sum()), dtype=np.bool_)
    there[row_first[which] + place - graphs.back[edge]] = True

    n = np.diff(graphs.first)[some.graph]
    about = np.column_stack([begin / n, np.log(n), (begun - first_edge) / np.maximum(begin, 1)])
    return Steps(
        step=step,
        place=base[step] + position - low,
        new=new,
        age=np.where(new > 0, 0, begin[step] - position),
        source=np.concatenate([at, earlier]),
        target=np.concatenate([earlier, at]),
        late=np.repeat(shift[row_step] + row, row),
        early=_spans(shift[row_step], row),
        there=there,
        pair_step=np.repeat(row_step, row),
        about=about,
        lags=_lags(graphs, low, int((base + end).max(initial=low)), window),
    )


def _lags(graphs: Ordered, low: int, high: int, window: int) -> Floats:
    found = np.zeros((high - low, window + 1))
    span = slice(int(graphs.start[low]), int(graphs.start[high]))
    place, back = graphs.later[span] - low, graphs.back[span]
    near = back <= window
    found[place[near], back[near] - 1] = 1.0
    found[:, window] = np.log1p(np.bincount(place[~near], minlength=high - low))
    return found


def _spans(start: Longs, size: Longs) -> Longs:
    """The numbers start[i], start[i] + 1, ... of each span, one after the other."""
    offset = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(start, size) + offset
