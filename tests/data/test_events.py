"""Reading logs: every form gives the same events, times are cut into days in the zone that was asked for."""

from __future__ import annotations

import csv
import gc
import gzip
import hashlib
import io
import json
import random
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.data.reading import ONE, column, read, rows, write

import linkwise.data
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


def test_a_music_log_keeps_its_order(music: Path) -> None:
    """On more than one thread, too: within a day it is the only order that there is."""
    events = read_events(music, schema="music-box", engine=EngineConfig(threads=4))
    found = collect(events.frame.filter(nw.col("event") == "play").select("user", "text"))
    lines = [
        line.split("\t")
        for path in sorted(music.glob("*_play.log"))
        for line in path.read_text(encoding="utf-8").split("\n")
    ]
    whole = [fields for fields in lines if len(fields) == 9]
    wanted = [(fields[0], f"{fields[4]} - {fields[5]}") for fields in whole]
    unreadable = sum(
        bad.rows for bad in events.bad_rows if bad.rule == "play: play_time unreadable"
    )
    assert len(found) == len(wanted) - unreadable
    places = iter(wanted)
    assert all(row in places for row in found.rows())  # a subsequence: none out of its place


@pytest.mark.parametrize(
    "options",
    [{}, {"time_format": "%Y-%m-%d"}, {"rename_event": ("a=b", "c=d", "e=f", "g=h", "i=j")}],
)
def test_large_files_keep_their_order(options: dict[str, Any], tmp_path: Path) -> None:
    n = 300_000
    body = "".join(f"{row},2024-01-01,e{row % 7},x\n" for row in range(n))
    path = write(tmp_path / "a.csv", f"user,time,kind,paid\n{body}")
    config = InputConfig(user="user", time="time", event="kind", paid="paid", **options)
    events = read_events(path, config, engine=EngineConfig(threads=4))
    assert collect(events.frame.select("user"))["user"].to_list() == [str(row) for row in range(n)]
