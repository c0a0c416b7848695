"""`als` and `bpr`: matrix factorisation of what was chosen, by the `implicit` library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import CELLS, Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.errors import optional
from linkwise.recommend.base import Arrays, ModelConfig, Recommender, cosine


class ALSConfig(ModelConfig):
    """Alternating least squares."""

    factors: int = Field(64, ge=1)
    """Factors of users and items."""
    alpha: float = Field(10.0, gt=0)
    """How much more an item counts for each time it was chosen: confidence 1 + alpha n."""
    ridge: float = Field(10.0, gt=0)
    """Penalty on the squares of both factors."""
    rounds: int = Field(15, ge=1)
    """Rounds over users and items."""
    spark_master: str | None = None
    """Spark master to fit on, by Spark's own ALS; `--engine spark` sets it."""

    candidates: ClassVar = (
        {"ridge": 50.0},
        {"alpha": 2.0},
        {"alpha": 2.0, "ridge": 50.0, "factors": 128},
    )


class BPRConfig(ModelConfig):
    """Bayesian personalised ranking."""

    factors: int = Field(64, ge=1)
    """Factors of users and items."""
    learning_rate: float = Field(0.05, gt=0)
    """Step of the stochastic gradient."""
    ridge: float = Field(0.005, gt=0)
    """Penalty on the squares of the factors."""
    rounds: int = Field(100, ge=1)
    """Passes over the events."""
    fold_in_alpha: float = Field(10.0, gt=0)
    """How much more a chosen item counts than another when a history's factors are found."""

    candidates: ClassVar = ({"ridge": 0.02}, {"factors": 32}, {"factors": 128, "ridge": 0.02})


class _Factors(Recommender):
    """Item factors Y, and a history's own factors by one ridge regression on them.

    x = (Y^T Y + Y_h^T alpha N Y_h + ridge I)^-1 Y_h^T (1 + alpha n): what a round of alternating least
    squares does for one user (Hu, Koren and Volinsky 2008), n being how often each item was chosen.
    """

    factors_: Singles  # (n_items, factors)

    def _fold_in(self, histories: Histories, alpha: float, ridge: float) -> Singles:
        """The factors of each history (n, factors)."""
        counts = histories.matrix(len(self.catalogue_), "count")
        items = self.factors_.astype(np.float64)
        size = items.shape[1]
        gram = items.T @ items + ridge * np.eye(size)
        lengths = np.diff(counts.indptr)
        order = np.argsort(lengths, kind="stable")  # histories of like length are padded together
        found = np.zeros((len(histories), size), dtype=np.float32)
        for rows in _alike(order, lengths, size):
            width = int(lengths[rows[-1]])
            place = np.arange(width)
            there = place[None, :] < lengths[rows][:, None]  # (b, width)
            at = np.minimum(counts.indptr[rows][:, None] + place[None, :], len(counts.data) - 1)
            chosen = items[counts.indices[at]]  # (b, width, factors)
            n = alpha * counts.data[at].astype(np.float64) * there
            left = gram + (chosen * n[:, :, None]).transpose(0, 2, 1) @ chosen
            right = ((n + there)[:, None, :] @ chosen)[:, 0]  # (b, factors)
            found[rows] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return found

    def _similar(self, items: Longs) -> Singles:
        return cosine(self.factors_, items)


def _alike(order: Longs, lengths: Longs, size: int) -> Iterator[Longs]:
    """Parts of `order`, which sorts by length, whose padded item factors fit in memory."""
    start = 0
    while start < len(order):
        # The longest of a part stands last: halved until it fits.
        stop = min(len(order), start + 4096)
        while stop > start + 1 and (stop - start) * lengths[order[stop - 1]] * size > CELLS // 4:
            stop = start + (stop - start) // 2
        yield order[start:stop]
        start = stop


