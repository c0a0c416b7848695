"""Intervals: the bootstrap over users, codes or graphs, paired.

All models are evaluated on the same resamples. A difference between two models is taken within each
resample, so that what both find hard cancels: "intervals apart" means that the interval of this
paired difference excludes 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linkwise.errors import UsageError
from linkwise.metrics.binary import (
    Floats,
    OrderedRows,
    Ties,
    auc_draws,
    average_precision_draws,
    check_labels,
    check_probabilities,
    check_scores,
    cumulate,
    order_rows,
    probability_columns,
    probability_draws,
    top_share_draws,
)
from linkwise.metrics.bounds import bound_interval
from linkwise.metrics.interval import proportion_interval

__all__ = [
    "MetricRow", "bootstrap_weights", "evaluate_binary", "percentile_interval", "proportion_interval",
]  # fmt: skip

CHUNK = 1 << 17
"""Weights in memory at a time (1 MiB as float64): hides the cost of Python, fits the cache."""

UNDEFINED_SHARE = 0.05
"""A metric undefined in more resamples than this has no interval: the rest is a selection."""

Draws = dict[tuple[str, float | None], Floats]
"""(metric, k) -> (b,): one value per resample, NaN where undefined."""

Interval = tuple[float | None, float | None, float | None]
"""(value, low, high)"""


@dataclass(frozen=True)
class MetricRow:
    """One row of `metrics.json`; None is "undefined" or "does not apply", NaN never appears.

    `low`, `high`: 95 % interval of `value`. `baseline`: the baseline's value of the same metric;
    `difference`: value - baseline (for brier and log_loss, less is better), with the interval of
    the paired difference; None in the baseline's own rows. `k`: the top share in percent for
    precision_at and lift_at. `n`: rows evaluated.
    """

    model: str
    split: str
    slice: str
    metric: str
    k: float | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    baseline: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True)
class _Model:
    rows: OrderedRows
    ties: Ties
    columns: Floats | None  # (4, n), None for a model that gives no probabilities


def bootstrap_weights(
    rng: np.random.Generator, n: int, samples: int, *, chunk: int = CHUNK
) -> Iterator[NDArray[np.intp]]:
    """How often each of n units is drawn, in `samples` resamples of n units with replacement.

    Yields arrays (b, n) whose rows sum to n, about `chunk` counts at a time, `samples` rows in all;
    the counts do not depend on `chunk`. A study whose rows belong to units (pairs to users) weights
    rows by `w[:, unit_of_row]`.
    """
    if n < 1 or samples < 1:
        raise UsageError(
            f"a bootstrap of n = {n} units and {samples} samples; both must be at least 1."
        )
    at_once = max(1, chunk // n)
    for first in range(0, samples, at_once):
        b = min(at_once, samples - first)
        drawn = rng.integers(0, n, size=(b, n))
        drawn += np.arange(b)[:, None] * n  # resample i counts into its own n cells
        yield np.bincount(drawn.ravel(), minlength=b * n).reshape(b, n)


def percentile_interval(draws: Floats) -> tuple[float | None, float | None]:
    """The 2.5 % and 97.5 % points of bootstrap draws (samples,), NaN being an undefined draw.

    (None, None) where more than 5 % of the draws are undefined.
    """
    defined = draws[~np.isnan(draws)]
    if len(draws) - len(defined) > UNDEFINED_SHARE * len(draws) or not len(defined):
        return None, None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def evaluate_binary(
    labels: ArrayLike,
    scores: Mapping[str, ArrayLike],
    probabilities: Mapping[str, ArrayLike],
    *,
    baseline: str,
    split: str,
    slice: str = "all",
    threshold: float = 0.5,
    shares: Sequence[float] = (0.01, 0.05, 0.10),
    samples: int = 1000,
    units: ArrayLike | None = None,
    seed: int,
) -> list[MetricRow]:
    """All metrics of all models on the same rows, with paired 95 % bootstrap percentile intervals.

    Args:
        labels: (n,) 0 or 1, one row per user, unless `units` are given.
        scores: model -> (n,), higher means more likely positive.
        probabilities: model -> (n,) in [0, 1]; models missing here get the ranking metrics only.
        baseline: the model that all others are compared with. Its ties at a top share are
            counted in expectation, those of all other models against them.
        split: written to the rows as given, as is `slice`.
        slice: name of the part of the users that these rows are.
        threshold: probability from which on a row is predicted positive.
        shares: top shares for precision_at and lift_at, written as k in percent.
        samples: bootstrap resamples. Time grows with samples x n x models (1000 x 20,000 x 4:
            3 seconds on one core; 1000 x 600,000 x 4: 2 minutes): from 600,000 rows on, pass 200.
        units: (n,) the number of each row's user, from 0, where users have several rows: users are what the
            bootstrap draws.
        seed: of the resamples.

    Returns the rows by model, in the order of `scores`. What is undefined is None: auc with one
    class, precision with nothing predicted positive. Resamples where a metric is undefined are left
    out; beyond 5 % of them the interval is None. Of a metric that is 0 or 1 no resample differs: its interval
    is that of `bounds.bound_interval`, None for average precision. Memory: 70 to 110 bytes per row and model
    (most where positives are many), besides the input.

    Raises `InputError` for bad labels, scores, probabilities or shapes, `UsageError` for an unknown
    baseline, a model with probabilities but no scores, or bad settings.
    """
    positive = check_labels(labels)
    n = len(positive)
    if baseline not in scores:
        raise UsageError(
            f'baseline is "{baseline}"; the models with scores are: {", ".join(scores)}.'
        )
    if unknown := [name for name in probabilities if name not in scores]:
        raise UsageError(f'model "{unknown[0]}" has probabilities but no scores: give its scores.')
    models = {
        name: _prepare(
            name,
            positive,
            scores[name],
            probabilities.get(name),
            threshold,
            "expected" if name == baseline else "pessimistic",
        )
        for name in scores
    }
    points = {name: _draws(model, np.ones((1, n)), shares) for name, model in models.items()}
    parts: dict[str, list[Draws]] = {name: [] for name in models}
    unit = np.arange(n) if units is None else np.asarray(units)
    n_units = int(unit.max()) + 1
    # As many resamples at once as their rows allow, which may be many times the units.
    chunk = max(1, CHUNK * n_units // n)
    for counts in bootstrap_weights(np.random.default_rng(seed), n_units, samples, chunk=chunk):
        weights = counts[:, unit].astype(np.float64)  # (b, n), the same for every model
        for name, model in models.items():
            parts[name].append(_draws(model, weights, shares))
    draws = {
        name: {key: np.concatenate([part[key] for part in parts[name]]) for key in points[name]}
        for name in models
    }  # model -> (metric, k) -> (samples,)

    said = {
        name: np.asarray(probabilities[name], dtype=np.float64) >= threshold
        if name in probabilities
        else None
        for name in models
    }
    table = []
    for name in models:
        for key, point in points[name].items():
            value, low, high = _with_interval(point, draws[name][key])
            if value in (0, 1) and key[1] is None and key[0] not in ("brier", "log_loss"):
                # Every resample is as perfect: a bootstrap knows no doubt here.
                low, high = bound_interval(key[0], float(value), positive, said[name], unit)
            reference = points[baseline].get(key)  # None: the baseline has no probabilities
            compared: Interval = (None, None, None)
            if reference is not None and name != baseline:
                # Subtracted within each resample: this is the pairing.
                compared = _with_interval(
                    point - reference, draws[name][key] - draws[baseline][key]
                )
            table.append(
                MetricRow(
                    model=name,
                    split=split,
                    slice=slice,
                    metric=key[0],
                    k=key[1],
                    value=value,
                    low=low,
                    high=high,
                    n=n,
                    baseline=None if reference is None else _number(reference),
                    difference=compared[0],
                    difference_low=compared[1],
                    difference_high=compared[2],
                )
            )
    return table


def _prepare(
    name: str,
    positive: NDArray[np.bool_],
    scores: ArrayLike,
    probabilities: ArrayLike | None,
    threshold: float,
    ties: Ties,
) -> _Model:
    """Check one model's arrays and do what is done once: sort, and compute the losses."""
    n = len(positive)
    rows = order_rows(positive, check_scores(scores, n, f'scores of model "{name}"'))
    if probabilities is None:
        return _Model(rows, ties, None)
    checked = check_probabilities(probabilities, n, f'probabilities of model "{name}"')
    return _Model(rows, ties, probability_columns(positive, checked, threshold))


