"""Masked completion judged by clustering: do two classes of graphs fall apart by how their edges complete?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from linkwise.anomaly.base import Floats
from linkwise.anomaly.masked import BINS, Masked
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import InputError

SAMPLES = 100


@dataclass(frozen=True)
class Clustering:
    """Two classes of graphs (n,), by how their edges are completed.

    `vectors` (n, k) are what was clustered; `cluster` (n,) 0 or 1; `coordinates` (n, 2) the first
    two principal components of the vectors, for a picture; `accuracy` the share of graphs whose cluster is
    their class, clusters and classes matched the better way (so .5 at least).
    """

    vectors: Floats
    cluster: Longs
    strange: Any
    coordinates: Floats
    accuracy: float


def cluster_completions(
    detector: Masked, normal: Graphs, strange: Graphs, *, samples: int = SAMPLES, seed: int = 0,
    by: Literal["histogram", "summary"] = "histogram",
) -> Clustering:  # fmt: skip
    """Cluster graphs of two classes by histograms of the probabilities of `samples` edges drawn of each.

    By `summary` it takes what the detector's own distances are between in their place: all edges, pairs
    without one, and quantiles, in deviations of the training graphs'.

    Edges are drawn without replacement where there are so many, and with it where there are not; of a graph
    without edges the histogram is 0. Agglomerative clustering by Ward's distance. Classes are used for the
    accuracy alone.

    Raises `InputError` where there is no graph of either class.
    """
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.decomposition import PCA

    if not len(normal) or not len(strange):
        raise InputError(
            f"{len(normal)} normal graphs and {len(strange)} strange ones; expected one or more of either."
        )
    rng = np.random.default_rng(seed)
    rows = []
    for graphs in (normal, strange):
        if by == "summary":
            rows += list(detector.standardised(detector.summaries(graphs)))
            continue
        for found in detector.completions_of(graphs):
            p = found.probability[found.there]
            drawn = rng.choice(p, samples, replace=len(p) < samples) if len(p) else p
            rows.append(np.histogram(drawn, BINS, (0.0, 1.0))[0] / samples)
    vectors = np.array(rows)
    classes = np.arange(len(vectors)) >= len(normal)
    cluster = AgglomerativeClustering(2, linkage="ward").fit_predict(vectors)
    right = float((cluster == classes).mean())
    coordinates = PCA(2, svd_solver="full").fit_transform(vectors)
    return Clustering(
        vectors,
        cluster.astype(np.int64),
        classes,
        np.asarray(coordinates, dtype=np.float64),
        max(right, 1 - right),
    )
