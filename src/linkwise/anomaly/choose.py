"""`auto`: which detector to take, by graphs made strange on purpose and no label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from linkwise.anomaly.perturb import PERTURBATIONS, Perturbation, perturb
from linkwise.anomaly.registry import make
from linkwise.anomaly.study_config import DetectConfig
from linkwise.context import Context
from linkwise.data.graphs import Graphs
from linkwise.errors import InputError
from linkwise.metrics.binary import auc

MOST = 200  # held-out graphs that are made strange


@dataclass(frozen=True)
class Choice:
    """The detector chosen, and what each candidate's AUC is of each kind of made strangeness."""

    name: str
    aucs: dict[str, dict[Perturbation, float]]

    def mean(self, name: str) -> float:
        """A candidate's mean AUC over the kinds."""
        return float(np.mean(list(self.aucs[name].values())))


def choose(train: Graphs, held_out: Graphs, config: DetectConfig, context: Context) -> Choice:
    """The candidate that best tells held-out normal graphs from the same made strange.

    Graphs are made strange in three ways that leave each other's trace alone (`perturb.py`): structure at
    given degrees, labels, size. A candidate's mark is its mean AUC; the first of equals is taken. Nothing is
    known of real strange graphs, which may differ in another way: the mark says what a detector can see, not
    what will come. Labels of edges are left out while choosing.

    Raises `InputError` where no candidate can be fitted.
    """
    train, base = _without_edge_labels(train), _without_edge_labels(held_out)
    if len(base) > MOST:
        base = base.select(np.sort(context.rng("choose").permutation(len(base))[:MOST]))
    made = {kind: perturb(base, kind, context.seed) for kind in PERTURBATIONS}
    found: dict[str, dict[Perturbation, float]] = {}
    refused = []
    for name in config.auto_from:
        try:
            detector = make(name, config).fit(train, context)
        except InputError as error:
            refused.append(f"{name}: {error}")
            continue
        own = detector.decision_function(base)
        found[name] = {}
        for kind, strange in made.items():
            scores = np.concatenate([own, detector.decision_function(strange)])
            label = np.repeat([0, 1], [len(own), len(strange)])
            found[name][kind] = auc(label, scores)
    if not found:
        raise InputError(f"no detector of --auto-from can be used: {'; '.join(refused)}")
    best = max(found, key=lambda name: float(np.mean(list(found[name].values()))))
    return Choice(best, found)


def _without_edge_labels(graphs: Graphs) -> Graphs:
    return replace(graphs, edge_label=None, edge_names=())
