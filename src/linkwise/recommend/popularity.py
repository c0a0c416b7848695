"""The two recommenders that learn nothing about a user: `popularity`, the baseline of all, and `random`."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.recommend.base import ModelConfig, Recommender

Keys = np.ndarray[Any, np.dtype[np.uint64]]


class Popularity(Recommender):
    """The items with the most events, for everyone."""

    name = "popularity"

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        """Nothing but the counts, which every recommender has."""

    def _scores(self, histories: Histories) -> Singles:
        return np.tile(self.popularity_.astype(np.float32), (len(histories), 1))

    def _similar(self, items: Longs) -> Singles:
        """Zeros: popularity knows no likeness."""
        return np.zeros((len(items), len(self.catalogue_)), dtype=np.float32)


class RandomConfig(ModelConfig):
    """Items in an order that means nothing."""

    seed: int = Field(0, ge=0)
    """Another seed gives other orders; the same history always gets the same."""


class Random(Recommender):
    """Every item with the same chance, independent of everything: the floor."""

    name = "random"
    Config = RandomConfig
    config: RandomConfig

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        """There is nothing to learn."""

    def _scores(self, histories: Histories) -> Singles:
        # A number for each history from what is in it, so that no list depends on who else is asked.
        mixed = _mix(histories.items.astype(np.uint64) + np.uint64(1))
        keys = np.zeros(len(histories), dtype=np.uint64)
        np.add.at(keys, histories.rows, mixed)
        return self._drawn(keys)

    def _similar(self, items: Longs) -> Singles:
        """Zeros: chance knows no likeness."""
        return np.zeros((len(items), len(self.catalogue_)), dtype=np.float32)

    def _drawn(self, keys: Keys) -> Singles:
        """Numbers in [0, 1) for each key and item (n, n_items)."""
        items = _mix(np.arange(len(self.catalogue_), dtype=np.uint64))
        seed = np.uint64(self.config.seed)
        mixed = _mix(_mix(keys + seed)[:, None] ^ items[None, :])
        return (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def _mix(values: Keys) -> Keys:
    """SplitMix64 (Steele, Lea and Flood 2014): near values become far ones."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Keys = z ^ (z >> np.uint64(31))
        return mixed
