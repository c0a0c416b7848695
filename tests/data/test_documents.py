"""Documents: every form in which they come, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkwise.data.codes import roll_up
from linkwise.data.documents import DocumentsConfig, read_code_titles, read_documents
from linkwise.errors import InputError


def write(path: Path, **columns: object) -> Path:
    frame = pl.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
    return path


PLAIN = {
    "id": ["a", "b", "c"],
    "title": ["Pump.", "Valve", ""],
    "abstract": ["It pumps.", "", "Words alone."],
    "year": [2001, 2002, 2003],
}


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_every_format_gives_the_same(ending: str, tmp_path: Path) -> None:
    codes = ["A01B 1/02; A01B 1/04, C08F4", "C08F4/64", ""]
    found = read_documents(write(tmp_path / f"p.{ending}", **PLAIN, codes=codes))
    assert found.table["id"].to_list() == ["a", "b", "c"]
    assert found.table["codes"].to_list() == [["A01B 1/02", "A01B 1/04", "C08F4"], ["C08F4/64"], []]
    assert found.table["year"].to_list() == [2001, 2002, 2003]
    assert found.texts("abstract") == ["Pump. It pumps.", "Valve.", "Words alone."]
    assert found.texts("claims") == ["Pump.", "Valve.", ""]
    assert found.ledger == {"documents without a code (kept for their texts)": 1}


def test_codes_are_rolled_up_each_once_as_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pool = ["A01B1/02", "A01B1/04", "A01B 3/00", "C08F0004642000", "C08F", "H04", "local 7", " "]
    codes = [[pool[k] for k in rng.integers(len(pool), size=rng.integers(6))] for _ in range(200)]
    table = {"id": [str(i) for i in range(200)], "year": [2000] * 200, "codes": codes}
    for level in ("section", "subclass", "main-group"):
        path = write(tmp_path / f"{level}.parquet", **table)
        found = read_documents(path, DocumentsConfig(level=level))
        slow = []
        for own in codes:
            kept: list[str] = []
            for code in own:
                known = roll_up(code, "section") is not None
                at = roll_up(code, level) if known else code.strip()
                if at and at not in kept:
                    kept.append(at)
            slow.append(kept)
        assert found.table["codes"].to_list() == slow
        assert found.opaque == ("local 7",)
        shallow = sum(
            roll_up(c, "section") is not None and roll_up(c, level) is None
            for o in codes
            for c in o
        )
        assert found.ledger.get("codes less deep than the level", 0) == shallow


def test_of_a_family_the_earliest_stays_with_its_own_codes(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.parquet",
        id=["late", "first", "tie", "alone", "single"],
        family_id=[7, 7, 7, None, 9],
        year=[2005, 2001, 2001, 1999, 2003],
        codes=[["C08F4"], ["A01B1"], ["H04L9"], ["G06F1"], ["A01B1"]],
    )
    found = read_documents(path)
    assert found.table["id"].to_list() == ["first", "alone", "single"]
    assert found.table["codes"].to_list() == [["A01B1"], ["G06F1"], ["A01B1"]]
    assert found.ledger["later members of a family"] == 2


def test_a_document_in_several_rows_is_joined(tmp_path: Path) -> None:
    """The long form of PatentsView and EPO TIP: a row for each code."""
    path = write(
        tmp_path / "long.csv",
        appln_id=[1, 1, 2],
        appln_title=["Pump", "Pump", "Valve"],
        appln_abstract=["It pumps.", "It pumps.", "It shuts."],
        appln_filing_year=[2001, 2001, 2002],
        ipc_class_symbol=["F04D  29/42", "F04D   1/00", "F16K  31/00"],
    )
    found = read_documents(path, DocumentsConfig(level="subclass"))
    assert found.table["codes"].to_list() == [["F04D"], ["F16K"]]
    path = write(
        tmp_path / "view.jsonl",
        patent_id=["7", "7"],
        patent_title=["Pump", "Pump"],
        patent_abstract=["It pumps."] * 2,
        patent_date=["2013-12-17"] * 2,
        cpc_group=["F04D29/426", "H02K7/14"],
    )
    found = read_documents(path, DocumentsConfig(level="main-group"))
    assert found.table.select("year", "codes").row(0) == (2013, ["F04D29", "H02K7"])
    clash = write(tmp_path / "c.parquet", id=["x", "x"], year=[2000, 2001], codes=[["A01B1"]] * 2)
    with pytest.raises(
        InputError, match=r'row 1 and 2: both have the id "x".*differ in their year'
    ):
        read_documents(clash)


def test_years_come_as_numbers_and_dates(tmp_path: Path) -> None:
    given = [20131217, 2013, 19991231]
    path = write(tmp_path / "n.parquet", publication_date=given, codes=[["A01B1"]] * 3)
    assert read_documents(path).table["year"].to_list() == [2013, 2013, 1999]
    assert read_documents(path).table["id"].to_list() == ["row 1", "row 2", "row 3"]
    dates = pl.Series(["2013-12-17", "1999-01-01"]).str.to_date()
    path = write(tmp_path / "d.parquet", filing_date=dates, codes=[["A01B1"]] * 2)
    assert read_documents(path).table["year"].to_list() == [2013, 1999]


@pytest.mark.parametrize("bad", ["abc", "", "12", "99999", "1500", None])
def test_a_row_without_a_year_is_named_or_dropped(bad: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", id=["a", "b"], year=["2001", bad], codes=[["A01B1"]] * 2)
    with pytest.raises(InputError, match=r"p\.parquet row 2: the year is .* --on-bad-row=skip"):
        read_documents(path)
    found = read_documents(path, DocumentsConfig(on_bad_row="skip"))
    assert found.table["id"].to_list() == ["a"]
    assert found.ledger["rows without a year"] == 1
    path = write(tmp_path / "q.parquet", id=["b"], year=[bad], codes=[["A01B1"]])
    with pytest.raises(InputError, match="none of the 1 documents has a year"):
        read_documents(path, DocumentsConfig(on_bad_row="skip"))


def test_columns_that_are_missing_or_two(tmp_path: Path) -> None:
    both = write(tmp_path / "b.parquet", year=[2000], ipc_code=["A01B1"], cpc_code=["A01B1"])
    with pytest.raises(InputError, match="cpc_code and ipc_code may both hold the codes"):
        read_documents(both)
    assert read_documents(both, DocumentsConfig(codes="ipc_code")).table["codes"].to_list() == [
        ["A01B1"]
    ]
    with pytest.raises(
        InputError, match=r'no column "cpc" \(--codes\); the columns are year, ipc_code'
    ):
        read_documents(both, DocumentsConfig(codes="cpc"))
    with pytest.raises(InputError, match=r"no column with the year; name it with --year"):
        read_documents(write(tmp_path / "y.parquet", id=["a"], codes=[["A01B1"]]))
    with pytest.raises(InputError, match="neither a text nor codes"):
        read_documents(write(tmp_path / "t.parquet", id=["a"], year=[2000]))
    with pytest.raises(InputError, match="expected codes as text or as a list"):
        read_documents(write(tmp_path / "k.parquet", year=[2000], codes=[17]))
    with pytest.raises(InputError):
        read_documents(tmp_path / "none.parquet")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="empty"):
        read_documents(tmp_path / "empty.csv")


def test_titles_of_codes_stand_under_every_spelling(tmp_path: Path) -> None:
    path = tmp_path / "titles.tsv"
    rows = ["code\ttitle", "A01B001\tHand tools (edge trimmers for lawns A01G", "A01B1\tSpecial", 
            "C08F\tPolymers[1,2006.01]", "x\tLocal"]  # fmt: skip
    path.write_text("\n".join(rows) + "\n")
    found = read_code_titles(path)
    assert found["A01B1"] == found["A01B001"] == "Hand tools"
    assert found["C08F"] == "Polymers"
    assert found["x"] == "Local"
    (tmp_path / "bad.json").write_text(json.dumps({"code": 1}))
    with pytest.raises(InputError):
        read_code_titles(tmp_path / "bad.json")


@pytest.mark.real_data
def test_the_real_sets_are_read_as_they_are(shared_data: Path) -> None:
    epo = read_documents(shared_data / "epo_patent_sample")
    assert len(epo.table) == 2500
    assert epo.opaque == ()
    config = DocumentsConfig(codes="cpc_code", level="subclass")
    kista = read_documents(shared_data / "kista_patents" / "patents.parquet", config)
    raw = pl.read_parquet(shared_data / "kista_patents" / "patents.parquet")
    assert len(kista.table) == raw["family_id"].n_unique()
    first = raw["cpc_code"].list.eval(pl.element().str.slice(0, 4)).explode().unique().drop_nulls()
    assert set(kista.table["codes"].explode().drop_nulls()) <= set(first)
    titles = read_code_titles(shared_data / "techspace_ipc" / "ipc_main_group_titles.tsv")
    assert titles["A01B1"] == "Hand tools"
    assert not any("2006.01" in title for title in titles.values())
