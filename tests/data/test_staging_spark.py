"""Reading with Spark against reading with DuckDB: the same rows, ledger entries and messages."""

from __future__ import annotations

import gzip
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests import engine_fixtures
from tests.engine_fixtures import DUCKDB, outcome

from linkwise.data.engine import EngineConfig
from linkwise.data.spark_sql import pattern
from linkwise.errors import UsageError

spark = engine_fixtures.spark
pytestmark = pytest.mark.slow

NAMES = {"user": "u", "time": "t", "text": "x"}
GOOD = b"1,2017-01-01,a\n"
JSON = b'{"u":1,"t":"2017-01-01","x":"a"}\n'


def same(path: Any, engine: EngineConfig, **options: Any) -> dict[str, Any]:
    """Assert that both engines give the same; returns what DuckDB gave."""
    expected = outcome(path, DUCKDB, **options)
    assert outcome(path, engine, **options) == expected
    return expected


@pytest.mark.parametrize(
    ("name", "lines", "rows", "bad"),
    [
        ("blank lines", b"\n" + GOOD + b"\n\n", 2, 0),
        ("a line of spaces", b" \n", 1, 1),
        ("too few fields", b"2,2017-01-01\n", 1, 1),
        ("too many fields", b"2,2017-01-01,a,b\n", 1, 1),
        ("delimiters at the end", b'2,2017-01-01,a,\n3,2017-01-01,a,"",,\n', 3, 0),
        ("bytes that are not UTF-8", b"2,2017-01-01,\xff\xfe\n", 1, 1),
        ("an id that is not UTF-8", b"\xff2,2017-01-01,a\n", 1, 1),
        ("no id", b" ,2017-01-01,a\n", 1, 1),
        ("no day", b"2,2017-02-30,a\n3,yesterday,a\n", 1, 2),
        ("quotes", b'2,2017-01-01,"a,b"\n3,"2017-01-01",\n4,2017-01-01, "p ""q"" r" \n', 4, 0),
        ("a quote inside", b'4,2017-01-01,5" disc\n', 2, 0),
        ("text after a quote", b'2,2017-01-01,"ab"c\n' + GOOD, 2, 1),
        ("a line break in quotes", b'2,2017-01-01,"a\nb"\n3,2017-01-01\n4,2017-01-01,c\n', 3, 1),
        ("bad bytes and a line break", b'2,2017-01-01,"a\nb"\n3,2017-01-01,\xff\n', 2, 1),
        ("a quote left open", b'2,2017-01-01,"a\n' + GOOD + b'3,2017-01-01,"b"\n', 3, 1),
        ("unicode spaces", "\u3000 2\u00a0,2017-01-01,\tz\u3000\n".encode(), 2, 0),
        ("a carriage return within", b"2,2017-01-01,a\rb\n", 2, 0),
        ("an overlong line", b"2,2017-01-01," + b"a" * 2_000_001 + b"\n", 1, 1),
        ("no newline at the end", GOOD + b"2,2017-01-01,z", 3, 0),
    ],
)
def test_csv(
    name: str, lines: bytes, rows: int, bad: int, tmp_path: Path, spark: EngineConfig
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"u,t,x\n" + GOOD + lines)
    found = same(path, spark, on_bad_row="skip", **NAMES)
    assert found["n_rows"] == rows
    assert sum(dropped.rows for dropped in found["bad_rows"]) == bad
    if "line break" in name:
        return  # DuckDB then counts records, not lines, in its messages
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    failed = same(path, spark, **NAMES)
    assert ("error" in failed) == (bad > 0)
    if bad:
        assert f"{path} line 3" in failed["message"]


