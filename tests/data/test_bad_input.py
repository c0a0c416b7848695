"""Bad input: each kind with its message (what, where, got, mend), its exit code, and nothing left behind."""

from __future__ import annotations

import gzip
import random
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.data.reading import column, read, rows, write

from linkwise.cli import main
from linkwise.data import staging_duckdb
from linkwise.data.bad_rows import BadRows, printable
from linkwise.errors import InputError, LinkwiseError, UsageError

SKIP = "Use --on-bad-row=skip to drop such rows (counted in the cleaning ledger)."
A_TIME = "a date, an ISO time stamp, epoch seconds or milliseconds, in all rows alike, 1900 to 2199"
DAY = date(2017, 3, 30)


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folders are made here, and none may be left where the reading failed."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def failure(source: Any, scratch: Path, **options: Any) -> str:
    """The message with which a log is turned down; asserts that nothing half-made stays behind."""
    with pytest.raises(LinkwiseError) as error:
        read(source, **options)
    assert list(scratch.iterdir()) == []
    assert isinstance(error.value, UsageError | InputError)
    assert "\n" not in str(error.value)
    return str(error.value)


LOG = "user,time,item,spent\na,2017-03-30,i,1\n"


NO_TIMES = ["yesterday", "2017-02-30", "2017-13-01", "2017-03-30 11:00 PM", "2017-03-30 25:00"]
NO_TIMES += ["9999-12-31", "1899-12-31", "epoch", "infinity", "2017-03-30T05:00+99:00", "5", "-"]


@pytest.mark.parametrize("value", [*NO_TIMES, "1490832000"])
def test_no_times(value: str, tmp_path: Path, scratch: Path) -> None:
    path = write(tmp_path / "a.csv", f"{LOG}a,{value},i,1\n")
    expected = f'{path} line 3: time is "{value}"; expected {A_TIME}. {SKIP}'
    assert failure(path, scratch) == expected


@pytest.mark.parametrize(
    ("values", "bad"),
    [
        (["1490832000", "1490832001", "1490832002000"], "1490832002000"),
        (["1490832000000", "1490832001000", "1490832002"], "1490832002"),
        (["1490832000", "2017-03-30", "1490832001"], "2017-03-30"),
        (["1490832000", "1490832001", "0"], "0"),  # in which logs say "unknown", not 1970
        (["20170330", "20170331", "2017-03-30"], "2017-03-30"),
        (["x", "2017-03-30", "2017-03-31"], "x"),
    ],
)
def test_times_in_two_forms(values: list[str], bad: str, tmp_path: Path, scratch: Path) -> None:
    path = write(tmp_path / "a.csv", "\n".join(["user,time", *(f"a,{value}" for value in values)]))
    line = values.index(bad) + 2
    expected = f'{path} line {line}: time is "{bad}"; expected {A_TIME}. {SKIP}'
    assert failure(path, scratch) == expected


@pytest.mark.parametrize("value", ["-4x", "NaN", "inf", "-inf", "1e300", "1_000", "0x10", "1 000"])
def test_no_numbers(value: str, tmp_path: Path, scratch: Path) -> None:
    path = write(tmp_path / "a.csv", f"{LOG}a,2017-03-30,i,{value}\n")
    found = failure(path, scratch, duration="spent")
    assert found == f'{path} line 3: spent is "{value}"; expected seconds. {SKIP}'
    if value == "NaN":
        found = failure(path, scratch, value="spent")
        assert found == f'{path} line 3: spent is "NaN"; expected a number. {SKIP}'


