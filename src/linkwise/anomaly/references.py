"""Cheap references: graphs as vectors, and how far they lie from those of normal graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linkwise.anomaly.base import Contributions, Detector, Floats
from linkwise.anomaly.config import DetectorConfig, ReferenceConfig
from linkwise.anomaly.describe import (
    DEGREES,
    DESCRIPTIONS,
    label_vectors,
    wl_columns,
    wl_vectors,
)
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import InputError

TREES = 200
NU = 0.1  # of one-class support vectors: share of training graphs outside at most
ROWS = 512  # graphs at a time against all training graphs
NARROW = 8  # bits of the hashes of subtrees for a forest, which draws columns at random


class Reference(Detector):
    """Graphs described without learning (`describe.py`), and kNN, a one-class SVM or an isolation forest.

    Numbers of `size` are taken in deviations of the training graphs'; histograms, subtrees and heat traces
    as they are. `svm` has a linear kernel on unit vectors of `wl` and an RBF kernel (scikit-learn's default
    width) on the others. Labels are known by their names: one that no training graph has is one more column.
    """

    name: ClassVar[str] = "reference"
    Config: ClassVar[type[DetectorConfig]] = ReferenceConfig
    config: ReferenceConfig

    def __init__(self, config: ReferenceConfig | None = None) -> None:
        self.config = config or ReferenceConfig()

    def _fit(self, graphs: Graphs, context: Context) -> Floats:
        self._names = list(graphs.node_names)
        self._seed = context.seed
        raw = self._described(graphs)
        self._mean, self._scale = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
        if self.config.description == "size":
            self._mean = raw.mean(axis=0)
            deviation = raw.std(axis=0)
            self._scale = np.where(deviation > 1e-12, deviation, 1.0)
        self._train = self._scaled(raw)
        self._prepare()
        if self.config.by != "knn":
            return self._scores_of(self._train)
        return self._nearest(self._train, without_self=True)

    def _prepare(self) -> None:
        """Fit what is fitted to the vectors: the same vectors and seed give the same."""
        if self.config.by == "svm":
            from sklearn.svm import OneClassSVM

            kernel = "linear" if self.config.description == "wl" else "rbf"
            self._model: Any = OneClassSVM(kernel=kernel, nu=NU).fit(self._unit(self._train))
        elif self.config.by == "forest":
            from sklearn.ensemble import IsolationForest

            self._model = IsolationForest(n_estimators=TREES, random_state=self._seed).fit(
                self._train
            )

    def _described(self, graphs: Graphs) -> Any:
        if self.config.description == "wl":
            bits = NARROW if self.config.by == "forest" else 18
            found = wl_vectors(graphs, self.config.rounds, bits)
            return found.toarray() if self.config.by == "forest" else found
        if self.config.description == "labels" and self._names:
            own = label_vectors(graphs)
            found = np.zeros((len(graphs), len(self._names) + 1))
            for column, name in enumerate(graphs.node_names):
                at = self._names.index(name) if name in self._names else len(self._names)
                found[:, at] += own[:, column]
            if not graphs.node_names:
                found[:, -1] = 1.0
            return found
        return DESCRIPTIONS[self.config.description](graphs)

    def _scaled(self, raw: Any) -> Any:
        return (raw - self._mean) / self._scale if self.config.description == "size" else raw

    def _unit(self, vectors: Any) -> Any:
        if self.config.description != "wl":
            return vectors
        from sklearn.preprocessing import normalize

        return normalize(vectors)

    def _scores(self, graphs: Graphs) -> Floats:
        return self._scores_of(self._scaled(self._described(graphs)))

    def _scores_of(self, vectors: Any) -> Floats:
        if self.config.by == "svm":
            return np.asarray(-self._model.decision_function(self._unit(vectors)))
        if self.config.by == "forest":
            return np.asarray(-self._model.score_samples(vectors))
        return self._nearest(vectors, without_self=False)

    def _nearest(self, vectors: Any, *, without_self: bool) -> Floats:
        """The mean distance to the nearest training graphs (n,)."""
        n = self._train.shape[0]
        k = min(self.config.neighbours, n - 1 if without_self else n)
        found = np.empty(vectors.shape[0])
        for start in range(0, len(found), ROWS):
            rows = slice(start, min(start + ROWS, len(found)))
            distance = self._distances(vectors[rows])
            if without_self:
                distance[np.arange(distance.shape[0]), np.arange(start, rows.stop)] = np.inf
            found[rows] = np.sort(np.partition(distance, k - 1, axis=1)[:, :k], axis=1).mean(axis=1)
        return found

    def _distances(self, vectors: Any) -> Floats:
        from scipy.sparse import issparse
        from scipy.spatial.distance import cdist

        if not issparse(vectors):
            return np.asarray(cdist(vectors, self._train))
        products = (vectors @ self._train.T).toarray()
        own, theirs = (
            np.asarray(some.multiply(some).sum(axis=1)).ravel() for some in (vectors, self._train)
        )
        if self.config.metric == "cosine":
            lengths = np.sqrt(np.maximum(np.outer(own, theirs), 1e-300))
            return np.asarray(np.sqrt(np.maximum(2 - 2 * products / lengths, 0.0)))
        return np.asarray(np.sqrt(np.maximum(own[:, None] + theirs - 2 * products, 0.0)))

    def contributions(self, graphs: Graphs, graph: int) -> Contributions | None:
        """Of distances to the nearest, what each node adds by its degree, label or subtrees.

        A distance is the sum of squared differences of columns over itself. Where the graph has more of a
        column than its nearest, the nodes that make the column share its part; where it has less, no node is
        to blame, and the part belongs to the whole, as all does of size and heat traces. None of support
        vectors and forests.
        """
        self._check_fitted()
        if self.config.by != "knn":
            return None
        one = graphs.select([graph])
        own = self._scaled(self._described(one))
        nearest = np.argsort(self._distances(own)[0], kind="stable")
        nearest = nearest[: min(self.config.neighbours, len(nearest))]
        node, column = self._columns(one)
        share = np.zeros(int(one.n_nodes[0]))
        whole = 0.0
        mine = _dense_row(own, self.config.metric == "cosine" and self.config.description == "wl")
        holders = np.bincount(column, minlength=len(mine))
        for other in nearest:
            theirs = _dense_row(
                self._train[[other]],
                self.config.metric == "cosine" and self.config.description == "wl",
            )
            square = (mine - theirs) ** 2
            distance = float(np.sqrt(square.sum()))
            if distance == 0:
                continue
            part = square / distance / len(nearest)
            blamed = (mine > theirs) & (holders > 0)
            whole += float(part[~blamed].sum())
            each = np.where(blamed, part / np.maximum(holders, 1), 0.0)
            share += np.bincount(node, each[column], minlength=len(share))
        none = np.zeros((0, 2), dtype=np.int64)
        return Contributions(whole, share, none, np.zeros(0), np.zeros(0, dtype=np.bool_))

    def _columns(self, one: Graphs) -> tuple[Longs, Longs]:
        """Which node of a graph counts in which column: node numbers and columns, entry by entry."""
        n = int(one.n_nodes[0])
        nodes = np.arange(n)
        if self.config.description == "wl":
            found = wl_columns(one, self.config.rounds)
            return np.tile(nodes, len(found)), found.ravel()
        if self.config.description == "degrees":
            return nodes, np.minimum(one.degree, DEGREES - 1)
        if self.config.description == "labels" and self._names and one.node_label is not None:
            known = {name: k for k, name in enumerate(self._names)}
            of = np.array([known.get(name, len(self._names)) for name in one.node_names])
            return nodes, of[one.node_label]
        return nodes[:0], nodes[:0]

    def _save(self, folder: Path) -> dict[str, Any]:
        from scipy.sparse import issparse, save_npz

        # The forest and the support vectors are made anew from the vectors when loaded: no pickle.
        if issparse(self._train):
            save_npz(folder / "train.npz", self._train)
        else:
            np.save(folder / "train.npy", self._train)
        return {
            "names": self._names,
            "seed": self._seed,
            "mean": self._mean.tolist() if self.config.description == "size" else None,
            "scale": self._scale.tolist() if self.config.description == "size" else None,
        }

    def _load(self, folder: Path, own: dict[str, Any]) -> None:
        from scipy.sparse import load_npz

        self._names, self._seed = list(own["names"]), int(own["seed"])
        sparse = folder / "train.npz"
        self._train = (
            load_npz(sparse)
            if sparse.exists()
            else np.load(folder / "train.npy", allow_pickle=False)
        )
        if own["mean"] is not None:
            self._mean, self._scale = np.array(own["mean"]), np.array(own["scale"])
        if not self._train.shape[0]:
            raise InputError("it was fitted to no graphs")
        self._prepare()


def _dense_row(row: Any, unit: bool) -> Floats:
    """One row as a flat array; of length 1 with `unit`."""
    from scipy.sparse import issparse

    flat = np.asarray(row.toarray() if issparse(row) else row, dtype=np.float64).ravel()
    length = float(np.sqrt((flat**2).sum()))
    return flat / length if unit and length > 0 else flat
