"""A detector with the normal graphs that it has not seen: scores, p-values, flags."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from linkwise.anomaly.base import Detector, Floats
from linkwise.anomaly.calibrate import conformal_p_values, p_values_by_size
from linkwise.anomaly.masked import Masked
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import InputError, UsageError
from linkwise.metrics.multiple import benjamini_hochberg


@dataclass(frozen=True)
class Verdicts:
    """What is said of graphs, each (n,): `by_size` is the p-value among normal graphs of like size."""

    score: Floats
    p_value: Floats
    by_size: Floats
    flagged: Any


@dataclass(frozen=True)
class Calibrated:
    """`normal` (m,) are the scores of held-out normal graphs, `sizes` (m, 2) their nodes and edges."""

    name: str
    detector: Detector
    normal: Floats
    sizes: Longs

    @classmethod
    def fit(
        cls,
        name: str,
        detector: Detector,
        train: Graphs,
        held_out: Graphs,
        context: Context,
        known: Graphs | None = None,
    ) -> Self:
        """Learn from `train`, and score `held_out`, which nothing was learned from.

        From `known` anomalies masked completion learns, too; normal graphs stay exchangeable with those held
        out, so that p-values hold as they do without. Raises `UsageError` for another detector.
        """
        if known is None:
            detector.fit(train, context)
        elif isinstance(detector, Masked):
            detector.fit_with_anomalies(train, known, context)
        else:
            raise UsageError(f"{name}: the detector learns from normal graphs alone.")
        scores = detector.decision_function(held_out)
        return cls(name, detector, scores, np.column_stack([held_out.n_nodes, held_out.n_edges]))

    def judge(self, graphs: Graphs, false_alarms: float) -> Verdicts:
        """Scores, p-values and flags of graphs."""
        score = self.detector.decision_function(graphs)
        size = graphs.n_nodes.astype(np.float64)
        return verdicts_of(
            score, size, self.normal, self.sizes[:, 0].astype(np.float64), false_alarms
        )

    def save(self, folder: Path) -> None:
        """Write detector and calibration to a folder."""
        self.detector.save(folder / "detector")
        about = {
            "format_version": 1,
            "name": self.name,
            "normal": self.normal.tolist(),
            "sizes": self.sizes.tolist(),
        }
        (folder / "calibration.json").write_text(json.dumps(about))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them again; raises `InputError` where the folder is damaged."""
        from linkwise.anomaly.registry import load

        try:
            about = json.loads((folder / "calibration.json").read_text())
            normal = np.array(about["normal"], dtype=np.float64)
            sizes = np.array(about["sizes"], dtype=np.int64).reshape(-1, 2)
            name = str(about["name"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: the calibration cannot be read ({error}); run the study again."
            ) from error
        return cls(name, load(folder / "detector"), normal, sizes)


def verdicts_of(
    score: Floats, size: Floats, normal: Floats, normal_size: Floats, false_alarms: float
) -> Verdicts:
    """P-values of scores (n,) of graphs of so many nodes (n,) among held-out normal ones (m,), and flags.

    Graphs are flagged so that false ones are expected to be a share `false_alarms` of them at most
    (Benjamini and Hochberg 1995; that it holds for conformal p-values, Bates et al. 2023).
    """
    p = conformal_p_values(score, normal)
    by_size = p_values_by_size(score, size, normal, normal_size)
    return Verdicts(score, p, by_size, benjamini_hochberg(p, len(p), false_alarms))
