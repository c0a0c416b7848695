"""Splits of interactions: what models learn from, and the queries that they are judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from linkwise.data.interactions import Catalogue, Histories, Interactions, Longs
from linkwise.data.splits import user_hash
from linkwise.errors import InputError, UsageError

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Kind = Literal["global-time", "leave-last-out", "prefix", "last", "random"]
HELD_OUT = 0.1  # share of the users, each, for validation and for test, where users are split


@dataclass(frozen=True)
class Queries:
    """Histories, and what was chosen after them.

    `users` are rows of `Interactions.users`. `targets` are different items of one user each, in order,
    with their times; `cutoffs` is the time at which a query stands (n,), what `decay` counts from. With
    `repeats`, what is in a history already may be recommended, and counts.
    """

    users: Longs
    histories: Histories
    targets: Histories
    cutoffs: Longs
    repeats: bool = False

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: Longs) -> Queries:
        """Some of the queries."""
        return Queries(
            self.users[rows],
            self.histories.take(rows),
            self.targets.take(rows),
            self.cutoffs[rows],
            self.repeats,
        )


def some_queries(queries: Queries, n: int, rng: np.random.Generator) -> Queries:
    """At most `n` of the queries, drawn at random, in their order."""
    if len(queries) <= n:
        return queries
    return queries.take(np.sort(rng.choice(len(queries), n, replace=False)))


@dataclass(frozen=True)
class Split:
    """What models are fitted on, tuned on and judged on.

    `train` comes before `validation`, and `refit` (what is fitted in the end) before `test`.
    """

    train: Interactions
    validation: Queries
    refit: Interactions
    test: Queries
    words: str
    """How it was split, in a sentence."""
    comparable: bool = True
    """False where a model could learn from what comes after a query: unfit for comparison."""
    newcomers: int = 0
    """Users with targets in the test and no history before it: every model gives them the most popular, and
    they are not among the queries."""


def parse_split(text: str) -> tuple[Kind, float]:
    """The kind of a split and its number, from `global-time:0.9`, `leave-last-out`, `prefix:5` and the like.

    Raises `UsageError` where it is none of them.
    """
    kind, _, number = text.partition(":")
    defaults = {
        "global-time": 0.9,
        "leave-last-out": 0.0,
        "prefix": 5.0,
        "last": 4.0,
        "random": 0.1,
    }
    try:
        value = float(number) if number else defaults[kind]
    except (KeyError, ValueError):
        value = -1.0
    sane = {
        "global-time": 0 < value < 1,
        "leave-last-out": not number,
        "prefix": value >= 1 and value.is_integer(),
        "last": value >= 2 and value.is_integer(),
        "random": 0 < value < 1,
    }
    if not sane.get(kind, False):
        raise UsageError(
            f'--split is "{text}"; expected global-time:Q (a share of the events, such as 0.9), '
            "leave-last-out, prefix:N (first N events predict the next), last:K (the last K events of a "
            "user, the last one is the target), or random:S."
        )
    return kind, value  # type: ignore[return-value]


def split(
    log: Interactions,
    text: str,
    *,
    repeats: bool = False,
    min_item_users: int = 1,
    always: Bools | None = None,
) -> Split:
    """Split a log. With `repeats`, what is in a history already counts as a target too.

    Items that fewer than `min_item_users` users chose before the test are not in the catalogue, but for those
    marked in `always` (n_items,), which were known without the log.

    Raises `UsageError` for an unknown split or one that the log's clock does not allow, `InputError` where
    no query is left.
    """
    kind, value = parse_split(text)
    if kind == "global-time":
        found = _by_time(log, value)
    elif kind == "leave-last-out":
        found = _last_out(log)
    elif kind == "random":
        found = _at_random(log, value)
    else:
        found = _by_users(log, kind, int(value))
    found = _known_before(found, min_item_users, always)
    asked = found.test
    found = replace(
        found,
        newcomers=int(((asked.targets.lengths > 0) & (asked.histories.lengths == 0)).sum()),
        validation=countable(found.validation, repeats),
        test=countable(found.test, repeats),
    )
    if not len(found.test) or not len(found.train.histories.items):
        raise InputError(
            f"--split {text} leaves {len(found.test)} queries and {len(found.train.histories.items)} "
            f"training events of {len(log.users)} users; use a longer log, or another split."
        )
    return found


def _known_before(found: Split, min_item_users: int, always: Bools | None) -> Split:
    """The split over the items that were there before the test; others are targets outside the catalogue.

    So no model learns, from the mere size of the catalogue, what is yet to come.
    """
    old, before = found.refit.catalogue, found.refit.histories
    pairs = np.unique(before.rows * len(old) + before.items)
    enough = np.bincount(pairs % len(old), minlength=len(old)) >= min_item_users
    known = np.flatnonzero(enough if always is None else enough | always)
    if not len(known) and min_item_users > 1:
        raise InputError(
            f"no item was chosen by {min_item_users} users before the test; use a smaller --min-item-users."
        )
    row_of = np.full(len(old) + 1, len(known), dtype=np.int32)  # the rest: outside
    row_of[known] = np.arange(len(known), dtype=np.int32)
    catalogue = Catalogue(old.ids.gather(known), old.titles.gather(known))

    def renumbered(histories: Histories) -> Histories:
        return replace(histories, items=row_of[histories.items])

    def inside(histories: Histories) -> Histories:
        moved = renumbered(histories)
        return moved.where(moved.items < len(known))

    def learned(log: Interactions) -> Interactions:
        pairs = np.stack([log.dislikes[:, 0], row_of[log.dislikes[:, 1]].astype(np.int64)], axis=1)
        return replace(
            log,
            catalogue=catalogue,
            histories=inside(log.histories),
            dislikes=pairs[pairs[:, 1] < len(known)],
        )

    def asked(queries: Queries) -> Queries:
        return replace(
            queries, histories=inside(queries.histories), targets=renumbered(queries.targets)
        )

    return replace(
        found,
        train=learned(found.train),
        refit=learned(found.refit),
        validation=asked(found.validation),
        test=asked(found.test),
    )


def countable(queries: Queries, repeats: bool) -> Queries:
    """The queries with a history, and their targets once each; without those seen before unless `repeats`."""
    targets, histories = queries.targets, queries.histories
    width = int(max(targets.items.max(initial=0), histories.items.max(initial=0))) + 1
    cells = targets.rows * width + targets.items
    keep = np.zeros(len(cells), dtype=np.bool_)
    keep[np.unique(cells, return_index=True)[1]] = True  # the first time each
    if not repeats:
        keep &= ~np.isin(cells, histories.rows * width + histories.items)
    targets = targets.where(keep)
    whole = (targets.lengths > 0) & (histories.lengths > 0)
    return replace(queries, targets=targets, repeats=repeats).take(np.flatnonzero(whole))


def _by_time(log: Interactions, share: float) -> Split:
    if log.clock == "position":
        raise UsageError(
            "--split global-time needs the times of the events, and this log has positions only; "
            "use leave-last-out."
        )
    times = np.sort(log.histories.times)
    test_at = times[min(int(share * len(times)), len(times) - 1)]
    # Validation is as long a stretch of events before the test as the test itself.
    valid_at = times[max(int((2 * share - 1) * len(times)), int(share * len(times) / 2))]
    train = log.histories.times < valid_at
    before = log.histories.times < test_at
    return Split(
        train=log.with_histories(log.histories.where(train)),
        validation=_cut(log, train, before & ~train, valid_at),
        refit=log.with_histories(log.histories.where(before)),
        test=_cut(log, before, ~before, test_at),
        words=f"by time: the last {1 - share:.0%} of the events are the test, "
        "the stretch of events before them the validation",
    )


def _last_out(log: Interactions) -> Split:
    left = _from_end(log.histories)
    train = left > 2
    return Split(
        train=log.with_histories(log.histories.where(train)),
        validation=_cut(log, left > 2, left == 2),
        refit=log.with_histories(log.histories.where(left > 1)),
        test=_cut(log, left > 1, left == 1),
        words="leave-last-out: the last event of every user is the test, the one before it the validation "
        "(as in papers; models may learn from other users' events that come later)",
    )


def _by_users(log: Interactions, kind: str, n: int) -> Split:
    """Models learn from other users' whole histories; validation and test have users of their own."""
    number = user_hash(log.users, "recommend")
    train, valid = number >= 2 * HELD_OUT, number < HELD_OUT
    place, left = _from_start(log.histories), _from_end(log.histories)
    if kind == "prefix":
        before, target = place < n, place == n
        words = f"the first {n} events of a user predict the next"
    else:
        long = np.repeat(log.histories.lengths >= n, log.histories.lengths)
        before, target = (left <= n) & (left > 1) & long, (left == 1) & long
        words = f"of the last {n} events of a user the last is the target, after the others"
    rows = log.histories.rows
    learned = log.with_histories(log.histories.where(train[rows]))
    return Split(
        train=learned,
        validation=_cut(log, before & valid[rows], target & valid[rows]),
        refit=learned,
        test=_cut(log, before & ~valid[rows] & ~train[rows], target & ~valid[rows] & ~train[rows]),
        words=f"{words}; {1 - 2 * HELD_OUT:.0%} of the users are learned from, {HELD_OUT:.0%} each are "
        "validation and test (as in papers; models may learn from other users' events that come later)",
    )


