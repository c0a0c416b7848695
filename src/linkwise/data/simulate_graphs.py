"""Families of random graphs, layer by layer, that differ in one rule each; graphs with a strange part."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from linkwise.data.graphs import Graphs, Longs, build_graphs
from linkwise.errors import UsageError

Family = Literal["1", "2a", "2b", "2c", "2c-6", "3", "regular-6"]
FAMILIES: tuple[Family, ...] = ("1", "2a", "2b", "2c", "2c-6", "3", "regular-6")


def simulate_graphs(
    family: Family, n: int, *, width: int = 6, height: int = 10, seed: int = 0
) -> Graphs:
    """`n` graphs of one family, of `height` layers of `width` nodes; node k is in layer k // width.

    - `1`: three edges from each node to different nodes of the next layer, drawn at random; the last layer is
      joined to the first by the same rule.
    - `2a`: a grid (each node to its neighbours in the layer, which is a path, and to the same place of the
      next layer), and one more edge from each node to another node of the next layer.
    - `2b`: `2a` with the last layer joined to the first by the same two rules.
    - `2c`: `2b` with each layer a ring.
    - `2c-6`: each layer a ring, each node to the same place of the next layer (the last layer to the first),
      and `width` more edges from random nodes of a layer to other places of the next.
    - `3`: two edges from each node to different nodes of the next layer, drawn at random; each layer a ring;
      the last layer joined to the first by the same rule.
    - `regular-6`: a random graph in which each node has six neighbours (Steger and Wormald 1999).

    Raises `UsageError` for a family that there is not, or sizes that do not allow it.
    """
    if family not in FAMILIES:
        raise UsageError(f'there is no family "{family}"; the families are {", ".join(FAMILIES)}.')
    if n < 1:
        raise UsageError(f"--n is {n}; expected 1 or more.")
    least = 4 if family == "1" else 3
    if width < least or height < 3:
        raise UsageError(
            f"--width {width} and --height {height}: family {family} needs {least} or more and 3 or more."
        )
    if family == "regular-6" and width * height < 8:
        raise UsageError(f"{width * height} nodes; family regular-6 needs 8 or more.")
    rng = np.random.default_rng(seed)
    size = width * height
    edges = []
    for graph in range(n):
        regular = family == "regular-6"
        own = _regular(size, 6, rng) if regular else _layered(family, width, height, rng)
        edges.append(own + graph * size)
    both = np.concatenate(edges)
    return build_graphs(
        [f"type {family}: {k}" if family != "regular-6" else f"{family}: {k}" for k in range(n)],
        np.full(n, size), both[:, 0], both[:, 1], label=[family] * n, directed=False,
    )  # fmt: skip


def _layered(family: Family, width: int, height: int, rng: np.random.Generator) -> Longs:
    edges: list[tuple[int, int]] = []
    ring = family in ("2c", "2c-6", "3")
    for layer in range(height):
        base = layer * width
        if family != "1":
            edges += [(base + k, base + k + 1) for k in range(width - 1)]
        if ring:
            edges.append((base + width - 1, base))
        if layer == height - 1 and family == "2a":
            break
        following = (layer + 1) % height * width
        edges += [(base + a, following + b) for a, b in _between(family, width, rng)]
    return np.array(edges, dtype=np.int64)


def _between(family: Family, width: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Edges from a layer to the next, by places in them."""
    if family in ("1", "3"):
        several = 3 if family == "1" else 2
        return [
            (a, int(b)) for a in range(width) for b in rng.choice(width, several, replace=False)
        ]
    straight = [(k, k) for k in range(width)]
    if family == "2c-6":
        others = [(a, b) for a in range(width) for b in range(width) if a != b]
        return [*straight, *(others[k] for k in rng.choice(len(others), width, replace=False))]
    return [*straight, *((a, int((a + rng.integers(1, width)) % width)) for a in range(width))]


def _regular(n: int, degree: int, rng: np.random.Generator) -> Longs:
    """Free ends are joined in pairs that are no loop and no edge yet; begun anew where none is left."""
    if n * degree % 2 or degree >= n:
        raise UsageError(f"{n} nodes with {degree} neighbours each: there is no such graph.")
    while True:
        free = np.repeat(np.arange(n), degree)
        edges: set[tuple[int, int]] = set()
        while len(free):
            free = rng.permutation(free)
            left: list[int] = []
            for a, b in free.reshape(-1, 2).tolist():
                pair = (min(a, b), max(a, b))
                if a == b or pair in edges:
                    left += [a, b]
                else:
                    edges.add(pair)
            distinct = set(left)
            possible = any((a, b) not in edges for a in distinct for b in distinct if a < b)
            if left and not possible:
                break
            free = np.array(left, dtype=np.int64)
        else:
            return np.array(sorted(edges), dtype=np.int64)


def plant(graphs: Graphs, *, size: int = 8, p: float = 0.9, seed: int = 0) -> tuple[Graphs, Any]:
    """The same graphs with a strange part in each: among `size` nodes that hang together nearly all edges.

    Returns the graphs and which nodes (n_nodes,) are of the part. The nodes are those nearest to a random
    one; each pair of them that has no edge gets one with probability `p`.

    Raises `UsageError` where a graph is smaller than the part.
    """
    if int(graphs.n_nodes.min(initial=size)) < size:
        raise UsageError(
            f"the smallest graph has {int(graphs.n_nodes.min())} nodes, and the part {size}; plant a smaller "
            "one."
        )
    rng = np.random.default_rng(seed)
    strange = np.zeros(int(graphs.first[-1]), dtype=np.bool_)
    edges = []
    for graph in range(len(graphs)):
        begin = int(graphs.first[graph])
        part = [begin + int(rng.integers(graphs.n_nodes[graph]))]
        for node in part:
            near = graphs.neighbour[graphs.start[node] : graphs.start[node + 1]]
            part += [int(other) for other in rng.permutation(near) if int(other) not in part]
            if len(part) >= size:
                break
        rest = [v for v in range(begin, int(graphs.first[graph + 1])) if v not in part]
        part = [*part, *rng.permutation(rest).tolist()][:size]
        strange[part] = True
        known = {tuple(edge) for edge in (graphs.edges(graph) + begin).tolist()}
        known |= {
            (a, b) for a in part for b in part if a < b and (a, b) not in known and rng.random() < p
        }
        edges += sorted(known)
    both = np.array(edges, dtype=np.int64).reshape(-1, 2)
    names = graphs.node_names
    found = build_graphs(
        graphs.ids, graphs.n_nodes, both[:, 0], both[:, 1], label=graphs.label,
        node_label=None if graphs.node_label is None else (graphs.node_label, names),
        attributes=graphs.attributes, directed=False,
    )  # fmt: skip
    return found, strange
