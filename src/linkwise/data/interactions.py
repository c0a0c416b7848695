"""`Interactions`: who chose what, in which order, as row numbers; what recommenders learn from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import narwhals as nw
import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from linkwise.data.engine import batches, collect
from linkwise.data.events import Events
from linkwise.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints = np.ndarray[Any, np.dtype[np.int32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]
Clock = Literal["time", "day", "position"]

# Kinds of event that say outright that the user likes, or dislikes, the item.
LIKES = ("download", "like", "playlist", "add to playlist", "thumbs up", "favorite", "favourite")
DISLIKES = ("dislike", "thumbs down")
BEST = 5.0  # what a like counts, on the scale of one to five
CELLS = 2**24  # scores in memory at a time (64 MiB): never a dense users x items matrix
SHARES = (0.8, 0.6, 0.4, 0.2)  # a play of at least this share of the song scores 5, 4, 3, 2; else 1


class InteractionsConfig(BaseModel):
    """How events become interactions and ratings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rating: Literal["auto", "value", "share", "none"] = "auto"
    """What says how much a user likes an item: the value (stars), the played share of the item's length,
    or nothing but that it was chosen. `auto` takes the value of events of the kind `rating`, and the share
    where the log has durations and lengths."""
    kinds: tuple[str, ...] = ()
    """Kinds of event that count as choosing the item; by default every kind that names one."""
    min_rating: float | None = Field(None)
    """Least rating of an event that counts; every event by default."""
    min_item_users: int = Field(1, ge=1)
    """Fewest users of an item, before the test, that is kept in the catalogue."""


@dataclass(frozen=True)
class Catalogue:
    """The items that can be recommended: their ids, and their titles where the log knows them."""

    ids: pl.Series
    titles: pl.Series

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> dict[Any, int]:
        """The row number of each id."""
        return {value: row for row, value in enumerate(self.ids)}


