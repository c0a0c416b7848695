"""What a score really saw: size alone, graphs that stand on both sides, and the ceiling that these impose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.anomaly.describe import wl_keys
from linkwise.data.graphs import Graphs
from linkwise.metrics.binary import auc

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Twins:
    """Graphs that cannot be told apart by their structure and labels (by WL refinement).

    `copies` counts graphs that have a twin, `across` those that have one of the other class. `ceiling` is the
    largest AUC that any score can have that gives equal graphs equal scores.
    """

    graphs: int
    copies: int
    across: int
    ceiling: float


def twins(graphs: Graphs, strange: Any) -> Twins:
    """Graphs with twins, and what AUC they leave to be reached; `strange` (n,) marks the anomalies.

    The best score orders the sets of twins by their share of anomalies. Refinement cannot tell some graphs
    apart that are different (regular ones, as an example); a detector that can may reach more.
    """
    keys = wl_keys(graphs)
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    strange = np.asarray(strange, dtype=bool)
    bad = np.bincount(which, weights=strange.astype(np.float64))
    mixed = (bad > 0) & (bad < counts)
    share = bad / counts
    ceiling = auc(strange.astype(int), share[which]) if 0 < strange.sum() < len(strange) else np.nan
    return Twins(
        len(graphs), int((counts[which] > 1).sum()), int(mixed[which].sum()), float(ceiling)
    )


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two measures (n,); 0 where one of them does not vary."""
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    if len(a) < 2 or not x.std() or not y.std():
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def clusters(score: Floats, strange: Any) -> float:
    """Share of graphs that two clusters of the scores, made without labels, put with their kind.

    Agglomerative clustering by Ward's distance; clusters and kinds are matched the better way, so that the
    share is .5 at least. Memory grows with the square of the graphs.
    """
    from sklearn.cluster import AgglomerativeClustering

    found = AgglomerativeClustering(2, linkage="ward").fit_predict(np.asarray(score)[:, None])
    right = float((found == np.asarray(strange)).mean())
    return max(right, 1 - right)
