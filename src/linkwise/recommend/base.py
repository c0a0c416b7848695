"""`Recommender`: what all recommenders are and do; a new one writes `_fit`, `_scores` and `_similar`."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from linkwise.context import Context
from linkwise.data.interactions import (
    Catalogue,
    Histories,
    Interactions,
    Ints,
    Longs,
    Singles,
    chunks,
)
from linkwise.data.queries import Queries
from linkwise.errors import InputError, UsageError

Arrays = Mapping[str, np.ndarray[Any, Any]]
FORMAT_VERSION = 1


class ModelConfig(BaseModel):
    """Parameters of a recommender; one subclass for each that has some."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    candidates: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Other values that a study tries on its validation, in this order."""


class Recommender(ABC):
    """Ranks the whole catalogue after a history of items.

    Every list comes from a history, so that a new user, and a known one with new events, needs no training.
    Histories of at most `min_items` different known items, and empty ones, get the most popular items.
    """

    name: ClassVar[str]
    slow: ClassVar[bool] = False
    """Takes seconds for a list: a study asks it only for what has to be judged."""
    at_once: ClassVar[int | None] = None
    """Histories that are scored together; by default as many as fit into memory."""
    Config: ClassVar[type[ModelConfig]] = ModelConfig

    def __init__(self, config: ModelConfig | None = None, *, min_items: int = 0) -> None:
        self.config = config if config is not None else self.Config()
        self.min_items = min_items
        self.catalogue_: Catalogue
        self.popularity_: Longs  # (n_items,) events of each item
        self.log_: Interactions | None = None
        self.settings: Mapping[str, ModelConfig] = {}
        self.tried_: list[tuple[str, float]] = []
        """What the fit itself tried on the validation, in words, and the NDCG@10 of each."""

    # ------------------------------------------------------------------------- what a recommender writes

    @abstractmethod
    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        """Learn; `catalogue_` and `popularity_` are there already."""

    @abstractmethod
    def _scores(self, histories: Histories) -> Singles:
        """The score of every item after each history, none of them empty (n, n_items); higher is better."""

    @abstractmethod
    def _similar(self, items: Longs) -> Singles:
        """How similar every item is to each of `items` (n, n_items)."""

    def _arrays(self) -> Arrays:
        """What was learned, as named arrays."""
        return {}

    @property
    def rates(self) -> bool:
        """Whether scores are predicted ratings, on the scale of the log's."""
        return False

    def settled(self) -> ModelConfig:
        """The config with what the validation decided while the model was fitted; fixed for a refit."""
        return self.config

    def use_settings(self, settings: Mapping[str, ModelConfig]) -> None:
        """Settings of other models by name, for a model that is made of others."""
        self.settings = settings

    def _restore(self, arrays: Arrays) -> None:  # noqa: B027 (not every model learns arrays)
        """Take back what `_arrays` gave."""

    # ---------------------------------------------------------------------------------- what users call

    def fit(
        self,
        log: Interactions,
        *,
        validation: Queries | None = None,
        context: Context | None = None,
    ) -> Self:
        """Learn from a log; models that train in rounds stop by `validation`.

        Raises `InputError` where no user of the log has more than `min_items` different items.
        """
        context = context or Context(folder=Path())
        self.catalogue_ = log.catalogue
        self.log_ = log
        self.popularity_ = np.bincount(log.histories.items, minlength=log.n_items).astype(np.int64)
        enough = distinct_items(log.histories) > self.min_items
        if not enough.any():
            raise InputError(
                f"no user of the training log has more than {self.min_items} different items; "
                "use a longer log, or a smaller --min-items."
            )
        kept = log.with_histories(log.histories.take(np.flatnonzero(enough)))
        self._fit(kept, validation, context)
        return self

    def scores(self, histories: Histories) -> Singles:
        """The score of every item after each history (n, n_items); higher is better."""
        n_items = len(self.catalogue_)
        known = self.personal(histories)
        result = np.empty((len(histories), n_items), dtype=np.float32)
        result[~known] = self.popularity_
        if known.any():
            result[known] = self._scores(histories.take(np.flatnonzero(known)))
        return result

    def personal(self, histories: Histories) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which histories get more than the most popular items (n,)."""
        return distinct_items(histories) > self.min_items

    def recommend(
        self,
        histories: Sequence[Sequence[Any]] | Histories | None = None,
        *,
        users: Sequence[Any] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        dislikes: Sequence[Sequence[Any]] | None = None,
    ) -> pl.DataFrame:
        """The k best items after each history, or for each user of the log that the model was fitted on.

        Histories are lists of item ids, the oldest first; unknown ids are passed over. `dislikes` are items
        never to be shown, per query, by default those of the users in the log; what is similar to them moves
        down. Returns `query, item, score,
        rank`, where `query` is the number of the history or the user's id; fewer than k rows where
        the catalogue has no more.

        Raises `UsageError` unless either `histories` or `users` is given, or where k is not positive.
        """
        if k < 1:
            raise UsageError(f"k is {k}; expected 1 or more.")
        found, queries, turned_down = self._queries(histories, users)
        if dislikes is not None:
            turned_down = Histories.of([self._rows_of(ids) for ids in dislikes])
        if turned_down is not None and len(turned_down) != len(found):
            raise UsageError(
                f"there are {len(found)} histories and {len(turned_down)} lists of dislikes; "
                "expected one list for each history."
            )
        frames = []
        for start, part in chunks(found, len(self.catalogue_), self.at_once):
            scores = self.scores(part)
            if turned_down is not None:
                self.demote(scores, turned_down.slice(start, start + len(part)))
            if exclude_seen:
                scores[part.rows, part.items] = -np.inf
            items, values = top_k(scores, k)
            frames.append(self._listed(queries[start : start + len(part)], items, values))
        if not frames:
            return self._listed(
                queries[:0], np.empty((0, 1), np.int64), np.empty((0, 1), np.float32)
            )
        return pl.concat(frames)

    def similar(self, items: Sequence[Any], k: int = 10) -> pl.DataFrame:
        """The k items most similar to each of `items` (ids): `query, item, score, rank`.

        Raises `InputError` where an id is not in the catalogue.
        """
        rows = self.catalogue_.rows
        for item in items:
            if item not in rows:
                raise InputError(f"the catalogue has no item {item!r}.")
        at = np.array([rows[item] for item in items], dtype=np.int64)
        if not len(at):
            return self._listed(
                self.catalogue_.ids[:0], np.empty((0, 1), np.int64), np.empty((0, 1), np.float32)
            )
        scores = self._similar(at)
        scores[np.arange(len(at)), at] = -np.inf
        return self._listed(self.catalogue_.ids.gather(at), *top_k(scores, k))

    def save(self, folder: Path) -> None:
        """Write the fitted model to `folder`: JSON, Parquet and safetensors, whose reading runs no code."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "config": self.config.model_dump(mode="json"),
            "min_items": self.min_items,
        }
        (folder / "recommender.json").write_text(json.dumps(about, indent=1))
        table = {"id": self.catalogue_.ids, "title": self.catalogue_.titles}
        pl.DataFrame(table | {"popularity": self.popularity_}).write_parquet(
            folder / "catalogue.parquet"
        )
        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}
        save_file(arrays, folder / "arrays.safetensors")

    @classmethod
    def load(cls, folder: Path, log: Interactions | None = None) -> Self:
        """Read what `save` wrote; with the log, lists for its users can be asked for as well.

        Raises `InputError` where the folder holds no such model.
        """
        from safetensors.numpy import load_file

        try:
            about = json.loads((folder / "recommender.json").read_text())
            table = pl.read_parquet(folder / "catalogue.parquet")
            arrays = load_file(folder / "arrays.safetensors")
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError(f"{folder}: this is no saved recommender ({error}).") from error
        if about["name"] != cls.name:
            raise InputError(
                f"{folder}: this is a model of the kind {about['name']}, not {cls.name}."
            )
        self = cls(cls.Config(**about["config"]), min_items=about["min_items"])
        self.catalogue_ = Catalogue(table["id"], table["title"])
        self.popularity_ = table["popularity"].to_numpy().astype(np.int64)
        self.log_ = log
        self._restore(arrays)
        return self

    # ------------------------------------------------------------------------------------------ helpers

    def _queries(
        self, histories: Sequence[Sequence[Any]] | Histories | None, users: Sequence[Any] | None
    ) -> tuple[Histories, pl.Series, Histories | None]:
        """The histories as row numbers, what each is called in the result, and what users turned down."""
        if (histories is None) == (users is None):
            raise UsageError("give either histories or users.")
        if users is not None:
            if self.log_ is None:
                raise UsageError(
                    "a loaded model does not know its users; load it with their log, or give histories."
                )
            log, known = self.log_, self.log_.user_rows
            # Row -1, of a user who is not known, is a history without events.
            rows = np.array([known.get(user, -1) for user in users], dtype=np.int64)
            found = log.histories.take_or_empty(rows)
            turned_down = log.turned_down.take_or_empty(rows) if len(log.dislikes) else None
            try:
                names = pl.Series("query", list(users), log.users.dtype)
            except (
                TypeError
            ):  # ids of another type than the log's: known to nobody, and yet answered
                names = pl.Series("query", [str(user) for user in users])
            return found, names, turned_down
        assert histories is not None
        if not isinstance(histories, Histories):
            histories = Histories.of([self._rows_of(history) for history in histories])
        return histories, pl.Series("query", np.arange(len(histories))), None

    def _rows_of(self, ids: Sequence[Any]) -> Ints:
        """The row numbers of the ids that the catalogue has, in their order."""
        rows = self.catalogue_.rows
        return np.array([rows[item] for item in ids if item in rows], dtype=np.int32)

    def demote(self, scores: Singles, dislikes: Histories) -> None:
        """Take disliked items out, and move those like them down, in place (n, n_items).

        An item loses the spread of all scores times its similarity, where that is positive, to the nearest
        of them: the twin of a disliked item falls to the bottom, an unlike one stays.
        """
        concerned = np.flatnonzero(dislikes.lengths)
        if not len(concerned):
            return
        items, place = np.unique(dislikes.items, return_inverse=True)
        alike = self._similar(items.astype(np.int64))
        largest = np.abs(alike).max(axis=1, keepdims=True)
        alike = np.clip(alike / np.where(largest > 0, largest, 1), 0, 1)  # (disliked, n_items)
        for row in concerned:
            own = slice(dislikes.offsets[row], dislikes.offsets[row + 1])
            nearest = alike[place[own]].max(axis=0)
            scores[row] -= nearest * (scores[row].max() - scores[row].min())
        scores[dislikes.rows, dislikes.items] = -np.inf

    def _listed(self, queries: pl.Series, items: Longs, values: Singles) -> pl.DataFrame:
        """Rows of a ranking from items and scores (n, k); excluded items, at minus infinity, are left out."""
        n, k = items.shape
        keep = np.isfinite(values).ravel()
        frame = pl.DataFrame(
            {
                "query": queries.gather(np.repeat(np.arange(n), k)),
                "item": self.catalogue_.ids.gather(items.ravel()),
                "score": values.ravel(),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
            }
        )
        return frame.filter(pl.Series(keep))


