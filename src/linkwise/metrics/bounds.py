"""Intervals at the ends of a metric's range, where a bootstrap has no spread.

Where 22 of 22 pairs are right every resample is right as well, and the percentile interval is [1, 1]: that
says nothing of the pairs that were not drawn. Here are score intervals, which hold there.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkwise.errors import InputError
from linkwise.metrics.interval import Z_95, proportion_interval

Bools = NDArray[np.bool_]


def auc_interval(value: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """A 95 % score interval of an AUC, also of 0 and 1 (Newcombe 2006, part 2, method 5).

    The values whose distance to the AUC is at most 1.96 of their own standard errors, by Hanley and McNeil's
    (1982) variance with the mean of both counts less one in place of either.

    Raises `InputError` unless 0 <= value <= 1 and both counts are at least 1.
    """
    if not (0 <= value <= 1 and n_positive >= 1 and n_negative >= 1):
        raise InputError(
            f"an AUC of {value} of {n_positive} positives and {n_negative} negatives; there is none such."
        )
    mean = (n_positive + n_negative) / 2 - 1

    def outside(at: float) -> float:
        """Above 0 where the value is further away than 1.96 standard errors."""
        spread = 1 + mean * (1 - at) / (2 - at) + mean * at / (1 + at)
        return abs(value - at) - Z_95 * sqrt(at * (1 - at) * spread / (n_positive * n_negative))

    return _root(outside, 0.0, value), _root(outside, 1.0, value)


def _root(outside: Any, far: float, near: float) -> float:
    """Between `far`, which is outside, and `near`, which is not, the point where that changes."""
    if far == near:
        return far
    for _ in range(60):
        middle = (far + near) / 2
        far, near = (middle, near) if outside(middle) > 0 else (far, middle)
    return far


def bound_interval(
    metric: str, value: float, positive: Bools, predicted: Bools | None, unit: NDArray[Any]
) -> tuple[float | None, float | None]:
    """The 95 % interval of a metric that is 0 or 1; (None, None) where none is known.

    AUC by `auc_interval`, accuracy, precision and recall by Wilson's, F1 by Wilson's of the share TP / (TP +
    FP + FN), of which it is a function. `positive`, `predicted` and `unit` (n,): units count, not their rows,
    so that many rows of one unit are no better than one.
    """

    def units(rows: Bools) -> int:
        return len(np.unique(unit[rows]))

    if metric == "auc":
        counts = units(positive), units(~positive)
        return auc_interval(value, *counts) if min(counts) else (None, None)
    if predicted is None:
        return None, None
    of = {
        "accuracy": np.ones_like(positive),
        "precision": predicted,
        "recall": positive,
        "f1": positive | predicted,
    }
    if metric not in of or not of[metric].any():
        return None, None
    n = units(of[metric])
    low, high = proportion_interval(value * n, n)
    return (2 * low / (1 + low), 2 * high / (1 + high)) if metric == "f1" else (low, high)