class ALS(_Factors):
    """Least squares on all cells, those that were chosen weighing more (Hu, Koren and Volinsky 2008)."""

    name = "als"
    Config = ALSConfig
    config: ALSConfig

    def _scores(self, histories: Histories) -> Singles:
        found = self._fold_in(histories, self.config.alpha, self.config.ridge)
        scores: Singles = found @ self.factors_.T
        return scores

    def _arrays(self) -> Arrays:
        return {"factors": self.factors_}

    def _restore(self, arrays: Arrays) -> None:
        self.factors_ = arrays["factors"]

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        matrix = log.histories.matrix(log.n_items, "count")
        if self.config.spark_master is not None:
            from linkwise.recommend.als_spark import spark_item_factors

            c, seed = self.config, int(context.rng("als").integers(2**31))
            self.factors_ = spark_item_factors(
                matrix, c.factors, c.alpha, c.ridge, c.rounds, seed, self.config.spark_master
            )
            return
        matrix.data = 1 + self.config.alpha * matrix.data  # the library takes confidences
        with _library() as library:
            model = library.als.AlternatingLeastSquares(
                factors=self.config.factors,
                regularization=self.config.ridge,
                alpha=1.0,
                iterations=self.config.rounds,
                num_threads=context.threads,
                use_gpu=False,
                random_state=int(context.rng("als").integers(2**31)),
            )
            model.fit(matrix, show_progress=False)
        self.factors_ = np.asarray(model.item_factors, dtype=np.float32)


class BPR(_Factors):
    """Every chosen item before one that was not (Rendle et al. 2009).

    score = x y_i + b_i. The objective orders only, so a regression leaves the scale of x open: a folded-in
    history's x y is given the spread over the catalogue that the users of the training have.
    """

    name = "bpr"
    Config = BPRConfig
    config: BPRConfig

    def _scores(self, histories: Histories) -> Singles:
        alpha = self.config.fold_in_alpha
        scores: Singles = self._fold_in(histories, alpha, alpha) @ self.factors_.T
        spread = scores.std(axis=1, keepdims=True)
        scores *= self.spread_ / np.where(spread > 0, spread, 1)
        scores += self.biases_
        return scores

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        with _library() as library:
            model = library.bpr.BayesianPersonalizedRanking(
                factors=self.config.factors,
                learning_rate=self.config.learning_rate,
                regularization=self.config.ridge,
                iterations=self.config.rounds,
                num_threads=1,  # more of them race, and give other factors every time
                use_gpu=False,
                random_state=int(context.rng("bpr").integers(2**31)),
            )
            model.fit(log.histories.matrix(log.n_items, "one"), show_progress=False)
        # The library keeps the biases as one more factor, which is 1 for every user.
        items = np.asarray(model.item_factors, dtype=np.float32)
        self.factors_, self.biases_ = np.ascontiguousarray(items[:, :-1]), items[:, -1].copy()
        users = np.asarray(model.user_factors, dtype=np.float64)[:, :-1]
        # The spread of x y over the catalogue is that of x under the factors' covariance.
        apart = np.cov(self.factors_.astype(np.float64).T, bias=True).reshape(users.shape[1], -1)
        self.spread_ = np.float32(np.sqrt(np.einsum("uf,fg,ug->u", users, apart, users)).mean())

    def _arrays(self) -> Arrays:
        return {
            "factors": self.factors_,
            "biases": self.biases_,
            "spread": np.array([self.spread_], dtype=np.float32),
        }

    def _restore(self, arrays: Arrays) -> None:
        self.factors_, self.biases_ = arrays["factors"], arrays["biases"]
        self.spread_ = arrays["spread"][0]


@contextmanager
def _library() -> Iterator[Any]:
    """The `implicit` library, with one thread of BLAS, which it asks for: its own threads do the work."""
    from threadpoolctl import threadpool_limits

    optional("implicit.als", "factors", "the model als")
    optional("implicit.bpr", "factors", "the model bpr")
    library = optional("implicit", "factors", "the models als and bpr")
    with threadpool_limits(limits=1, user_api="blas"):
        yield library
