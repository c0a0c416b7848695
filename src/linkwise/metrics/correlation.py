"""Rank correlation by group, with a bootstrap over the groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from linkwise.errors import UsageError
from linkwise.metrics.binary import Floats
from linkwise.metrics.bootstrap import MetricRow, bootstrap_weights, percentile_interval


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation (1904), ties at their mean rank; NaN where one side is all alike."""
    from scipy.stats import rankdata

    a, b = (rankdata(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else float("nan")


def evaluate_correlation(
    truth: ArrayLike,
    scores: Mapping[str, ArrayLike],
    groups: ArrayLike,
    *,
    baseline: str,
    split: str,
    slice: str,
    samples: int = 1000,
    seed: int,
) -> list[MetricRow]:
    """The mean over groups of the rank correlation within each, with paired 95 % intervals over the groups.

    `truth`, each of `scores` and `groups` are (n,). Groups of which the truth, or a model's scores, are all
    alike count for no model: they are left out; without any left the values are None.

    Raises `UsageError` where the baseline is not among the models.
    """
    if baseline not in scores:
        raise UsageError(f'baseline is "{baseline}"; the models are: {", ".join(scores)}.')
    truth, number = np.asarray(truth), np.unique(np.asarray(groups), return_inverse=True)[1]
    rows = [np.flatnonzero(number == k) for k in range(int(number.max()) + 1 if len(number) else 0)]
    found: dict[str, Floats] = {
        name: np.array([spearman(truth[some], np.asarray(values)[some]) for some in rows])
        for name, values in scores.items()
    }
    usable = np.all([np.isfinite(values) for values in found.values()], axis=0)
    found = {name: values[usable] for name, values in found.items()}
    n = int(usable.sum()) if len(rows) else 0
    same = {"split": split, "slice": slice, "metric": "rank_correlation", "k": None, "n": n}
    if n == 0:
        empty = dict.fromkeys(
            ("value", "low", "high", "baseline", "difference", "difference_low", "difference_high")
        )
        return [MetricRow(model=name, **same, **empty) for name in scores]  # type: ignore[arg-type]
    weights = np.concatenate(list(bootstrap_weights(np.random.default_rng(seed), n, samples))) / n
    table = []
    for name, values in found.items():
        reference = found[baseline]
        low, high = percentile_interval(weights @ values)
        apart = name != baseline
        ends = percentile_interval(weights @ (values - reference)) if apart else (None, None)
        table.append(
            MetricRow(
                model=name,
                **same,  # type: ignore[arg-type]
                value=float(values.mean()),
                low=low,
                high=high,
                baseline=float(reference.mean()),
                difference=float((values - reference).mean()) if apart else None,
                difference_low=ends[0],
                difference_high=ends[1],
            )
        )
    return table