def distinct_items(histories: Histories) -> Longs:
    """How many different items each history has (n,)."""
    if not len(histories.items):
        return np.zeros(len(histories), dtype=np.int64)
    width = int(histories.items.max()) + 1
    pairs = np.unique(histories.rows * width + histories.items)
    return np.bincount(pairs // width, minlength=len(histories)).astype(np.int64)


def top_k(scores: Singles, k: int) -> tuple[Longs, Singles]:
    """The k best items of each row, best first, and their scores (n, min(k, n_items)).

    Equal scores come in the order of the row numbers, also where not all of them are among the k.
    """
    n_items = scores.shape[1]
    k = min(k, n_items)
    if k < n_items:
        items = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        least = np.take_along_axis(scores, items, axis=1).min(axis=1)  # the k-th score of each row
        tied = (scores >= least[:, None]).sum(axis=1) > k
        for row in np.flatnonzero(tied):  # more items have the k-th score than there are places
            above = np.flatnonzero(scores[row] > least[row])
            equal = np.flatnonzero(scores[row] == least[row])[: k - len(above)]
            items[row] = np.concatenate([above, equal])
        items.sort(axis=1)
    else:
        items = np.broadcast_to(np.arange(k), scores.shape)
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return (
        np.take_along_axis(items, order, axis=1).astype(np.int64),
        np.take_along_axis(values, order, axis=1),
    )


def cosine(vectors: Singles, rows: Longs) -> Singles:
    """Cosine of every vector with those of `rows` (n, n_items); 0 with a vector of zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    result: Singles = (unit[rows] @ unit.T).astype(np.float32)
    return result