def test_json_lines(tmp_path: Path, spark: EngineConfig) -> None:
    path = tmp_path / "log.jsonl"
    lines = [
        b'{"u":2.50,"t":"2017-01-01","x":null}',
        b'{"u":"b","t":"2017-01-01"}',
        b'{"u":{"a": 1},"t":"2017-01-01","x":true}',
        '{"u":"é","t":"2017-01-01","x":"\\u00e9\\n \u3000"}'.encode(),
        b"",
        b'  {"u":4,"t":"2017-01-01","other":[1,{"x":2}]}  ',
    ]
    broken = [b'{"u":1,', b"nope", b"[1]", b"null", b'{"u":2,"t":"2017-01-01"} x', b"{'u':2}"]
    broken += [b'{"u":3,"t":"2017-01-01","x":"\xff"}', b'{"u":5,"t":"2017-13-01"}']
    path.write_bytes(JSON + b"\n".join(lines + broken) + b"\n" + JSON)
    found = same(path, spark, on_bad_row="skip", **NAMES)
    assert (found["n_rows"], sum(b.rows for b in found["bad_rows"])) == (7, 8)
    path.write_bytes(JSON + b"\n".join(lines) + b"\n" + JSON)
    assert same(path, spark, **NAMES)["n_rows"] == 7
    for line in (broken[0], broken[-1]):
        path.write_bytes(JSON + line + b"\n")
        assert f"{path} line 2" in same(path, spark, **NAMES)["message"]


def test_parquet(tmp_path: Path, spark: EngineConfig) -> None:
    moments = [datetime(2017, 3, 1) + timedelta(hours=7 * i, microseconds=i) for i in range(12)]
    frame = pl.DataFrame(
        {
            "naive": moments,
            "nano": pl.Series(moments).cast(pl.Datetime("ns")),
            "zoned": pl.Series(moments).dt.replace_time_zone("UTC"),
            "nano zoned": pl.Series(moments).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
            "date": pl.Series(moments).cast(pl.Date),
            "seconds": [1_488_326_400 + 1000 * i for i in range(12)],
            "seconds.5": [1_488_326_400.5 + 1000 * i for i in range(12)],
            "millis": [float(1_488_326_400_000 + 1000 * i) for i in range(12)],
            "int": pl.Series(range(12), dtype=pl.Int32) % 5,
            "big": pl.Series([2**62 + i for i in range(12)], dtype=pl.UInt64),
            "float": [None if i == 3 else 1e7 * (i % 4) for i in range(12)],
            "decimal": pl.Series([f"{i}.25" for i in range(12)]).cast(pl.Decimal(10, 2)),
            "flag": [None if i == 5 else i % 2 == 0 for i in range(12)],
            "amount": [None if i == 2 else i * 0.333 for i in range(12)],
            "text": [None if i == 7 else f" été {i}" for i in range(12)],
        }
    )
    path = tmp_path / "log.parquet"
    frame.write_parquet(path)
    for time in frame.columns[:8]:
        names = {"user": "int", "item": "big", "time": time, "value": "amount", "paid": "flag"}
        found = same(path, spark, **names, timezone="Europe/Paris")
        assert found["n_rows"] == 12
        assert ("time" in found["columns"]) == (time != "date")
    for user in ("float", "decimal", "text"):
        assert same(path, spark, user=user, time="date", on_bad_row="skip")["n_rows"] >= 11
    assert "seconds" in same(path, spark, user="amount", time="text")["message"]
    assert "no column" in same(path, spark, user="nobody", time="date")["message"]


def test_parquet_files_whose_types_differ(tmp_path: Path, spark: EngineConfig) -> None:
    """pandas writes whole numbers as floats on the first day that one is missing."""
    days = [date(2017, 3, 1), date(2017, 3, 2)]
    for name, values in (("a", [5, 7]), ("b", [6.5, None]), ("c", [None, None])):
        frame = pl.DataFrame({"user": [1, 2], "day": days, "value": values})
        frame.write_parquet(tmp_path / f"{name}.parquet")
    found = same(tmp_path, spark, user="user", time="day", value="value")
    assert sorted(str(row[-1]) for row in found["rows"]) == ["500", "650", "700"] + ["None"] * 3
    pl.DataFrame({"user": [1, None], "day": days, "value": [1, 2]}).write_parquet(
        tmp_path / "b.parquet"
    )
    failed = same(tmp_path, spark, user="user", time="day", value="value")
    assert f"{tmp_path / 'b.parquet'} row 2: user is empty" in failed["message"]


