"""Many tests at once: which of their p-values stand."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


def benjamini_hochberg(
    p: Floats, n_tests: int, alpha: float
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of p-values (n,) stand at a false discovery rate of `alpha` among `n_tests`.

    The p-values of the other tests are 1.
    """
    order = np.argsort(p, kind="stable")
    passed = p[order] <= alpha * np.arange(1, len(p) + 1) / max(1, n_tests)
    found = np.zeros(len(p), dtype=np.bool_)
    if passed.any():
        found[order[: int(np.flatnonzero(passed)[-1]) + 1]] = True
    return found
