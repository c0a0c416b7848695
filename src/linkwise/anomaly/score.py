"""New graphs, ranked by the detector of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.anomaly.calibrated import Calibrated
from linkwise.anomaly.pictures import picture
from linkwise.anomaly.reasons import Reason, in_words
from linkwise.data.graph_files import read_graphs
from linkwise.data.graphs import Graphs, build_graphs, put_together
from linkwise.errors import InputError, LinkwiseError


def score_graphs(
    model: Path, paths: Sequence[str], false_alarms: float, explain: int = 20
) -> pl.DataFrame:
    """The graphs of all files, the strangest first: `item, score, rank, p_value, p_value_by_size, flagged,
    nodes, edges, reason` (of the first `explain`).

    Scores are in deviations of the normal graphs that the detector was calibrated on.

    Raises `InputError` where graphs or detector cannot be read.
    """
    fitted = Calibrated.load(model)
    several = [read_graphs(path) for path in paths]
    graphs = put_together(several, [Path(path).stem for path in paths])
    if not len(graphs):
        raise InputError(f"{paths[0]}: there is no graph in it.")
    said = fitted.judge(graphs, false_alarms)
    centre, spread = float(fitted.normal.mean()), float(fitted.normal.std()) or 1.0
    order = np.lexsort((-said.score, said.p_value))
    reasons: dict[int, str] = {}
    for row in order[:explain].tolist():
        found = fitted.detector.contributions(graphs, row)
        reasons[row] = in_words(graphs, Reason(row, None, found), fitted.sizes)
    return pl.DataFrame(
        {
            "item": [graphs.ids[row] for row in order],
            "score": (said.score[order] - centre) / spread,
            "rank": np.arange(1, len(order) + 1),
            "p_value": said.p_value[order],
            "p_value_by_size": said.by_size[order],
            "flagged": said.flagged[order],
            "nodes": graphs.n_nodes[order],
            "edges": graphs.n_edges[order],
            "reason": pl.Series([reasons.get(int(row)) for row in order], dtype=pl.String),
        }
    )


@dataclass(frozen=True)
class Asked:
    """A graph as a list of edges between named nodes; `nodes` adds those without an edge.

    `labels` names the kind of nodes, such as an element, and is needed where the run has learned from kinds.
    """

    edges: Sequence[tuple[str, str]]
    nodes: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


class Strangeness:
    """The detector of a run, held in memory, for graphs that come one at a time.

    Raises `InputError` where it cannot be read.
    """

    def __init__(self, model: Path) -> None:
        self.fitted = Calibrated.load(model)

    def answer(self, asked: Sequence[Asked]) -> list[dict[str, Any] | LinkwiseError]:
        """What is said of each graph, or why nothing is.

        `score` (in deviations of the normal graphs that the detector was calibrated on), `p_value`,
        `p_value_by_size`, `n_nodes`, `n_edges`, `reason`, and the `picture`, a `report.NetworkPicture`.
        No graph moves what is said of another.
        """
        found: list[dict[str, Any] | LinkwiseError] = []
        for one in asked:
            try:
                found.append(self._say(*_graph(one)))
            except LinkwiseError as error:
                found.append(error)
        return found

    def _say(self, graph: Graphs, names: list[str]) -> dict[str, Any]:
        fitted = self.fitted
        said = fitted.judge(graph, 0.5)
        centre, spread = float(fitted.normal.mean()), float(fitted.normal.std()) or 1.0
        contributions = fitted.detector.contributions(graph, 0)
        drawn = picture(graph, 0, "the graph", contributions, names)
        return {
            "score": (float(said.score[0]) - centre) / spread,
            "p_value": float(said.p_value[0]),
            "p_value_by_size": float(said.by_size[0]),
            "n_nodes": int(graph.n_nodes[0]),
            "n_edges": int(graph.n_edges[0]),
            "reason": in_words(graph, Reason(0, None, contributions), fitted.sizes, names),
            "picture": drawn.model_dump(exclude={"name"}),
        }


def _graph(one: Asked) -> tuple[Graphs, list[str]]:
    """The one graph, and the names of its nodes in their order."""
    names = list(dict.fromkeys([*one.nodes, *(node for edge in one.edges for node in edge)]))
    if not names:
        raise InputError("the graph has no node; give edges, or nodes without any.")
    number = {name: k for k, name in enumerate(names)}
    unknown = [name for name in one.labels if name not in number]
    if unknown:
        raise InputError(f'labels name "{unknown[0]}", which is no node of the graph.')
    label = None
    if one.labels:
        bare = [name for name in names if name not in one.labels]
        if bare:
            raise InputError(f'the node "{bare[0]}" has no label; give all nodes one, or none.')
        kinds = sorted(set(one.labels.values()))
        label = np.array([kinds.index(one.labels[name]) for name in names]), kinds
    ends = np.array([[number[u], number[v]] for u, v in one.edges], dtype=np.int64).reshape(-1, 2)
    graph = build_graphs(
        ["the graph"],
        np.array([len(names)]),
        ends[:, 0],
        ends[:, 1],
        node_label=label,
        directed=False,
    )
    return graph, names