@dataclass(frozen=True)
class Histories:
    """Sequences of items, the oldest first: of users, or made up.

    History r is `items[offsets[r]:offsets[r + 1]]`, row numbers of a catalogue; `scores` says how much each
    event tells that the item is liked, 1 to 5 (1 where nothing says), and `times` what it is ordered by.
    """

    offsets: Longs  # (n + 1,)
    items: Ints  # (n_events,)
    scores: Singles  # (n_events,)
    times: Longs  # (n_events,)
    whole: np.ndarray[Any, np.dtype[np.bool_]]  # (n_events,) a like, which no play averages away

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Longs:
        """Events of each history (n,)."""
        return np.diff(self.offsets)

    @cached_property
    def rows(self) -> Longs:
        """The history that each event belongs to (n_events,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def __getitem__(self, row: int) -> Ints:
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def where(self, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> Histories:
        """The same histories with the marked events only (n_events,)."""
        lengths = np.bincount(self.rows[keep], minlength=len(self))
        return Histories(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            self.items[keep],
            self.scores[keep],
            self.times[keep],
            self.whole[keep],
        )

    def take(self, rows: Longs) -> Histories:
        """Some of the histories, in the order given."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        at = np.repeat(self.offsets[rows], lengths) + within
        return Histories(offsets, self.items[at], self.scores[at], self.times[at], self.whole[at])

    def take_or_empty(self, rows: Longs) -> Histories:
        """Some of the histories, an empty one for each row of -1."""
        if not len(self):
            return Histories.of([[] for _ in rows])
        found = self.take(np.maximum(rows, 0))
        return found.where(np.repeat(rows >= 0, found.lengths))

    def slice(self, start: int, stop: int) -> Histories:
        """Histories `start` to below `stop`."""
        first, last = self.offsets[start], self.offsets[stop]
        return Histories(
            self.offsets[start : stop + 1] - first,
            self.items[first:last],
            self.scores[first:last],
            self.times[first:last],
            self.whole[first:last],
        )

    def last(self, n: int) -> Histories:
        """At most the last `n` events of each history."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.items))
        return self.where(from_end <= n)

    def matrix(self, n_items: int, values: Literal["rating", "count", "one"]) -> csr_matrix:
        """Histories x items, sparse (n, n_items) float32: ratings, numbers of events, or ones.

        A rating is the larger of the mean score of the events that are averaged (plays, stars) and of the
        best that is not (a download, a like).
        """
        from scipy.sparse import csr_matrix

        cells = self.rows * n_items + self.items
        pairs, place, counts = np.unique(cells, return_inverse=True, return_counts=True)
        data = np.ones(len(pairs), dtype=np.float32)
        if values == "count":
            data = counts.astype(np.float32)
        if values == "rating":
            plain = ~self.whole
            n = np.bincount(place[plain], minlength=len(pairs))
            sums = np.bincount(place[plain], weights=self.scores[plain], minlength=len(pairs))
            means = np.divide(sums, n, out=np.zeros(len(pairs)), where=n > 0)
            likes = np.zeros(len(pairs))
            np.maximum.at(likes, place[self.whole], self.scores[self.whole])
            data = np.maximum(means, likes).astype(np.float32)
        rows = np.searchsorted(pairs, np.arange(len(self) + 1) * n_items)
        return csr_matrix((data, pairs % n_items, rows), shape=(len(self), n_items))

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | Ints]) -> Histories:
        """Histories of items alone, by row numbers."""
        lists = [np.asarray(items, dtype=np.int32) for items in sequences]
        lengths = [len(items) for items in lists]
        n = sum(lengths)
        items = np.concatenate(lists) if lists else np.empty(0, dtype=np.int32)
        return cls(
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            items.astype(np.int32),
            np.ones(n, dtype=np.float32),
            np.zeros(n, dtype=np.int64),
            np.zeros(n, dtype=np.bool_),
        )


def chunks(
    histories: Histories, n_items: int, most: int | None = None
) -> Iterator[tuple[int, Histories]]:
    """Parts of the histories whose scores fit in memory, at most `most`, with the number of the first."""
    size = max(1, CELLS // max(1, n_items))
    size = size if most is None else min(size, most)
    for start in range(0, len(histories), size):
        yield start, histories.slice(start, min(start + size, len(histories)))


@dataclass(frozen=True)
class Interactions:
    """A log as the histories of its users over one catalogue.

    `clock` is what `histories.times` counts: microseconds or days since 1970-01-01, or positions within the
    user, which say nothing across users. `dislikes` are the (user, item) pairs that were turned down (m, 2).
    """

    users: pl.Series
    catalogue: Catalogue
    histories: Histories
    clock: Clock
    dislikes: Longs
    rated: bool
    """Whether the log says how much an item is liked, beyond that it was chosen."""

    @property
    def n_items(self) -> int:
        """Items in the catalogue."""
        return len(self.catalogue)

    @cached_property
    def user_rows(self) -> dict[Any, int]:
        """The row number of each user."""
        return {user: row for row, user in enumerate(self.users)}

    @property
    def turned_down(self) -> Histories:
        """The items that each user disliked."""
        users, items = self.dislikes[:, 0], self.dislikes[:, 1].astype(np.int32)
        offsets = np.searchsorted(users, np.arange(len(self.users) + 1)).astype(np.int64)
        n = len(items)
        return Histories(
            offsets,
            items,
            np.ones(n, dtype=np.float32),
            np.zeros(n, dtype=np.int64),
            np.zeros(n, dtype=np.bool_),
        )

    def with_titled(self, titles: pl.DataFrame) -> Interactions:
        """The same events over a catalogue that also has the items of a table (id, title) without any."""
        ids = titles["id"].cast(self.catalogue.ids.dtype, strict=False)
        new = titles.with_columns(id=ids).filter(
            ids.is_not_null(), ~ids.is_in(self.catalogue.ids.implode())
        )
        new = new.unique("id", maintain_order=True)
        catalogue = Catalogue(
            pl.concat([self.catalogue.ids, new["id"].alias(self.catalogue.ids.name)]),
            pl.concat([self.catalogue.titles, new["title"].alias(self.catalogue.titles.name)]),
        )
        return replace(self, catalogue=catalogue)

    def with_histories(self, histories: Histories) -> Interactions:
        """The same users and items with other events."""
        return replace(self, histories=histories)


def read_interactions(
    events: Events,
    config: InteractionsConfig | None = None,
    titles: pl.DataFrame | None = None,
) -> Interactions:
    """The interactions of a log; `titles` (id, title) goes before the titles in the log.

    Memory: about 25 bytes an event. Events of one user at one time keep the order of the log.

    Raises `InputError` where no event names an item.
    """
    config = config or InteractionsConfig()
    if "item" not in events.columns:
        raise InputError(
            "the log has no items, and items are what is recommended. Name their column with --item."
        )
    clock: Clock = "position" if "position" in events.columns else "day"
    if "time" in events.columns and clock != "position":
        clock = "time"
    frame = _scored(events, config)
    frame = frame.select("user", "item", "event", "score", nw.col(clock).alias("order"))
    user_ids, item_ids = _ids(frame, "user"), _ids(frame, "item")
    coded = [_empty(), *_coded(frame, user_ids, item_ids, config)]
    user, item, order_of, score, whole, dislike = (
        np.concatenate([part[i] for part in coded]) for i in range(6)
    )
    chosen = ~dislike
    if not chosen.any():
        kinds = ", ".join(config.kinds or events.kinds)
        raise InputError(
            f"no event of the log names an item that counts (kinds {kinds}). "
            "Look at the log with: linkwise data describe."
        )
    user_rows, user = _renumbered(user, chosen, len(user_ids))
    item_rows, item = _renumbered(item, chosen, len(item_ids))
    at = np.lexsort((order_of, user))  # stable: equal times keep the order of the log
    at = at[chosen[at]]
    lengths = np.bincount(user[at], minlength=len(user_rows))
    histories = Histories(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        item[at],
        score[at],
        order_of[at],
        whole[at],
    )
    turned_down = dislike & (user >= 0) & (item >= 0)
    pairs = np.stack([user[turned_down], item[turned_down]], axis=1).astype(np.int64)
    kept = item_ids.gather(item_rows)
    return Interactions(
        users=user_ids.gather(user_rows),
        catalogue=Catalogue(kept, _titles(events, kept, titles)),
        histories=histories,
        clock=clock,
        dislikes=np.unique(pairs, axis=0),
        rated=bool((histories.scores != 1).any()),
    )


def _renumbered(rows: Ints, chosen: Any, n: int) -> tuple[Longs, Ints]:
    """The old rows that stay, in order, and every event's new row, -1 where it has none."""
    kept = np.unique(rows[chosen])
    new = np.full(n, -1, dtype=np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)
    return kept.astype(np.int64), new[rows]


