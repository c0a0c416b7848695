"""Events as histories of row numbers, against loops over the rows."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.data.reading import read, write

from linkwise.data.interactions import Interactions, InteractionsConfig, read_interactions
from linkwise.data.items import find_titles, read_titles
from linkwise.errors import InputError

NAMES = {"user": "user", "time": "time", "item": "item", "event": "event"}
PLAYS = NAMES | {"duration": "played", "length": "length"}


def log(rows: list[tuple[Any, ...]], columns: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=columns, orient="row")


def sequences(found: Interactions) -> dict[Any, list[tuple[Any, float]]]:
    """Each user's items, with their scores, in order."""
    return {
        user: [
            (found.catalogue.ids[int(item)], float(score))
            for item, score in zip(
                found.histories[row],
                found.histories.slice(row, row + 1).scores,
                strict=True,
            )
        ]
        for row, user in enumerate(found.users)
    }


def test_scores_of_plays_downloads_and_likes() -> None:
    """Thresholds of the played share belong to the higher score; what cannot be told is a 1."""
    day = date(2024, 1, 1)
    played = [
        (0, 5),
        (1, 5),
        (19, 100),
        (20, 100),
        (39.9, 100),
        (40, 100),
        (60, 100),
        (79.999, 100),
    ]
    played += [(80, 100), (300, 100), (None, 100), (50, None), (50, 0), (-5, 100)]
    wanted = [1, 2, 1, 2, 2, 3, 4, 4, 5, 5, 1, 1, 1, 1]
    rows = [("a", day, f"s{i:02d}", "play", a, b) for i, (a, b) in enumerate(played)]
    rows += [("a", day, "t1", "Download", None, None), ("a", day, "t2", "playlist", None, None)]
    columns = ("user", "time", "item", "event", "played", "length")
    found = read_interactions(read(log(rows, columns), **PLAYS))
    scores = [score for _, score in sequences(found)["a"]]
    assert scores == [*wanted, 5, 5]
    assert found.histories.whole.tolist() == [False] * len(wanted) + [True, True]
    assert found.rated


def test_histories_are_in_the_order_of_time_then_of_the_log() -> None:
    rng = random.Random(1)
    start = datetime(2024, 1, 1)
    rows = [
        (rng.randrange(9), start + timedelta(hours=rng.randrange(30)), f"i{rng.randrange(12)}", n)
        for n in range(400)
    ]
    frame = log(rows, ("user", "time", "item", "n"))
    found = read_interactions(read(frame, user="user", time="time", item="item"))
    assert found.clock == "time"
    for user, items in sequences(found).items():
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: (row[1], row[3]))
        assert items == [(row[2], 1.0) for row in mine]
    assert found.catalogue.ids.to_list() == sorted({row[2] for row in rows})
    assert not found.rated
    assert found.histories.times[0] % 3_600_000_000 == 0


def test_positions_go_before_times() -> None:
    rows = [("a", 3, "x"), ("a", 1, "y"), ("b", 7, "x"), ("a", 2, "z")]
    frame = log(rows, ("user", "place", "item"))
    found = read_interactions(read(frame, user="user", time=None, position="place", item="item"))
    assert found.clock == "position"
    assert [item for item, _ in sequences(found)["a"]] == ["y", "z", "x"]


def test_events_without_a_value_are_choices_still() -> None:
    """A log of ratings and plays: stars where there are some, else one, unless stars are asked for."""
    day = date(2024, 1, 1)
    rows = [
        ("a", day, "x", "rating", 4.0),
        ("a", day, "y", "play", None),
        ("b", day, "y", "rating", 2.0),
    ]
    events = read(log(rows, ("user", "time", "item", "event", "value")), **NAMES, value="value")
    assert sequences(read_interactions(events)) == {
        "a": [("x", 4.0), ("y", 1.0)],
        "b": [("y", 2.0)],
    }
    only = read_interactions(events, InteractionsConfig(rating="value"))
    assert sequences(only) == {"a": [("x", 4.0)], "b": [("y", 2.0)]}


def test_stars_are_taken_as_they_are() -> None:
    rows = [("a", date(2024, 1, n), f"m{n}", star) for n, star in ((1, 3.5), (2, None), (3, 0.5))]
    frame = log(rows, ("userId", "timestamp", "movieId", "rating"))
    options = {"user": "userId", "time": "timestamp", "item": "movieId", "value": "rating"}
    found = read_interactions(read(frame, **options), InteractionsConfig(rating="value"))
    assert sequences(found) == {"a": [("m1", 3.5), ("m3", 0.5)]}
    liked = InteractionsConfig(rating="value", min_rating=1)
    assert sequences(read_interactions(read(frame, **options), liked)) == {"a": [("m1", 3.5)]}


