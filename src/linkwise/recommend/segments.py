"""`segments`: users in groups of like taste, one model for each group."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.errors import InputError
from linkwise.recommend.base import Arrays, ModelConfig, Recommender
from linkwise.recommend.svd import SVD, SVDConfig

LEAST_USERS = 20  # of a group that gets a model of its own; smaller ones use the model of all


class SegmentsConfig(ModelConfig):
    """Groups of users, and the model that each gets."""

    model: str = "svd"
    """Recommender of each group, with its settings."""
    segments: int = Field(4, ge=2)
    """Groups of users."""
    factors: int = Field(20, ge=2)
    """Singular vectors of the utility matrix on which users are grouped."""

    candidates: ClassVar = ({"segments": 2}, {"segments": 8})


class Segments(Recommender):
    """Groups users by k-means on their directions in the space of singular vectors, a model for each.

    A history belongs to the group whose centre is nearest, so a new user needs no training.
    """

    name = "segments"
    Config = SegmentsConfig
    config: SegmentsConfig

    def __init__(self, config: ModelConfig | None = None, *, min_items: int = 0) -> None:
        super().__init__(config, min_items=min_items)
        self.space_ = SVD(SVDConfig(factors=self.config.factors))
        self.parts_: list[Recommender] = []
        self.centres_: Singles

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        from sklearn.cluster import KMeans

        from linkwise.recommend.registry import model_class

        cls = model_class(self.config.model)
        self.space_.fit(log, context=context)
        places = self._places(log.histories)
        seed = int(context.rng("segments").integers(2**31))
        n = min(self.config.segments, len(np.unique(places, axis=0)))
        groups = KMeans(n, n_init=5, random_state=seed).fit(places)
        self.centres_ = groups.cluster_centers_.astype(np.float32)
        everyone: Recommender | None = None
        self.parts_ = []
        for group in range(n):
            members = np.flatnonzero(groups.labels_ == group)
            if len(members) >= LEAST_USERS:
                part = log.with_histories(log.histories.take(members))
                self.parts_.append(cls(self._setting(cls)).fit(part, context=context))
            else:
                everyone = everyone or cls(self._setting(cls)).fit(log, context=context)
                self.parts_.append(everyone)

    def _setting(self, cls: type[Recommender]) -> ModelConfig:
        return self.settings.get(self.config.model, cls.Config())

    def _places(self, histories: Histories) -> Singles:
        """The direction of each history among the singular vectors (n, factors)."""
        ratings = histories.matrix(self.space_.components_.shape[1], "rating")
        found: Singles = np.asarray(ratings @ self.space_.components_.T, dtype=np.float32)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        found /= np.where(norms > 0, norms, 1)
        return found

    def _scores(self, histories: Histories) -> Singles:
        places = self._places(histories)
        # Squared distance to each centre, but for the history's own length, which all share.
        away = (self.centres_**2).sum(1) - 2 * places @ self.centres_.T  # (n, groups)
        group = away.argmin(axis=1)
        scores = np.empty((len(histories), len(self.catalogue_)), dtype=np.float32)
        for number, part in enumerate(self.parts_):
            mine = np.flatnonzero(group == number)
            if len(mine):
                scores[mine] = part.scores(histories.take(mine))
        return scores

    def _similar(self, items: Longs) -> Singles:
        """By the vectors that users are grouped on, which all groups share."""
        return self.space_._similar(items)

    def _arrays(self) -> Arrays:
        return {"centres": self.centres_}

    def _restore(self, arrays: Arrays) -> None:
        self.centres_ = arrays["centres"]

    def save(self, folder: Path) -> None:
        """Write the groups, and their models into folders of their own."""
        super().save(folder)
        self.space_.save(folder / "space")
        for number, part in enumerate(self.parts_):
            part.save(folder / f"{number}")

    @classmethod
    def load(cls, folder: Path, log: Interactions | None = None) -> Self:
        """Read what `save` wrote; raises `InputError` where a part is missing."""
        from linkwise.recommend.registry import model_class

        self = super().load(folder, log)
        self.space_ = SVD.load(folder / "space")
        kind = model_class(self.config.model)
        for number in range(len(self.centres_)):
            if not (folder / f"{number}").is_dir():
                raise InputError(f"{folder}: the model of segment {number} is missing.")
            self.parts_.append(kind.load(folder / f"{number}"))
        return self
