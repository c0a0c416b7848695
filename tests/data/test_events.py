"""Reading logs: every form gives the same events, times are cut into days in the zone that was asked for."""

from __future__ import annotations

import csv
import gc
import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus
from zoneinfo import ZoneInfo

import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.data.reading import ONE, column, read, rows, write

import linkwise.data
from linkwise.data.bad_rows import BadRows
from linkwise.data.engine import EngineConfig, collect
from linkwise.data.events import epoch_day, from_epoch_day, read_events
from linkwise.data.schema import InputConfig
from linkwise.data.splits import sample_limit
from linkwise.errors import UsageError

NAMES = {
    "user": "who",
    "item": "what",
    "time": "when",
    "event": "kind",
    "duration": "spent",
    "length": "long",
    "value": "paid",
    "device": "on",
    "paid": "plan",
    "text": "title",
}
# id, item, time, kind, seconds, seconds, money, device, plan, title
RECORDS = [
    ("007", "i1", "2017-03-30 23:59:59", "play", "1.5", "200", "9.99", "ar", "1", "A, B"),
    ("7", "i2", "2017-03-31 00:00:00", "play", "0", "200.0004", "-3", "ip", "Premium", 'say "x"'),
    ("<b>é</b>", "", "2017-03-31 00:00:01", "search", "", "", "", "", "no", "two\nlines"),
    ("o'c", "i1", "2017-04-01 12:00:00", "save", "-2", "1e2", "1000000.004", "ar", "", "tab\there"),
]
EXPECTED = [
    ("007", "i1", "play", 17255, "2017-03-30 23:59:59", 1500, 200000, 999, "ar", True, "A, B"),
    ("7", "i2", "play", 17256, "2017-03-31 00:00:00", 0, 200000, -300, "ip", True, 'say "x"'),
    (
        "<b>é</b>",
        None,
        "search",
        17256,
        "2017-03-31 00:00:01",
        None,
        None,
        None,
        None,
        False,
        "two\nlines",
    ),
    (
        "o'c",
        "i1",
        "save",
        17257,
        "2017-04-01 12:00:00",
        -2000,
        100000,
        100000000,
        "ar",
        False,
        "tab\there",
    ),
]
ORDER = (
    "user",
    "item",
    "event",
    "day",
    "time",
    "duration",
    "length",
    "value",
    "device",
    "paid",
    "text",
)


