"""`Graphs`: many undirected graphs at once as one sparse matrix, and how they are put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from linkwise.errors import InputError

Longs = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

# The rules of the ledger.
LOOPS = "edges from a node to itself, left out"
MULTIPLE = "edges that stand several times, kept once"
ONE_WAY = "edges given in one direction, taken in both"
RULES = (LOOPS, MULTIPLE, ONE_WAY)


@dataclass(frozen=True)
class Graphs:
    """Undirected graphs without loops and multiple edges.

    Nodes of all graphs are numbered through: those of graph g are `first[g]:first[g + 1]`, and the
    neighbours of node v, numbered so too and rising, are `neighbour[start[v]:start[v + 1]]`. Each edge stands
    twice, once at either end.

    `node_label` (n_nodes,) and `edge_label` (as `neighbour`) are numbers whose names stand in `node_names`
    and `edge_names`; `attributes` (n_nodes, k) numbers of each node; `label` (n_graphs,) the class as the
    files have it. Each is None where the files have none. `ledger` counts what was mended.
    """

    ids: tuple[str, ...]
    first: Longs
    start: Longs
    neighbour: Longs
    label: tuple[str, ...] | None = None
    node_label: Longs | None = None
    node_names: tuple[str, ...] = ()
    edge_label: Longs | None = None
    edge_names: tuple[str, ...] = ()
    attributes: Floats | None = None
    ledger: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_nodes(self) -> Longs:
        """Nodes of each graph (n_graphs,)."""
        return np.diff(self.first)

    @property
    def n_edges(self) -> Longs:
        """Edges of each graph (n_graphs,)."""
        return np.diff(self.start[self.first]) // 2

    @property
    def degree(self) -> Longs:
        """Neighbours of each node (n_nodes,)."""
        return np.diff(self.start)

    def graph_of_node(self) -> Longs:
        """The graph of each node (n_nodes,)."""
        return np.repeat(np.arange(len(self)), self.n_nodes)

    def edges(self, graph: int) -> Longs:
        """The edges of a graph (n_edges, 2), by its own node numbers from 0, the smaller end first."""
        begin, end = int(self.first[graph]), int(self.first[graph + 1])
        source = np.repeat(np.arange(end - begin), self.degree[begin:end])
        target = self.neighbour[self.start[begin] : self.start[end]] - begin
        once = source < target
        return np.column_stack([source[once], target[once]])

    def select(self, rows: Sequence[int] | Longs) -> Graphs:
        """Some of the graphs, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        sizes = self.n_nodes[rows]
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        nodes = spans(self.first[rows], sizes)
        degree = self.degree[nodes]
        start = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
        ends = spans(self.start[nodes], degree)
        shift = np.repeat(first[:-1] - self.first[rows], sizes)  # of each node's number
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            first=first,
            start=start,
            neighbour=self.neighbour[ends] + np.repeat(shift, degree),
            label=None if self.label is None else tuple(self.label[row] for row in rows),
            node_label=None if self.node_label is None else self.node_label[nodes],
            edge_label=None if self.edge_label is None else self.edge_label[ends],
            attributes=None if self.attributes is None else self.attributes[nodes],
        )


def spans(start: Longs, size: Longs) -> Longs:
    """The numbers start[i], start[i] + 1, ... of each span, one after the other."""
    total = int(size.sum())
    offset = np.arange(total) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(start, size) + offset


