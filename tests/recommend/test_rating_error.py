"""RMSE and MAE against sklearn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from linkwise.data.queries import split
from linkwise.metrics.ranking import Floats
from linkwise.recommend.nmf import NMF, NMFConfig
from linkwise.recommend.rating_error import compared, held_out, in_sample, item_means
from linkwise.recommend.svd import SVD, SVDConfig
from linkwise.testing.recommender import timed_log

PARTS = split(timed_log(0), "global-time:0.8")


@pytest.mark.parametrize("model", [SVD(SVDConfig(factors=5)), NMF(NMFConfig(factors=5))])
def test_in_sample_equals_sklearn(model: SVD | NMF) -> None:
    log = PARTS.refit
    model.fit(log)
    ratings = log.histories.matrix(log.n_items, "rating").toarray()
    predicted = model.scores(log.histories)
    for unknown, cells in ((True, ratings >= 0), (False, ratings > 0)):
        found = in_sample(model, log.histories, unknown=unknown).values()
        truth, guess = ratings[cells], predicted[cells]
        assert found["rmse"] == pytest.approx(root_mean_squared_error(truth, guess), rel=1e-5)
        assert found["mae"] == pytest.approx(mean_absolute_error(truth, guess), rel=1e-5)


def test_held_out_equals_a_loop() -> None:
    model = SVD(SVDConfig(factors=5)).fit(PARTS.refit)
    means = item_means(PARTS.refit)
    given: list[float] = []
    by_model: list[float] = []
    by_mean: list[float] = []
    for query in range(len(PARTS.test)):
        scores = model.scores(PARTS.test.histories.take(np.array([query])))[0]
        at = slice(*PARTS.test.targets.offsets[query : query + 2])
        targets = PARTS.test.targets
        for item, rating in zip(targets.items[at], targets.scores[at], strict=True):
            if item < len(scores):
                given.append(float(rating))
                by_model.append(float(scores[item]))
                by_mean.append(float(mean_of(item)))
    for found, guess in (
        (held_out(model, PARTS.test), by_model),
        (held_out(means, PARTS.test), by_mean),
    ):
        values = found.values()
        assert values["rmse"] == pytest.approx(root_mean_squared_error(given, guess), rel=1e-5)
        assert values["mae"] == pytest.approx(mean_absolute_error(given, guess), rel=1e-5)


def mean_of(item: int) -> float:
    histories = PARTS.refit.histories
    return float(np.mean(histories.scores[histories.items == item]))


def test_users_with_too_few_items_are_left_out() -> None:
    """They are answered by counts of events, which are no ratings."""
    log = PARTS.refit
    model = SVD(SVDConfig(factors=5), min_items=9).fit(log)
    short = log.histories.take_or_empty(np.array([0, -1, 1]))
    alone = in_sample(model, log.histories.take(np.array([0, 1])), unknown=True)
    assert in_sample(model, short, unknown=True).values() == pytest.approx(alone.values())
    assert in_sample(model, log.histories.last(5), unknown=True).counts.sum() == 0


def test_intervals_hold_the_value_and_pair_with_the_baseline() -> None:
    model = SVD(SVDConfig(factors=5)).fit(PARTS.refit)
    errors = held_out(model, PARTS.test)
    rows = compared(errors, held_out(item_means(PARTS.refit), PARTS.test), 200, 1)
    for metric in ("rmse", "mae"):
        row = rows[metric]
        assert row["low"] < row["value"] < row["high"]
        assert row["difference"] == pytest.approx(row["value"] - row["baseline"])
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    same: dict[str, dict[str, float | None]] = compared(errors, errors, 50, 1)
    assert {same["rmse"][name] for name in ("difference", "difference_low", "difference_high")} == {
        0
    }


def test_an_item_without_ratings_gets_the_mean_of_all() -> None:
    means: Floats = item_means(PARTS.train)
    seen = np.bincount(PARTS.train.histories.items, minlength=PARTS.train.n_items) > 0
    overall = PARTS.train.histories.scores.mean()
    np.testing.assert_allclose(means[~seen], overall)