JSON = '{"user": "a", "time": "2017-03-30"}\n'
UTF8 = (
    "the bytes are not UTF-8. Turn the file into UTF-8, for example with iconv -f LATIN1 -t UTF-8. "
    f"Or use {SKIP[4:]}"
)
QUOTE = (
    "a quote is not closed, or text follows where it is; expected quotes around whole fields, and "
    f'"" for a quote within one. {SKIP}'
)
NO_ROWS = (
    "the log has no rows: the files hold nothing below their header, or --sample kept no user."
)
# A file, its text, options, and the message after the file's name.
FILES: list[tuple[str, str | bytes, dict[str, Any], str]] = [
    (
        "a.csv",
        LOG,
        {"user": "usr"},
        ': there is no column "usr" (for the user); the columns are user, time, item, spent.',
    ),
    (
        "a.csv",
        "user,time,user\n",
        {},
        ' line 1: the column "user" stands there twice; expected each name once. '
        "The columns are user, time, user.",
    ),
    ("a.csv", "\n" + LOG, {}, " line 1: the line is empty; expected the column names."),
    ("a.csv", LOG + "a,,i,1\n", {}, f" line 3: time is empty; expected {A_TIME}. {SKIP}"),
    (
        "a.csv",
        LOG + " ,2017-03-30,i,1\n",
        {},
        f" line 3: user is empty; expected a user id. {SKIP}",
    ),
    (
        "a.csv",
        LOG + "a,2017-03-30,,1\n",
        {"event": "item"},
        f" line 3: item is empty; expected a kind of event. {SKIP}",
    ),
    (
        "a.csv",
        "user,time\na,30.3.2017\n",
        {},
        f': time is "30.3.2017"; expected {A_TIME}. '
        "Say how it is written with --time-format, in strptime codes such as %d/%m/%Y.",
    ),
    (
        "a.csv",
        "user,time\na,30.3.2017\nb,3/30/2017\n",
        {"time_format": "%d.%m.%Y"},
        ' line 3: time is "3/30/2017"; expected a time written like --time-format "%d.%m.%Y", '
        f"1900 to 2199. {SKIP}",
    ),
    (
        "a.csv",
        LOG + '\na,2017-03-30,"two\nlines",1\na,x,i,1\n',
        {},
        f' line 6: time is "x"; expected {A_TIME}. {SKIP}',
    ),
    (
        "a.csv",
        LOG + 'a,"x\n\x1b[31my",i,1\n',
        {},
        rf' line 3: time is "x\n\x1b[31my"; expected {A_TIME}. {SKIP}',
    ),
    (
        "a.csv",
        LOG + f"a,{'x' * 5000},i,1\n",
        {},
        f' line 3: time is "{"x" * 120}..."; expected {A_TIME}. {SKIP}',
    ),
    (
        "a.csv",
        LOG + "a\n",
        {},
        f" line 3: the row has 1 field; expected 4, separated by commas. {SKIP}",
    ),
    (
        "a.tsv",
        LOG.replace(",", "\t") + "a\t2017-03-30\ti\t1\t2\n",
        {},
        f" line 3: the row has 5 fields; expected 4, separated by tabs. {SKIP}",
    ),
    ("a.csv", LOG + 'a,2017-03-30,"i,1\nb,2017-03-30,i,1\n', {}, f" line 3: {QUOTE}"),
    ("a.csv", LOG + 'a,2017-03-30,"i"j,1\n', {}, f" line 3: {QUOTE}"),
    ("a.csv", (LOG + "é,2017-03-30,i,1\n").encode("latin1"), {}, f" line 3: {UTF8}"),
    (
        "a.csv",
        LOG + f"a,2017-03-30,{'x' * 2_000_001},1\n",
        {},
        f" line 3: the line is longer than 2 MB. {SKIP}",
    ),
    (
        "a.jsonl",
        '{"u": 1, "time": 2}\n',
        {},
        ': no field "user" (for the user) in the first records; they have u, time.',
    ),
    ("a.jsonl", (JSON + JSON.replace("a", "é")).encode("latin1"), {}, f" line 2: {UTF8}"),
    (
        "a.jsonl",
        JSON + '\n{"user": "b"\n',
        {},
        f" line 3: this is not JSON (Expecting ',' delimiter). {SKIP}",
    ),
    ("a.jsonl", JSON + '["b"]\n', {}, f" line 2: this is no JSON object. {SKIP}"),
    (
        "a.jsonl",
        JSON + JSON.replace('"a"', "null"),
        {},
        f" line 2: user is empty; expected a user id. {SKIP}",
    ),
    (
        "a.jsonl",
        JSON + JSON.replace("-", "?"),
        {},
        f' line 2: time is "2017?03?30"; expected {A_TIME}. {SKIP}',
    ),
    (
        "a.json",
        '[{"user": "a"}]',
        {},
        " line 1: this is a JSON array; expected one JSON object on each line. "
        "Turn it into such lines with: jq -c '.[]' a.json > lines.jsonl",
    ),
    (
        "play.log",
        "1\tar\t5\t0\tx\ty\t3\t4\t0\n",
        {"schema": "music-box"},
        ": the file name has no date, and the rows have none either; "
        "name the file like 20170330_play.log, or give --date YYYY-MM-DD.",
    ),
    (
        "20170330.log",
        "1\tar\n",
        {"schema": "music-box"},
        ': the name says no kind of Music Box log; expected "play", "down" or "search" in it, '
        "and tab-separated text.",
    ),
    (
        "20170330_play.log",
        "1\tar\t5\t0\tx\ty\tz\t4\t0\n",
        {"schema": "music-box", "on_bad_row": "error"},
        f' line 1: play_time is "z"; expected seconds. {SKIP}',
    ),
    (
        "a.jsonl",
        '{"user": 1}\n',
        {"schema": "movielens"},
        ": MovieLens ratings are CSV, text or Parquet, not JSON.",
    ),
    ("a.parquet", b"PAR1" + b"\0" * 40, {}, ": this is not a whole Parquet file (..."),
    ("a.csv", "user,time\n", {}, NO_ROWS),
    ("a.csv", LOG, {"sample": 1e-12}, NO_ROWS),
    (
        "a.csv",
        "user,time\na\nb,x\nc,2017-02-30\n",
        {"on_bad_row": "skip", "time_format": "%Y-%m-%d"},
        "the log has no usable rows; the malformed ones were dropped: "
        "1 for events: wrong number of fields; 2 for events: time unreadable.",
    ),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), FILES)
