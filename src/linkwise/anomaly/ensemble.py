"""`Ensemble`: several detectors' conformal p-values, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from linkwise.anomaly.base import Detector, Floats
from linkwise.anomaly.calibrate import fisher
from linkwise.anomaly.config import DetectorConfig, EnsembleConfig
from linkwise.context import Context
from linkwise.data.graphs import Graphs
from linkwise.errors import InputError

FEWEST = 10  # training graphs that p-values are counted among, at least
TAIL = 0.1  # share of them from which on a score's strength is drawn on


class Ensemble(Detector):
    """Fisher's sum of its members' p-values, each counted among training graphs that the members left out.

    Beyond the strangest of these a p-value stays the same however strange a graph is. There it goes on
    falling as an exponential tail does whose mean is that of the uppermost tenth (as of peaks over a
    threshold), so that the strangest graphs are still told apart.
    """

    name: ClassVar[str] = "ensemble"
    Config: ClassVar[type[DetectorConfig]] = EnsembleConfig
    config: EnsembleConfig

    def __init__(
        self, config: EnsembleConfig | None = None, members: Sequence[Detector] | None = None
    ) -> None:
        self.config = config or EnsembleConfig()
        if members is None:
            from linkwise.anomaly.registry import make
            from linkwise.anomaly.study_config import DetectConfig

            study = DetectConfig(ensemble=self.config)
            members = [make(name, study) for name in self.config.members]
        self.members = list(members)

    def fit(self, graphs: Graphs, context: Context | None = None) -> Self:
        """As of any detector; `threshold_` is taken of the graphs that the members left out."""
        super().fit(graphs, context)
        left_out = self.decision_scores_[self._out]
        self.threshold_ = float(
            np.quantile(left_out, 1 - self.config.contamination, method="higher")
        )
        return self

    def _fit(self, graphs: Graphs, context: Context) -> Floats:
        n = len(graphs)
        left_out = int(np.ceil(self.config.share * n))
        if left_out < FEWEST or n - left_out < 2:
            raise InputError(
                f"{n} graphs, {left_out} of them left out; the ensemble needs {FEWEST} or more to count "
                "p-values by. Use a single detector, or a larger ensemble.share."
            )
        order = context.rng("ensemble").permutation(n)
        out, learned = np.sort(order[:left_out]), np.sort(order[left_out:])
        self._out = out
        self._normal = []
        scores = np.empty((len(self.members), n))
        for number, member in enumerate(self.members):
            member.fit(graphs.select(learned), context)
            self._normal.append(np.sort(member.decision_function(graphs.select(out))))
            scores[number, out] = member.decision_function(graphs.select(out))
            scores[number, learned] = member.decision_scores_
        return self._together(scores)

    def _scores(self, graphs: Graphs) -> Floats:
        return self._together(
            np.stack([member.decision_function(graphs) for member in self.members])
        )

    def _together(self, scores: Floats) -> Floats:
        return fisher(
            np.stack(
                [
                    continued_p_values(own, normal)
                    for own, normal in zip(scores, self._normal, strict=True)
                ]
            )
        )

    def _save(self, folder: Path) -> dict[str, Any]:
        for number, member in enumerate(self.members):
            member.save(folder / f"member-{number}")
        np.save(folder / "normal.npy", np.stack(self._normal))
        return {"members": len(self.members)}

    def _load(self, folder: Path, own: dict[str, Any]) -> None:
        from linkwise.anomaly.registry import load

        self.members = [load(folder / f"member-{number}") for number in range(int(own["members"]))]
        self._normal = list(np.load(folder / "normal.npy", allow_pickle=False))
        if len(self._normal) != len(self.members):
            raise InputError("it has not as many members as calibrations")


def continued_p_values(scores: Floats, normal: Floats) -> Floats:
    """Conformal p-values (n,) among `normal` (m,), which fall on beyond the strangest by an exponential tail.

    The tail's mean is the mean excess over the upper tenth of `normal`; where all of that is equal it does
    not fall.
    """
    from linkwise.anomaly.calibrate import conformal_p_values

    found = conformal_p_values(scores, normal)
    ordered = np.sort(normal)
    upper = ordered[-max(2, int(np.ceil(TAIL * len(ordered)))) :]
    mean = float((upper - upper[0]).mean())
    if mean > 0:
        beyond = np.maximum(scores - ordered[-1], 0.0)
        found = found * np.exp(-np.minimum(beyond / mean, 500.0))
    return found
