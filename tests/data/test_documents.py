"""Documents: columns found, years, codes, families, and everything that may be wrong with a table."""

from __future__ import annotations

import gzip
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pydantic import ValidationError

from linkwise.data.codes import LEVELS, roll_up_all, split_codes
from linkwise.data.documents import (
    DUPLICATE,
    FAMILY,
    INDEXING,
    JOINED,
    LEDGER,
    NO_CODE,
    NO_ID,
    NO_YEAR,
    SAME,
    SHALLOW,
    UNREADABLE,
    Documents,
    DocumentsConfig,
    read_code_titles,
    read_documents,
)
from linkwise.errors import InputError

SKIP = DocumentsConfig(on_bad_row="skip")
TABLE = pl.DataFrame(
    {
        "ID": ["007", "b", "c"],
        "title": ["Plough", "Harrow.", None],
        "abstract": ["It digs.", None, "A roller, \n Ünï"],
        "year": [2001, 2002, 2003],
        "ipc_codes": ["A01B 3/00; A01B3/02", "A01B 19/00|A01B 19/00", "A01B 29/00, "],
    }
)
ROWS = [
    ("007", "Plough", "It digs.", "", 2001, ["A01B3/00", "A01B3/02"]),
    ("b", "Harrow.", "", "", 2002, ["A01B19/00"]),
    ("c", "", "A roller, \n Ünï", "", 2003, ["A01B29/00"]),
]


def packed(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(data)
    return pa.compress(data, codec="zstd", asbytes=True) if name.endswith(".zst") else data


def write(path: Path, table: pl.DataFrame = TABLE) -> Path:
    name = path.name.lower()
    if name.endswith(".parquet"):
        table.write_parquet(path)
    elif ".jsonl" in name:
        path.write_bytes(packed(name, table.write_ndjson().encode()))
    else:
        path.write_bytes(
            packed(name, table.write_csv(separator="\t" if ".tsv" in name else ",").encode())
        )
    return path


def read(folder: Path, table: dict[str, Any] | pl.DataFrame, **options: Any) -> Documents:
    path = write(folder / "t.parquet", pl.DataFrame(table))
    return read_documents(path, DocumentsConfig(**options))


@pytest.mark.parametrize(
    "name",
    ["t.parquet", "t.jsonl", "t.csv", "t.tsv", "T.CSV", "t.csv.gz", "t.jsonl.gz", "t.tsv.zst"],
)
def test_every_kind_of_table_gives_the_same(name: str, tmp_path: Path) -> None:
    documents = read_documents(write(tmp_path / name))
    assert documents.table.rows() == ROWS
    assert dict(documents.table.schema) == {
        **dict.fromkeys(("id", "title", "abstract", "claims"), pl.String),
        "year": pl.Int32,
        "codes": pl.List(pl.String),
    }
    assert documents.opaque == ()
    assert documents.ledger == dict.fromkeys(LEDGER, 0)
    assert documents.columns["codes"] == "ipc_codes"
    assert documents.at_hand == tuple(TABLE.columns)


def test_several_files_and_folders_are_read_in_order(tmp_path: Path) -> None:
    for place, name in enumerate(("b.csv", "a.csv.gz", ".hidden.csv", "README.txt")):
        (tmp_path / "in").mkdir(exist_ok=True)
        write(tmp_path / "in" / name, TABLE[place : place + 1])
    folder = read_documents(tmp_path / "in")
    assert folder.table["id"].to_list() == ["b", "007"]
    assert [file.name for file in folder.files] == ["a.csv.gz", "b.csv"]
    first, second = folder.files
    assert read_documents([second, first, second]).table["id"].to_list() == ["007", "b"]


def test_documents_without_ids_are_numbered_through(tmp_path: Path) -> None:
    table = TABLE.drop("ID").with_columns(year=pl.Series([2001, None, 2003]))
    paths = [write(tmp_path / name, table) for name in ("a.parquet", "b.csv")]
    documents = read_documents(paths, SKIP)
    assert documents.table["id"].to_list() == ["row 1", "row 3", "row 4", "row 6"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"Publication_Number": ["x"], "Title_Text": ["t"]}, ("x", "t", "", None)),
        (
            {"patent_id": [7], "patent_title": ["t"], "patent_date": ["1999-05-04"]},
            ("7", "t", "", 1999),
        ),
        ({"appln_id": [7.0], "appln_abstract": ["a"], "APPLN_YR": [1999.0]}, ("7", "", "a", 1999)),
        (
            {"pub_number": ["x"], "text": ["a"], "date": [20000101], "year": [1999]},
            ("x", "", "a", 1999),
        ),
    ],
)
def test_columns_are_found_by_their_usual_names(
    columns: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    table = read(tmp_path, columns).table
    assert table.select("id", "title", "abstract", "year").row(0) == expected
    assert table["codes"].to_list() == [[]]


def test_columns_may_be_named(tmp_path: Path) -> None:
    table = {
        "a": ["x"],
        "B": ["t"],
        "c": ["s"],
        "d": ["k"],
        "e": [1999],
        "f": ["C"],
        "g": [3],
        "id": ["no"],
    }
    names = dict(
        zip(
            ("id", "title", "abstract", "claims", "year", "codes", "family"), "abcdefg", strict=True
        )
    )
    documents = read(tmp_path, table, **names, text="both")
    assert documents.table.row(0) == ("x", "t", "s", "k", 1999, ["C"])
    assert documents.columns == names | {"title": "B"}


@pytest.mark.parametrize(
    ("values", "years"),
    [
        ([2013, None], None),
        ([2013.0, 1600.0], [2013, 1600]),
        ([20131217, 19990101], [2013, 1999]),
        ([20131217.0, 2100.0], [2013, 2100]),
        (["2013", " 20131217 "], [2013, 2013]),
        (["2013-12-17", "2013-12-17T01:02:03Z"], [2013, 2013]),
        (["2013-12", "2013/12/17"], [2013, 2013]),
        (["2013-12-17 01:02:03", "2013.0"], [2013, 2013]),
        ([date(2013, 12, 17), date(1999, 1, 1)], [2013, 1999]),
        ([datetime(2013, 12, 17, 1), datetime(1999, 1, 1)], [2013, 1999]),
    ],
)
def test_years_and_dates_in_every_writing(
    values: list[Any], years: list[int] | None, tmp_path: Path
) -> None:
    table = {"id": ["a", "b"], "title": ["", ""], "year": values}
    if years is None:
        with pytest.raises(InputError, match="row 2: year is empty"):
            read(tmp_path, table)
    else:
        assert read(tmp_path, table).table["year"].to_list() == years


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        "12",
        "99999",
        "1599",
        "2101",
        "9999",
        "0",
        "20131399",
        "2013-13-01",
        "31/12/2013",
        "201312",
        "2013.5",
    ],
)
def test_what_is_no_year_is_a_bad_row(value: str, tmp_path: Path) -> None:
    table = {"id": ["a", "b", "c"], "title": ["", "", ""], "year": ["2000", value, "2001"]}
    with pytest.raises(
        InputError,
        match=rf't\.parquet row 2: year is "{re.escape(value)}"; expected a year, 1600 to 2100, or.*'
        r"--on-bad-row=skip",
    ):
        read(tmp_path, table)
    documents = read(tmp_path, table, on_bad_row="skip")
    assert documents.table["id"].to_list() == ["a", "c"]
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {NO_YEAR: 1, NO_CODE: 2}