def test_files(
    name: str,
    content: str | bytes,
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
    scratch: Path,
) -> None:
    path = write(tmp_path / name, content)
    found = failure(path, scratch, **options)
    expected = f"{path}{message}" if message[0] in " :" else message
    start, cut, _ = expected.partition("(...")
    assert found.startswith(start) if cut else found == expected


def test_the_first_bad_row_of_several_files_is_named(tmp_path: Path, scratch: Path) -> None:
    for name, last in (("1.csv", "a,2017-03-30"), ("2.csv", "a,x"), ("3.csv", "a,y")):
        write(tmp_path / name, f"user,time\nb,2017-03-30\n{last}\n")
    assert '2.csv line 3: time is "x"' in failure(tmp_path, scratch)
    write(tmp_path / "3.csv", "user,time\na\n")
    assert "3.csv line 2: the row has 1 field" in failure(tmp_path, scratch)
    days = [[DAY], [None], [None]]
    for number, day in enumerate(days):
        frame = pl.DataFrame(
            {"user": ["a", "b"], "time": [DAY, *day]}, schema_overrides={"time": pl.Date}
        )
        frame.write_parquet(tmp_path / "parquet" / f"{number}.parquet", mkdir=True)
    assert "1.parquet row 2: time is empty" in failure(tmp_path / "parquet", scratch)


