"""`knn-text`: items whose titles mean something like those of the user's last ones (LMRecSys's ItemKNN)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.errors import InputError
from linkwise.recommend.base import Arrays, ModelConfig, Recommender


class KNNTextConfig(ModelConfig):
    """Nearest items by text."""

    encoder: str = "minilm"
    """Text encoder: `minilm`, the one that the extra `offline` brings, or the folder of another."""
    recent: int = Field(5, ge=1)
    """Last events of a history that are looked at."""
    max_tokens: int = Field(64, ge=2)
    """Tokens at which a title is cut."""


class KNNText(Recommender):
    """Scores an item by the mean cosine of its title's vector with those of the last items.

    Learns from no user. An item without a title is never near.
    """

    name = "knn-text"
    Config = KNNTextConfig
    config: KNNTextConfig

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        titles = log.catalogue.titles
        named = titles.is_not_null().to_numpy()
        if not named.any():
            raise InputError(
                "knn-text compares titles, and the log has none. Name their column with --text, or a table "
                "of them with --titles."
            )
        vectors = self._embedded(titles.filter(pl.Series(named)).to_list(), context)
        self.vectors_: Singles = np.zeros((log.n_items, vectors.shape[1]), dtype=np.float32)
        self.vectors_[named] = vectors

    def _embedded(self, texts: list[str], context: Context) -> Singles:
        """Vectors of the texts; a run that fits twice, or is resumed, finds them again."""
        from linkwise.lm.encode import TextEncoder

        path = None
        if context.folder != Path():
            words = "\x1f".join([self.config.encoder, str(self.config.max_tokens), *texts])
            path = context.work / f"titles-{hashlib.sha256(words.encode()).hexdigest()[:16]}.npy"
            if path.exists():
                found: Singles = np.load(path, allow_pickle=False)
                return found
        encoder = TextEncoder(self.config.encoder, threads=context.threads)
        vectors = encoder.embed(texts, max_tokens=self.config.max_tokens)
        if path is not None:
            with path.with_suffix(".partial").open("wb") as file:
                np.save(file, vectors)
            path.with_suffix(".partial").replace(path)
        return vectors

    def _scores(self, histories: Histories) -> Singles:
        recent = histories.last(self.config.recent)
        sums: Singles = np.zeros((len(recent), self.vectors_.shape[1]), dtype=np.float32)
        np.add.at(sums, recent.rows, self.vectors_[recent.items])
        sums /= np.maximum(recent.lengths, 1)[:, None]
        scores: Singles = sums @ self.vectors_.T
        return scores

    def _similar(self, items: Longs) -> Singles:
        alike: Singles = self.vectors_[items] @ self.vectors_.T
        return alike

    def _arrays(self) -> Arrays:
        return {"vectors": self.vectors_}

    def _restore(self, arrays: Arrays) -> None:
        self.vectors_ = arrays["vectors"]
