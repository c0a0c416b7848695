"""`item-item`: items that the same users rated alike, by cosine (Sarwar et al. 2001; Music Box)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import CELLS, Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.recommend.base import Arrays, ModelConfig, Recommender, top_k


class ItemItemConfig(ModelConfig):
    """Nearest items by cosine."""

    neighbours: int = Field(75, ge=1)
    """Most similar items kept of each item."""
    values: Literal["rating", "one"] = "rating"
    """What stands in the utility matrix: ratings, or ones."""

    candidates: ClassVar = (
        {"neighbours": 200},
        {"values": "one"},
        {"neighbours": 200, "values": "one"},
    )


class ItemItem(Recommender):
    """Scores an item by its similarities to those of the history, each times its rating.

    sim(i, j) = cos(column i, column j) of the users x items matrix R; the `neighbours` largest of each item
    are kept, and score(u, i) = sum over j in the history of r_uj sim(i, j).
    """

    name = "item-item"
    Config = ItemItemConfig
    config: ItemItemConfig

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        from scipy.sparse import csr_matrix, vstack

        matrix = log.histories.matrix(log.n_items, self.config.values)
        norms = np.sqrt(matrix.power(2).sum(axis=0)).A1
        scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)
        unit = matrix.multiply(scale).tocsr()  # (n_users, n_items), columns of length one
        columns = unit.T.tocsr()
        size = max(1, CELLS // log.n_items)
        parts = []
        for start in range(0, log.n_items, size):
            block = (columns[start : start + size] @ unit).toarray()  # (size, n_items)
            at = np.arange(len(block))
            block[at, start + at] = 0
            items, values = top_k(block, self.config.neighbours)
            rows = np.repeat(at, items.shape[1])
            part = csr_matrix((values.ravel(), (rows, items.ravel())), shape=block.shape)
            part.eliminate_zeros()
            parts.append(part)
        self.similarity_ = vstack(parts, format="csr").astype(np.float32)  # (n_items, n_items)

    def _scores(self, histories: Histories) -> Singles:
        ratings = histories.matrix(len(self.catalogue_), self.config.values)
        # Row j of the similarities holds the neighbours of j; item i is scored by those j that it is near.
        scores: Singles = (ratings @ self.similarity_).toarray().astype(np.float32)
        return scores

    def _similar(self, items: Longs) -> Singles:
        found: Singles = self.similarity_[items].toarray()
        return found

    def _arrays(self) -> Arrays:
        return sparse_arrays(self.similarity_)

    def _restore(self, arrays: Arrays) -> None:
        self.similarity_ = sparse_from(arrays, len(self.catalogue_))


def sparse_arrays(matrix: Any) -> Arrays:
    """The three arrays of a CSR matrix."""
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}


def sparse_from(arrays: Arrays, n: int) -> Any:
    """The CSR matrix (n, n) of three arrays."""
    from scipy.sparse import csr_matrix

    return csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n, n))