@pytest.mark.parametrize(
    ("form", "stamps"),
    [
        (None, ["2017-03-30", "2017/3/5", "2017-3-5"]),
        (None, ["20170330", "20170102"]),
        (None, ["2017-03-30 23:59:59", "2017-03-30T01:02", "2017-03-30 1:2:3.25", "2017-03-30"]),
        (None, ["2017-03-30T23:30:00+0200", "2017-03-30 23:30:00Z", "2017-03-30T23:30:00-05:30"]),
        (None, ["1490830796", "1490830796.25", "1490830800"]),
        (None, ["1490830796123", "1490830800000.0"]),
        ("%d/%m/%Y", ["30/03/2017", "1/2/2017"]),
        ("%d.%m.%y %H:%M:%S.%f", ["30.03.17 23:00:01.5", "1.2.17 1:02:03.123456"]),
        ("%b %d, %Y at %I:%M %p", ["Mar 30, 2017 at 11:05 PM", "apr 1, 2017 at 1:00 am"]),
        ("%Y%m%dT%H%M%S", ["20170330T235959"]),
        ("%Y-%j", ["2017-032"]),
        ("%Y-%m-%dT%H:%M:%S%z", ["2017-03-30T23:30:00+0200", "2017-03-30T23:30:00-0530"]),
        (None, ["2017-03-30 23:30:00", "2017-03-30 23:30:00 UTC", "2017-03-30T23:30Z", "2017-3-3"]),
    ],
)
def test_times(form: str | None, stamps: list[str], tmp_path: Path, spark: EngineConfig) -> None:
    path = tmp_path / "log.tsv"
    never = ["12:30", "x", "2017-03-30 10:00 PM", "2017-03-30 10:00:00 CET"]
    never += ["2017-03-30 25:00:00", "99999999999999999", "-5"]
    if form is None:
        never += ["epoch", "now"]  # but strptime on DuckDB takes epoch for 1900
    lines = [f"{i}\t{stamp}" for i, stamp in enumerate(stamps * 9)]  # most rows tell the form
    bad = [f"{i}\t{stamp}" for i, stamp in enumerate(never)]
    path.write_text("\n".join(["u\tt", *lines, *bad]) + "\n")
    options = {"user": "u", "time": "t", "time_format": form, "timezone": "America/New_York"}
    found = same(path, spark, on_bad_row="skip", **options)
    assert found["n_rows"] == 9 * len(stamps)


def test_numbers_and_words(tmp_path: Path, spark: EngineConfig) -> None:
    path = tmp_path / "log.csv"
    numbers = ["1", "-2.5", "1e2", ".5", "3.", "0.0005", "", "1.5d", "0x1p3", "nan", "inf", "1e300"]
    numbers += ["4-", " 7 ", "1,5", "2.0045", "1234567.8915"]
    words = ["1", "TRUE", "yes", "0", "", "free", "Premium", "1.0", "t"]
    kinds = ["it's", "a\\b", "Play"]
    rows = [
        f'{i},"{number}",{words[i % len(words)]},{kinds[i % 3]},2017-01-01'
        for i, number in enumerate(numbers)
    ]
    path.write_text("\n".join(["u,n,paid,kind,t", *rows]) + "\n")
    for column in ("duration", "length", "value"):
        found = same(
            path,
            spark,
            user="u",
            time="t",
            paid="paid",
            event="kind",
            rename_event=("a\\b=c\\d", "it's=that's"),
            on_bad_row="skip",
            **{column: "n"},
        )
        assert {"c\\d", "that's", "Play"} == set(found["kinds"])
        assert sum(dropped.rows for dropped in found["bad_rows"]) == 7