def test_skipped_rows_are_counted_by_cause(tmp_path: Path) -> None:
    lines = [
        b"user,time,spent",
        b"a,2017-03-30,1",
        b"a,2017-03-30",
        b"b\xff,2017-03-30,1",
        b",2017-03-30,1",
        b"c,someday,1",
        b"d,2017-03-30,x",
        b"d,2017-03-31,x",
        b'e,"2017-03-30,1',
        b"f,2017-03-30,",
    ]
    events = read(
        write(tmp_path / "a.csv", b"\r\n".join(lines)), duration="spent", on_bad_row="skip"
    )
    assert column(events, "user") == ["a", "f"]
    assert events.bad_rows == (
        BadRows("events: wrong number of fields", 2, None),
        BadRows("events: bytes that are not UTF-8", 1, None),
        BadRows("events: spent unreadable", 2, 1),
        BadRows("events: time unreadable", 1, 1),
        BadRows("events: user unreadable", 1, 0),
    )
    lost = sum(bad.rows for bad in events.bad_rows)
    assert events.n_rows + lost == len(lines) - 1


def test_only_files_with_flaws_are_read_without_them(tmp_path: Path) -> None:
    for day in range(1, 5):
        broken = "broken\n" * (day % 2)
        write(tmp_path / f"2017-03-{day:02d}.csv", f"user,item\na,{day}\n{broken}b,{day}0\n")
    events = read(tmp_path, item="item", time="@file", on_bad_row="skip")
    assert column(events, "item") == ["1", "10", "2", "20", "3", "30", "4", "40"]
    assert column(events, "day") == [17226, 17226, 17227, 17227, 17228, 17228, 17229, 17229]
    assert events.bad_rows == (BadRows("events: wrong number of fields", 2, None),)


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    log = "user,time\r\na,2017-03-30\nb,2017-03-31\r\n"
    assert column(read(write(tmp_path / "a.csv", log)), "user") == ["a", "b"]
    plays = "1\tar\t5\t0\tno\rbreak\ty\t3\t4\t0\n2\tar\t5\t0\tx\ty\t3\t4\t0\r\n"
    path = write(tmp_path / "20170330_play.log", plays)
    assert column(read(path, schema="music-box"), "text") == ["no break - y", "x - y"]


