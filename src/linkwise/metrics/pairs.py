"""Metrics of scored pairs, with a bootstrap over what the pairs are made of: codes, not pairs.

Pairs that share a code are not independent: a code that is easily foreseen makes many pairs easy. Codes are
drawn with replacement, and a pair counts as often as its two codes were drawn, one times the other (Snijders
and Borgatti 1999); the pairs of a code with its own copies do not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linkwise.metrics.binary import (
    Floats,
    OrderedRows,
    Ties,
    auc_draws,
    average_precision_draws,
    check_labels,
    check_scores,
    cumulate,
    order_rows,
    partial_auc_draws,
    top_draws,
)
from linkwise.metrics.bootstrap import (
    CHUNK,
    Interval,
    MetricRow,
    bootstrap_weights,
    percentile_interval,
)

Longs = NDArray[np.integer[Any]]
Key = tuple[str, float | None]

FALSE_POSITIVES = 0.1  # rate up to which the partial area counts
MANY = 1_000_000  # pairs from which on models are evaluated one after the other


@dataclass(frozen=True)
class PairMetrics:
    """What each model was found to be: `points[model][metric, k]`, and the same of resamples (samples,)."""

    points: dict[str, dict[Key, float]]
    draws: dict[str, dict[Key, Floats]]
    n: int

    def value(self, model: str, metric: str, k: float | None = None) -> Interval:
        """(value, low, high); all None where it is undefined."""
        return _interval(self.points[model][metric, k], self.draws[model][metric, k])

    def difference(self, model: str, other: str, metric: str, k: float | None = None) -> Interval:
        """(value, low, high) of the paired difference."""
        key = metric, k
        return _interval(
            self.points[model][key] - self.points[other][key],
            self.draws[model][key] - self.draws[other][key],
        )

    def rows(self, baseline: str, split: str, slice: str = "all") -> list[MetricRow]:
        """Rows of `metrics.json`, all compared with one model."""
        found = []
        for model, points in self.points.items():
            for metric, k in points:
                reference = self.value(baseline, metric, k)[0]
                compared = (
                    (None, None, None)
                    if model == baseline
                    else self.difference(model, baseline, metric, k)
                )
                found.append(
                    MetricRow(
                        model, split, slice, metric, k, *self.value(model, metric, k),
                        self.n, reference, *compared,
                    )
                )  # fmt: skip
        return found


def evaluate_pairs(
    labels: ArrayLike,
    scores: Mapping[str, ArrayLike],
    first: Longs,
    second: Longs,
    *,
    trivial: Collection[str] = (),
    places: Sequence[int] = (10, 100, 1000),
    samples: int = 1000,
    seed: int,
) -> PairMetrics:
    """AUC, its part up to a false-positive rate of .1, average precision and precision at so many places.

    `labels` (n,) are 0 or 1, `scores` of each model (n,); pair i is of the codes `first[i]` and `second[i]`.
    Models named in `trivial` have the ties at a place counted in expectation, others against them. A place
    beyond the number of pairs is left out.

    Raises `InputError` for labels or scores that are none.
    """
    positive = check_labels(labels)
    n = len(positive)
    codes, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)
    a, b = numbers[:n], numbers[n:]
    kept = [k for k in places if k <= n]
    ones = np.ones((1, n))
    points: dict[str, dict[Key, Floats]] = {}
    draws: dict[str, dict[Key, Floats]] = {}
    names = list(scores)
    # Of very many pairs one model is in memory at a time, and the same resamples are drawn for each.
    step = len(names) if n < MANY else 1
    for begin in range(0, len(names), step):
        some = names[begin : begin + step]
        rows = {
            model: order_rows(
                positive, check_scores(scores[model], n, f'scores of model "{model}"')
            )
            for model in some
        }
        parts: dict[str, list[dict[Key, Floats]]] = {model: [] for model in some}
        chunk = max(1, CHUNK * len(codes) // n)
        for counts in bootstrap_weights(
            np.random.default_rng(seed), len(codes), samples, chunk=chunk
        ):
            weights = (counts[:, a] * counts[:, b]).astype(np.float64)  # (b, n)
            for model, own in parts.items():
                own.append(_draws(rows[model], weights, model in trivial, kept))
        for model, own in parts.items():
            points[model] = _draws(rows[model], ones, model in trivial, kept)
            draws[model] = {key: np.concatenate([part[key] for part in own]) for key in own[0]}
    return PairMetrics(
        {
            model: {key: float(value[0]) for key, value in of.items()}
            for model, of in points.items()
        },
        draws,
        n,
    )


def _draws(
    rows: OrderedRows, weights: Floats, trivial: bool, places: Sequence[int]
) -> dict[Key, Floats]:
    cumulated = cumulate(rows, weights)
    found: dict[Key, Floats] = {
        ("auc", None): auc_draws(rows, cumulated),
        ("partial_auc", 100 * FALSE_POSITIVES): partial_auc_draws(rows, cumulated, FALSE_POSITIVES),
        ("average_precision", None): average_precision_draws(rows, cumulated),
    }
    drawn = cumulated.total[:, -1]
    for k in places:
        at = np.minimum(np.maximum(drawn, 1.0), k)
        top = np.full(len(drawn), np.nan)
        there = drawn >= 1
        if there.any():
            part = type(cumulated)(cumulated.total[there], cumulated.positive[there])
            ties: Ties = "expected" if trivial else "pessimistic"
            top[there] = top_draws(rows, part, at[there], ties) / at[there]
        found["precision_at", k] = top
    return found


def _interval(point: float, draws: Floats) -> Interval:
    return (None, None, None) if np.isnan(point) else (point, *percentile_interval(draws))