def _scored(events: Events, config: InteractionsConfig) -> Any:
    """The events that name an item, with their score from 1 to 5; null where an event lacks its rating."""
    frame = events.frame.filter(~nw.col("item").is_null())
    unknown = [kind for kind in config.kinds if kind not in events.kinds]
    if unknown:
        raise InputError(
            f'the log has no event of the kind "{unknown[0]}"; it has {", ".join(events.kinds)}.'
        )
    score: Any = nw.lit(1.0)
    by_value = config.rating == "value" or (config.rating == "auto" and "rating" in events.kinds)
    by_share = config.rating in ("auto", "share") and {"duration", "length"} <= events.columns
    for wanted, has, what in (
        ("value", "value" in events.columns, "--value"),
        ("share", by_share, "--duration and --length"),
    ):
        if config.rating == wanted and not has:
            raise InputError(f"--rating {wanted} needs columns named by {what}.")
    if by_share:
        # Of whole milliseconds: no rounding may move a play over a threshold.
        part = nw.col("duration") * 10
        score = nw.lit(1.0)
        for points, share in enumerate(reversed(SHARES), start=2):
            enough = (part >= nw.col("length") * round(share * 10)) & (nw.col("length") > 0)
            score = nw.when(enough).then(nw.lit(float(points))).otherwise(score)
    if by_value:
        value = nw.col("value").cast(nw.Float64) / 100.0
        # In a log of several kinds an event without a value is still a choice.
        missing = nw.lit(None, nw.Float64) if config.rating == "value" else score
        score = nw.when(~nw.col("value").is_null()).then(value).otherwise(missing)
    return frame.with_columns(score.alias("score"))


