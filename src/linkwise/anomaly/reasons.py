"""Why a graph is strange, in words, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.anomaly.base import Contributions
from linkwise.anomaly.calibrated import Calibrated
from linkwise.anomaly.describe import wl_vectors
from linkwise.anomaly.study_config import DetectConfig
from linkwise.data.graphs import Graphs, Longs

if TYPE_CHECKING:
    from linkwise.anomaly.study import Judged

Floats = np.ndarray[Any, np.dtype[np.float64]]

NAMED = 5  # nodes and edges that a reason names
LEAST = 0.01  # share of the score that parts must make to be named
USUAL = (0.05, 0.95)  # of the normal graphs' sizes: what lies within needs no word


@dataclass(frozen=True)
class Reason:
    """A strange graph, its nearest normal one, and what each of its nodes and edges adds to the score."""

    row: int
    nearest: int | None
    contributions: Contributions | None


@dataclass(frozen=True)
class Reasons:
    """The words by row number, and the strangest graphs with what they are drawn by."""

    words: dict[int, str]
    strangest: tuple[Reason, ...]


def reasons_of(
    graphs: Graphs, judged: Judged, detector_of: Callable[[int], Calibrated], config: DetectConfig
) -> Reasons:
    """Reasons of the strangest graphs by the first detector; `detector_of` gives that of a fold."""
    name = config.detector[0]
    order = np.lexsort((-judged.score(name), judged.verdict(name, "p_value")))[: config.explain]
    rows, folds = judged.rows, judged.fold
    found: dict[int, Reason] = {}
    words: dict[int, str] = {}
    for fold in np.unique(folds[order]):
        part = judged.task.parts[int(fold)]
        fitted = detector_of(int(fold))
        mine = [int(rows[place]) for place in order if folds[place] == fold]
        nearest = nearest_normal(graphs.select(mine), graphs.select(part.train))
        for row, near in zip(mine, nearest.tolist(), strict=True):
            reason = Reason(row, int(part.train[near]), fitted.detector.contributions(graphs, row))
            found[row] = reason
            words[row] = in_words(graphs, reason, fitted.sizes)
    return Reasons(words, tuple(found[int(rows[place])] for place in order))


def nearest_normal(graphs: Graphs, normal: Graphs) -> Any:
    """The normal graph (n,) whose subtrees after one round are most like each graph's, in counts."""
    mine, theirs = wl_vectors(graphs, 1), wl_vectors(normal, 1)
    square = np.asarray(theirs.multiply(theirs).sum(axis=1)).ravel()
    return np.argmin(square[None, :] - 2 * (mine @ theirs.T).toarray(), axis=1)


def in_words(
    graphs: Graphs, reason: Reason, sizes: Longs, names: Sequence[str] | None = None
) -> str:
    """The size where it is unusual, the nodes and edges that add most, and the nearest normal graph.

    `sizes` (m, 2) are the nodes and edges of normal graphs; `names` those of the graph's nodes, by default
    their numbers.
    """
    row = reason.row
    said = []
    for what, own, theirs in (
        ("nodes", int(graphs.n_nodes[row]), sizes[:, 0]),
        ("edges", int(graphs.n_edges[row]), sizes[:, 1]),
    ):
        low, high = np.quantile(theirs, USUAL, method="nearest")
        if not low <= own <= high:
            said.append(f"{own} {what}, where normal graphs have {low} to {high}")
    if reason.contributions is not None:
        said += _parts(reason.contributions, names)
    if reason.nearest is not None:
        said.append(f"nearest normal graph: {graphs.ids[reason.nearest]}")
    return "; ".join(said) or "none of its parts stands out"


def _parts(found: Contributions, names: Sequence[str] | None) -> list[str]:
    """The nodes and edges that add most to the score, with their share of all that adds."""

    def name(node: int) -> str:
        return str(node) if names is None else names[node]

    raised = (
        float(np.maximum(found.node, 0).sum() + np.maximum(found.edge, 0).sum())
        + max(found.whole, 0.0)
    )  # fmt: skip
    if raised <= 0:
        return []
    said = []
    there = np.asarray(found.there, dtype=np.bool_)
    for what, which in (("edges", there), ("missing edges", ~there)):
        at = np.flatnonzero(which & (found.edge > 0))
        at = at[np.argsort(-found.edge[at], kind="stable")][:NAMED]
        if len(at) and found.edge[at].sum() >= LEAST * raised:
            pairs = ", ".join(f"{name(u)}-{name(v)}" for u, v in found.edges[at].tolist())
            said.append(f"{what} {pairs} ({found.edge[at].sum() / raised:.0%} of the score)")
    at = np.argsort(-found.node, kind="stable")[:NAMED]
    at = at[found.node[at] > 0]
    if len(at) and found.node[at].sum() >= LEAST * raised:
        share = found.node[at].sum() / raised
        said.append(f"nodes {', '.join(map(name, at.tolist()))} ({share:.0%} of the score)")
    return said
