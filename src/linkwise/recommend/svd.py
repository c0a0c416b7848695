"""`svd`: the truncated singular value decomposition of the utility matrix (Music Box)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.recommend.base import Arrays, ModelConfig, Recommender, cosine


class SVDConfig(ModelConfig):
    """Truncated singular value decomposition."""

    factors: int = Field(50, ge=1)
    """Singular vectors kept."""
    values: Literal["rating", "one"] = "rating"
    """What stands in the utility matrix: ratings, or ones; 0 where the user has not chosen the item."""

    candidates: ClassVar = (
        {"values": "one"},
        {"factors": 100, "values": "one"},
        {"factors": 20, "values": "one"},
    )


class SVD(Recommender):
    """Scores items by the projection of the history's row r on the right singular vectors: r V V^T."""

    name = "svd"
    Config = SVDConfig
    config: SVDConfig

    @property
    def rates(self) -> bool:
        """Whether scores are predicted ratings: where the matrix holds ratings."""
        return self.config.values == "rating"

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        from sklearn.decomposition import TruncatedSVD

        matrix = log.histories.matrix(log.n_items, self.config.values)
        factors = min(self.config.factors, min(matrix.shape) - 1)
        if factors < 1:  # one user or one item: the row itself is all there is to know
            norm = max(float(np.sqrt(matrix.multiply(matrix).sum())), 1e-12)
            self.components_ = np.asarray(matrix.sum(axis=0) / norm, dtype=np.float32)
            return
        seed = int(context.rng("svd").integers(2**31))
        model = TruncatedSVD(factors, random_state=seed).fit(matrix)
        self.components_ = np.ascontiguousarray(
            model.components_, dtype=np.float32
        )  # (factors, n_items)

    def _scores(self, histories: Histories) -> Singles:
        ratings = histories.matrix(len(self.catalogue_), self.config.values)
        scores: Singles = np.asarray((ratings @ self.components_.T) @ self.components_, np.float32)
        return scores

    def _similar(self, items: Longs) -> Singles:
        return cosine(self.components_.T, items)

    def _arrays(self) -> Arrays:
        return {"components": self.components_}

    def _restore(self, arrays: Arrays) -> None:
        self.components_ = arrays["components"]