def test_the_first_bad_row_is_named_and_all_are_counted(tmp_path: Path) -> None:
    table = pl.DataFrame({"id": ["a", "b"], "title": ["", ""], "year": [2000, 2000]})
    bad = pl.DataFrame({"id": ["c", None, "d"], "title": ["", "", ""], "year": [2000, 1, None]})
    paths = [write(tmp_path / "a.csv", table), write(tmp_path / "b.csv", bad)]
    with pytest.raises(
        InputError, match=r"b\.csv row 2: id is empty; expected an id\. 2 of 5 rows are bad\."
    ):
        read_documents(paths)
    ledger = read_documents(paths, SKIP).ledger
    assert (ledger[NO_ID], ledger[NO_YEAR]) == (1, 1)
    with pytest.raises(InputError, match=r"b\.csv: no documents: all 2 rows are bad"):
        read_documents(write(tmp_path / "b.csv", bad[1:]), SKIP)


def test_spellings_of_one_code_are_one_code(tmp_path: Path) -> None:
    codes = [["h01m4/02", "H01M 4/02", "b"], ["H01M 4/02"], ["H01M4/02", "x y"]]
    documents = read(tmp_path, {"id": ["a", "b", "c"], "codes": codes})
    assert documents.table["codes"].to_list() == [
        ["H01M4/02", "b"],
        ["H01M4/02"],
        ["H01M4/02", "x y"],
    ]
    assert documents.respelled == {"H01M 4/02": "H01M4/02", "h01m4/02": "H01M4/02"}
    assert documents.spelling() == (
        'Codes: 2 stood in another spelling and were brought to one, such as "H01M 4/02" to H01M4/02.'
    )
    assert read(tmp_path, {"id": ["a"], "codes": [["H01M4/02", "b"]]}).spelling() is None


