"""Graphs made strange on purpose, to choose a detector without a single label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from linkwise.data.graphs import Graphs, Longs, build_graphs

Perturbation = Literal["rewired", "relabelled", "joined"]
PERTURBATIONS: tuple[Perturbation, ...] = ("rewired", "relabelled", "joined")

SHARE = 0.2  # of edges or nodes that are changed
TRIES = 10  # at an exchange of two edges, for each that is wanted

# Nodes of the old numbering that a new graph has, its edges by its own numbers, its label numbers.
_Made = tuple[Longs, Longs, Longs | None]


def perturb(graphs: Graphs, kind: Perturbation, seed: int = 0) -> Graphs:
    """The same graphs, each changed in one way; labels of edges are dropped, of nodes kept.

    - `rewired`: a fifth of the edges exchange an end with another edge; every node keeps its neighbours'
      number (Maslov and Sneppen 2002).
    - `relabelled`: a fifth of the nodes take labels of random nodes of all graphs.
    - `joined`: two graphs, and an edge between random nodes of both.

    Each changes one thing that the others leave: structure at given degrees, labels, size. Fewer or more
    edges, and halves of graphs, were tried and left out: they reward counting alone.
    """
    rng = np.random.default_rng(seed)
    change = _CHANGES[kind]
    source, target, sizes, nodes, labels = [], [], [], [], []
    begin = 0
    for graph in range(len(graphs)):
        kept, edges, label = change(graphs, graph, rng)
        source.append(edges[:, 0] + begin)
        target.append(edges[:, 1] + begin)
        sizes.append(len(kept))
        nodes.append(kept)
        if label is not None:
            labels.append(label)
        begin += len(kept)
    at = np.concatenate(nodes) if nodes else np.zeros(0, dtype=np.int64)
    node_label = None
    if graphs.node_label is not None:
        node_label = (
            np.concatenate(labels) if labels else graphs.node_label[at],
            graphs.node_names,
        )
    return build_graphs(
        [f"{name}, {kind}" for name in graphs.ids], np.array(sizes, dtype=np.int64),
        np.concatenate(source), np.concatenate(target), node_label=node_label,
        attributes=None if graphs.attributes is None else graphs.attributes[at], directed=False,
    )  # fmt: skip


def _all_nodes(graphs: Graphs, graph: int) -> Longs:
    return np.arange(graphs.first[graph], graphs.first[graph + 1])


def _rewired(graphs: Graphs, graph: int, rng: np.random.Generator) -> _Made:
    edges = graphs.edges(graph).tolist()
    there = {tuple(edge) for edge in edges}
    wanted = int(np.ceil(SHARE * len(edges) / 2))  # an exchange changes two
    done = 0
    for _ in range(TRIES * wanted if len(edges) > 1 else 0):
        i, j = rng.choice(len(edges), 2, replace=False).tolist()
        (a, b), (c, d) = edges[i], edges[j]
        if rng.random() < 0.5:
            c, d = d, c
        one, other = (min(a, d), max(a, d)), (min(c, b), max(c, b))
        if a == d or c == b or one in there or other in there:
            continue
        there -= {tuple(edges[i]), tuple(edges[j])}
        there |= {one, other}
        edges[i], edges[j] = list(one), list(other)
        done += 1
        if done == wanted:
            break
    return _all_nodes(graphs, graph), np.array(edges, dtype=np.int64).reshape(-1, 2), None


def _relabelled(graphs: Graphs, graph: int, rng: np.random.Generator) -> _Made:
    nodes = _all_nodes(graphs, graph)
    if graphs.node_label is None:
        return nodes, graphs.edges(graph), None
    label = graphs.node_label[nodes].copy()
    changed = rng.permutation(len(label))[: int(np.ceil(SHARE * len(label)))]
    label[changed] = rng.choice(graphs.node_label, len(changed))
    return nodes, graphs.edges(graph), label


def _joined(graphs: Graphs, graph: int, rng: np.random.Generator) -> _Made:
    other = int(rng.integers(len(graphs)))
    mine, theirs = _all_nodes(graphs, graph), _all_nodes(graphs, other)
    both = [graphs.edges(graph), graphs.edges(other) + len(mine)]
    if len(mine) and len(theirs):
        bridge = [int(rng.integers(len(mine))), len(mine) + int(rng.integers(len(theirs)))]
        both.append(np.array([bridge]))
    nodes = np.concatenate([mine, theirs])
    label = None if graphs.node_label is None else graphs.node_label[nodes]
    return nodes, np.concatenate(both), label


_CHANGES: dict[Perturbation, Callable[[Graphs, int, np.random.Generator], Any]] = {
    "rewired": _rewired,
    "relabelled": _relabelled,
    "joined": _joined,
}
