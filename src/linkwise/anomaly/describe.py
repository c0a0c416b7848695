"""Graphs as vectors, without learning: counts, degrees, labels, Weisfeiler-Lehman subtrees, heat traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from linkwise.data.graphs import Graphs, Longs

Floats = np.ndarray[Any, np.dtype[np.float64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Description = Literal["size", "degrees", "labels", "wl", "netlsd"]

DEGREES = 64  # bins of the degree histogram; more neighbours count in the last
ROUNDS = 4  # of Weisfeiler-Lehman refinement
BITS = 18  # of the number that a subtree's hash becomes
TIMES = np.logspace(-2, 2, 250)  # of the heat trace, as in NetLSD
DENSE = 1000  # nodes up to which all eigenvalues are computed
KEPT = (
    20_000  # heat traces that are remembered, 40 MB: in a study each graph is described many times
)
_TRACES: dict[bytes, Floats] = {}
ENDS = 150  # eigenvalues at either end of a larger graph's spectrum


def size_vectors(graphs: Graphs) -> Floats:
    """log(1 + nodes) and log(1 + edges) (n, 2)."""
    return np.log1p(np.column_stack([graphs.n_nodes, graphs.n_edges]).astype(np.float64))


def degree_vectors(graphs: Graphs) -> Floats:
    """The share of nodes of each degree (n, 64)."""
    return _histogram(graphs, np.minimum(graphs.degree, DEGREES - 1), DEGREES)


def label_vectors(graphs: Graphs) -> Floats:
    """The share of nodes of each label (n, n_labels); of graphs without labels one column of ones."""
    if graphs.node_label is None:
        return np.ones((len(graphs), 1))
    return _histogram(graphs, graphs.node_label, len(graphs.node_names))


def _histogram(graphs: Graphs, value: Longs, n: int) -> Floats:
    found = np.zeros((len(graphs), n))
    np.add.at(found, (graphs.graph_of_node(), value), 1.0)
    return found / np.maximum(graphs.n_nodes, 1)[:, None]


def wl_colours(graphs: Graphs, rounds: int = ROUNDS) -> Hashes:
    """The colours of each node after 0 to `rounds` rounds of refinement (rounds + 1, n_nodes).

    A colour is a 64-bit hash of the node's last colour and of the multiset of its neighbours' (with the
    labels of the edges, where there are some): Shervashidze et al. 2011. The same subtree has the same colour
    in any graph of any set, without a table of colours; two different ones share one with a chance of 2**-64.
    """
    n = int(graphs.first[-1])
    labels = np.zeros(n, dtype=np.uint64)
    if graphs.node_label is not None:
        names = np.array([_hash_of(name) for name in graphs.node_names], dtype=np.uint64)
        labels = names[graphs.node_label]
    found = [mixed(labels)]
    edge = np.zeros(1, dtype=np.uint64)
    if graphs.edge_label is not None:
        edge = np.array([_hash_of(name) for name in graphs.edge_names], dtype=np.uint64)[
            graphs.edge_label
        ]
    degree = graphs.degree
    filled = np.flatnonzero(degree)
    for _ in range(rounds):
        with np.errstate(over="ignore"):
            # A sum of mixed numbers, modulo 2**64, is the same in any order of the neighbours.
            told = mixed(found[-1][graphs.neighbour] + mixed(edge))
            near = np.zeros(n, dtype=np.uint64)
            if len(filled):
                near[filled] = np.add.reduceat(told, graphs.start[filled])
            found.append(mixed(found[-1] * np.uint64(0x9E3779B97F4A7C15) + near))
    return np.stack(found)


def mixed(value: Any) -> Any:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of the number."""
    with np.errstate(over="ignore"):
        value = np.asarray(value, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def _hash_of(name: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def wl_vectors(graphs: Graphs, rounds: int = ROUNDS, bits: int = BITS) -> Any:
    """Counts of subtrees by their hashes (n, 2**bits), as a sparse matrix of scipy."""
    from scipy.sparse import csr_matrix

    column = wl_columns(graphs, rounds, bits).ravel()
    row = np.tile(graphs.graph_of_node(), rounds + 1)
    ones = np.ones(len(row))
    return csr_matrix((ones, (row, column)), shape=(len(graphs), 2**bits))


def wl_columns(graphs: Graphs, rounds: int = ROUNDS, bits: int = BITS) -> Longs:
    """The column of `wl_vectors` that each node counts in after each round (rounds + 1, n_nodes)."""
    return (mixed(wl_colours(graphs, rounds)) >> np.uint64(64 - bits)).astype(np.int64)  # type: ignore[no-any-return]


def wl_keys(graphs: Graphs, rounds: int = ROUNDS) -> Hashes:
    """One hash of each graph (n,): equal for graphs that the refinement cannot tell apart."""
    last = wl_colours(graphs, rounds)[-1]
    found = np.zeros(len(graphs), dtype=np.uint64)
    with np.errstate(over="ignore"):
        filled = np.flatnonzero(graphs.n_nodes)
        if len(filled):
            found[filled] = np.add.reduceat(mixed(last), graphs.first[filled])
        return np.asarray(mixed(found + mixed(graphs.n_nodes.astype(np.uint64))))


def netlsd_vectors(graphs: Graphs) -> Floats:
    """The heat trace of the normalised Laplacian at 250 times, over the nodes (n, 250): NetLSD.

    Tsitsulin et al. 2018. Of graphs above 1,000 nodes 150 eigenvalues at either end are computed, and those
    between taken as evenly spread.
    """
    found = np.zeros((len(graphs), len(TIMES)))
    for graph in range(len(graphs)):
        key = _graph_key(graphs, graph)
        if key not in _TRACES:
            values = laplacian_eigenvalues(graphs, graph)
            trace = np.exp(-np.outer(TIMES, values)).sum(axis=1) / max(1, len(values))
            if len(_TRACES) >= KEPT:
                _TRACES.clear()
            _TRACES[key] = trace
        found[graph] = _TRACES[key]
    return found


def _graph_key(graphs: Graphs, graph: int) -> bytes:
    """A digest of a graph's nodes and edges as they are numbered."""
    import hashlib

    edges = graphs.edges(graph)
    return hashlib.blake2b(
        edges.tobytes(), digest_size=16, key=int(graphs.n_nodes[graph]).to_bytes(8, "little")
    ).digest()


def laplacian_eigenvalues(graphs: Graphs, graph: int) -> Floats:
    """The eigenvalues of a graph's normalised Laplacian, rising (n_nodes,); 0 for a node without edges."""
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import eigsh

    begin, end = int(graphs.first[graph]), int(graphs.first[graph + 1])
    n = end - begin
    if n == 0:
        return np.zeros(0)
    span = slice(int(graphs.start[begin]), int(graphs.start[end]))
    degree = graphs.degree[begin:end]
    adjacency = csr_matrix(
        (
            np.ones(span.stop - span.start),
            graphs.neighbour[span] - begin,
            graphs.start[begin : end + 1] - span.start,
        ),
        shape=(n, n),
    )
    root = np.divide(1.0, np.sqrt(degree), out=np.zeros(n), where=degree > 0)
    scaled = diags(root) @ adjacency @ diags(root)
    isolated = np.where(degree > 0, 1.0, 0.0)
    if n <= DENSE:
        dense = np.diag(isolated) - scaled.toarray()
        values: Floats = np.clip(np.linalg.eigvalsh(dense), 0.0, 2.0)
        return values
    laplacian = diags(isolated) - scaled
    # Always begun from the same vector: the same graph gives the same numbers.
    start = np.random.default_rng(0).normal(size=n)
    low = 2.0 - eigsh(2.0 * diags(np.ones(n)) - laplacian, ENDS, which="LM", v0=start)[0]
    high = eigsh(laplacian, ENDS, which="LM", v0=start)[0]
    low, high = np.sort(low), np.sort(high)
    between = np.linspace(low[-1], high[0], n - 2 * ENDS + 2)[1:-1]
    found: Floats = np.clip(np.concatenate([low, between, high]), 0.0, 2.0)
    return found


DESCRIPTIONS: dict[Description, Callable[[Graphs], Any]] = {
    "size": size_vectors,
    "degrees": degree_vectors,
    "labels": label_vectors,
    "wl": wl_vectors,
    "netlsd": netlsd_vectors,
}