def test_indexing_codes_are_left_out_before_codes_are_rolled_up(tmp_path: Path) -> None:
    table = {
        "id": ["a", "b"],
        "codes": [["B60L 2200/12", "B60L 50/10"], ["Y10S 903/903", "H01M 4/02"]],
    }
    asked = {"leave_out_indexing": True, "level": "subclass"}
    documents = read(tmp_path, table, **asked)
    assert documents.table["codes"].to_list() == [["B60L"], ["H01M"]]
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {INDEXING: 2}
    assert read(tmp_path, table, level="subclass").table["codes"][1].to_list() == ["Y10S", "H01M"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["A01B 1/00, C08F;x|y", "", None], [["A01B1/00", "C08F", "x", "y"], [], []]),
        ([[" A01B1 ", "", None, "C08F"], [], None], [["A01B1", "C08F"], [], []]),
        (["['A01B1', 'C08F']", '["A01B1","C08F"]', "A01B 1/00 [2006.01]"],
         [["A01B1", "C08F"], ["A01B1", "C08F"], ["A01B1/00"]]),
        ([7, 8, None], [["7"], ["8"], []]),
        (["b,a,b", "b", "b"], [["b", "a"], ["b"], ["b"]]),
    ],
)  # fmt: skip
def test_codes_are_lists_or_one_text(
    values: list[Any], expected: list[list[str]], tmp_path: Path
) -> None:
    table = {"id": ["a", "b", "c"], "codes": values}
    assert read(tmp_path, table).table["codes"].to_list() == expected


def test_columns_of_odd_kinds_are_taken(tmp_path: Path) -> None:
    kind = pl.Categorical
    table = pl.DataFrame(
        {
            "id": pl.Series(["a", "b"], dtype=kind),
            "title": pl.Series([None, None], dtype=pl.Null),
            "family": pl.Series([None, float("nan")], dtype=pl.Float64),
            "codes": pl.Series([["x", "y"], ["z", "z"]], dtype=pl.Array(kind, 2)),
        }
    )
    documents = read(tmp_path, table)
    assert documents.table.select("id", "title", "codes").rows() == [
        ("a", "", ["x", "y"]),
        ("b", "", ["z"]),
    ]
    for nothing in (pl.Null, pl.List(pl.Null), pl.List(pl.String)):
        empty = table.with_columns(codes=pl.lit(None, nothing))
        assert read(tmp_path, empty).table["codes"].to_list() == [[], []]


def test_text_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffid;title;codes;year\r\na;x;'A01B;C08F';2000\r\n".encode())
    with pytest.raises(InputError, match="line 2: the row has 5 fields; expected 4"):
        read_documents(path)
    path.write_bytes('\ufeffid;title;codes;year\r\na;"x\r\ny";"A01B;C08F";2000;;\r\n'.encode())
    documents = read_documents(path)
    assert documents.table.row(0) == ("a", "x\ny", "", "", 2000, ["A01B", "C08F"])


def test_codes_are_rolled_up_and_labels_kept(tmp_path: Path) -> None:
    codes = ["C08F 4/642, C08F0004640000, robots", "C08F; C08F 210/00", "C08F", "robots; Z9", None]
    documents = read(tmp_path, {"id": list("abcde"), "codes": codes}, level="main-group")
    expected = [["C08F4", "robots"], ["C08F210"], [], ["robots", "Z9"], []]
    assert documents.table["codes"].to_list() == expected
    assert documents.opaque == ("Z9", "robots")
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {SHALLOW: 2, NO_CODE: 2}


