"""Whether a query and an item belong together: a probability from how alike they are in several ways."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from linkwise.errors import InputError

Floats = np.ndarray[Any, np.dtype[np.float64]]

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # inverse ridges that are tried
FOLDS = 5


@dataclass(frozen=True)
class WeighedJudge:
    """Log-odds of yes: an offset, and so many times each similarity, scaled."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    offset: float
    strength: float

    def log_odds(self, features: Floats) -> Floats:
        """The log-odds of yes (n,) of pairs with these features (n, n_features)."""
        scaled = (features - np.array(self.mean)) / np.array(self.scale)
        return np.asarray(scaled @ np.array(self.weights) + self.offset)

    def probability(self, features: Floats) -> Floats:
        """The probability of yes (n,)."""
        from scipy.special import expit

        return np.asarray(expit(self.log_odds(features)))

    def as_dict(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """As it was written."""
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})


def fit_judge(
    features: Floats, label: Floats, groups: Any, names: tuple[str, ...]
) -> tuple[WeighedJudge, Floats]:
    """A judge of labelled pairs, and what it says of each pair when its group is left out (n,).

    `features` (n, n_features), `label` (n,) 0 or 1, `groups` (n,): pairs of one group are never parted, so
    that the strength of the ridge is chosen for groups that it has not seen.

    Raises `InputError` where all labels are alike, or there are fewer than two groups.
    """
    from sklearn.model_selection import GroupKFold

    if label.all() or not label.any():
        raise InputError(
            f"all {len(label):,} labels are {'yes' if label.all() else 'no'}; a judge learns from both."
        )
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise InputError(
            "all pairs are of one group; a judge is chosen on groups that it has not seen."
        )
    folds = list(GroupKFold(min(FOLDS, n_groups)).split(features, label, groups))
    usable = [(train, test) for train, test in folds if 0 < label[train].sum() < len(train)]
    if not usable:
        raise InputError(
            "every share of the pairs has one label alone; a judge needs both outside of any group."
        )
    said = {strength: np.full(len(label), label.mean()) for strength in STRENGTHS}
    for train, test in usable:
        for strength in STRENGTHS:
            judge = _fitted(features[train], label[train], names, strength)
            said[strength][test] = judge.probability(features[test])
    best = min(STRENGTHS, key=lambda strength: _log_loss(label, said[strength]))
    return _fitted(features, label, names, best), said[best]


def calibrated(raw: Floats, label: Floats) -> WeighedJudge:
    """Scores (n,) as log-odds, by a logistic regression on the score alone (Platt 1999).

    Raises `InputError` where all labels are alike.
    """
    if label.all() or not label.any():
        raise InputError(
            f"all {len(label):,} labels are {'yes' if label.all() else 'no'}; scores are made probabilities "
            "by both."
        )
    return _fitted(raw[:, None], label, ("score",), 1.0)


def _fitted(
    features: Floats, label: Floats, names: tuple[str, ...], strength: float
) -> WeighedJudge:
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    fitted = LogisticRegression(C=strength, max_iter=5000).fit((features - mean) / scale, label)
    return WeighedJudge(
        names,
        tuple(mean.tolist()),
        tuple(scale.tolist()),
        tuple(fitted.coef_[0].tolist()),
        float(fitted.intercept_[0]),
        strength,
    )


def _log_loss(label: Floats, p: Floats) -> float:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-(label * np.log(p) + (1 - label) * np.log(1 - p)).mean())


def threshold_of(cost_wrong_yes: float, cost_wrong_no: float) -> float:
    """The probability from which on a yes is expected to cost no more than a no; .5 where both cost the same.

    A yes of probability p is expected to cost (1 - p) times `cost_wrong_yes`, a no p times `cost_wrong_no`.
    So it holds for probabilities that are calibrated, and is not chosen on any labels.
    """
    return cost_wrong_yes / (cost_wrong_yes + cost_wrong_no)


def threshold_words(threshold: float, cost_wrong_yes: float, cost_wrong_no: float) -> str:
    """From which probability on it is a yes, and why: one sentence, the same wherever it is told."""
    first = f"Yes from a probability of {threshold:.3g} on"
    if abs(threshold - threshold_of(cost_wrong_yes, cost_wrong_no)) > 1e-9:
        return f"{first}, as the judge was learned."
    return (
        f"{first}: a yes that is wrong costs {cost_wrong_yes:g} and a no that is wrong {cost_wrong_no:g}, "
        "and from there on a yes is expected to cost no more."
    )
