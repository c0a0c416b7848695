"""`ease`: the linear model of items on items with a closed form (Steck 2019, "Embarrassingly shallow")."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.errors import ResourceError
from linkwise.recommend.base import Arrays, ModelConfig, Recommender

MOST_ITEMS = (
    20_000  # whose matrix takes 3 GiB in double precision, and up to 10 while it is inverted
)


class EASEConfig(ModelConfig):
    """Ridge regression of each item on all others."""

    ridge: float = Field(250.0, gt=0)
    """Penalty on the weights, in squared events."""

    candidates: ClassVar = ({"ridge": 500.0}, {"ridge": 1000.0}, {"ridge": 100.0})


class EASE(Recommender):
    """Scores an item by a linear model on the items of the history.

    With G = X^T X of the binary matrix X and P = (G + ridge I)^-1, the weights are B_ij = -P_ij / P_jj off
    the diagonal and 0 on it, which minimises |X - XB|^2 + ridge |B|^2 subject to that zero diagonal.
    """

    name = "ease"
    Config = EASEConfig
    config: EASEConfig

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        from scipy.linalg import cho_factor
        from scipy.linalg.lapack import dpotri

        if log.n_items > MOST_ITEMS:
            raise ResourceError(
                f"ease needs a matrix of all items by all items, and {log.n_items:,} are too many for it "
                f"(at most {MOST_ITEMS:,}). Use item-item or als, or --min-item-users."
            )
        matrix = log.histories.matrix(log.n_items, "one")
        gram = (matrix.T @ matrix).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.config.ridge
        factor, _ = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        inverse, _ = dpotri(factor, lower=True, overwrite_c=True)  # its lower triangle
        for row in range(1, log.n_items):
            inverse[:row, row] = inverse[row, :row]
        weights = inverse / -np.diag(inverse)  # column j by P_jj
        weights[np.diag_indices_from(weights)] = 0
        self.weights_ = weights.astype(np.float32)  # (n_items, n_items)

    def _scores(self, histories: Histories) -> Singles:
        chosen = histories.matrix(len(self.catalogue_), "one")
        scores: Singles = np.asarray(chosen @ self.weights_, dtype=np.float32)
        return scores

    def _similar(self, items: Longs) -> Singles:
        """The weights with which an item speaks for each other one."""
        found: Singles = self.weights_[items].copy()
        return found

    def _arrays(self) -> Arrays:
        return {"weights": self.weights_}

    def _restore(self, arrays: Arrays) -> None:
        self.weights_ = arrays["weights"]
