"""How much a ranker's answers and its vectors each tell: weights learned from members held out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
FEWEST = 50  # events of each kind below which nothing is weighed


@dataclass(frozen=True)
class Evidence:
    """Log-odds of yes: `answer` times those of the answers' tokens, `match` times the cosine, and an offset.

    `offset` is by task; a task that is not among them has their mean.
    """

    answer: float
    match: float
    offset: dict[str, float]

    def probability(self, task: str, answers: Floats, matches: Floats) -> Floats:
        """The probability of yes (n,) from log-odds of the answers and cosines (n,)."""
        from scipy.special import expit

        offset = self.offset.get(task, float(np.mean(list(self.offset.values()))))
        return np.asarray(expit(self.answer * answers + self.match * matches + offset))

    def as_dict(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any] | None) -> Self | None:
        """As it was written; none where none was."""
        return None if values is None else cls(**values)


def weigh(tasks: list[str], answers: Floats, matches: Floats, acted: Floats) -> Evidence | None:
    """Logistic regression of what was done (n,) on both, with an offset for each task.

    `tasks` (n) are the tasks' names. What would count against an action is left out. None where there are
    too few events to tell.
    """
    from sklearn.linear_model import LogisticRegression

    if min(acted.sum(), (1 - acted).sum()) < FEWEST:
        return None
    names = sorted(set(tasks))
    which = np.array([names.index(name) for name in tasks])
    columns = {"answer": answers, "match": matches}
    kept = list(columns)
    weights: dict[str, float] = {}
    offsets = np.zeros(len(names))
    while True:
        design = np.column_stack([columns[name] for name in kept] + [np.eye(len(names))[which]])
        # Offsets are columns of their own; so weak a ridge only keeps a task of one answer finite.
        fitted = LogisticRegression(C=100.0, fit_intercept=False, max_iter=1000).fit(design, acted)
        found = fitted.coef_[0]
        weights, offsets = dict(zip(kept, found, strict=False)), found[len(kept) :]
        worst = min(kept, key=lambda name: weights[name], default=None)
        if worst is None or weights[worst] >= 0:
            break
        kept.remove(worst)
    return Evidence(
        float(weights.get("answer", 0.0)),
        float(weights.get("match", 0.0)),
        dict(zip(names, offsets.tolist(), strict=True)),
    )