def _draws(model: _Model, weights: Floats, shares: Sequence[float]) -> Draws:
    """All metrics of one model for weights (b, n)."""
    cumulated = cumulate(model.rows, weights)
    values: Draws = {
        ("auc", None): auc_draws(model.rows, cumulated),
        ("average_precision", None): average_precision_draws(model.rows, cumulated),
    }
    if model.columns is not None:
        n_positive = cumulated.positive[:, -1]
        for metric, drawn in probability_draws(model.columns, weights, n_positive).items():
            values[metric, None] = drawn
    tops = {
        _percent(share): top_share_draws(model.rows, cumulated, share, model.ties)
        for share in shares
    }
    for i, metric in enumerate(("precision_at", "lift_at")):
        for k, top in tops.items():
            values[metric, k] = top[i]
    return values


def _with_interval(point: Floats, draws: Floats) -> Interval:
    """(value, low, high) of a point (1,) and its draws (samples,); all None where undefined."""
    value = _number(point)
    return (None, None, None) if value is None else (value, *percentile_interval(draws))


def _number(point: Floats) -> float | None:
    return None if np.isnan(point[0]) else float(point[0])


def _percent(share: float) -> float:
    """0.05 -> 5 (an int where whole, so that JSON shows 5 and not 5.0), 0.005 -> 0.5."""
    percent = round(100 * share, 10)
    return int(percent) if percent == int(percent) else percent
