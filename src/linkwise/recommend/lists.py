"""The lists that are made to be used: the best items of every user, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.interactions import CELLS, Catalogue, Histories, Ints, Longs, Singles, chunks
from linkwise.recommend.base import Recommender, top_k

Bools = np.ndarray[Any, np.dtype[np.bool_]]

SHOWN = 10  # items of a list
NEIGHBOURS = 50  # similar items of an item among which a reason is looked for
POPULAR = "chosen by many"
FITS = "fits the history as a whole"
UNASKED = -2  # the neighbours of this item have not been computed
POPULAR_SHARE = 0.1  # of the catalogue, by events, that is called chosen by many


class Near:
    """The nearest items of a model's items, each looked for once, when first asked for.

    `items` (n_items, 50) are they, -1 where there are fewer, and `strength` (n_items, 50) their similarities;
    rows that were not asked for hold nothing. May be kept for as long as the model is.
    """

    def __init__(self, model: Recommender) -> None:
        self.model = model
        n = len(model.catalogue_)
        self.items: Ints = np.full((n, NEIGHBOURS), UNASKED, dtype=np.int32)
        self.strength: Singles = np.zeros((n, NEIGHBOURS), dtype=np.float32)

    def ask(self, items: Longs) -> None:
        """Have the rows of `items` looked for."""
        asked = np.unique(items)
        asked = asked[self.items[asked, 0] == UNASKED]
        self.items[asked], self.strength[asked] = neighbours(self.model, asked)


def recommendations(
    model: Recommender,
    histories: Histories,
    users: pl.Series,
    repeats: bool,
    k: int = SHOWN,
    adjust: Callable[[Singles], Singles] | None = None,
    dislikes: Histories | None = None,
    near: Near | None = None,
) -> pl.DataFrame:
    """The k best items after each history: `user, item, title, score, rank, reason`.

    The reason is the item of the history that is most similar to the recommended one, by the model's own
    measure, where it is among its 50 nearest; else that many have chosen it, or that it fits as a whole.
    `adjust` changes the scores before they are ordered. `dislikes` holds what each user turned down: it is
    not listed, and what is similar to it moves down. `near`: what is known of the model's items from calls
    before.
    """
    ids, titles = model.catalogue_.ids, model.catalogue_.titles
    near = Near(model) if near is None else near
    counts = model.popularity_
    # A tenth of the catalogue, and in a small one what a list of the most popular may hold.
    many = min(len(ids), max(int(POPULAR_SHARE * len(ids)), 2 * k))
    popular = counts >= max(1, np.sort(counts)[len(ids) - many])
    frames = []
    for start, part in chunks(histories, len(ids), model.at_once):
        scores = model.scores(part)
        if adjust is not None:
            scores = adjust(scores)
        if dislikes is not None:
            model.demote(scores, dislikes.slice(start, start + len(part)))
        if not repeats:
            scores[part.rows, part.items] = -np.inf
        items, values = top_k(scores, k)
        personal = model.personal(part)
        # Of the listed items only: one history on a large catalogue asks for ten, not for all.
        near.ask(items)
        because = _because(part, items, near)
        because[~personal] = -1
        n, width = items.shape
        frame = pl.DataFrame(
            {
                "user": users.gather(np.repeat(np.arange(start, start + n), width)),
                "item": ids.gather(items.ravel()),
                "title": titles.gather(items.ravel()),
                "score": values.ravel(),
                "rank": np.tile(np.arange(1, width + 1, dtype=np.int32), n),
                "reason": _words(
                    because.ravel(), (popular[items] | ~personal[:, None]).ravel(), model.catalogue_
                ),
            }
        )
        frames.append(frame.filter(pl.Series(np.isfinite(values).ravel())))
    return pl.concat(frames)


def neighbours(model: Recommender, items: Longs) -> tuple[Longs, Singles]:
    """The nearest items of each of `items`, and their similarities (n, 50); -1 where there is none."""
    near: Longs = np.full((len(items), NEIGHBOURS), -1, dtype=np.int64)
    strength: Singles = np.zeros((len(items), NEIGHBOURS), dtype=np.float32)
    size = max(1, CELLS // len(model.catalogue_))
    for start in range(0, len(items), size):
        rows = items[start : start + size]
        alike = model._similar(rows)
        alike[np.arange(len(rows)), rows] = -np.inf
        found, values = top_k(alike, NEIGHBOURS)
        width = found.shape[1]
        near[start : start + size, :width] = np.where(values > 0, found, -1)
        strength[start : start + size, :width] = values
    return near, strength


def _because(histories: Histories, items: Longs, near: Near) -> Longs:
    """For each listed item (n, k), the most similar item of its history; -1 where none is near."""
    n_items = len(near.items)
    seen = np.unique(histories.rows * n_items + histories.items)
    because = np.full(items.shape, -1, dtype=np.int64)
    best = np.zeros(items.shape, dtype=np.float32)
    row = np.arange(len(items))[:, None]
    for place in range(NEIGHBOURS):
        candidate = near.items[items, place].astype(np.int64)  # (n, k)
        cell = row * n_items + np.maximum(candidate, 0)
        at = np.minimum(np.searchsorted(seen, cell), max(0, len(seen) - 1))
        chosen = (candidate >= 0) & (seen[at] == cell) if len(seen) else np.zeros(items.shape, bool)
        better = chosen & (near.strength[items, place] > best)
        because[better] = candidate[better]
        best[better] = near.strength[items, place][better]
    return because


def _words(because: Longs, popular: Bools, catalogue: Catalogue) -> pl.Series:
    """`similar to TITLE, chosen before`, by the id where there is no title."""
    names = (
        catalogue.titles.fill_null(catalogue.ids.cast(pl.String))
        if len(catalogue)
        else catalogue.titles
    )
    found = names.gather(np.maximum(because, 0))
    frame = pl.DataFrame({"name": found, "there": because >= 0, "popular": popular})
    similar = pl.when(pl.col("there")).then("similar to " + pl.col("name") + ", chosen before")
    words = similar.when(pl.col("popular")).then(pl.lit(POPULAR)).otherwise(pl.lit(FITS))
    return frame.select(words.alias("reason"))["reason"]
