"""Codes in the spellings that patent offices and vendors use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linkwise.data.codes import (
    LEVELS,
    is_indexing,
    roll_up,
    roll_up_all,
    spelled,
    split_codes,
)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("C08F 4/642", ["C", "C08", "C08F", "C08F4", "C08F4/642"]),
        ("C08F4/642", ["C", "C08", "C08F", "C08F4", "C08F4/642"]),
        ("c08f 0004642000", ["C", "C08", "C08F", "C08F4", "C08F4/642"]),
        ("A61K0031000000", ["A", "A61", "A61K", "A61K31", "A61K31/00"]),
        ("H04L0009080000", ["H", "H04", "H04L", "H04L9", "H04L9/08"]),
        ("Y02E 10/50 (2013.01)", ["Y", "Y02", "Y02E", "Y02E10", "Y02E10/50"]),
        ("A01B 3/00 [2006.01]", ["A", "A01", "A01B", "A01B3", "A01B3/00"]),
        ("A61K31:045", ["A", "A61", "A61K", "A61K31", "A61K31/045"]),
        ("C07K2317/24", ["C", "C07", "C07K", "C07K2317", "C07K2317/24"]),
        ("A01B001", ["A", "A01", "A01B", "A01B1", None]),
        ("C08F4", ["C", "C08", "C08F", "C08F4", None]),
        ("A47B/", ["A", "A47", "A47B", None, None]),
        ("C08F", ["C", "C08", "C08F", None, None]),
        ("C08", ["C", "C08", None, None, None]),
        ("C", ["C", None, None, None, None]),
        ("mechanics", [None] * 5),
        ("Z99A 1/00", [None] * 5),
        ("C08F 4/642 x", [None] * 5),
    ],
)
def test_every_spelling_at_every_level(code: str, expected: list[Any]) -> None:
    assert [roll_up(code, level) for level in LEVELS] == expected


def test_codes_of_a_patent_are_each_once_and_others_kept_as_they_are() -> None:
    codes = ["C08F 4/642", "C08F 4/64", "C07F 17/00", "C08F", " ", "polymers", "polymers"]
    assert roll_up_all(codes, "main-group") == (["C08F4", "C07F17", "polymers"], ["polymers"])
    assert roll_up_all(codes, "subclass") == (["C08F", "C07F", "polymers"], ["polymers"])
    assert roll_up_all(["b", "a", "b"], None) == (["b", "a"], [])
    assert split_codes("C08F4, C07F17;C08F210|A01B1") == ["C08F4", "C07F17", "C08F210", "A01B1"]
    assert split_codes(" ") == []


def test_symbols_have_one_spelling_and_labels_stay() -> None:
    assert {spelled(c) for c in ("H01M 4/02", "h01m4/02", "H01M0004020000")} == {"H01M4/02"}
    assert [spelled(c) for c in ("h01m", "c08f 4", "b", "polymers")] == [
        "H01M",
        "C08F4",
        None,
        None,
    ]
    assert roll_up_all(["h01m4/02", "H01M 4/02", "x"], None) == (["H01M4/02", "x"], [])


def test_indexing_codes_are_told() -> None:
    codes = ["B60L 2200/12", "C07K2317/24", "Y10S", "y10t 428/13", "Y02E 10/50", "B60L 50/10", "x"]
    assert [is_indexing(code) for code in codes] == [True] * 4 + [False] * 3


@pytest.mark.real_data
def test_every_code_of_the_real_sets_is_read(shared_data: Path) -> None:
    sample = pl.read_parquet(shared_data / "epo_patent_sample" / "patent_sample_data.parquet")
    codes = {code for text in sample["ipc_codes"].drop_nulls() for code in split_codes(text)}
    assert len(codes) > 1000
    # Two patents are said to be in a subclass only.
    assert {code for code in codes if roll_up(code, "main-group") is None} == {"G09B", "H01M"}
    patents = pl.read_parquet(shared_data / "kista_patents" / "patents.parquet")
    for column in ("cpc_code", "ipc_code"):
        codes = set(patents[column].explode().drop_nulls())
        unread = {code for code in codes if roll_up(code, "group") is None}
        assert all(code.endswith("/") for code in unread), sorted(unread)[:10]
        assert {code for code in codes if roll_up(code, "subclass") is None} == set()