FOLDERS: dict[str, tuple[dict[str, str | pl.DataFrame], str]] = {
    "formats": (
        {"a.csv": LOG, "b.jsonl": "{}"},
        "the files are of different formats: {0}/",
    ),
    "headers": (
        {"a.csv": "user,time\n", "b.csv": "user,when\n"},
        "the files have different columns: {0}/a.csv has user, time; {0}/b.csv has user, when. "
        "Read files of one layout at a time.",
    ),
    "delimiters": (
        {"a.csv": "user,time\n", "b.csv": "user;time\n"},
        "the files are separated differently: {0}/a.csv by ',', {0}/b.csv by ';'.",
    ),
    "columns": (
        {
            "a.parquet": pl.DataFrame({"user": [1], "time": [DAY]}),
            "b.parquet": pl.DataFrame({"user": [1]}),
        },
        "the files have different columns: {0}/a.parquet has user, time; {0}/b.parquet has user.",
    ),
    "ids": (
        {
            "a.parquet": pl.DataFrame({"user": ["1"], "time": [DAY]}),
            "b.parquet": pl.DataFrame({"user": [1], "time": [DAY]}),
        },
        'the files have different types in the column "user": {0}/a.parquet has text, '
        "{0}/b.parquet has integer. Write them with one type, or read them apart.",
    ),
    "times": (
        {
            "a.parquet": pl.DataFrame({"user": [1], "time": [DAY]}),
            "b.parquet": pl.DataFrame({"user": [1], "time": ["2017-03-30"]}),
        },
        'the files have different types in the column "time": {0}/a.parquet has date, '
        "{0}/b.parquet has text.",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_of_files_that_do_not_fit(case: str, tmp_path: Path, scratch: Path) -> None:
    files, message = FOLDERS[case]
    for name, content in files.items():
        if isinstance(content, pl.DataFrame):
            content.write_parquet(tmp_path / name)
        else:
            write(tmp_path / name, content)
    assert failure(tmp_path, scratch).startswith(message.format(tmp_path))


def test_types_that_fit_are_read_together(tmp_path: Path) -> None:
    small = pl.DataFrame({"user": [1], "time": [DAY], "v": [5]}, schema_overrides={"user": pl.Int8})
    small.write_parquet(tmp_path / "a.parquet")
    large = pl.DataFrame({"user": [2**40, 7], "time": [DAY] * 2, "v": [2.5, None]})
    large.write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({"user": [3], "time": [DAY], "v": [None]}).write_parquet(tmp_path / "c.parquet")
    events = read(tmp_path, value="v")
    assert column(events, "user") == [1, 2**40, 7, 3]
    assert column(events, "value") == [500, 250, None, None]


def test_a_damaged_parquet_file_is_named(tmp_path: Path, scratch: Path) -> None:
    for name in ("a", "b"):
        users = [f"user {i}" for i in range(3000)]
        frame = pl.DataFrame({"user": users, "time": [DAY] * 3000})
        frame.write_parquet(tmp_path / f"{name}.parquet", compression="uncompressed")
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[4:24] = b"\xff" * 20
    write(tmp_path / "b.parquet", bytes(content))
    found = failure(tmp_path, scratch)
    assert found.startswith(f"{tmp_path}/b.parquet: the file cannot be read; it may be damaged.")


SEVERAL = "a path, several paths, or a pandas, Polars or Arrow frame"
SPANS = "expected text, numbers, dates or time stamps. Spans of time are written as seconds."
# A frame or what is none, options, and what the message says.
FRAMES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing": (None, {}, f"the log is of the type NoneType; expected {SEVERAL}."),
    "a dict": ({"user": [1]}, {}, f"the log is of the type dict; expected {SEVERAL}."),
    "a series": (pl.Series([1]), {}, f"the log is of the type Series; expected {SEVERAL}."),
    "no columns": (pl.DataFrame(), {}, "the frame has no columns."),
    "no rows": (pl.DataFrame({"user": [], "time": []}), {}, "the log has no rows:"),
    "no such column": (
        pd.DataFrame({"u": [1]}),
        {},
        'the frame: there is no column "user" (for the user); the columns are u.',
    ),
    "a column twice": (
        pd.DataFrame([[1, 2]], columns=["user", "user"]),
        {},
        "the frame cannot be stored: Expected unique column names",
    ),
    "mixed types": (
        pd.DataFrame({"user": [1, "a"], "time": [DAY] * 2}),
        {},
        "the frame cannot be stored: Could not convert 'a'",
    ),
    "a list": (
        pl.DataFrame({"user": [[1]], "time": [DAY]}),
        {},
        f'the frame: the column "user" (for the user) is of the type large_list<element: int64>; {SPANS}',
    ),
    "a span": (
        pl.DataFrame({"user": [1], "time": [DAY], "d": [timedelta(seconds=5)]}),
        {"duration": "d"},
        f'the frame: the column "d" (for the duration) is of the type duration[us]; {SPANS}',
    ),
    "a clock": (
        pl.DataFrame({"user": [1], "time": [time(5)]}),
        {},
        f'the frame: the column "time" (for the time) is of the type time64[ns]; {SPANS}',
    ),
    "no time": (
        pd.DataFrame({"user": [1, 2], "time": [pd.Timestamp("2017-03-30"), pd.NaT]}),
        {},
        f"the frame row 2: time is empty; expected {A_TIME}. {SKIP}",
    ),
    "beyond 64 bits": (
        pl.DataFrame(
            {"user": [1, 2**64 - 1], "time": [DAY] * 2}, schema_overrides={"user": pl.UInt64}
        ),
        {},
        'the frame row 2: user is "18446744073709551615"; expected a user id: a whole number below '
        f"2^63, or a text. {SKIP}",
    ),
    "the year 20000": (
        pa.table({"user": ["a"], "time": pa.array([600_000_000_000], pa.timestamp("s"))}),
        {},
        f'the frame row 1: time is "20983-03-30 10:40:00"; expected {A_TIME}. {SKIP}',
    ),
    "no text": (
        pa.table({"user": pa.array([b"\xff"]), "time": [DAY]}),
        {},
        "the frame: the file cannot be read; it may be damaged.",
    ),
}


@pytest.mark.parametrize("case", FRAMES)
def test_frames(case: str, scratch: Path) -> None:
    frame, options, message = FRAMES[case]
    assert failure(frame, scratch, **options).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_format": "%Y %Q"}, '--time-format "%Y %Q" cannot be used: '),
        ({"timezone": "localtime"}, '--timezone "localtime" is not known here; expected a name'),
        ({"timezone": "UTC'; DROP TABLE x; --"}, "timezone is "),
        ({"user": None}, "which columns hold the user?"),
        ({"rename_event": ("play",)}, "rename_event is "),
        ({"sample": 2}, 'sample is "2": '),
    ],
)
def test_options(options: dict[str, Any], message: str, tmp_path: Path, scratch: Path) -> None:
    path = write(tmp_path / "a.csv", LOG)
    with pytest.raises(UsageError) as error:
        read(path, **options)
    assert str(error.value).startswith(message)
    assert list(scratch.iterdir()) == []


