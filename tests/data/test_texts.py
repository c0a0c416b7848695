"""Texts from tables and plain files."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from linkwise.data.texts import read_texts
from linkwise.errors import InputError

TABLE = pl.DataFrame({"id": ["007", "b", "c"], "body": ["a, b", None, "Ünï\ncode"]})


def write(path: Path) -> None:
    if path.name.endswith(".parquet"):
        TABLE.write_parquet(path)
    elif path.name.endswith(".jsonl"):
        TABLE.write_ndjson(path)
    else:
        data = TABLE.write_csv(separator="\t" if ".tsv" in path.name else ",").encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.csv", "t.tsv", "t.csv.gz", "T.CSV"])
def test_every_kind_of_table_gives_the_same(name: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    found = read_texts(tmp_path / name, "body")
    assert found.equals(TABLE.with_columns(text=pl.col("body")))


def test_plain_text_is_one_text_per_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffone, two\r\n\r\nthr\u2028ee\r\n".encode())
    assert read_texts(path)["text"].to_list() == ["one, two", "", "thr\u2028ee"]


def test_the_column_need_not_be_named_where_it_is_clear(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"body": ["a"]}).write_parquet(path)
    assert read_texts(path)["text"].to_list() == ["a"]
    pl.DataFrame({"id": [1], "text": ["b"]}).write_parquet(path)
    assert read_texts(path)["text"].to_list() == ["b"]
    assert read_texts(path, "id")["text"].to_list() == ["1"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"id,body\n1,a\n", 'no column "text".* --column; the columns are id, body'),
        ("t.csv", b"", "the file is empty"),
        ("t.txt", b"\n \n", "the file is empty"),
        ("t.csv", b"id,text\n1,\n2,\n", 'no texts: column "text" has 2 rows, all empty'),
        ("t.csv", b"id,text\n", 'no texts: column "text" has 0 rows'),
        ("t.csv", b"id,text\n1,a,b,c\n", "cannot be read as csv"),
        ("t.txt", b"a\n\xff\n", "cannot be read as txt"),
        ("t.jsonl", b'{"text": "a"\n', "cannot be read as jsonl"),
        ("t.jsonl", b'{"text": ["a"]}\n{"text": ["b"]}\n', "of the kind List.*expected text"),
        ("t.parquet", b"PAR1 no more", "cannot be read as parquet"),
        ("t.csv.gz", b"id,text\n1,a\n", "cut short or damaged"),
        ("t.xlsx", b"x", 'ending in ".xlsx"; expected one of .parquet'),
    ],
)
def test_what_cannot_be_read_is_named(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        read_texts(path)


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "t.csv")
    with pytest.raises(
        InputError, match=r'no column "title" \(--column\); the columns are id, body'
    ):
        read_texts(tmp_path / "t.csv", "title")
    with pytest.raises(InputError, match=r"none\.csv: this cannot be read \(No such file"):
        read_texts(tmp_path / "none.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        read_texts(tmp_path / "d.csv")