@pytest.mark.parametrize("level", [*LEVELS, None])
@pytest.mark.parametrize("as_list", [True, False])
def test_rolling_up_is_that_of_each_row_alone(level: Any, as_list: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    spelled = [
        "A01B 1/02",
        "A01B0001020000",
        "A01B1",
        "A01B",
        "A",
        "H04L 9/08",
        "h04l9/0819",
        "what",
        "B01",
    ]
    codes = [
        [spelled[i] for i in rng.integers(0, len(spelled), rng.integers(0, 6))] for _ in range(300)
    ]
    table = pl.DataFrame(
        {"id": range(300), "codes": codes if as_list else [";".join(row) for row in codes]}
    )
    documents = read(tmp_path, table, level=level)
    slow = [roll_up_all(row, level) for row in codes]
    assert documents.table["codes"].to_list() == [kept for kept, _ in slow]
    assert set(documents.opaque) == {code for _, opaque in slow for code in opaque}


def test_of_a_family_the_earliest_stays_with_its_own_codes(tmp_path: Path) -> None:
    table = {
        "id": list("abcdefg"),
        "family_id": [1, 2, 1, 1, None, -1, -1],
        "year": [2003, 2001, 2002, 2002, 1990, 1990, 1990],
        "codes": list("abcdefg"),
    }
    documents = read(tmp_path, table)
    assert documents.table.select("id", "codes").rows() == [(c, [c]) for c in "bcefg"]
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {FAMILY: 2}
    without_years = {name: values for name, values in table.items() if name != "year"}
    assert "".join(read(tmp_path, without_years).table["id"]) == "abefg"


def test_documents_that_equal_an_earlier_one_are_counted_and_left_out_where_asked(
    tmp_path: Path,
) -> None:
    rows = [
        ("a", "Plough", "It digs.", 2001, ["A01B1", "A01B3"]),
        ("b", "Plough", "It digs.", 2001, ["A01B3", "A01B1"]),  # in another order
        ("c", "Plough", "It digs.", 2002, ["A01B1", "A01B3"]),
        ("d", "Plough", "It digs.", 2001, ["A01B1"]),
        ("e", "", "", 2001, ["A01B1"]),
        ("f", "", "", 2001, ["A01B1"]),  # nothing but codes tells no two documents apart
    ]
    table = pl.DataFrame(rows, schema=["id", "title", "abstract", "year", "codes"], orient="row")
    documents = read(tmp_path, table)
    assert (documents.same, "".join(documents.table["id"])) == (1, "abcdef")
    assert documents.ledger[SAME] == 0
    assert str(documents.doubled()).startswith("1 of 6 documents equals an earlier one in texts")
    less = read(tmp_path, table, drop_same=True)
    assert (less.same, "".join(less.table["id"])) == (0, "acdef")
    assert less.ledger == dict.fromkeys(LEDGER, 0) | {SAME: 1}
    assert less.doubled() is None


def test_families_are_those_of_a_slow_walk(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    years = rng.integers(1990, 2000, 500).tolist()
    families = [int(f) if f else None for f in rng.integers(0, 120, 500)]
    table = {"id": range(500), "title": "", "year": years, "family": families}
    best: dict[int, int] = {}
    for row, (year, family) in enumerate(zip(years, families, strict=True)):
        if family is not None and (family not in best or year < years[best[family]]):
            best[family] = row
    kept = [r for r, f in enumerate(families) if f is None or best[f] == r]
    documents = read(tmp_path, pl.DataFrame(table))
    assert documents.table["id"].to_list() == [str(row) for row in kept]
    assert documents.ledger[FAMILY] == 500 - len(kept)


def test_rows_of_one_id_that_differ_in_codes_are_one_document(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "id": ["b", "a", "b", "b", "a", "c"],
            "title": ["B", "A", "B", "B", "A", None],
            "year": [2000, 2001, 2000, 2000, 2001, 2002],
            "code": ["A01B 1/00", "C08F", "A01B 1/02", "A01B 1/00", None, None],
        }
    )
    documents = read(tmp_path, table)
    assert documents.table.select("id", "title", "codes").rows() == [
        ("b", "B", ["A01B1/00", "A01B1/02"]),
        ("a", "A", ["C08F"]),
        ("c", "", []),
    ]
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {JOINED: 2, DUPLICATE: 1, NO_CODE: 1}


def test_an_id_of_two_documents_is_named(tmp_path: Path) -> None:
    table = pl.DataFrame({"id": list("aba"), "title": ["x", "y", "z"], "year": [2000, 2000, 2000]})
    paths = [write(tmp_path / "a.csv", table[:2]), write(tmp_path / "b.csv", table[2:])]
    with pytest.raises(
        InputError,
        match=r'b\.csv row 1: id is "a", as in .*a\.csv row 1, but title is "z" and there "x"; .*--id',
    ):
        read_documents(paths)
    documents = read_documents(paths, SKIP)
    assert documents.table["title"].to_list() == ["x", "y"]
    assert documents.ledger[DUPLICATE] == 1


def test_texts_lead_with_the_title_and_are_joined_readably(tmp_path: Path) -> None:
    table = {
        "id": list("abcde"),
        "title": ["Plough", "Why dig?", "", "Rake", None],
        "abstract": ["It digs.", "Because.", "Alone", "", None],
        "claims": ["1. A plough", "", "2. It", "3. A rake", None],
    }
    documents = read(tmp_path, table, text="both")
    assert documents.texts("abstract") == [
        "Plough. It digs.",
        "Why dig? Because.",
        "Alone",
        "Rake",
        "",
    ]
    assert documents.texts("claims") == [
        "Plough. 1. A plough",
        "Why dig?",
        "2. It",
        "Rake. 3. A rake",
        "",
    ]
    assert documents.texts("both")[:3] == [
        "Plough. It digs. 1. A plough",
        "Why dig? Because.",
        "Alone. 2. It",
    ]
    unread = read(tmp_path, table)
    assert set(unread.table["claims"]) == {""}
    with pytest.raises(InputError, match=r"no document has claims.*--text claims"):
        unread.texts("both")
    with pytest.raises(ValidationError, match="no effect where no claims are read"):
        DocumentsConfig(claims="claims")


def test_codes_and_years_are_missed_where_they_are_needed(tmp_path: Path) -> None:
    plain = read(tmp_path, {"id": ["a"], "title": ["x"], "topic": ["t"]})
    assert plain.table["year"].to_list() == [None]
    assert plain.ledger[NO_CODE] == 1
    with pytest.raises(
        InputError, match=r"no column of codes.*--codes; the columns are id, title, topic"
    ):
        plain.check_codes()
    with pytest.raises(
        InputError, match=r"no column of years.*--year; the columns are id, title, topic"
    ):
        plain.check_years()
    whole = read_documents(write(tmp_path / "t.csv"))
    whole.check_codes()
    whole.check_years()
    empty = {"id": ["a", "b"], "codes": ["", " ;"]}
    with pytest.raises(
        InputError, match='no document has a code: column "codes" is empty throughout'
    ):
        read(tmp_path, empty, codes="codes")
    with pytest.raises(
        InputError, match='no document has a code: column "codes" is empty throughout'
    ):
        read(tmp_path, empty, level="section")
    with pytest.raises(
        InputError, match=r"as deep as the level asked; the 2 of column .* --level: one of"
    ):
        read(tmp_path, {"id": ["a", "b"], "codes": ["A01B", "C08F"]}, level="group")
    with pytest.raises(InputError, match="no column of codes was found"):
        read(tmp_path, {"id": ["a"], "title": ["x"]}, level="group")


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("id", "cpc_code", "ipc_code"), {},
         r'columns "ipc_code" and "cpc_code" may each be meant as codes.* with --codes; the columns are id'),
        (("id", "title", "Text", "abstract"), {}, 'columns "abstract" and "Text" may .* --abstract'),
        (("id", "title", "appln_id"), {}, 'columns "id" and "appln_id" may .* --id'),
        (("id", "title"), {"codes": "cpc"}, r'no column "cpc" \(--codes\); the columns are id, title'),
        (("id", "name"), {}, "no column of titles, abstracts, claims or codes.*; the columns are id, name"),
        (("id", "title"), {"text": "both"}, "no column of claims was found, and --text is both.*id, title"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_columns_that_are_missing_or_unclear_are_named(
    columns: tuple[str, ...], options: dict[str, Any], message: str, name: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, pl.DataFrame({column: ["x"] for column in columns}))
    with pytest.raises(InputError, match=rf"{name}: .*{message}"):
        read_documents(path, DocumentsConfig(**options))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("title", [["x"]], r'column "title" is of the kind List.*expected text or numbers.*--title; .*id'),
        ("codes", [[["x"]]], r'column "codes" is of the kind List.*expected lists of text, or one text'),
        ("codes", [[{"code": "x"}]], r'column "codes" is of the kind List\(Struct'),
        ("title", [b"\xff"], "of the kind Binary"),
    ],
)  # fmt: skip
def test_columns_of_another_kind_are_named(
    column: str, values: list[Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, {"id": ["a"], column: values})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.csv", b"id,title,year\n", "no documents: there are no rows below the header"),
        ("t.jsonl", b"\n", "the file is empty"),
        ("t.parquet", b"PAR1 no more", "cannot be read as parquet"),
        ("t.csv.gz", b"id,title\na,b\n", "cut short or damaged"),
        ("t.xlsx", b"x", 'ending in ".xlsx"'),
        ("t.csv", b"id,id\na,b\n", 'column "id" stands there twice'),
    ],
)
def test_files_that_cannot_be_read_are_named(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    for config in (DocumentsConfig(), SKIP):
        with pytest.raises(InputError, match=rf"{name}.*{message}"):
            read_documents(tmp_path / name, config)


def test_missing_files_empty_folders_and_mixed_columns_are_named(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(InputError, match=rf"{name}: this cannot be read \(No such file"):
            read_documents(tmp_path / name)
    (tmp_path / "README.txt").write_text("x")
    with pytest.raises(
        InputError, match=r"the folder has no tables; expected files ending in \.parquet"
    ):
        read_documents(tmp_path)
    with pytest.raises(InputError, match="no files of documents were given"):
        read_documents([])
    write(tmp_path / "a.csv")
    write(tmp_path / "b.csv", TABLE.rename({"year": "filing_year"}))
    with pytest.raises(
        InputError, match=r"b\.csv: .*filing_year.*; expected those of .*a\.csv: ID, title"
    ):
        read_documents(tmp_path)


BROKEN = [
    ("t.csv", b'id,title,year\na,x,2000\nb,y,2001,z\n"c","w, v",2002\n',
     "line 3: the row has 4 fields; expected 3"),
    ("t.csv", b'id,title,year\na,x,2000\n"b,y,2001\nc,w,2002\n', "line 3: a quote is not closed"),
    ("t.tsv", b"id\ttitle\tyear\na\tx\t2000\nb\t\xff\t2001\nc\tw\t2002\n", "line 3: the bytes are not UTF-8"),
    ("t.jsonl", b'{"id":"a","title":"x","year":2000}\n{"id":\n{"id":"c","title":"w","year":2002}\n',
     "line 2: this is not JSON"),
    ("t.jsonl", b'{"id":"a","title":"x","year":2000}\n[1]\n{"id":"c","title":"w","year":2002}\n',
     "line 2: this is no JSON object"),
    ("t.jsonl.gz", b'{"id":"a","title":"x","year":2000}\n7\n{"id":"c","title":"w","year":2002}\n',
     "line 2: this is no JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_one_malformed_row_never_loses_the_others(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(packed(name, content))
    with pytest.raises(InputError, match=rf"{re.escape(name)} {message}.*--on-bad-row=skip"):
        read_documents(tmp_path / name)
    documents = read_documents(tmp_path / name, SKIP)
    assert documents.table["id"].to_list() == ["a", "c"]
    assert documents.table["year"].to_list() == [2000, 2002]
    assert documents.ledger[UNREADABLE] == 1


@pytest.mark.parametrize(
    "value", ['"abc"', "[1]", '{"y": 1}', "true", "null", "12.5", "-5", '"\\ud800"']
)
def test_one_bad_value_in_json_never_loses_the_others(value: str, tmp_path: Path) -> None:
    lines = [
        f'{{"id": {place}, "title": "x", "year": {year}, "codes": ["A01B", "C08F"]}}'
        for place, year in enumerate(("2000", value, "2002"))
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"t\.jsonl row 2: year is"):
        read_documents(tmp_path / "t.jsonl")
    documents = read_documents(tmp_path / "t.jsonl", SKIP)
    assert documents.table["id"].to_list() == ["0", "2"]
    assert documents.table["codes"].to_list() == [["A01B", "C08F"]] * 2
    assert (documents.ledger[NO_YEAR], documents.ledger[UNREADABLE]) == (1, 0)


def sql_of_docs(title: str) -> str:
    """The SQL block below a heading of docs/data.md."""
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    found = re.search(r"```sql\n(.*?)```", text[text.index(f"### {title}") :], re.DOTALL)
    assert found is not None
    return found[1]


def test_patentsview_is_read_as_the_docs_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = {
        "g_patent": [
            ("patent_id", "patent_type", "patent_date", "patent_title", "wipo_kind"),
            ("10000000", "utility", "2018-06-19", 'A "coherent" ladar', "B2"),
            ("4000000", "utility", "1976-12-28", "Asphalt", "A"),
            ("D345393", "design", "1994-03-22", "Pool cover", "S"),
        ],
        "g_patent_abstract": [
            ("patent_id", "patent_abstract"),
            ("10000000", "A frequency modulated\nladar system."),
        ],
        "g_cpc_current": [
            (
                "patent_id",
                "cpc_sequence",
                "cpc_section",
                "cpc_class",
                "cpc_subclass",
                "cpc_group",
                "cpc_type",
            ),
            ("10000000", "1", "G", "G01", "G01S", "G01S7/4914", "inventional"),
            ("10000000", "10", "G", "G01", "G01S", "G01S17/89", "inventional"),
            ("10000000", "2", "G", "G01", "G01S", "G01S17/32", "inventional"),
        ],
    }
    for name, (header, *rows) in tables.items():
        frame = pl.DataFrame(rows, schema=list(header), orient="row")
        frame.write_csv(f"{name}.tsv", separator="\t", quote_style="always")
    duckdb.connect().execute(sql_of_docs("PatentsView"))
    documents = read_documents("patents.parquet", DocumentsConfig(level="main-group"))
    assert documents.table.sort("id").rows() == [
        ("10000000", 'A "coherent" ladar', "A frequency modulated\nladar system.", "", 2018,
         ["G01S7", "G01S17"]),
        ("4000000", "Asphalt", "", "", 1976, []),
    ]  # fmt: skip
    assert documents.columns["year"] == "patent_date"


TIP = """
CREATE TABLE tls201_appln AS SELECT * FROM (VALUES
    (1, 'EP', 2001, 50), (2, 'EP', 2000, 50), (3, 'EP', 9999, 51), (4, 'EP', 2003, 52), (5, 'US', 2003, 53)
) t(appln_id, appln_auth, appln_filing_year, docdb_family_id);
CREATE TABLE tls202_appln_title AS SELECT * FROM (VALUES
    (1, 'en', 'Plough'), (2, 'de', 'Pflug'), (4, 'en', 'Rake')
) t(appln_id, appln_title_lg, appln_title);
CREATE TABLE tls203_appln_abstr AS SELECT * FROM (VALUES
    (2, 'de', 'Er pflügt.')
) t(appln_id, appln_abstract_lg, appln_abstract);
CREATE TABLE tls209_appln_ipc AS SELECT * FROM (VALUES
    (1, 'A01B   1/00', 'A'), (2, 'A01B   3/00', 'A'), (2, 'A01B  13/08', 'A'), (2, 'A01B   3/00', 'C'),
    (4, 'A01B   1/02', 'A')
) t(appln_id, ipc_class_symbol, ipc_class_level);
"""
LONG = """
SELECT a.appln_id, appln_filing_year, docdb_family_id, appln_title, appln_abstract, ipc_class_symbol
FROM tls201_appln a LEFT JOIN tls202_appln_title USING (appln_id)
LEFT JOIN tls203_appln_abstr USING (appln_id)
LEFT JOIN tls209_appln_ipc USING (appln_id) WHERE appln_auth = 'EP' ORDER BY 1, 6
"""


@pytest.mark.parametrize("query", ["docs", "long"])
@pytest.mark.parametrize("name", ["tip.csv", "tip.parquet"])
def test_exports_of_epo_tip_are_read_in_both_forms(query: str, name: str, tmp_path: Path) -> None:
    connection = duckdb.connect()
    connection.execute(TIP)
    sql = sql_of_docs("EPO TIP and PATSTAT") if query == "docs" else LONG
    path = write(tmp_path / name, connection.sql(sql).pl())
    config = DocumentsConfig(level="main-group", on_bad_row="skip")
    documents = read_documents(path, config)
    table = documents.table.with_columns(pl.col("codes").list.sort()).sort("id")
    assert table.rows() == [
        ("2", "Pflug", "Er pflügt.", "", 2000, ["A01B13", "A01B3"]),
        ("4", "Rake", "", "", 2003, ["A01B1"]),
    ]
    assert documents.ledger[FAMILY] == 1
    if query == "long":
        assert [documents.ledger[rule] for rule in (NO_YEAR, DUPLICATE, JOINED)] == [1, 1, 1]
    else:
        assert documents.ledger[NO_YEAR] == 0


TITLES = {
    "A01B001": "Hand tools (edge trimmers for lawns A01G",
    "A01B1": "Special adaptations",
    "A01B 3/00": "Ploughs (hand ploughs A01B1) with shares[1,2006.01]IPC (2023.01), Section A 1A01B",
    "A01B0005000000": "Ploughs with discs [4,5-epoxy] (a, (b)) [2006.01,2020.01]\nNote(s) [7]",
    "A01B": "Soil working",
    "A01B7": "takes precedence)[1,2006.01]",
    "A01B9": "or A01B",
    "A01B11": "Origami; and more",
    "robots": "Robots",
    "A01B13": "  ",
    "A01B15": None,
}


@pytest.mark.parametrize("name", ["t.tsv", "t.csv.gz", "t.parquet", "t.jsonl"])
def test_titles_of_codes(name: str, tmp_path: Path) -> None:
    table = pl.DataFrame({"Code": list(TITLES), "title": list(TITLES.values())})
    assert read_code_titles(write(tmp_path / name, table)) == {
        "A01B1": "Hand tools",
        "A01B3/00": "Ploughs (hand ploughs A01B1) with shares",
        "A01B5/00": "Ploughs with discs [4,5-epoxy] (a, (b))",
        "A01B": "Soil working",
        "A01B11": "Origami; and more",
        "robots": "Robots",
        "A01B3": "Ploughs (hand ploughs A01B1) with shares",
        "A01B5": "Ploughs with discs [4,5-epoxy] (a, (b))",
    }


def test_a_table_without_titles_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", pl.DataFrame({"symbol": ["A"], "title": ["x"]}))
    with pytest.raises(
        InputError, match=r't\.csv: no column "code"; .*The columns are symbol, title'
    ):
        read_code_titles(path)
    path = write(tmp_path / "t.csv", pl.DataFrame({"code": ["A"], "title": [""]}))
    with pytest.raises(InputError, match="no titles: of 1 rows"):
        read_code_titles(path)


@pytest.mark.real_data
def test_the_epo_sample(shared_data: Path) -> None:
    folder = shared_data / "epo_patent_sample"
    raw = pl.read_parquet(folder / "patent_sample_data.parquet")
    documents = read_documents(folder, DocumentsConfig(level="main-group"))
    table = documents.table
    assert table["id"].to_list() == [f"row {row}" for row in range(1, 2501)]
    assert documents.texts("abstract") == raw["text"].str.strip_chars().to_list()
    assert table["year"].to_list() == raw["APPLN_YR"].to_list()
    slow = [roll_up_all(split_codes(text), "main-group")[0] for text in raw["ipc_codes"]]
    assert table["codes"].to_list() == slow
    assert documents.opaque == ()
    # G09B and H01M, said to be in a subclass only, by patents with no other code.
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {SHALLOW: 2, NO_CODE: 2}


@pytest.mark.real_data
@pytest.mark.parametrize("column", ["cpc_code", "ipc_code"])
def test_the_kista_patents(column: str, shared_data: Path) -> None:
    folder = shared_data / "kista_patents"
    raw = pl.read_parquet(folder / "patents.parquet").with_row_index("row")
    with pytest.raises(InputError, match='"ipc_code" and "cpc_code" may each'):
        read_documents(folder)
    documents = read_documents(folder, DocumentsConfig(codes=column, level="subclass"))
    kept = raw.sort("year", "row").unique("family_id", keep="first").sort("row")
    assert len(kept) == 3568
    assert documents.ledger[FAMILY] == 163
    assert documents.table["id"].to_list() == kept["publication_number"].to_list()
    slow = [roll_up_all(codes, "subclass")[0] for codes in kept[column]]
    assert documents.table["codes"].to_list() == slow
    dated = read_documents(folder, DocumentsConfig(codes=column, year="publication_date"))
    assert dict(dated.table.select("id", "year").rows()) == dict(
        raw.select("publication_number", pl.col("publication_date") // 10000)
        .filter(pl.col("publication_number").is_in(dated.table["id"].implode()))
        .rows()
    )


@pytest.mark.real_data
def test_the_patents_of_the_dashboard_have_texts_and_no_codes(shared_data: Path) -> None:
    path = shared_data / "codefest_dashboard" / "patents.parquet"
    raw = pl.read_parquet(path)
    documents = read_documents(path)
    assert documents.table["id"].to_list() == raw["pub_number"].to_list()
    assert documents.ledger == dict.fromkeys(LEDGER, 0) | {NO_CODE: 3239}
    for text, row in zip(documents.texts("abstract"), raw.iter_rows(named=True), strict=True):
        assert text.startswith(row["title"].strip())
        assert text.endswith(row["abstract"].strip())
    with pytest.raises(InputError, match=r"no column of codes was found.*pub_number, title, year"):
        documents.check_codes()


@pytest.mark.real_data
def test_the_titles_of_the_main_groups(shared_data: Path) -> None:
    titles = read_code_titles(shared_data / "techspace_ipc" / "ipc_main_group_titles.tsv")
    symbols = [code for code in titles if re.fullmatch(r"[A-H]\d\d[A-Z]\d+", code)]
    assert titles["A01B1"] == "Hand tools"
    assert (
        titles["A01K67"]
        == "Rearing or breeding animals, not otherwise providedfor; New breeds of animals"
    )
    assert titles["G06F17"].startswith("Digital computing or data processing equipment or methods")
    # 7,633 rows are of 7,364 main groups, of which some 200 have only the rest of a reference for a title.
    assert 7100 < len(symbols) < 7364
    sample = read_documents(
        shared_data / "epo_patent_sample", DocumentsConfig(level="main-group")
    ).table["codes"]
    used = sample.explode().drop_nulls()
    assert used.is_in(symbols).mean() > 0.85  # older editions' groups have none
