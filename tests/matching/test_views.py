"""The four views of a reference work, by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from linkwise.cli import main
from linkwise.data.sections import Sections, read_sections
from linkwise.errors import InputError, UsageError
from linkwise.matching.views import section_views

WORK = """# 1 Storage
All about it, see Section 2.1.
## 1.1 Tanks
Tanks are round.
# 2 Gas
## 2.10 Filters
Filters hold dust.
## 2.1 Scrubbers
Scrubbers wash gas. Compare Section 1.1.
"""


@pytest.fixture
def work(tmp_path: Path) -> Sections:
    (tmp_path / "manual.md").write_text(WORK)
    (tmp_path / "other.md").write_text("# 1 Elsewhere\nNothing here.\n")
    return read_sections([tmp_path / "manual.md", tmp_path / "other.md"])


def test_sections_and_pairs(work: Sections) -> None:
    found = section_views(work, ("section", "pair"))
    assert found.select("view", "section", "text").rows() == [
        ("section", "manual:::1", "Storage\nAll about it, see Section 2.1.\nSee also: Scrubbers."),
        ("section", "manual:::1.1", "Storage\nTanks are round.\nSee also: Scrubbers."),
        # 2.1 is read before 2.10, wherever it stands
        (
            "section",
            "manual:::2.1",
            "Gas\nScrubbers wash gas. Compare Section 1.1.\nSee also: Storage; Tanks.",
        ),
        ("section", "manual:::2.10", "Gas\nFilters hold dust."),
        ("section", "other:::1", "Elsewhere\nNothing here."),
        (
            "pair",
            "manual:::1",
            "Storage\nAll about it, see Section 2.1.\n\nScrubbers wash gas. Compare Section 1.1.",
        ),
        ("pair", "manual:::2.1", "Scrubbers wash gas. Compare Section 1.1.\n\nTanks are round."),
    ]


@pytest.mark.parametrize(("words", "overlap"), [(4, 0), (5, 2), (6, 5), (1000, 10)])
def test_pieces_hold_every_word_in_order(work: Sections, words: int, overlap: int) -> None:
    whole = (
        "Storage All about it, see Section 2.1. Tanks are round. Gas Scrubbers wash gas. "
        "Compare Section 1.1. Filters hold dust."
    )
    found = section_views(work, ("document",), words=words, overlap=overlap)
    pieces = [text.split() for text in found.filter(pl.col("document") == "manual")["text"]]
    assert all(len(piece) <= words for piece in pieces)
    again = pieces[0]
    for before, piece in pairwise(pieces):
        assert before[len(before) - overlap :] == piece[:overlap]
        again = again + piece[overlap:]
    assert " ".join(again) == whole
    chapters = section_views(work, ("chapter",), words=words, overlap=overlap)
    assert chapters["section"].str.contains("manual:::2").any()
    expected = f"{whole} Elsewhere Nothing here."
    assert set(" ".join(chapters["text"]).split()) == set(expected.split())


def test_what_is_refused(work: Sections) -> None:
    with pytest.raises(UsageError, match='no view "book"'):
        section_views(work, ("book",))
    with pytest.raises(UsageError, match="an overlap of 5 words in pieces of 5"):
        section_views(work, words=5, overlap=5)
    with pytest.raises(InputError, match="no section has a text"):
        section_views(Sections(work.table.with_columns(text=pl.lit(None, pl.String)), work.cites))


def test_from_the_command_line(
    work: Sections, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "views" / "texts.parquet"
    words = ["match", "views", str(tmp_path / "manual.md"), str(tmp_path / "other.md")]
    assert main([*words, "--out", str(out), "--words", "6", "--overlap", "2"]) == 0
    expected = section_views(work, words=6, overlap=2)
    assert pl.read_parquet(out).equals(expected)
    assert f"{len(expected)} texts" in capsys.readouterr().err
    assert main([*words, "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*words, "--out", str(out), "--overwrite", "--view", "section"]) == 0
    assert set(pl.read_parquet(out)["view"]) == {"section"}
    assert main([*words, "--out", str(tmp_path / "x.txt")]) == 2