def _counted(rows: pl.DataFrame, config: InteractionsConfig) -> pl.DataFrame:
    """The events that count, with `whole` and `dislike`.

    Of a part of the log in memory: DuckDB makes a join of a long IN, in which rows lose their order.
    """
    kind = pl.col("event").str.to_lowercase()
    rows = rows.with_columns(whole=kind.is_in(LIKES), dislike=kind.is_in(DISLIKES))
    rows = rows.with_columns(score=pl.when("whole").then(BEST).otherwise("score"))
    keep = pl.col("score").is_not_null()
    if config.kinds:
        keep &= pl.col("event").is_in(config.kinds)
    if config.min_rating is not None:
        keep &= pl.col("score") >= config.min_rating
    return rows.filter(keep | pl.col("dislike")).with_columns(pl.col("score").fill_null(1.0))


def _ids(frame: Any, name: str) -> pl.Series:
    """The ids of a column, sorted: the same row numbers on every engine."""
    return collect(frame.group_by(name).agg(nw.len().alias("n")))[name].sort()


def _empty() -> tuple[np.ndarray[Any, Any], ...]:
    types = (np.int32, np.int32, np.int64, np.float32, np.bool_, np.bool_)
    return tuple(np.empty(0, dtype=kind) for kind in types)


def _coded(
    frame: Any, user_ids: pl.Series, item_ids: pl.Series, config: InteractionsConfig
) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
    """User and item rows, order, score and kind of the events, in the order of the log."""
    users = pl.DataFrame({"user": user_ids}).with_row_index("u")
    items = pl.DataFrame({"item": item_ids}).with_row_index("i")
    for batch in batches(frame):
        counted = _counted(batch, config)
        known = counted.join(users, on="user", how="left", maintain_order="left").join(
            items, on="item", how="left", maintain_order="left"
        )
        order = known["order"]
        if isinstance(order.dtype, pl.Datetime):
            order = order.cast(pl.Datetime("us"))  # whose integers are microseconds
        yield (
            known["u"].to_numpy().astype(np.int32),
            known["i"].to_numpy().astype(np.int32),
            order.cast(pl.Int64).to_numpy(),
            known["score"].to_numpy().astype(np.float32),
            known["whole"].to_numpy().astype(np.bool_),
            known["dislike"].to_numpy().astype(np.bool_),
        )


def _titles(events: Events, item_ids: pl.Series, given: pl.DataFrame | None) -> pl.Series:
    """The title of each item (text or null): the one given, else the first in alphabetical order."""
    wanted = pl.DataFrame({"id": item_ids})
    known = pl.DataFrame(
        {"id": item_ids, "title": [None] * len(item_ids)}, schema_overrides={"title": pl.String}
    )
    if "text" in events.columns:
        named = events.frame.filter(~nw.col("item").is_null(), ~nw.col("text").is_null())
        found = collect(named.group_by("item").agg(nw.col("text").min().alias("title")))
        known = wanted.join(
            found.rename({"item": "id"}), on="id", how="left", maintain_order="left"
        )
    if given is not None:
        ids = given.with_columns(pl.col("id").cast(item_ids.dtype, strict=False))
        ids = ids.drop_nulls().unique("id", keep="first")
        first = wanted.join(ids, on="id", how="left", maintain_order="left")["title"]
        known = known.with_columns(title=first.zip_with(first.is_not_null(), known["title"]))
    return known["title"].rename("title")