INJECTION = "x'; COPY (SELECT 1) TO '{0}'; --"


def test_names_and_options_are_never_run(tmp_path: Path) -> None:
    target = tmp_path / "injected"
    evil = INJECTION.format(target)
    name = evil.replace("/", "|")
    path = write(tmp_path / f"{name}.csv", f'"{evil}",time,kind\n"{evil}",2017-03-30,"{evil}"\n')
    events = read(path, user=evil, event="kind", rename_event=(f"{evil}={evil[::-1]}",))
    assert column(events, "user") == [evil]
    assert column(events, "event") == [evil[::-1]]
    quoted = evil.replace("'", '"')
    log = write(tmp_path / "a.jsonl", f'{{"{evil}": "u", "time": "2017-03-30"}}\n')
    assert column(read(log, user=evil), "user") == ["u"]
    frame = pl.DataFrame({quoted: ["u"], "time": [DAY]})
    assert column(read(frame, user=quoted), "user") == ["u"]
    text = write(tmp_path / "b.csv", "user;time\na;x 2017-03-30\n")
    with pytest.raises(LinkwiseError):
        read(text, time_format=f"{evil} %Y")
    assert not target.exists()


def test_duckdbs_own_errors_do_not_leak(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever DuckDB may find next is told in our words, as an error of the input."""

    def broken(*args: Any) -> str:
        raise duckdb.ConversionException("Conversion Error: out of range\nLINE 1")

    monkeypatch.setattr("linkwise.data.staging_duckdb.events_query", broken)
    for name, content in (("a.csv", LOG), ("a.jsonl", '{"user": 1, "time": "2017-03-30"}\n')):
        path = write(tmp_path / name, content)
        assert failure(path, scratch) == (
            f"{path}: the file cannot be read; it may be damaged. "
            "DuckDB says: Conversion Error: out of range"
        )


def test_a_given_folder_keeps_nothing_half_made(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", LOG + "a,x,i,1\na\n")
    folder = tmp_path / "work"
    with pytest.raises(InputError):
        read(path, folder=folder)
    assert [p.name for p in folder.rglob("*") if p.is_file()] == []
    assert read(path, folder=folder, on_bad_row="skip").n_rows == 1


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.csv", LOG + "a,[/red]x,i,1\n")
    words = ["data", "describe", str(path), "--user", "user", "--time"]
    assert main([*words, "time"]) == 3
    err = capsys.readouterr().err
    assert 'a.csv line 3: time is "[/red]x"; expected a date' in err
    assert "Traceback" not in err
    assert main([*words, "time", "--timezone", "Mars"]) == 2
    assert '--timezone is "Mars"' in capsys.readouterr().err
    assert main([*words, "time", "--time-format", "%Y%Q"]) == 2
    capsys.readouterr()
    assert main([*words, "when"]) == 3
    assert 'there is no column "when"' in capsys.readouterr().err


def test_texts_for_one_line_of_a_terminal() -> None:
    assert printable("a\nb\x1b[0m\u202e é") == "a\\nb\\x1b[0m\\u202e é"
    assert printable("x" * 9, 5) == "xxxxx..."


FLAWED = {
    "fields": "too,few\n",
    "trailing delimiters": "a,2017-03-30,1,,\n",
    "blank lines": "\n  \n\n",
    "quotes": 'a,2017-03-30,"x"\n',
    "a bad byte": "a,2017-03-30,\udcff\n",
    "a control character": "a,2017-03-30,\x01\n",
    "a return within": "a,2017-03-30,no\rbreak\n",
    "a return at the end": "a,2017-03-30,1\r\n",
    "a zero byte": "a,2017-03-30,\0\n",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("flaw", FLAWED)
@pytest.mark.parametrize("schema", ["generic", "music-box"])
def test_lines_cut_in_sql_are_those_cut_one_by_one(
    schema: str, flaw: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and counts are the same whichever of the ways of reading a log with flaws is taken."""
    rng = random.Random(f"{schema} {flaw} {end}")
    good = [f"u{rng.randrange(9)},2017-03-{rng.randrange(10, 30)},{rng.random():.3f}\n"] * 40
    lines = [rng.choice([*good, "bad\n", "a,b,c,d\n", FLAWED[flaw]]) for _ in range(200)]
    lines += ["bad\n", FLAWED[flaw]]
    if schema == "generic":
        options: dict[str, Any] = {"value": "spent", "text": "spent"}
        path, log = tmp_path / "a.csv", "user,time,spent\n" + "".join(lines)
    else:
        options = {"schema": schema}
        lines = [line.replace(",", "\tar\t5\t0\t", 1).replace(",", "\t") for line in lines]
        path, log = tmp_path / "20170330_down.log", "".join(lines)
    write(path, log.replace("\n", end).encode(errors="surrogateescape"))
    found = read(path, on_bad_row="skip", **options)
    monkeypatch.setattr(staging_duckdb, "_copy_lines", lambda *_: None)
    one_by_one = read(path, on_bad_row="skip", **options)
    assert rows(found) == rows(one_by_one)
    assert found.bad_rows == one_by_one.bad_rows != ()


@pytest.mark.parametrize("files", [3, 9])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_an_open_quote_in_one_of_many_files_loses_no_row(
    files: int, ending: str, tmp_path: Path, scratch: Path
) -> None:
    """DuckDB, asked for many files in one call, would pass over what follows the quote."""
    for number in range(files):
        rest = '"2,2024-01-01\n3,2024-01-01\n4,2024-01-01\n' if number == 1 else ""
        content = f"user,time\n1,2024-01-01\n{rest}".encode()
        content = gzip.compress(content) if ending == ".csv.gz" else content
        write(tmp_path / f"f{number}{ending}", content)
    assert f"f1{ending} line 3: a quote is not closed" in failure(tmp_path, scratch)
    events = read(tmp_path, on_bad_row="skip")
    assert column(events, "user") == ["1", "1", "3", "4", *["1"] * (files - 2)]
    assert events.bad_rows == (BadRows("events: wrong number of fields", 1, None),)


def test_lines_that_end_in_carriage_returns_are_refused(tmp_path: Path, scratch: Path) -> None:
    write(tmp_path / "a.csv", LOG)
    write(tmp_path / "b.csv", "user,time\r2,2024-01-01\r3\r")
    assert "b.csv: the lines end in carriage returns" in failure(tmp_path, scratch)


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
@pytest.mark.parametrize("place", [-1, -6, 100])
def test_a_gzip_file_that_was_changed_is_refused(
    place: int, on_bad_row: str, tmp_path: Path, scratch: Path
) -> None:
    """Its length, its checksum, or a byte of what it holds (stored, so that nothing else is amiss)."""
    content = bytearray(gzip.compress(("user,time\n" + "1,2024-01-01\n" * 99).encode(), 0))
    content[place] ^= 1
    path = write(tmp_path / "a.csv.gz", bytes(content))
    assert "cut short or damaged" in failure(path, scratch, on_bad_row=on_bad_row)


def test_a_long_quoted_field_is_read_whatever_else_is_in_the_file(tmp_path: Path) -> None:
    long = "y" * 200_000
    path = write(
        tmp_path / "a.csv", f'user,time,note\n1,2024-01-01,"{long}"\n2\n3,2024-01-01,"b"\n'
    )
    events = read(path, text="note", on_bad_row="skip")
    assert column(events, "text") == [long, "b"]
    assert events.bad_rows == (BadRows("events: wrong number of fields", 1, None),)


@pytest.mark.parametrize("flaw", [b"", b"short\n"])
def test_bad_bytes_in_a_column_that_nobody_named_make_a_row_bad(
    flaw: bytes, tmp_path: Path, scratch: Path
) -> None:
    content = b"user,time,text\n1,2024-01-01,caf\xe9\n2,2024-01-01,x\n" + flaw
    path = write(tmp_path / "a.csv", content)
    assert "line 2: the bytes are not UTF-8" in failure(path, scratch)
    assert column(read(path, on_bad_row="skip"), "user") == ["2"]


@pytest.mark.parametrize("flaw", ["", "a\tb\n"])
def test_blank_lines_of_a_single_column_are_no_rows(flaw: str, tmp_path: Path) -> None:
    path = write(tmp_path / "2024-01-01.csv", f"user\nu1\n\nu2\n\n\nu3\n{flaw}")
    events = read(path, time="@file", on_bad_row="skip")
    assert column(events, "user") == ["u1", "u2", "u3"]
    assert sum(bad.rows for bad in events.bad_rows) == len(flaw.splitlines())


def test_a_long_line_of_letters_beyond_ascii_costs_only_itself(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", f"user,time,text\n1,2024-01-01,{'é' * 1_200_000}\n2,2024-01-01,x\n"
    )
    events = read(path, on_bad_row="skip")
    assert column(events, "user") == ["2"]
    assert events.bad_rows == (BadRows("events: lines over 2 MB", 1, None),)


@pytest.mark.parametrize("lazy", [False, True])
def test_missing_ids_of_a_polars_frame_are_no_ids(lazy: bool) -> None:
    frame = pl.DataFrame(
        {"user": [1.0, float("nan"), 3.0], "time": [DAY] * 3, "item": [1.5, 2, None]}
    )
    events = read(frame.lazy() if lazy else frame, item="item", on_bad_row="skip")
    assert column(events, "user") == [1, 3]
    assert column(events, "item") == ["1.5", None]
    assert events.bad_rows == (BadRows("events: user unreadable", 1, 0),)


@pytest.mark.parametrize("damage", ["{", "{}", "gone"])
def test_a_staged_log_that_is_not_whole_is_read_again(damage: str, tmp_path: Path) -> None:
    log, folder = write(tmp_path / "a.csv", LOG), tmp_path / "work"
    read(log, folder=folder)
    staged = folder / "events" / "staged.json"
    if damage == "gone":
        next((folder / "events").glob("*.parquet")).unlink()
    else:
        staged.write_text(damage)
    assert column(read(log, folder=folder), "user") == ["a"]
