"""`linkwise lm embed`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import linkwise.lm
from linkwise.cli import main

TEXTS = ["Toy Story", None, "A film about living toys", "Jumanji"]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    path = tmp_path / "docs.parquet"
    pl.DataFrame({"key": [3, 1, 4, 2], "body": TEXTS}).write_parquet(path)
    return path


def words(docs: Path, out: str, *more: str) -> list[str]:
    """The command with some options more, or others in place of its own."""
    given = {"--texts": str(docs), "--column": "body", "--out": str(docs.parent / out)}
    given |= {"--threads": "1"}
    given = {option: value for option, value in given.items() if option not in more}
    return ["lm", "embed", *(word for pair in given.items() for word in pair), *more]


def test_help_shows_a_worked_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "embed", "--help"]) == 0
    assert "linkwise lm embed --texts films.txt --out" in capsys.readouterr().out


def test_vectors_with_ids_or_rows(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(docs, "v.parquet", "--id-column", "key")) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 of 4 texts are empty" in shown.err
    assert "4 vectors of 384 numbers" in shown.err
    found = pl.read_parquet(docs.parent / "v.parquet")
    assert found.schema == {"key": pl.Int64, "vector": pl.Array(pl.Float32, 384)}
    assert found["key"].to_list() == [3, 1, 4, 2]
    expected = linkwise.lm.embed([text or "" for text in TEXTS], threads=1)
    np.testing.assert_array_equal(found["vector"].to_numpy(), expected)

    assert main(words(docs, "v.npy", "--quiet", "--json")) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["texts"], told["empty"], told["size"]) == (4, 1, 384)
    assert shown.err == ""
    found_npy = np.load(docs.parent / "v.npy", allow_pickle=False)
    np.testing.assert_array_equal(found_npy, expected)

    assert main(words(docs, "v.parquet", "--quiet", "--overwrite")) == 0
    found = pl.read_parquet(docs.parent / "v.parquet")
    assert found["row"].to_list() == [0, 1, 2, 3]
    assert sorted(path.name for path in docs.parent.iterdir()) == [
        "docs.parquet", "v.npy", "v.parquet",
    ]  # fmt: skip


@pytest.mark.slow
def test_8_bit_integers_tell_their_cosine(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(docs, "v.npy", "--int8")) == 0
    assert "8-bit integers: cosine with the vectors before, on 3 texts: mean .99" in (
        capsys.readouterr().err
    )
    assert np.load(docs.parent / "v.npy", allow_pickle=False).shape == (4, 384)


@pytest.mark.parametrize(
    ("out", "more", "code", "message"),
    [
        ("docs.parquet", [], 2, "the file exists. Choose another --out, or use --overwrite"),
        ("v.csv", [], 2, "ending in .parquet or .npy"),
        ("v.npy", ["--id-column", "key"], 2, "--id-column has no place in .npy"),
        ("v.parquet", ["--id-column", "text"], 2, "name of another column"),
        ("v.parquet", ["--max-tokens", "1"], 2, "--max-tokens is 1"),
        ("v.parquet", ["--threads", "0"], 2, "--threads is 0"),
        ("v.parquet", ["--id-column", "nr"], 3, 'no column "nr" (--id-column); the columns are key, '),
        ("v.parquet", ["--column", "title"], 3, 'no column "title" (--column); the columns are key, body'),
        ("v.parquet", ["--model", "./nowhere"], 3, "nowhere: there is no such folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_left(
    out: str, more: list[str], code: int, message: str, docs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = docs.read_bytes()
    assert main(words(docs, out, *more)) == code
    assert message in capsys.readouterr().err
    assert docs.read_bytes() == before
    assert sorted(path.name for path in docs.parent.iterdir()) == ["docs.parquet"]


def test_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("")
    out = str(tmp_path / "v.npy")
    assert main(["lm", "embed", "--texts", str(tmp_path / "t.txt"), "--out", out]) == 3
    assert "t.txt: the file is empty" in capsys.readouterr().err
