"""How much a ranker's answers and its vectors each tell: weights learned from members held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
FEWEST = 20  # events of each kind below which nothing is weighed
# What tells of an action, and whether more of it speaks for (1) or against (-1) an action in general.
SIGNS = {"answer": 1, "described": 1, "acted": 1, "passed": -1}
# What the log-likelihood has to gain by hearing the answers (chi-squared with one degree of freedom, .05). By
# chance alone few events would give them a weight, which sets the level of tasks that were never weighed.
SURE = 1.92
OWN = 0.1  # standard deviation of a task's own weights about the shared ones, of columns of deviation one
OFFSET = 0.3  # of a task's offset about the log-odds of its share of yes, which is known of all its events


@dataclass(frozen=True)
class Evidence:
    """Log-odds of yes: an offset, and so many times what each of `SIGNS` tells.

    `answer` are the log-odds of the answers' tokens; the others how an item goes with the member's
    description, with the items acted on before and with those passed by (`Ranker.matches`). `own` are the
    weights by task (5,), last the offset; `shared` (5,) those of tasks that are not among them, with the
    mean offset of all events.
    """

    shared: tuple[float, ...]
    own: dict[str, tuple[float, ...]]

    def weights(self, task: str) -> Floats:
        """The weights of a task (4,)."""
        return np.array(self.own.get(task, self.shared)[:-1])

    @property
    def hears(self) -> bool:
        """Whether answers count at all."""
        return any(weights[0] for weights in (self.shared, *self.own.values()))

    def probability(self, task: str, told: Floats) -> Floats:
        """The probability of yes (n,) from what is told of each (n, 4)."""
        from scipy.special import expit

        return np.asarray(expit(told @ self.weights(task) + self.own.get(task, self.shared)[-1]))

    def as_dict(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any] | None) -> Self | None:
        """As it was written; none where none was."""
        if values is None:
            return None
        own = {name: tuple(weights) for name, weights in values["own"].items()}
        return cls(tuple(values["shared"]), own)


def weigh(
    tasks: Sequence[str], told: Floats, acted: Floats, shares: Mapping[str, float]
) -> Evidence | None:
    """Logistic regression of what was done (n,) on what is told (n, 4), with an offset for each task.

    `tasks` (n) are the tasks' names; `shares` the share of yes of every task, of all its events: where few of
    a task are among these, or none, its offset is near the log-odds of that. Weights that tasks share have
    the sign of `SIGNS`; each task's own may differ from them as far as its events say so (ridge), in any
    direction: what is dismissed may go with the member as well as what is liked. Answers count the same for
    all tasks, never less than nothing, and not at all where these events could be told as well without them.
    None where there are too few events to tell.
    """
    if min(acted.sum(), (1 - acted).sum()) < FEWEST:
        return None
    names = sorted(shares)
    of = np.eye(len(names))[[names.index(name) for name in tasks]]
    counts = of.sum(axis=0)
    # About each task's mean: what tells tasks apart is the offsets' to say, and ranks nothing.
    means = (of.T @ told) / np.maximum(counts, 1)[:, None]  # (n_tasks, 4)
    means[counts == 0] = told.mean(axis=0)
    known = np.array([shares[name] for name in names])
    usual = np.log(known / (1 - known))
    within = told - of @ means
    scale = within.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    loss, shared, own, offsets = _fitted(within / scale, of, acted, usual, hears=True)
    deaf = _fitted(within / scale, of, acted, usual, hears=False)
    if deaf[0] - loss < SURE:
        _, shared, own, offsets = deaf
    weights = (shared + np.pad(own, ((0, 0), (1, 0)))) / scale  # (n_tasks, 4)
    offsets = offsets - (weights * means).sum(axis=1)
    return Evidence(
        (*(shared / scale).tolist(), float(np.average(offsets, weights=counts))),
        {name: (*weights[k].tolist(), float(offsets[k])) for k, name in enumerate(names)},
    )


def _fitted(
    scaled: Floats, of: Floats, acted: Floats, usual: Floats, *, hears: bool
) -> tuple[float, Floats, Floats, Floats]:
    """Loss in nats, shared weights (4,), what tasks differ by (n_tasks, 3), and offsets (n_tasks,).

    `scaled` (n, 4) are columns of deviation one, `of` (n, n_tasks) is 1 for a row's task, `usual` (n_tasks,)
    are the offsets where nothing else is known; without `hears` the answers' weight is 0.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    n, m = of.shape[1], len(SIGNS)
    differing = (scaled[:, None, 1:] * of[:, :, None]).reshape(len(scaled), -1)
    design = np.concatenate([scaled, differing, of], axis=1)
    # Of shared weights so weak a ridge that it only keeps them finite where a column tells all.
    ridge = np.array([0.01] * m + [OWN**-2] * (n * (m - 1)) + [OFFSET**-2] * n)
    centre = np.concatenate([np.zeros(n * (m - 1) + m), usual])
    bounds: list[tuple[float | None, float | None]] = [
        (0, None) if sign > 0 else (None, 0) for sign in SIGNS.values()
    ]
    if not hears:
        bounds[0] = (0, 0)
    bounds += [(None, None)] * (n * m)
    sign = 2 * acted - 1

    def loss(weights: Floats) -> tuple[float, Floats]:
        odds = sign * (design @ weights)
        off = weights - centre
        gradient = -design.T @ (sign * expit(-odds)) + ridge * off
        return float(-log_expit(odds).sum() + ridge @ off**2 / 2), gradient

    found = minimize(
        loss,
        centre,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 1000},
    )
    shared, own, offsets = np.split(found.x, [m, n * (m - 1) + m])
    return float(found.fun), shared, own.reshape(n, m - 1), offsets
