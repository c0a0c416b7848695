"""Taking a language model's taste for words out of its ranking of titles (LMRecSys, section 4).

Scores are log-probabilities s = log p(title | history), normalised; s0 is the same title's without the
history, so that p / p0 is what the history adds.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from linkwise.lm.trie import Floats

Calibration = Literal["none", "subtract", "ratio", "log", "pmi", "batch"]
Weights = np.ndarray[Any, np.dtype[np.float64]]

WEIGHTED = ("subtract", "log", "pmi", "batch")  # those whose weight `a` changes the ranking
CANDIDATES = tuple(round(0.1 * step, 1) for step in range(11))
EXAMPLES = 50  # validation queries that the weight is fitted on, as in the paper


def calibrate(scores: Floats, prior: Floats, how: Calibration, a: float) -> Floats:
    """Calibrated scores from log-probabilities (n, n_items) and those without history (n_items,).

    `subtract` p - a p0 (the paper's text; each row times a constant, so that small numbers stay numbers);
    `ratio` p / p0 (its appendix); `log` log p - a log p0; `pmi` the same, p0 being after the domain's words;
    `batch` the same, p0 being the mean after other users' histories. What cannot be scored stays -inf.
    """
    if how == "none":
        return scores
    bad = ~np.isfinite(scores)
    prior = np.where(np.isfinite(prior), prior, -1e30)
    plain = np.where(bad, -1e30, scores)
    if how == "subtract":
        largest = np.maximum(plain.max(axis=1, keepdims=True), prior.max())
        found = np.exp(plain - largest) - a * np.exp(prior[None, :] - largest)
    else:
        found = plain - (1.0 if how == "ratio" else a) * prior[None, :]
    return np.where(bad, -np.inf, found)
