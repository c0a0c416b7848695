"""The contract of detectors of strange graphs, in PyOD's words."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from linkwise.anomaly.config import DetectorConfig
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import InputError, UsageError

Floats = np.ndarray[Any, np.dtype[np.float64]]

FILE = "detector.json"
FORMAT = 1


@dataclass(frozen=True)
class Contributions:
    """What of a graph makes its score: `whole` + `node`.sum() + `edge`.sum() is the score.

    `node` (n_nodes,) is what each node adds; `edges` (n, 2) are pairs of nodes, by the graph's own numbers,
    and `edge` (n,) what each adds: those that are there, and those that are missing and should be (`there`
    (n,) tells which).
    """

    whole: float
    node: Floats
    edges: Longs
    edge: Floats
    there: Any

    @property
    def total(self) -> float:
        """The score."""
        return float(self.whole + self.node.sum() + self.edge.sum())


class Detector(ABC):
    """Learns a family of graphs from normal examples alone, and says how little others belong to it.

    After `fit`: `decision_scores_` (n_train,) are the scores of the training graphs, each, where the detector
    can, without itself; `threshold_` is the score above which `predict` says 1, the share `contamination` of
    these lying above it. Higher scores are stranger.
    """

    name: ClassVar[str]
    Config: ClassVar[type[DetectorConfig]]
    config: DetectorConfig
    decision_scores_: Floats
    threshold_: float

    def fit(self, graphs: Graphs, context: Context | None = None) -> Self:
        """Learn from normal graphs; `context` gives randomness, checkpoints and progress.

        Raises `InputError` where there are too few graphs, or they cannot be used.
        """
        if len(graphs) < 2:
            raise InputError(
                f"{len(graphs)} graphs to learn from; a family needs two or more, and says little below 20."
            )
        if not len(graphs.neighbour) and not int(graphs.n_nodes.sum()):
            raise InputError("no graph has a node; there is nothing to learn from.")
        scores = self._fit(graphs, context or Context(Path()))
        self.decision_scores_ = np.asarray(scores, dtype=np.float64)
        self.threshold_ = float(
            np.quantile(self.decision_scores_, 1 - self.config.contamination, method="higher")
        )
        return self

    @abstractmethod
    def _fit(self, graphs: Graphs, context: Context) -> Floats:
        """Learn, and return the scores of the training graphs."""

    @abstractmethod
    def _scores(self, graphs: Graphs) -> Floats:
        """How strange each graph is (n,)."""

    def decision_function(self, graphs: Graphs) -> Floats:
        """How strange each graph is (n,): higher is stranger. The same graph has the same score, always.

        Raises `UsageError` before `fit`.
        """
        self._check_fitted()
        found = np.asarray(self._scores(graphs), dtype=np.float64)
        if found.shape != (len(graphs),) or not np.isfinite(found).all():
            raise InputError(
                f"{self.name}: a score is no number; this is an error in the detector."
            )
        return found

    def predict(self, graphs: Graphs) -> Longs:
        """1 for graphs above the threshold, 0 for others (n,)."""
        return (self.decision_function(graphs) > self.threshold_).astype(np.int64)

    def contributions(self, graphs: Graphs, graph: int) -> Contributions | None:
        """What of one graph makes its score; None of a detector that cannot say."""
        return None

    def sections(self, normal: Graphs, strange: Graphs) -> tuple[Any, ...]:
        """What a report has beside the scores: sections on normal graphs that it has not seen, and strange
        ones."""
        return ()

    def save(self, folder: Path) -> None:
        """Write the detector to a folder; loading it runs no code."""
        self._check_fitted()
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "decision_scores.npy", self.decision_scores_)
        about = {
            "format_version": FORMAT,
            "detector": self.name,
            "config": self.config.model_dump(mode="json"),
            "threshold": self.threshold_,
            "own": self._save(folder),
        }
        (folder / FILE).write_text(json.dumps(about, indent=1))

    @abstractmethod
    def _save(self, folder: Path) -> dict[str, Any]:
        """Write what was learned beside detector.json, and return what stands in it."""

    @abstractmethod
    def _load(self, folder: Path, own: dict[str, Any]) -> None:
        """Read what was learned."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a detector of this kind.

        Raises `InputError` where the folder holds none, or one of another kind.
        """
        about = read_about(folder)
        if about["detector"] != cls.name:
            raise InputError(f'{folder}: a detector "{about["detector"]}", and not "{cls.name}".')
        try:
            found = cls(cls.Config(**about["config"]))  # type: ignore[call-arg]
            found.decision_scores_ = np.load(folder / "decision_scores.npy", allow_pickle=False)
            found.threshold_ = float(about["threshold"])
            found._load(folder, about["own"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: the detector cannot be read ({error}).") from error
        return found

    def _check_fitted(self) -> None:
        if not hasattr(self, "threshold_"):
            raise UsageError(f"{self.name}: the detector has learned nothing yet; call fit first.")


def read_about(folder: Path) -> dict[str, Any]:
    """What detector.json says; raises `InputError` where there is none."""
    try:
        about: dict[str, Any] = json.loads((folder / FILE).read_text())
        if about["format_version"] > FORMAT:
            raise InputError(f"{folder}: the detector was written by a newer Linkwise; upgrade it.")
        return about
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: this is no detector's folder ({error}).") from error
