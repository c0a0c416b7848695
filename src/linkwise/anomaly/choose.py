"""`auto`: which detector to take, by graphs made strange on purpose and no label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from linkwise.anomaly.perturb import PERTURBATIONS, Perturbation, perturb
from linkwise.anomaly.registry import make
from linkwise.anomaly.study_config import DetectConfig
from linkwise.context import Context
from linkwise.data.graphs import Graphs
from linkwise.errors import InputError
from linkwise.metrics.binary import auc

FOLDS = 3
MOST = 100  # graphs of a fold that are made strange
FEWEST = 10


@dataclass(frozen=True)
class Choice:
    """The detector chosen, and what each candidate's AUC is of each kind of made strangeness."""

    name: str
    aucs: dict[str, dict[Perturbation, float]]

    def mark(self, name: str) -> float:
        """A candidate's geometric mean AUC over the kinds."""
        return mark_of(self.aucs[name])


def mark_of(aucs: Mapping[Perturbation, float]) -> float:
    """The geometric mean of AUCs: who does not see one kind at all is not made up for by another."""
    return float(np.prod(list(aucs.values())) ** (1 / len(aucs)))


def choose(graphs: Graphs, config: DetectConfig, context: Context) -> Choice:
    """The candidate that best tells normal graphs from the same made strange.

    In each of three folds candidates learn from the other two, and up to 100 graphs of it are judged as they
    are and made strange, in three ways that leave each other's trace alone (`perturb.py`): structure at given
    degrees, labels, size. A candidate's mark is the geometric mean over kinds of its mean AUC over folds; the
    first of equals is taken. Nothing is known of real strange graphs, which may differ in another way: the
    mark says what a detector can see, not what will come. Labels of edges are left out while choosing.

    Raises `InputError` where there are too few graphs, or no candidate can be fitted.
    """
    if len(graphs) < FEWEST:
        raise InputError(
            f"{len(graphs)} normal graphs to choose a detector by; expected {FEWEST} or more. Name one with "
            "--detector."
        )
    graphs = replace(graphs, edge_label=None, edge_names=())
    order = context.rng("choose").permutation(len(graphs))
    marks: dict[str, dict[Perturbation, list[float]]] = {}
    refused: dict[str, str] = {}
    for fold in range(FOLDS):
        base = graphs.select(np.sort(order[fold::FOLDS][:MOST]))
        train = graphs.select(np.sort(order[np.arange(len(order)) % FOLDS != fold]))
        made = {kind: perturb(base, kind, context.seed + fold) for kind in PERTURBATIONS}
        for name in config.auto_from:
            try:
                detector = make(name, config).fit(train, context)
            except InputError as error:
                refused[name] = str(error)
                continue
            own = detector.decision_function(base)
            mine = marks.setdefault(name, {kind: [] for kind in PERTURBATIONS})
            for kind, strange in made.items():
                scores = np.concatenate([own, detector.decision_function(strange)])
                label = np.repeat([0, 1], [len(own), len(strange)])
                mine[kind].append(auc(label, scores))
    found = {
        name: {kind: float(np.mean(values)) for kind, values in mine.items()}
        for name, mine in marks.items()
        if name not in refused
    }
    if not found:
        said = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise InputError(f"no detector of --auto-from can be used: {said}")
    best = max(found, key=lambda name: mark_of(found[name]))
    return Choice(best, found)
