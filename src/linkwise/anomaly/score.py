"""New graphs, ranked by the detector of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from linkwise.anomaly.calibrated import Calibrated
from linkwise.anomaly.reasons import Reason, in_words
from linkwise.data.graph_files import read_graphs
from linkwise.data.graphs import put_together
from linkwise.errors import InputError


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