def _at_random(log: Interactions, share: float) -> Split:
    rng = np.random.default_rng(0)
    drawn = rng.random(len(log.histories.items))
    train, test = drawn >= 2 * share, drawn < share
    return Split(
        train=log.with_histories(log.histories.where(train)),
        validation=_cut(log, train, ~train & ~test),
        refit=log.with_histories(log.histories.where(~test)),
        test=_cut(log, ~test, test),
        words=f"at random: {share:.0%} of the events are the test, wherever they stand (models see "
        "the future; unfit for comparison)",
        comparable=False,
    )


def _cut(log: Interactions, before: Bools, target: Bools, at: int | None = None) -> Queries:
    """One query for each user: the events marked `before`, then those marked `target`."""
    histories, targets = log.histories.where(before), log.histories.where(target)
    cutoffs = np.zeros(len(histories), dtype=np.int64)
    if at is not None:
        cutoffs[:] = at
    else:
        has = np.flatnonzero(histories.lengths > 0)
        cutoffs[has] = histories.times[histories.offsets[has + 1] - 1]
    return Queries(np.arange(len(histories), dtype=np.int64), histories, targets, cutoffs)


def _from_start(histories: Histories) -> Longs:
    """How many events of its history stand before each event."""
    starts = np.repeat(histories.offsets[:-1], histories.lengths)
    return np.arange(len(histories.items), dtype=np.int64) - starts


def _from_end(histories: Histories) -> Longs:
    """The number of each event counted from its history's end; the last is 1."""
    ends = np.repeat(histories.offsets[1:], histories.lengths)
    return ends - np.arange(len(histories.items), dtype=np.int64)
