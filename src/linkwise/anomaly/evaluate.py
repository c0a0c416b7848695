"""How well scores tell strange graphs from normal ones: means over folds, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.metrics.binary import (
    auc_draws,
    average_precision_draws,
    check_labels,
    check_scores,
    cumulate,
    order_rows,
)
from linkwise.metrics.bootstrap import MetricRow, bootstrap_weights, percentile_interval

Floats = np.ndarray[Any, np.dtype[np.float64]]
METRICS = {"auc": auc_draws, "average_precision": average_precision_draws}


@dataclass(frozen=True)
class Fold:
    """The test graphs of one fold: which are strange (n,), and what each detector says of them (n,)."""

    strange: Any
    scores: Mapping[str, Floats]


def evaluate_folds(
    folds: Sequence[Fold], *, baseline: str, split: str, slice: str, samples: int, seed: int
) -> list[MetricRow]:
    """AUC and average precision of each detector, the mean over the folds.

    Scores of two folds are of two detectors and are never compared. Intervals: 95 %, bootstrap over the
    graphs of each fold, the same resamples for all detectors; differences are subtracted within each. A
    resample of a fold that holds one class only is left out of its mean.

    Raises `InputError` where a fold has no strange graph, or no normal one.
    """
    models = list(folds[0].scores)
    points = {(m, metric): np.zeros((len(folds), 1)) for m in models for metric in METRICS}
    draws = {(m, metric): np.zeros((len(folds), samples)) for m in models for metric in METRICS}
    rng = np.random.default_rng(seed)
    for number, fold in enumerate(folds):
        labels = check_labels(np.asarray(fold.strange).astype(np.int64))
        n = len(labels)
        weights = np.concatenate(list(bootstrap_weights(rng, n, samples))).astype(np.float64)
        for model in models:
            rows = order_rows(labels, check_scores(fold.scores[model], n, f'scores of "{model}"'))
            whole, drawn = cumulate(rows, np.ones((1, n))), cumulate(rows, weights)
            for metric, compute in METRICS.items():
                points[model, metric][number] = compute(rows, whole)
                draws[model, metric][number] = compute(rows, drawn)
    n = sum(len(fold.strange) for fold in folds)
    found = []
    for model in models:
        for metric in METRICS:
            value = float(points[model, metric].mean())
            spread = _mean(draws[model, metric])
            low, high = percentile_interval(spread)
            reference = float(points[baseline, metric].mean())
            difference, below, above = None, None, None
            if model != baseline:
                difference = value - reference
                below, above = percentile_interval(spread - _mean(draws[baseline, metric]))
            found.append(
                MetricRow(
                    model, split, slice, metric, None, value, low, high, n, reference, difference, below,
                    above,
                )
            )  # fmt: skip
    return found


def _mean(draws: Floats) -> Floats:
    """The mean over folds (samples,), without resamples of a fold that are undefined."""
    defined = ~np.isnan(draws)
    total = np.where(defined, draws, 0.0).sum(axis=0)
    return np.asarray(
        np.divide(
            total,
            defined.sum(axis=0),
            out=np.full(draws.shape[1], np.nan),
            where=defined.any(axis=0),
        )
    )
