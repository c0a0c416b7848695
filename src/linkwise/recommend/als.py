"""`als` and `bpr`: matrix factorisation of what was chosen, by the `implicit` library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
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


class _Factors(Recommender):
    """Item factors Y, and a history's own factors by one ridge regression on them.

    x = (Y^T Y + Y_h^T alpha N Y_h + ridge I)^-1 Y_h^T (1 + alpha n): what a round of alternating least
    squares does for one user (Hu, Koren and Volinsky 2008), n being how often each item was chosen.
    """

    factors_: Singles  # (n_items, factors)

    def _fold_in(self) -> tuple[float, float]:
        """Alpha and ridge."""
        raise NotImplementedError

    def _scores(self, histories: Histories) -> Singles:
        alpha, ridge = self._fold_in()
        counts = histories.matrix(len(self.catalogue_), "count")
        items = self.factors_.astype(np.float64)
        gram = items.T @ items + ridge * np.eye(items.shape[1])
        found = np.empty((len(histories), items.shape[1]))
        for row in range(len(histories)):
            at = slice(counts.indptr[row], counts.indptr[row + 1])
            chosen, n = items[counts.indices[at]], alpha * counts.data[at].astype(np.float64)
            left = gram + (chosen.T * n) @ chosen
            found[row] = np.linalg.solve(left, chosen.T @ (1 + n))
        scores: Singles = (found @ items.T).astype(np.float32)
        return scores

    def _similar(self, items: Longs) -> Singles:
        return cosine(self.factors_, items)

    def _arrays(self) -> Arrays:
        return {"factors": self.factors_}

    def _restore(self, arrays: Arrays) -> None:
        self.factors_ = arrays["factors"]


class ALS(_Factors):
    """Least squares on all cells, those that were chosen weighing more (Hu, Koren and Volinsky 2008)."""

    name = "als"
    Config = ALSConfig
    config: ALSConfig

    def _fold_in(self) -> tuple[float, float]:
        return self.config.alpha, self.config.ridge

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        matrix = log.histories.matrix(log.n_items, "count")
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
    """Every chosen item before one that was not (Rendle et al. 2009); folds in as `als` does."""

    name = "bpr"
    Config = BPRConfig
    config: BPRConfig

    def _fold_in(self) -> tuple[float, float]:
        return self.config.fold_in_alpha, self.config.fold_in_alpha

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
        self.factors_ = np.asarray(model.item_factors, dtype=np.float32)


@contextmanager
def _library() -> Iterator[Any]:
    """The `implicit` library, with one thread of BLAS, which it asks for: its own threads do the work."""
    from threadpoolctl import threadpool_limits

    optional("implicit.als", "factors", "the model als")
    optional("implicit.bpr", "factors", "the model bpr")
    library = optional("implicit", "factors", "the models als and bpr")
    with threadpool_limits(limits=1, user_api="blas"):
        yield library