def build_graphs(
    ids: Sequence[str],
    sizes: Longs,
    source: Longs,
    target: Longs,
    *,
    label: Sequence[str] | None = None,
    node_label: tuple[Longs, Sequence[str]] | None = None,
    edge_label: tuple[Longs, Sequence[str]] | None = None,
    attributes: Floats | None = None,
    directed: bool = True,
) -> Graphs:
    """Graphs of so many nodes each (n_graphs,), with edges (n,) between nodes that are numbered through.

    Loops are left out, edges that stand several times kept once (with their first label), and with `directed`
    those that stand in one direction alone counted; all are taken in both.

    Raises `InputError` for an edge between two graphs, a node that is not there, a number that is not finite,
    or an id that stands twice.
    """
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if list(ids).count(name) > 1)
        raise InputError(f'the graph "{twice}" stands twice; give each graph an id of its own.')
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(first[-1])
    bad = np.flatnonzero((source < 0) | (source >= n) | (target < 0) | (target >= n))
    if len(bad):
        k = int(bad[0])
        raise InputError(
            f"edge {k + 1}: between the nodes {source[k] + 1} and {target[k] + 1}, and there are {n:,} nodes."
        )
    owner = np.repeat(np.arange(len(ids)), sizes)
    across = np.flatnonzero(owner[source] != owner[target])
    if len(across):
        k = int(across[0])
        raise InputError(
            f"edge {k + 1}: from a node of graph {ids[owner[source[k]]]} to one of graph "
            f"{ids[owner[target[k]]]}; an edge lies within one graph."
        )
    if attributes is not None and not np.isfinite(attributes).all():
        k = int(np.flatnonzero(~np.isfinite(attributes).all(axis=1))[0])
        raise InputError(f"node {k + 1}: an attribute is no number.")
    loops = source == target
    kept = np.flatnonzero(~loops)
    low, high = np.minimum(source, target)[kept], np.maximum(source, target)[kept]
    forward = (source[kept] < target[kept]).astype(np.int64)
    way, which = np.unique(low * n + high, return_inverse=True)
    # In each direction an edge may stand once.
    counts = np.zeros((2, len(way)), dtype=np.int64)
    np.add.at(counts, (forward, which), 1)
    once = counts.min(axis=0) == 0
    multiple = int(np.maximum(counts - 1, 0).sum())
    ledger = dict.fromkeys(RULES, 0)
    ledger[LOOPS] = int(loops.sum())
    ledger[MULTIPLE] = multiple
    ledger[ONE_WAY] = int(once.sum()) if directed and not once.all() else 0
    place = np.full(len(way), len(kept), dtype=np.int64)
    np.minimum.at(place, which, np.arange(len(kept)))  # where each edge stood first
    low, high = way // max(1, n), way % max(1, n)
    ends = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((ends[1], ends[0]))
    degree = np.bincount(ends[0], minlength=n)
    labels = None
    if edge_label is not None:
        labels = np.tile(edge_label[0][kept[place]], 2)[order]
    return Graphs(
        tuple(ids),
        first,
        np.concatenate([[0], np.cumsum(degree)]).astype(np.int64),
        ends[1][order],
        label=None if label is None else tuple(label),
        node_label=None if node_label is None else node_label[0].astype(np.int64),
        node_names=() if node_label is None else tuple(node_label[1]),
        edge_label=labels,
        edge_names=() if edge_label is None else tuple(edge_label[1]),
        attributes=attributes,
        ledger=ledger,
    )


def put_together(several: Sequence[Graphs], names: Sequence[str]) -> Graphs:
    """Graphs of several sets as one, in their order; `names` (of the sets) tell ids apart that are the same.

    Labels of nodes, of edges, classes and attributes are kept where all sets that have nodes (edges, graphs)
    have them, attributes where they are also as many.
    """
    if len(several) == 1:
        return several[0]
    ids = [name for graphs in several for name in graphs.ids]
    if len(set(ids)) < len(ids):
        ids = [
            f"{name}: {own}"
            for name, graphs in zip(names, several, strict=True)
            for own in graphs.ids
        ]
    node_label, node_names = _one_numbering(
        [(g.node_label, g.node_names, int(g.first[-1])) for g in several]
    )
    edge_label, edge_names = _one_numbering(
        [(g.edge_label, g.edge_names, len(g.neighbour)) for g in several]
    )
    nodes = np.cumsum([0] + [int(g.first[-1]) for g in several])
    ends = np.cumsum([0] + [len(g.neighbour) for g in several])
    attributes = None
    own = [g.attributes for g in several]
    if len({None if a is None else a.shape[1] for a in own}) == 1 and own[0] is not None:
        attributes = np.concatenate([a for a in own if a is not None])
    return Graphs(
        tuple(ids),
        np.concatenate([[0], *(g.first[1:] + n for g, n in zip(several, nodes, strict=False))]),
        np.concatenate([[0], *(g.start[1:] + n for g, n in zip(several, ends, strict=False))]),
        np.concatenate([g.neighbour + n for g, n in zip(several, nodes, strict=False)]),
        label=(
            None
            if any(g.label is None for g in several)
            else tuple(label for g in several for label in g.label or ())
        ),
        node_label=node_label,
        node_names=node_names,
        edge_label=edge_label,
        edge_names=edge_names,
        attributes=attributes,
        ledger={rule: sum(g.ledger.get(rule, 0) for g in several) for rule in RULES},
    )