def test_dislikes_are_no_choices() -> None:
    day = date(2024, 1, 1)
    rows = [
        ("a", day, "x", "play"), ("a", day, "y", "play"), ("a", day, "x", "dislike"),
        ("b", day, "x", "Thumbs Down"), ("b", day, "y", "play"), ("c", day, "z", "dislike"),
        ("b", day, "z", "dislike"),
    ]  # fmt: skip
    found = read_interactions(read(log(rows, ("user", "time", "item", "event")), **NAMES))
    assert sequences(found) == {"a": [("x", 1.0), ("y", 1.0)], "b": [("y", 1.0)]}
    assert found.dislikes.tolist() == [[0, 0], [1, 0]]  # nobody chose z, and c chose nothing


def test_kinds_may_be_left_out() -> None:
    day = date(2024, 1, 1)
    rows = [
        ("a", day, "x", "play"), ("b", day, "x", "play"), ("a", day, "y", "play"),
        ("a", day, "y", "play"), ("b", day, "z", "view"),
    ]  # fmt: skip
    events = read(log(rows, ("user", "time", "item", "event")), **NAMES)
    only = read_interactions(events, InteractionsConfig(kinds=("play",)))
    assert only.catalogue.ids.to_list() == ["x", "y"]
    assert sequences(only) == {"a": [("x", 1.0), ("y", 1.0), ("y", 1.0)], "b": [("x", 1.0)]}
    with pytest.raises(InputError, match="no event of the log names an item that counts"):
        read_interactions(events, InteractionsConfig(min_rating=9))


def test_ids_may_be_integers_or_uuids() -> None:
    day = date(2024, 1, 1)
    uuid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    for item in (7, uuid):
        frame = log([(1, day, item), (2, day, item)], ("user", "time", "item"))
        found = read_interactions(read(frame, user="user", time="time", item="item"))
        assert found.catalogue.ids.to_list() == [item]
        assert found.catalogue.rows == {item: 0}


def test_a_log_without_items_is_refused() -> None:
    frame = log([("a", date(2024, 1, 1))], ("user", "time"))
    with pytest.raises(InputError, match="Name their column with --item"):
        read_interactions(read(frame, user="user", time="time"))


def test_titles(tmp_path: Path) -> None:
    day = date(2024, 1, 1)
    frame = log(
        [("a", day, 1, "Old"), ("a", day, 2, "B"), ("a", day, 2, "A")],
        ("user", "time", "item", "t"),
    )
    events = read(frame, user="user", time="time", item="item", text="t")
    assert read_interactions(events).catalogue.titles.to_list() == ["Old", "A"]
    films = write(
        tmp_path / "movies.dat", "1::Amélie (2001)::Comedy\n3::Other::X\n".encode("latin-1")
    )
    given = read_titles(films)
    assert read_interactions(events, titles=given).catalogue.titles.to_list() == [
        "Amélie (2001)",
        "A",
    ]
    assert find_titles([tmp_path / "ratings.dat"]) == films
    assert find_titles([tmp_path / "deeper" / "ratings.dat"]) is None
    table = write(tmp_path / "t.csv", "movieId,title,genres\n1,Toy,x\n")
    assert read_titles(table).rows() == [("1", "Toy")]
    with pytest.raises(InputError, match="expected two columns"):
        read_titles(write(tmp_path / "one.csv", "id\n1\n"))
    with pytest.raises(InputError, match="this is no table of titles"):
        read_titles(tmp_path / "nothing.parquet")


def test_parts_of_histories() -> None:
    rows = [("a", date(2024, 1, n), n) for n in range(1, 6)] + [("b", date(2024, 1, 1), 9)]
    frame = log(rows, ("user", "time", "item"))
    histories = read_interactions(read(frame, user="user", time="time", item="item")).histories
    last = histories.last(2)
    assert [last[row].tolist() for row in range(2)] == [[3, 4], [5]]
    turned = histories.take(np.array([1, 0, 1]))
    assert [turned[row].tolist() for row in range(3)] == [[5], [0, 1, 2, 3, 4], [5]]
    odd = histories.where(histories.items % 2 == 1)
    assert [odd[row].tolist() for row in range(2)] == [[1, 3], [5]]
    assert histories.slice(1, 2)[0].tolist() == [5]


@pytest.mark.real_data
def test_movielens_1m_in_the_order_of_its_positions(shared_data: Path) -> None:
    path = shared_data / "ml-1m"
    found = read_interactions(
        read(path, schema="movielens"), titles=read_titles(path / "movies.dat")
    )
    assert (len(found.users), found.n_items, len(found.histories.items)) == (6040, 3416, 999_611)
    stored = pl.read_parquet(path / "ratings.parquet").drop_nulls("sas_pos")
    for user in (1, 4242, 6040):
        mine = stored.filter(pl.col("user") == user).sort("sas_pos", maintain_order=True)
        row = found.users.index_of(user)
        assert row is not None
        items = found.catalogue.ids.gather(found.histories[row])
        assert items.to_list() == mine["movie"].to_list()
    assert found.catalogue.titles[0] == "Toy Story (1995)"
