"""The built-in schemas: Music Box, MovieLens, Sparkify, by hand and on the real sets."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote, unquote_plus

import polars as pl
import pytest
from tests.data.reading import column, read, rows, write

from linkwise.data.bad_rows import BadRows
from linkwise.data.events import from_epoch_day

# The Music Box logs, worked by hand.
PLAYS = (
    "11\tar\t101\t0\t裂心\t林志炫\t254\t255\t0\n"
    '12\tip\t0\t0\t"quoted\tA"B\t0\t100\t1\n'
    "11\tar\t-1\t0\tno singer\t\t\t\t0\n"
    "11\tar\t102\t0\ttoo\tfew\n"
    "11\tar\t103\t0\tx\ty\tabc\t200\t0\n"
)


def music_box(folder: Path) -> Path:
    write(folder / "20170330_play.log", PLAYS)
    write(folder / "20170401_play.log.gz", gzip.compress(b"11\tar\t104\t0\tx\ty\t1\t2\t0\n"))
    write(folder / "20170331_down.log", "12\tip\t101\t裂心\t林志炫\t0\n")
    query = quote("韩红 100%")
    write(
        folder / "20170330_search.log",
        f"11\tar\t2017-03-30 00:00:08\t{query}\n12\tar\t2017-03-30 01:00:00\t%FF+a\n",
    )
    write(folder / "truth.parquet", b"PAR1")
    write(folder / "notes.log", "not a log")
    return folder


def test_music_box_logs_by_hand(tmp_path: Path) -> None:
    events = read(music_box(tmp_path), schema="music-box")
    assert events.bad_rows == (
        BadRows("play: wrong number of fields", 1, None),
        BadRows("play: play_time unreadable", 1, 1),
    )
    assert not events.has_clock
    found = [
        tuple(
            row.get(name)
            for name in ("event", "user", "item", "day", "duration", "length", "paid", "text")
        )
        for row in rows(events)
    ]
    assert found == [
        ("play", "11", "101", 17255, 254_000, 255_000, False, "裂心 - 林志炫"),
        ("play", "12", None, 17255, 0, 100_000, True, '"quoted - A"B'),
        ("play", "11", None, 17255, None, None, False, "no singer"),
        ("play", "11", "104", 17257, 1000, 2000, False, "x - y"),
        ("download", "12", "101", 17256, None, None, False, "裂心 - 林志炫"),
        ("search", "11", None, 17255, None, None, None, "韩红 100%"),
        ("search", "12", None, 17255, None, None, None, None),
    ]


def test_music_box_searches_alone_have_a_clock(tmp_path: Path) -> None:
    path = music_box(tmp_path) / "20170330_search.log"
    events = read(path, schema="music-box")
    assert column(events, "time") == [datetime(2017, 3, 30, 0, 0, 8), datetime(2017, 3, 30, 1)]
    undated = write(tmp_path / "play_sample.log", PLAYS)
    assert read(undated, schema="music-box", date="2017-03-30").first_day == 17255


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.dat", "1::31::2.5::1260759144\n2::1029::4::1260759179\n"),
        ("u.data", "1\t31\t2.5\t1260759144\n2\t1029\t4\t1260759179\n"),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,1029,4.0,1260759179\n",
        ),
    ],
)
def test_movielens_in_each_of_its_forms(name: str, content: str, tmp_path: Path) -> None:
    write(tmp_path / name, content)
    write(tmp_path / "movies.dat", "31::Caf\xe9 (1995)::Drama\n".encode("latin1"))
    write(tmp_path / "README.txt", "Summary\n")
    found = rows(read(tmp_path, schema="movielens"))
    stamps = [datetime.fromtimestamp(s, UTC).replace(tzinfo=None) for s in (1260759144, 1260759179)]
    assert found == [
        {"user": user, "item": item, "event": "rating", "day": 14592, "time": time, "value": value}
        for user, item, time, value in zip("12", ("31", "1029"), stamps, (250, 400), strict=True)
    ]


def test_movielens_parquet_has_plain_names() -> None:
    ratings = pl.DataFrame(
        {"user": [1], "movie": [5], "rating": [4], "timestamp": [978300760], "sas_pos": [9]}
    )
    assert rows(read(ratings, schema="movielens")) == [
        {
            "user": 1,
            "item": 5,
            "event": "rating",
            "day": 11322,
            "time": datetime(2000, 12, 31, 22, 12, 40),
            "position": 9,
            "value": 400,
        }
    ]


def test_positions_stand_in_for_times_that_are_not_known(tmp_path: Path) -> None:
    log = "who,place,what,when\nb,2,x,2024-01-02\na,7,y,\na,,z,2024-01-02\nb,1,v,2024-01-01\n"
    path = write(tmp_path / "a.csv", log)
    options = {"user": "who", "position": "place", "item": "what", "on_bad_row": "skip"}
    events = read(path, time=None, **options)
    assert [(row["user"], row["position"], row["item"]) for row in rows(events)] == [
        ("b", 2, "x"),
        ("a", 7, "y"),
        ("b", 1, "v"),
    ]
    assert not events.has_days
    assert events.columns == {"user", "event", "item", "position"}
    assert events.bad_rows == (BadRows("events: place unreadable", 1, 1),)
    dated = read(path, time="when", **options)
    assert not dated.has_days  # one of the rows that stay has no day
    assert dated.bad_rows == events.bad_rows
    assert read(path, user="who", time="when", on_bad_row="skip").has_days


def test_sparkify_pages(tmp_path: Path) -> None:
    page = {
        "userId": "39",
        "song": "S",
        "ts": 1541105830796,
        "page": "NextSong",
        "length": 218.93,
        "level": "paid",
        "artist": "A",
    }
    other = page | {"page": "Home", "song": None, "length": None, "level": "free", "artist": None}
    path = write(tmp_path / "a.json", f"{json.dumps(page)}\n{json.dumps(other)}\n")
    moment = datetime(2018, 11, 1, 20, 57, 10, 796_000)
    common = {"user": "39", "day": 17836, "time": moment}
    found = rows(read(path, schema="sparkify", rename_event=("Home=start",)))
    assert found == [
        common | {"item": "S", "event": "play", "length": 218_930, "paid": True, "text": "A"},
        common | {"item": None, "event": "start", "length": None, "paid": False, "text": None},
    ]


@pytest.mark.real_data
class TestRealData:
    """The real sets, against what their descriptions say and plain readers count."""

    def test_music_box_sample(self, shared_data: Path) -> None:
        folder = shared_data / "music_box_sample"
        events = read(folder, schema="music-box", date="2017-03-30")
        assert events.bad_rows == (
            BadRows("play: wrong number of fields", 3, None),
            BadRows("play: play_time unreadable", 3, 3),
            BadRows("download: wrong number of fields", 8, None),
        )
        expected: list[tuple[str, ...]] = []
        for kind, name, fields in (
            ("play", "play", 9),
            ("download", "down", 6),
            ("search", "search", 4),
        ):
            for line in (folder / f"{name}_sample.log").read_text("utf-8").split("\n"):
                row = line.split("\t")
                if len(row) != fields or (kind == "play" and not row[6].lstrip("-").isdigit()):
                    continue
                user, text = row[0].strip(), unquote_plus(row[3]) if kind == "search" else ""
                expected.append((kind, user, text.strip()))
        found = rows(events)
        assert len(found) == events.n_rows == 3000 - 3 - 3 - 8
        searches = [r for r in found if r["event"] == "search"]
        assert [(r["event"], r["user"]) for r in found] == [row[:2] for row in expected]
        assert [r["text"] or "" for r in searches] == [row[2] for row in expected[-len(searches) :]]

    def test_cdnow(self, shared_data: Path) -> None:
        path = shared_data / "cdnow" / "cdnow.parquet"
        events = read(path, user="customer", time="date", value="amount")
        assert (events.n_rows, events.n_users) == (69_659, 23_570)
        assert from_epoch_day(events.first_day) == date(1997, 1, 1)
        assert from_epoch_day(events.last_day) == date(1998, 6, 30)
        assert not events.has_clock
        stored = pl.read_parquet(path)
        assert column(events, "value") == [round(v * 100) for v in stored["amount"]]

    def test_sparkify(self, shared_data: Path) -> None:
        path = shared_data / "sparkify-log-2018-11" / "events-2018-11.parquet"
        events = read(path, schema="sparkify", on_bad_row="skip")
        assert events.n_rows + 286 == 8_056
        assert events.bad_rows == (BadRows("events: userId unreadable", 286, 0),)
        plays = pl.read_parquet(path).filter(
            (pl.col("userId") != "") & (pl.col("page") == "NextSong")
        )
        assert column(events, "event").count("play") == plays.height

    def test_movielens_small(self, shared_data: Path) -> None:
        events = read(shared_data / "ml-latest-small-2016", schema="movielens")
        assert (events.n_rows, events.n_users) == (100_004, 671)
        assert from_epoch_day(events.first_day) == date(1995, 1, 9)
        assert from_epoch_day(events.last_day) == date(2016, 10, 16)

    def test_movielens_1m(self, shared_data: Path) -> None:
        path = shared_data / "ml-1m" / "ratings.parquet"
        events = read(path, schema="movielens")
        stored = pl.read_parquet(path)
        known = stored.filter(pl.col("sas_pos").is_not_null())
        assert (events.n_rows, events.n_users) == (999_611, known["user"].n_unique())
        assert events.bad_rows[0].rows == 1_000_209 - 999_611
        assert not events.has_days