def _one_numbering(
    parts: list[tuple[Longs | None, tuple[str, ...], int]],
) -> tuple[Longs | None, tuple[str, ...]]:
    """Numbers of labels by one list of names; None where a part that has members has no labels."""
    if all(label is None for label, _, _ in parts) or any(
        label is None and n for label, _, n in parts
    ):
        return None, ()
    _, names = numbered(sorted({name for _, own, _ in parts for name in own}))
    number = {name: k for k, name in enumerate(names)}
    found = [
        np.array([number[name] for name in own], dtype=np.int64)[label]
        for label, own, _ in parts
        if label is not None and len(label)
    ]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64), names


def numbered(values: Sequence[Any]) -> tuple[Longs, tuple[str, ...]]:
    """Labels as numbers from 0, and their names, numbers in their own order."""
    names = [str(value) for value in values]

    def key(name: str) -> tuple[bool, float, str]:
        try:
            return False, float(name), name
        except ValueError:
            return True, 0.0, name

    distinct = sorted(set(names), key=key)
    number = {name: k for k, name in enumerate(distinct)}
    return np.array([number[name] for name in names], dtype=np.int64), tuple(distinct)


def of_networkx(graphs: Iterable[Any], ids: Sequence[str] | None = None) -> Graphs:
    """Graphs of NetworkX: nodes in their order; `label` of nodes, edges and of the graph itself, where there.

    Directed graphs and multigraphs are taken as undirected simple ones. Raises `InputError` where only some
    of the nodes have a label.
    """
    several = list(graphs)
    sizes = np.array([graph.number_of_nodes() for graph in several], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)])
    source, target, edge_labels, node_labels = [], [], [], []
    for begin, graph in zip(first, several, strict=False):
        number = {node: begin + k for k, node in enumerate(graph.nodes)}
        node_labels += [data.get("label") for _, data in graph.nodes(data=True)]
        for a, b, data in graph.edges(data=True):
            source.append(number[a])
            target.append(number[b])
            edge_labels.append(data.get("label"))
    classes = [graph.graph.get("label") for graph in several]
    return build_graphs(
        [str(k) for k in range(len(several))] if ids is None else list(ids),
        sizes,
        np.array(source, dtype=np.int64),
        np.array(target, dtype=np.int64),
        label=_all_or_none(classes, "graphs"),
        node_label=_numbered_or_none(node_labels, "nodes"),
        edge_label=_numbered_or_none(edge_labels, "edges"),
        directed=any(graph.is_directed() for graph in several),
    )


def _all_or_none(values: list[Any], what: str) -> list[str] | None:
    there = [value is not None for value in values]
    if not any(there):
        return None
    if not all(there):
        raise InputError(
            f"{there.count(False):,} of {len(there):,} {what} have no label; give all of them one, or none."
        )
    return [str(value) for value in values]


def _numbered_or_none(values: list[Any], what: str) -> tuple[Longs, tuple[str, ...]] | None:
    found = _all_or_none(values, what)
    return None if found is None else numbered(found)


def of_pyg(several: Iterable[Any], ids: Sequence[str] | None = None) -> Graphs:
    """Graphs of PyTorch Geometric (`Data`): edge_index, num_nodes, and where there are x (one-hot rows become
    node labels, others attributes) and y (the class)."""
    every = list(several)
    sizes = np.array([int(data.num_nodes) for data in every], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)])
    ends = [np.asarray(data.edge_index) + begin for begin, data in zip(first, every, strict=False)]
    both = np.concatenate(ends, axis=1) if ends else np.zeros((2, 0), dtype=np.int64)
    classes = [getattr(data, "y", None) for data in every]
    rows = [getattr(data, "x", None) for data in every]
    node_label, attributes = None, None
    if every and all(x is not None for x in rows):
        x = np.concatenate([np.asarray(x, dtype=np.float64) for x in rows])
        if np.isin(x, (0, 1)).all() and (x.sum(axis=1) == 1).all():
            node_label = x.argmax(axis=1), [str(k) for k in range(x.shape[1])]
        else:
            attributes = x
    return build_graphs(
        [str(k) for k in range(len(every))] if ids is None else list(ids),
        sizes,
        both[0].astype(np.int64),
        both[1].astype(np.int64),
        label=_all_or_none(
            [None if y is None else str(np.asarray(y).reshape(-1)[0]) for y in classes], "graphs"
        ),
        node_label=node_label,
        attributes=attributes,
    )