def test_music_box(tmp_path: Path, spark: EngineConfig) -> None:
    """Daily files of three kinds with planted faults, one of them compressed, in an odd folder."""
    folder = tmp_path / "logs [2017] {a}é%20"
    folder.mkdir()
    searches = ["%E9%9F%A9%E7%BA%A2", "a+b%20c", "100%", "%zz%E9", "%E9%9F", "%ff", "%EF%BF%BD", ""]
    for d in range(3):
        day = f"2017-03-{30 + d}" if d < 2 else "2017-04-01"
        plays = [
            f"{i}\t{'ar' if i % 3 else 'ip'}\t{i % 7 - 1}\t0\t歌{i}\t{'' if i % 4 else '李'}\t"
            f"{10 * i if i % 11 else 'x'}\t{12 * i}\t{i % 2}"
            for i in range(40)
        ]
        plays[7] = '7\tar\t3\t0\tin "quotes"\t\'s\t1\t2\t0\t\t'
        plays[9] = "9\tar\t3"
        plays[12] += "\t"
        plays[13] = "\t" + plays[13].split("\t", 1)[1]
        (folder / f"{day}_play.log").write_text("\n".join(plays) + "\n")
        downs = "\n".join(f'{i}\tip\t{i}\t"a\tb\t0' for i in range(5)).encode()
        name = folder / f"{day}_down.log.gz"
        with gzip.open(name, "wb") as stream:
            stream.write(downs + b"\n9\tip\t1\t\xff\xfe\tb\t0\n")
        lines = [f"{i}\tar\t{day} 0{i}:00:0{i}\t{text}" for i, text in enumerate(searches)]
        (folder / f"{day}_search.log").write_text("\n".join(lines) + "\n")
    found = same(folder, spark, schema="music-box", on_bad_row="skip")
    assert found["kinds"] == ("play", "search", "download")
    assert len(found["bad_rows"]) == 4
    assert found["columns"] >= {"item", "device", "duration", "length", "paid", "text"}
    part = same(folder, spark, schema="music-box", on_bad_row="skip", sample=0.5)
    assert 0 < part["n_users"] < found["n_users"]
    failed = same(folder, spark, schema="music-box", on_bad_row="error")
    assert "2017-03-30_play.log line 10" in failed["message"]


def test_simulated_music(music: Path, spark: EngineConfig) -> None:
    found = same(music, spark, schema="music-box", on_bad_row="skip", sample=0.05)
    assert len(found["rows"]) > 1000


def test_movielens(tmp_path: Path, spark: EngineConfig) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("1::10::5::978300760\n1::11::3.5::978302109\n2::10::x::978301968\n3::1\n")
    found = same(path, spark, schema="movielens", on_bad_row="skip")
    assert found["n_rows"] == 2


def test_frames_are_read_like_files(spark: EngineConfig) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"who": [1.0, 2.0, None], "when": pandas.to_datetime(["2017-01-01 01:00"] * 3)}
    )
    found = same(frame, spark, user="who", time="when", on_bad_row="skip")
    assert [row[0] for row in found["rows"]] == [1, 2]


def test_a_file_that_spark_hides_is_named(tmp_path: Path, spark: EngineConfig) -> None:
    path = tmp_path / "_log.csv"
    path.write_bytes(b"u,t,x\n" + GOOD)
    found = outcome(path, spark, **NAMES)
    assert found["error"] == "InputError"
    assert str(path) in found["message"]


def test_dates_are_days(tmp_path: Path, spark: EngineConfig) -> None:
    path = tmp_path / "log.csv"
    path.write_text("u,t,x\na,1969-12-31,\nb,1900-01-01,\nc,2199-12-31,\nd,2200-01-01,\n")
    found = same(path, spark, on_bad_row="skip", **NAMES)
    days = [
        (date(1900, 1, 1) - date(1970, 1, 1)).days,
        (date(2199, 12, 31) - date(1970, 1, 1)).days,
    ]
    assert [found["first_day"], found["last_day"]] == days


def test_strptime_codes_become_patterns() -> None:
    assert pattern("%d/%m/%Y %H:%M:%S.%f") == "d'/'M'/'yyyy' 'H':'m':'s'.'SSSSSS"
    assert pattern("%Y%m%d") == "yyyyMMdd"
    assert pattern("%-d%%%b") == "d'%'MMM"
    with pytest.raises(UsageError, match="%Z"):
        pattern("%Y %Z")
