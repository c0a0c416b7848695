"""Text logs line by line, against Python's csv and json readers."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest
from tests.data.reading import write

from linkwise.data import lines
from linkwise.data.files import LogFile
from linkwise.data.lines import (
    ENCODING,
    FIELDS,
    LENGTH,
    Cut,
    Malformed,
    Row,
    find_json_line,
    find_line,
    first_values,
    header,
    json_fields,
    sift,
)
from linkwise.errors import InputError

# No space before a word: those are passed over, for a quote may follow them.
WORDS = ["", "x", "a,b", 'say "hi"', "two\nlines", "three\n\nlines", "é☃", "spaced ", "'", "\\"]


def text_log(path: Path, content: str | bytes) -> LogFile:
    return LogFile(write(path, content), "csv", path.suffix in (".gz", ".zst"))


def all_rows(content: bytes, cut: Cut) -> list[Row | Malformed]:
    return list(lines.rows(io.BytesIO(content), cut))


@pytest.fixture(params=[7, 64, 2**20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that they end within lines, within characters and between CR and LF."""
    monkeypatch.setattr(lines, "BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_quoted_rows_are_those_of_the_csv_module(end: str, delimiter: str) -> None:
    rng = random.Random(1)
    wanted = [[rng.choice(WORDS).replace(",", delimiter) for _ in range(3)] for _ in range(300)]
    wanted = [row for row in wanted if any(row)]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(wanted)
    content = out.getvalue().encode()
    cut = Cut(3, delimiter, quoted=True, has_header=False)
    found = all_rows(content, cut)
    assert [row.fields(cut) for row in found if isinstance(row, Row)] == wanted
    starts = [content[:at].count(b"\n") + 1 for at in starting_at(content, delimiter)]
    assert [row.line for row in found] == starts


def starting_at(content: bytes, delimiter: str) -> list[int]:
    """Where each record begins: at line ends outside quotes, for quotes are doubled within quotes."""
    starts, inside = [0], False
    for at, byte in enumerate(content):
        inside ^= byte == ord('"')
        if byte == ord("\n") and not inside:
            starts.append(at + 1)
    return starts[:-1]


@pytest.mark.usefixtures("block")
def test_malformed_rows_are_told_apart_by_line() -> None:
    content = (
        b"\xef\xbb\xbfa,b,c\n"
        b"1,2,3\n"
        b"4,5\n"
        b"\n"
        b'"six","se\nven",8\r\n'
        b"9,\xff,9\n"
        b"1,2,3,,\n"
        b"1,2,3,4\n"
        b'10,"never closed,11\n'
        b"12,13,14\n"
        b'15,"x"y,16\n'
        b'17,"bad \xe9\nbytes",18\n'
        b'19,mid"dle,20\n'
        b'21, "after, space",22\n'
        b"last"
    )
    cut = Cut(3, ",", quoted=True, has_header=True)
    found = all_rows(content, cut)
    assert [(row.line, row.fields(cut)[:3]) for row in found if isinstance(row, Row)] == [
        (2, ["1", "2", "3"]),
        (5, ["six", "se\nven", "8"]),
        (8, ["1", "2", "3"]),
        (11, ["12", "13", "14"]),
        (15, ["19", 'mid"dle', "20"]),
        (16, ["21", "after, space", "22"]),
    ]
    quote = "a quote is not closed, or text follows where it is"
    assert [row for row in found if isinstance(row, Malformed)] == [
        (3, FIELDS, "the row has 2 fields"),
        (7, ENCODING, "the bytes are not UTF-8"),
        (9, FIELDS, "the row has 4 fields"),
        (10, FIELDS, quote),
        (12, FIELDS, quote),
        (13, ENCODING, "the bytes are not UTF-8"),
        (17, FIELDS, "the row has 1 field"),
    ]


@pytest.mark.usefixtures("block")
def test_rows_without_quotes_are_lines_split(tmp_path: Path) -> None:
    content = b'1\t"x\t3\n2\t\xe9\t3\n3\tb\xc3\xa9\t\r\n\n4\tb\n5\ta\rb\t6\n'
    cut = Cut(3, "\t", quoted=False, has_header=False)
    found = all_rows(content, cut)
    assert [row.fields(cut) for row in found if isinstance(row, Row)] == [
        ["1", '"x', "3"],
        ["3", "bé", ""],
        ["5", "a\rb", "6"],
    ]
    assert [(row.line, row.why) for row in found if isinstance(row, Malformed)] == [
        (2, ENCODING),
        (5, FIELDS),
    ]
    sifted = sift(text_log(tmp_path / "a.log", content), cut, tmp_path / "clean", stop=False)
    assert (tmp_path / "clean").read_bytes() == '1\t"x\t3\n3\tbé\t\n5\ta b\t6\n'.encode()
    assert sifted.counts == {ENCODING: 1, FIELDS: 1}
    assert sifted.first == (2, ENCODING, "the bytes are not UTF-8")


@pytest.mark.parametrize("quoted", [True, False])
def test_a_line_over_the_limit_costs_only_itself(
    quoted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    monkeypatch.setattr(lines, "BLOCK", 64)
    for length in (90, 101, 130, 1000):
        content = b"1,2\n" + b"x" * length + b",3\n4,5\n"
        cut = Cut(2, ",", quoted, has_header=False)
        found = all_rows(content, cut)
        whys = [(row.line, row.why) for row in found if isinstance(row, Malformed)]
        assert whys == ([(2, LENGTH)] if length > 100 else [])
        assert [row.line for row in found if isinstance(row, Row)] == (
            [1, 3] if length > 100 else [1, 2, 3]
        )
        file = text_log(tmp_path / "a.csv", content)
        sifted = sift(file, cut, tmp_path / "clean", stop=False)
        assert sifted.counts == ({LENGTH: 1} if length > 100 else {})


@pytest.mark.usefixtures("block")
def test_a_sifted_copy_holds_the_good_rows(tmp_path: Path) -> None:
    rng = random.Random(2)
    out = io.StringIO()
    wanted = []
    n_bad = 0
    for i in range(500):
        if rng.random() < 0.1:
            out.write(f"{i},broken\r\n")
            n_bad += 1
            continue
        wanted.append([str(i), rng.choice(WORDS), rng.choice(WORDS)])
        csv.writer(out, lineterminator=rng.choice(["\n", "\r\n"])).writerow(wanted[-1])
    file = text_log(tmp_path / "a.csv", "one,two,three\n" + out.getvalue())
    cut = Cut(3, ",", quoted=True, has_header=True)
    sifted = sift(file, cut, tmp_path / "clean", stop=False)
    assert sifted.counts == {FIELDS: n_bad}
    with (tmp_path / "clean").open(newline="", encoding="utf-8") as stream:
        names, *found = csv.reader(stream)
    assert len(names) == 3
    assert found == wanted
    stopped = sift(file, cut, tmp_path / "clean", stop=True)
    assert sum(stopped.counts.values()) == 1
    assert stopped.first == sifted.first


@pytest.mark.parametrize(
    ("content", "names", "delimiter"),
    [
        ("a,b;c,d\n", ["a", "b;c", "d"], ","),
        ("a;b;c,d\r\n", ["a", "b", "c,d"], ";"),
        ("a\tb\n", ["a", "b"], "\t"),
        ("a|b|c", ["a", "b", "c"], "|"),
        ('\ufeff"user, name" , time\n', ["user, name", "time"], ","),
        ('"us""er","two\nlines"\n', ['us"er', "two\nlines"], ","),
        (",user,\n", ["column_1", "user", "column_3"], ","),
        ("alone\n", ["alone"], "\t"),
        ("user,ti\x0cme\n", ["user", "ti\x0cme"], ","),
        ("用户,时间\n", ["用户", "时间"], ","),
    ],
)
def test_headers(content: str, names: list[str], delimiter: str, tmp_path: Path) -> None:
    assert header(text_log(tmp_path / "a.csv", content)) == (names, delimiter)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n1,2\n", "the line is empty; expected the column names"),
        (b"\xef\xbb\xbf", "the line is empty"),
        (b"user,caf\xe9\n", "the bytes are not UTF-8; expected the column names"),
        (b"a,b,a\n", 'the column "a" stands there twice; expected each name once'),
        (b'user,"no"te\n1,2\n', "the column names cannot be read (',' expected after '\"')"),
        (b"user,User\n", 'the columns "user" and "User" differ only in case'),
        (b"x" * 200_000, "the line is over 100,000 characters long"),
        (b'"' + b"x" * 140_000 + b'"', "the line is over 100,000 characters long"),
    ],
)
def test_bad_headers(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        header(text_log(tmp_path / "a.csv", content))
    assert str(error.value).startswith(f"{tmp_path / 'a.csv'} line 1: {message}")


def test_values_are_found_on_their_lines(tmp_path: Path) -> None:
    content = 'a,b\n1,"x\ny"\n\n2, bad \n3\n4,bad\n5,\n'
    file = text_log(tmp_path / "a.csv", content)
    cut = Cut(2, ",", quoted=True, has_header=True)
    assert find_line(file, 1, "bad", cut) == 5
    assert find_line(file, 1, "", cut) == 8
    assert find_line(file, 0, "a", cut) is None
    assert first_values(file, 0, cut, 3) == ["1", "2", "4"]
    log = text_log(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": null}\n{"a": " x "}\n[1]\n{"a": 7}\n')
    assert find_json_line(log, "a", "1") == 1
    assert find_json_line(log, "a", "") == 3
    assert find_json_line(log, "a", "x") == 4
    assert find_json_line(log, "a", "7") == (5, FIELDS, "this is no JSON object")


def test_the_fields_of_json_records(tmp_path: Path) -> None:
    records = '\ufeff{"b": "x", "a": null}\nbroken\n{"a": [1], "c": 2.50}\n'
    file = text_log(tmp_path / "a.jsonl", records)
    assert json_fields(file) == {"b": "x", "a": "null", "c": "2.5"}
    for content, message in [
        ('[{"a": 1}]', r"line 1: this is a JSON array.*jq -c '\.\[\]' a\.jsonl > lines\.jsonl"),
        ('\n{\n "a": 1\n}\n', r"line 2: the JSON object does not end on its line.*jq -c \."),
        ("hello\n", "line 1: this is no JSON object; expected one on each line, got hello"),
        ("[" * 100_000, "line 1: this is a JSON array"),
    ]:
        with pytest.raises(InputError, match=message):
            json_fields(text_log(tmp_path / "a.jsonl", content))