def delimited(delimiter: str, end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([NAMES.values(), *RECORDS])
    return out.getvalue().encode()


def frame() -> pl.DataFrame:
    """The records with types of their own."""
    seconds = ("spent", "long", "paid")
    text = pl.DataFrame(RECORDS, schema=list(NAMES.values()), orient="row")
    return text.with_columns(
        pl.col("when").str.to_datetime(),
        *(pl.col(name).replace("", None).cast(pl.Float64) for name in seconds),
        pl.col("plan").is_in(["1", "Premium"]),
        pl.col("kind", "on").cast(pl.Categorical),
    )


def as_json() -> bytes:
    numbers = {"spent", "long", "paid"}
    records = [
        {
            name: (float(value) if value else None) if name in numbers else value
            for name, value in zip(NAMES.values(), record, strict=True)
        }
        for record in RECORDS
    ]
    return "".join(json.dumps({"more": {"a": [1]}} | r) + "\n" for r in records).encode()


def sources(folder: Path) -> dict[str, Any]:
    frame().write_parquet(folder / "log.parquet")
    zstd = pa.compress(delimited(","), codec="zstd", asbytes=True)
    files = {
        "log.csv": delimited(","),
        "quoted.csv": delimited(",", quoting=csv.QUOTE_ALL),
        "crlf.CSV": b"\xef\xbb\xbf" + delimited(",", "\r\n"),
        "log.tsv": delimited("\t"),
        "semicolon.csv": delimited(";"),
        "bar.txt": delimited("|"),
        "log.csv.gz": gzip.compress(delimited(",")),
        "log.csv.zst": bytes(zstd),
        "log.jsonl": as_json(),
        "bom.ndjson": b"\xef\xbb\xbf" + as_json(),
        "log.json.gz": gzip.compress(as_json()),
    }
    paths: dict[str, Any] = {name: write(folder / name, text) for name, text in files.items()}
    return paths | {
        "log.parquet": folder / "log.parquet",
        "polars": frame(),
        "lazy": frame().lazy(),
        "arrow": frame().to_arrow(),
        "pandas": frame().to_pandas(),
        "pandas zoned": frame().to_pandas().assign(when=lambda f: f["when"].dt.tz_localize("UTC")),
    }


SOURCES = ["log.csv", "quoted.csv", "crlf.CSV", "log.tsv", "semicolon.csv", "bar.txt", "log.csv.gz"]
SOURCES += [
    "log.csv.zst",
    "log.jsonl",
    "bom.ndjson",
    "log.json.gz",
    "log.parquet",
    "polars",
    "lazy",
]
SOURCES += ["arrow", "pandas", "pandas zoned"]


@pytest.mark.parametrize("name", SOURCES)
def test_every_form_of_a_log_gives_the_same_events(name: str, tmp_path: Path) -> None:
    events = read(sources(tmp_path)[name], **NAMES)
    found = [tuple(row[name] for name in ORDER) for row in rows(events)]
    assert [(*row[:4], str(row[4]), *row[5:]) for row in found] == EXPECTED
    assert (events.n_rows, events.n_users) == (4, 4)
    assert (events.first_day, events.last_day, events.end_day) == (17255, 17257, 17258)
    assert events.kinds == ("play", "save", "search")
    assert events.has_clock
    assert events.bad_rows == ()
    assert events.columns == set(ORDER)


def test_the_public_names_are_there_and_cost_nothing_until_used() -> None:
    assert linkwise.data.read_events is read_events
    assert linkwise.data.InputConfig is InputConfig
    assert linkwise.data.Events.__module__ == "linkwise.data.events"
    code = (
        "import sys, linkwise.data; "
        "sys.exit(bool({'duckdb', 'polars', 'pyarrow', 'narwhals', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute"):
        _ = linkwise.data.no_such_name


def test_days_and_dates() -> None:
    for day in (date(1970, 1, 1), date(2017, 3, 30), date(1901, 2, 3)):
        assert from_epoch_day(epoch_day(day)) == day
    assert epoch_day(date(1970, 1, 2)) == 1


# Zones with daylight saving, with halves and quarters of an hour, and one that left out a whole day.
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
ZONES += ["Pacific/Apia"]


def instants() -> list[datetime]:
    """Moments about the midnights and the changes of clocks of those zones, to the millisecond."""
    rng = random.Random(4)
    around = [
        datetime(2017, 3, 25, 23, tzinfo=UTC),
        datetime(2017, 10, 29, 1, tzinfo=UTC),
        datetime(2017, 3, 12, 7, tzinfo=UTC),
        datetime(2011, 12, 30, 10, tzinfo=UTC),
        datetime(2017, 12, 31, 23, 59, 59, tzinfo=UTC),
    ]
    hours = 48 * 3600 * 1000
    return [at + timedelta(milliseconds=rng.randrange(-hours, hours)) for at in around * 20]


@pytest.mark.parametrize("zone", ZONES)
def test_moments_are_converted_to_the_zone(zone: str, tmp_path: Path) -> None:
    moments = instants()
    expected = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in moments]
    offset = ZoneInfo("Asia/Kolkata")
    written = {
        "ms": [str(round(at.timestamp() * 1000)) for at in moments],
        "s": [f"{at.timestamp():.3f}" for at in moments],
        "z": [at.isoformat(timespec="milliseconds").replace("+00:00", "Z") for at in moments],
        "offset": [at.astimezone(offset).isoformat(" ", "milliseconds") for at in moments],
        "utc": [f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC" for at in moments],
    }
    lines = [",".join(values) for values in zip(*written.values(), strict=True)]
    path = write(tmp_path / "a.csv", "\n".join([",".join(written), *lines]))
    for name in written:
        events = read(path, user="ms", time=name, timezone=zone)
        assert column(events, "time") == expected, name
        assert column(events, "day") == [epoch_day(at.date()) for at in expected], name
    typed = pl.DataFrame({"user": range(len(moments)), "time": moments})
    assert column(read(typed, timezone=zone), "time") == expected


def test_stamps_without_a_zone_are_read_in_it(tmp_path: Path) -> None:
    stamps = [
        "2017-03-26 02:30:00",
        "2017/03/26 23:59",
        "2017-3-5T1:02:03.5",
        "2017-10-29 02:30:00",
    ]
    path = write(tmp_path / "a.csv", "\n".join(["user,time", *(f"a,{s}" for s in stamps)]))
    expected = [
        datetime(2017, 3, 26, 2, 30),  # skipped by the clocks of Paris, and yet what was written
        datetime(2017, 3, 26, 23, 59),
        datetime(2017, 3, 5, 1, 2, 3, 500_000),
        datetime(2017, 10, 29, 2, 30),
    ]
    for zone in ("UTC", "Europe/Paris"):
        assert column(read(path, timezone=zone), "time") == expected


def test_stamps_with_and_without_an_offset_may_be_mixed(tmp_path: Path) -> None:
    log = "user,time\na,2017-03-30 23:30:00\na,2017-03-30T23:30:00Z\na,2017-03-31\n"
    log += "a,2017-03-30 23:30:00-0500\n"
    found = column(read(write(tmp_path / "a.csv", log), timezone="Europe/Paris"), "time")
    assert found == [
        datetime(2017, 3, 30, 23, 30),
        datetime(2017, 3, 31, 1, 30),
        datetime(2017, 3, 31),
        datetime(2017, 3, 31, 6, 30),
    ]


def test_the_zone_of_the_machine_is_of_no_consequence(tmp_path: Path) -> None:
    log = "user,time\na,2017-03-30 23:30:00\na,2017-03-30T23:30:00Z\n"
    path = write(tmp_path / "a.csv", log)
    code = (
        "from linkwise.data import read_events; from linkwise.data.engine import collect; "
        f"print(collect(read_events({str(path)!r}, user='user', time='time').frame)['time'].to_list())"
    )
    expected = f"{[datetime(2017, 3, 30, 23, 30)] * 2}\n"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == expected, ran.stderr


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (None, ["2017-03-30", "2017/3/5"]),
        (None, ["20170330", "20170305"]),
        ("%d/%m/%Y", ["30/03/2017", "5/3/2017"]),
        ("%d.%m.%y", ["30.03.17", "05.03.17"]),
    ],
)
def test_dates_alone_are_no_clock(form: str | None, values: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\n".join(["user,time", *(f"a,{v}" for v in values)]))
    events = read(path, time_format=form, timezone="Asia/Tokyo")
    assert not events.has_clock
    assert rows(events) == [
        {"user": "a", "event": "event", "day": epoch_day(date(2017, 3, day))} for day in (30, 5)
    ]


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("%d/%m/%Y %H:%M", "30/03/2017 23:45", datetime(2017, 3, 30, 23, 45)),
        ("%b %d, %Y at %I:%M %p", "Mar 30, 2017 at 11:05 PM", datetime(2017, 3, 30, 23, 5)),
        ("%d/%b/%Y:%H:%M:%S %z", "30/Mar/2017:23:45:00 +0000", datetime(2017, 3, 31, 1, 45)),
        ("it's %Y-%m-%d %H", "it's 2017-03-30 07", datetime(2017, 3, 30, 7)),
        (None, "20170330074500", datetime(2017, 3, 30, 7, 45)),
    ],
)
def test_a_format_may_be_given(
    form: str | None, value: str, expected: datetime, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tsv", f"user\ttime\na\t{value}\n")
    assert column(read(path, time_format=form, timezone="Europe/Paris"), "time") == [expected]


@pytest.mark.parametrize("share", [0.03, 0.5])
def test_a_sample_keeps_the_same_users_everywhere(share: float, tmp_path: Path) -> None:
    users = [*map(str, range(1, 300)), "é☃", " padded ", "o'c"]
    limit = int(share * 2**128)
    kept = [
        u.strip() for u in users if int(hashlib.md5(u.strip().encode()).hexdigest(), 16) < limit
    ]
    assert 0 < len(kept) < len(users)
    log = "user\ttime\n" + "".join(f"{user}\t2017-03-30\n" for user in users)
    assert column(read(write(tmp_path / "a.tsv", log), sample=share), "user") == kept
    numbers = pl.DataFrame({"user": range(1, 300), "time": [date(2017, 3, 30)] * 299})
    found = column(read(numbers, sample=share), "user")
    assert found == [int(user) for user in kept if user.isdigit()]
    assert sample_limit(share) == f"{limit:032x}"


def test_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    ids = [
        "007",
        "7",
        "7.0",
        "1e3",
        "0x1F",
        "NULL",
        "nan",
        "true",
        "用户",
        "a\u202eb",
        "<b>",
        "--",
        "a  b",
    ]
    ids += ["' OR 1=1; --", "9" * 30, "-0", "=cmd()", "\\N", "a\\tb"]
    text = "user,item,time\n" + "".join(f"{i},{i},2017-03-30\n" for i in ids)
    events = read(write(tmp_path / "a.csv", text), item="item")
    assert column(events, "user") == column(events, "item") == ids
    lines = "".join(json.dumps({"user": i, "time": "2017-03-30"}) + "\n" for i in ids)
    assert column(read(write(tmp_path / "a.jsonl", lines)), "user") == ids
    whole = write(tmp_path / "b.jsonl", '{"user": 12345678901234567890123, "time": "2017-03-30"}\n')
    assert column(read(whole), "user") == ["12345678901234567890123"]


def test_ids_of_frames_keep_their_types() -> None:
    day = [date(2017, 3, 30)] * 3
    for values, expected in [
        (pd.array([3, 1, 2], dtype="Int64"), [3, 1, 2]),
        (pd.Series([3.0, 1.0, 2.0]), [3, 1, 2]),  # whole numbers as pandas keeps them beside a NaN
        (pd.Series([3.5, 1.0, 2.0]), ["3.5", "1.0", "2.0"]),
        (pd.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        (pd.array(["007", "7", "é"], dtype="string"), ["007", "7", "é"]),
    ]:
        assert column(read(pd.DataFrame({"user": values, "time": day})), "user") == expected
    some = pd.DataFrame({"user": [1, 1, 2], "item": [5.0, float("nan"), 6.0], "time": day})
    assert column(read(some, item="item"), "item") == [5, None, 6]


def test_missing_numbers_are_missing_whatever_the_frame_calls_them() -> None:
    values = [1.5, float("nan"), None]
    data = {"user": [1, 2, 3], "time": [date(2017, 3, 30)] * 3, "spent": values}
    for given in (pl.DataFrame(data), pl.LazyFrame(data), pd.DataFrame(data)):
        assert column(read(given, duration="spent"), "duration") == [1500, None, None]


def test_rows_keep_the_order_of_the_files(tmp_path: Path) -> None:
    n = 40_000
    for name, start in (("20170330.csv", 0), ("20170331.csv", n), ("20170401.csv", 2 * n)):
        lines = "".join(f"{i},{i % 97}\n" for i in range(start, start + n))
        write(tmp_path / name, "item,user\n" + lines)
    events = read_events(
        tmp_path, user="user", item="item", time="@file", engine=EngineConfig(threads=2)
    )
    found = collect(events.frame)
    assert found["item"].to_list() == [str(i) for i in range(3 * n)]
    assert found["day"].to_list() == [17255] * n + [17256] * n + [17257] * n
    assert events.n_users == 97


def test_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    rng = random.Random(5)
    log = [(rng.choice("abcdef"), rng.choice(["x", "x", "y", "z"])) for _ in range(300)]
    text = "user,kind,time\n" + "".join(
        f"{u},{k},2017-03-{1 + i % 28}\n" for i, (u, k) in enumerate(log)
    )
    events = read(write(tmp_path / "a.csv", text), event="kind", rename_event=("x=play", "y=o'c"))
    names = {"x": "play", "y": "o'c", "z": "z"}
    counted = Counter(names[kind] for _, kind in log)
    assert events.kinds == tuple(sorted(counted, key=lambda kind: (-counted[kind], kind)))
    assert events.n_rows == 300
    assert events.n_users == len({user for user, _ in log})


def test_polars_reads_what_duckdb_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", delimited(","))
    found = read_events(path, engine=EngineConfig(engine="polars", threads=1), **NAMES)
    assert collect(found.frame).equals(collect(read(path, **NAMES).frame))


def test_a_frame_outlives_its_events_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", "user,time\na,2017-03-30\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    derived = read(path).frame.filter(nw.col("user") == "a")
    gc.collect()
    assert len(list(scratch.iterdir())) == 1
    assert collect(derived).height == 1
    del derived
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_folder_is_used_again_only_for_the_same_log(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,time\na,2017-03-30\n")
    folder = tmp_path / "work"

    def staged() -> int:
        return (folder / "events" / "staged.json").stat().st_mtime_ns

    assert read(path, folder=folder).n_rows == 1
    first = staged()
    assert read(path, folder=folder).n_rows == 1
    assert staged() == first
    write(path, "user,time\na,2017-03-30\nb,2017-03-31\n")
    assert read(path, folder=folder).n_rows == 2
    assert read(path, folder=folder, user="time", time="time").n_users == 2
    assert column(read(path, folder=folder, user="time", time="time"), "user")[1] == "2017-03-31"
    other = write(tmp_path / "b.csv", "user,time\nz,2017-03-30\n")
    assert column(read(other, folder=folder), "user") == ["z"]


def test_options_go_over_a_config(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,time,id\na,2017-03-30,1\nb,x,2\n")
    config = InputConfig(user="user", time="time")
    assert column(read_events(path, config, engine=ONE, user="id", on_bad_row="skip"), "user") == [
        "1"
    ]
    with pytest.raises(UsageError, match="sample is"):
        read_events(path, config, sample=7)
    with pytest.raises(UsageError, match='there is no option "usr"; the options are schema, user'):
        read_events(path, config, usr="a")
    assert read_events(
        write(tmp_path / "play.log", b"1\tar\t5\t0\tx\ty\t3\t4\t0\n"),
        InputConfig(),
        schema="music-box",
        date="2017-03-30",
        engine=ONE,
    ).columns >= {"duration", "paid"}


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    names = [
        'us""er',
        "ti,me",
        "bad",
        "filename",
        "@file",
        "@raw user",
        "bad_value",
        "sp ace",
        "a'b",
        "day",
    ]
    header = ",".join(f'"{name}"' for name in names)
    path = write(tmp_path / "a.csv", f"{header}\na,2017-03-30,b,c,d,e,f,g,h,i\n")
    found = rows(
        read(
            path,
            user='us"er',
            time="ti,me",
            event="bad",
            item="filename",
            device="@raw user",
            text="a'b",
        )
    )
    assert found == [
        {"user": "a", "item": "c", "event": "b", "day": 17255, "device": "e", "text": "h"}
    ]
    frame = pl.DataFrame(
        [["a"], ["2017-03-30"], ["b"], [5]], schema=["filename", "bad", "day", "file_row_number"]
    )
    found = rows(read(frame, user="filename", time="bad", item="day", text="file_row_number"))
    assert found == [{"user": "a", "item": "b", "event": "event", "day": 17255, "text": "5"}]
    line = json.dumps({"a'b\"c": "x", "@timestamp": "2017-03-30", "a.b": "y"})
    log = write(tmp_path / "a.jsonl", line + "\n")
    assert rows(read(log, user="a'b\"c", time="@timestamp", item="a.b")) == [
        {"user": "x", "item": "y", "event": "event", "day": 17255}
    ]


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
            "value": 400,
        }
    ]


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
        events = read(path, schema="movielens", on_bad_row="skip")
        stored = pl.read_parquet(path)
        known = stored.filter(pl.col("timestamp").is_not_null())
        assert (events.n_rows, events.n_users) == (490_691, known["user"].n_unique())
        assert events.bad_rows[0].rows == 1_000_209 - 490_691
