"""The second stage: judges of pairs, fitted and tried on groups of pairs that they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from linkwise.errors import InputError
from linkwise.matching.judge import WeighedJudge, calibrated, fit_judge, threshold_of
from linkwise.matching.labels import Labelled
from linkwise.matching.similar import FEATURES, SIMILARITIES

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

WORDS, TEXT, WEIGHED = "words (TF-IDF)", "text vectors", "weighed"


@dataclass(frozen=True)
class Pairs:
    """Pairs to be judged: rows of queries and of items (n,), and how alike they are (n, n_features)."""

    query: Longs
    item: Longs
    features: Floats

    def __len__(self) -> int:
        return len(self.query)

    def at(self, rows: Any) -> Pairs:
        """Some of them."""
        return Pairs(self.query[rows], self.item[rows], self.features[rows])


class Judge(Protocol):
    """What tells how likely a pair is a yes."""

    def fit(self, pairs: Pairs, label: Floats, group: Longs, held_out: Any) -> tuple[Any, Floats]:
        """Learn from pairs, and say which rows of them it can be calibrated on, with its scores of these.

        `held_out` (n,) marks pairs that training must not see: to stop by, and to calibrate.
        """

    def score(self, pairs: Pairs) -> Floats:
        """A score (n,) of each pair; higher is likelier."""

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Write what the judge needs beside judge.json, and return what stands in it."""


class FeatureJudge:
    """One similarity as it is, or several, weighed by a logistic regression."""

    def __init__(self, names: tuple[str, ...] = FEATURES) -> None:
        self.names = names
        self.columns = [FEATURES.index(name) for name in names]
        self.judge_: WeighedJudge | None = None

    def fit(self, pairs: Pairs, label: Floats, group: Longs, held_out: Any) -> tuple[Any, Floats]:
        """Weigh the similarities; the ridge is chosen by cross-validation over groups."""
        rows = np.arange(len(pairs))
        if len(self.columns) == 1:
            return rows, self.score(pairs)
        own = pairs.features[:, self.columns]
        self.judge_, p = fit_judge(own, label, group, self.names)
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return rows, np.log(p) - np.log1p(-p)

    def score(self, pairs: Pairs) -> Floats:
        """The similarity, or the log-odds of several."""
        own = pairs.features[:, self.columns]
        return own[:, 0] if self.judge_ is None else self.judge_.log_odds(own)

    def save(self, folder: Path) -> Mapping[str, Any]:
        """The weights."""
        return {"names": self.names, "judge": self.judge_ and self.judge_.as_dict()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> FeatureJudge:
        """As it was saved."""
        found = cls(tuple(values["names"]))
        if values["judge"] is not None:
            found.judge_ = WeighedJudge.of(dict(values["judge"]))
        return found


def words_judge() -> FeatureJudge:
    """The cosine of the words of both, by TF-IDF: the trivial baseline."""
    return FeatureJudge((SIMILARITIES[-1],))


def text_judge() -> FeatureJudge:
    """The cosine of the vectors of both texts."""
    return FeatureJudge((SIMILARITIES[0],))


@dataclass(frozen=True)
class Fitted:
    """A judge with what makes probabilities of its scores, and from which of these on it says yes."""

    judge: Judge
    line: WeighedJudge
    threshold: float
    known: bool = False
    """Whether it was learned before, by another run."""
    calibrated: bool = True
    """Whether its probabilities are those of labelled pairs, and not a model's own."""

    def log_odds(self, pairs: Pairs) -> Floats:
        """The log-odds (n,) of yes."""
        return self.line.log_odds(self.judge.score(pairs)[:, None])


def fitted(
    judge: Judge,
    pairs: Pairs,
    label: Floats,
    group: Longs,
    held_out: Any,
    costs: tuple[float, float],
) -> Fitted:
    """A judge learned from pairs, calibrated, with the threshold that is expected to cost least.

    Scores become probabilities by pairs that training did not see: `held_out`, or those of groups left out in
    turn. `costs` are those of a wrong yes and of a wrong no.
    """
    rows, scores = judge.fit(pairs, label, group, held_out)
    line = calibrated(scores, label[rows])
    return Fitted(judge, line, threshold_of(*costs))


def as_it_is(judge: Judge, costs: tuple[float, float]) -> Fitted:
    """A model's own log-odds, with nothing to calibrate them by; yes where that is likely to cost less."""
    line = WeighedJudge(("score",), (0.0,), (1.0,), (1.0,), 0.0, 1.0)
    return Fitted(judge, line, threshold_of(*costs), calibrated=False)


@dataclass
class Tried:
    """What a judge says of labelled pairs of groups that it has not seen: log-odds (m,), and yes (m,)."""

    log_odds: Floats
    yes: Any
    threshold: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def probability(self) -> Floats:
        """The probability of yes (m,)."""
        from scipy.special import expit

        return np.asarray(expit(self.log_odds))


def check_folds(labelled: Labelled, fold: Longs) -> None:
    """Raise `InputError` where a fold has one label alone: scores are calibrated by each in turn."""
    for number in range(int(fold.max()) + 1):
        own = labelled.label[fold == number]
        if own.all() or not own.any():
            raise InputError(
                "a fold of the labelled pairs has one label alone, by which nothing can be calibrated; "
                "label more pairs, use fewer --folds or another --split."
            )


def cross_fit(
    make: Callable[[int], Judge],
    pairs: Pairs,
    labelled: Labelled,
    fold: Longs,
    group: Longs,
    costs: tuple[float, float],
) -> Tried:
    """Each fold judged by a judge of its own, which has seen the others only.

    Of these the following fold is held out from training: scores become probabilities by what was not trained
    on. `make(fold)` makes an untrained judge.
    """
    found = Tried(np.empty(len(labelled)), np.zeros(len(labelled), dtype=np.bool_))
    found.threshold = np.empty(len(labelled))
    check_folds(labelled, fold)
    n_folds = int(fold.max()) + 1
    for number in range(n_folds):
        test = fold == number
        held_out = fold[~test] == (number + 1) % n_folds
        label = labelled.label[~test]
        one = fitted(make(number), pairs.at(~test), label, group[~test], held_out, costs)
        found.log_odds[test] = one.log_odds(pairs.at(test))
        found.threshold[test] = one.threshold
    found.yes = found.probability >= found.threshold
    return found
