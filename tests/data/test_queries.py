"""Splits against loops over the raw events, and what no split may let through."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from linkwise.data.interactions import Catalogue, Histories, Interactions
from linkwise.data.queries import parse_split, split
from linkwise.errors import InputError, UsageError


def random_log(seed: int = 0, users: int = 40, clock: str = "day", items: int = 30) -> Interactions:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 15, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n = int(offsets[-1])
    times = np.concatenate([np.sort(rng.integers(0, 50, length)) for length in lengths])
    histories = Histories(
        offsets,
        rng.integers(0, items, n).astype(np.int32),
        np.ones(n, dtype=np.float32),
        times.astype(np.int64),
        np.zeros(n, dtype=np.bool_),
    )
    return Interactions(
        users=pl.Series("user", np.arange(users)),
        catalogue=Catalogue(
            pl.Series("id", [f"i{row:02d}" for row in range(items)]),
            pl.Series("title", [None] * items, dtype=pl.String),
        ),
        histories=histories,
        clock=clock,  # type: ignore[arg-type]
        dislikes=np.array([[0, 1], [1, 2]]),
        rated=False,
    )


def events_of(log: Interactions) -> list[tuple[int, str, int]]:
    """(user, item id, time) in order."""
    h = log.histories
    return [
        (int(user), log.catalogue.ids[int(item)], int(time))
        for user, item, time in zip(h.rows, h.items, h.times, strict=True)
    ]


def named(catalogue: Catalogue, items: np.ndarray) -> list[str]:
    return [catalogue.ids[int(item)] for item in items]


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_by_time_equals_a_loop(seed: int, repeats: bool) -> None:
    log = random_log(seed)
    found = split(log, "global-time:0.8", repeats=repeats)
    events = events_of(log)
    cut = sorted(time for *_, time in events)[int(0.8 * len(events))]
    before = [event for event in events if event[2] < cut]
    catalogue = sorted({item for _, item, _ in before})
    assert found.refit.catalogue.ids.to_list() == catalogue
    assert [e[1:] for e in events_of(found.refit)] == [e[1:] for e in before]
    expected = {}
    for user in range(40):
        seen = [item for u, item, _ in before if u == user]
        later = dict.fromkeys(i for u, i, t in events if u == user and t >= cut)
        targets = [item for item in later if repeats or item not in seen]
        if seen and targets:
            expected[user] = (seen, [i for i in targets if i in catalogue], len(targets))
    got = {}
    for q in range(len(found.test)):
        inside = found.test.targets[q] < len(catalogue)
        got[int(found.test.users[q])] = (
            named(found.refit.catalogue, found.test.histories[q]),
            named(found.refit.catalogue, found.test.targets[q][inside]),
            len(found.test.targets[q]),
        )
    assert got == expected
    assert (found.test.targets.times >= cut).all()
    assert (found.train.histories.times < found.validation.targets.times.min()).all()


def test_leave_last_out_equals_a_loop() -> None:
    log = random_log(3, clock="position")
    found = split(log, "leave-last-out")
    sequences = [named(log.catalogue, log.histories[user]) for user in range(40)]
    for q in range(len(found.test)):
        mine = sequences[int(found.test.users[q])]
        names = named(found.refit.catalogue, found.test.histories[q])
        assert names == mine[:-1]
        assert mine[-1] not in mine[:-1]
    trained = [named(found.train.catalogue, found.train.histories[user]) for user in range(40)]
    assert trained == [mine[:-2] for mine in sequences]


@pytest.mark.parametrize(("text", "seen"), [("prefix:3", slice(0, 3)), ("last:4", slice(-4, -1))])
def test_users_are_apart(text: str, seen: slice) -> None:
    log = random_log(4, users=300)
    found = split(log, text)
    learned = {int(user) for user in np.unique(found.train.histories.rows)}
    valid, test = set(found.validation.users.tolist()), set(found.test.users.tolist())
    assert not learned & valid
    assert not learned & test
    assert not valid & test
    known = set(found.refit.catalogue.ids)
    for q in range(len(found.test)):
        mine = named(log.catalogue, log.histories[int(found.test.users[q])])
        assert named(found.refit.catalogue, found.test.histories[q]) == [
            item for item in mine[seen] if item in known
        ]
        (target,) = found.test.targets[q]
        at = 3 if text == "prefix:3" else -1
        assert target == len(known) or found.refit.catalogue.ids[int(target)] == mine[at]


def test_random_is_called_unfit() -> None:
    found = split(random_log(5), "random:0.2")
    assert not found.comparable
    assert "unfit for comparison" in found.words


def test_nothing_from_the_cut_on_reaches_the_models() -> None:
    """Every event from the test on is changed: what is fitted and asked stays the same by a byte."""
    log = random_log(6)
    found = split(log, "global-time:0.8")
    cut = found.test.cutoffs[0]
    late = log.histories.times >= cut
    rng = np.random.default_rng(1)
    items = np.where(late, rng.integers(0, log.n_items, len(late)), log.histories.items)
    other = Histories(
        log.histories.offsets,
        items.astype(np.int32),
        log.histories.scores,
        log.histories.times,
        log.histories.whole,
    )
    again = split(log.with_histories(other), "global-time:0.8")
    for a, b in ((found.train, again.train), (found.refit, again.refit)):
        assert a.histories.items.tobytes() == b.histories.items.tobytes()
        assert a.catalogue.ids.equals(b.catalogue.ids)
        assert np.array_equal(a.dislikes, b.dislikes)
    users = {int(user): q for q, user in enumerate(again.test.users)}
    assert len(users) > 5
    for q, user in enumerate(found.test.users):
        if int(user) in users:
            mine, theirs = found.test.histories[q], again.test.histories[users[int(user)]]
            assert mine.tobytes() == theirs.tobytes()


def test_times_are_needed_for_a_split_by_time() -> None:
    with pytest.raises(UsageError, match="needs the times of the events"):
        split(random_log(clock="position"), "global-time:0.9")


def test_a_log_without_queries_is_refused() -> None:
    log = random_log(users=1)
    one = log.with_histories(Histories.of([[0]]))
    with pytest.raises(InputError, match="leaves 0 queries"):
        split(one, "leave-last-out")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("global-time", ("global-time", 0.9)),
        ("global-time:0.5", ("global-time", 0.5)),
        ("leave-last-out", ("leave-last-out", 0.0)),
        ("prefix:5", ("prefix", 5.0)),
        ("last:7", ("last", 7.0)),
        ("random", ("random", 0.1)),
    ],
)
def test_the_words_of_splits(text: str, parsed: tuple[str, float]) -> None:
    assert parse_split(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "sometimes", "global-time:1", "leave-last-out:2", "prefix:0", "last:1", "last:2.5"]
)
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected global-time:Q"):
        parse_split(text)


def test_rare_items_are_those_before_the_test() -> None:
    """What is chosen in the test decides nothing: a rare item stays out, and is missed as a target."""
    log = random_log(users=12)
    plain = split(log, "global-time:0.8")
    rare = split(log, "global-time:0.8", min_item_users=4)
    before = plain.refit.histories
    users = {item: len({r for r, i in zip(before.rows, before.items, strict=True) if i == item})
             for item in range(plain.refit.n_items)}  # fmt: skip
    ids = plain.refit.catalogue.ids
    assert rare.refit.catalogue.ids.to_list() == [ids[i] for i, n in users.items() if n >= 4]
    assert rare.train.histories.items.max() < rare.refit.n_items
    assert (rare.test.targets.items == rare.refit.n_items).any()
    with pytest.raises(InputError, match="smaller --min-item-users"):
        split(log, "global-time:0.8", min_item_users=100)


def test_newcomers_are_counted() -> None:
    log = random_log(users=12)
    cut = np.sort(log.histories.times)[int(0.8 * len(log.histories.times))]
    found = split(log, "global-time:0.8")
    expected = 0
    for row in range(len(log.users)):
        at = slice(*log.histories.offsets[row : row + 2])
        times = log.histories.times[at]
        expected += bool(len(times)) and bool((times >= cut).all())
    assert found.newcomers == expected
