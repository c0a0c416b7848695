"""`nmf`: non-negative factors of the utility matrix (Lee and Seung 1999; Music Box)."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.recommend.base import Arrays, ModelConfig, Recommender, cosine


class NMFConfig(ModelConfig):
    """Non-negative matrix factorisation."""

    factors: int = Field(30, ge=1)
    """Factors of users and items."""
    max_iter: int = Field(100, ge=1)
    """Most rounds of coordinate descent."""
    ridge: float = Field(0.0, ge=0)
    """Penalty on the squares of both factors."""
    values: Literal["rating", "one"] = "rating"
    """What stands in the utility matrix: ratings, or ones; 0 where the user has not chosen the item."""

    candidates: ClassVar = (
        {"values": "one"},
        {"factors": 60, "values": "one"},
        {"factors": 15, "values": "one"},
    )


class NMF(Recommender):
    """R is approximated by W H with W, H >= 0; a history's row of W is found with H fixed."""

    name = "nmf"
    Config = NMFConfig
    config: NMFConfig

    @property
    def rates(self) -> bool:
        """Whether scores are predicted ratings: where the matrix holds ratings."""
        return self.config.values == "rating"

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        matrix = log.histories.matrix(log.n_items, self.config.values)
        factors = min(self.config.factors, min(matrix.shape))
        seed = int(context.rng("nmf").integers(2**31))
        self.components_ = self._factorise(matrix, factors, None, seed)[1]  # (factors, n_items)

    def _scores(self, histories: Histories) -> Singles:
        ratings = histories.matrix(len(self.catalogue_), self.config.values)
        weights = self._factorise(ratings, len(self.components_), self.components_, 0)[0]
        scores: Singles = weights @ self.components_
        return scores

    def _factorise(
        self, matrix: Any, factors: int, items: Singles | None, seed: int
    ) -> tuple[Singles, Singles]:
        """W (n, factors) and H (factors, n_items), the latter as given if it is."""
        from sklearn.decomposition import non_negative_factorization

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the last digits still move after max_iter rounds
            users, items, _ = non_negative_factorization(
                matrix,
                H=items,
                n_components=factors,
                init="custom" if items is not None else "nndsvda" if factors > 1 else "random",
                update_H=items is None,
                # A fold-in goes through all rounds: no history stops another's.
                tol=1e-4 if items is None else 0,
                max_iter=self.config.max_iter,
                alpha_W=self.config.ridge,
                alpha_H=self.config.ridge,
                random_state=seed,
            )
        return users.astype(np.float32), items.astype(np.float32)

    def _similar(self, items: Longs) -> Singles:
        return cosine(self.components_.T, items)

    def _arrays(self) -> Arrays:
        return {"components": self.components_}

    def _restore(self, arrays: Arrays) -> None:
        self.components_ = arrays["components"]
