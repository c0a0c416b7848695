"""Names in texts: spellings, symbols and words that are also others, against a slow search."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkwise.matching.lexicon import Lexicon, Term, fold


def found(text: str, *terms: Term) -> list[str]:
    return [text[hit.start : hit.end] for hit in Lexicon(terms).find(text)]


@pytest.mark.parametrize(
    ("term", "text", "expected"),
    [
        ("zinc", "Zinc, ZINC and zincate", ["Zinc", "ZINC"]),
        ("dioxin", "dioxins and a dioxin", ["dioxins", "dioxin"]),
        ("endosulfan", "endosulphan residues", ["endosulphan"]),
        ("1,2-dichloroethane", "1,2-dichloroethane; 1, 2 dichloroethane", None),
        ("1,2-dichloroethane", "1,1-dichloroethane, dichloroethane", []),
        ("benzo(g,h,i)perylene", "Benzo[g,h,i]perylene", ["Benzo[g,h,i]perylene"]),
        ("ethyl benzene", "ethyl-benzene, ethyl\nbenzene", ["ethyl-benzene", "ethyl\nbenzene"]),
        ("vinyl chloride", "of vinyl. Chloride is", []),
        ("vinyl chloride", "vinyl, chloride", ["vinyl, chloride"][:0]),
        ("Zn", "Zn, ZnO, zn and ZN in g/l Zn", ["Zn", "Zn"]),
        ("HCl", "HCl and HCL and hcl gas", ["HCl"]),
        ("CH2Cl2", "some CH2Cl2 or CH2 Cl2 of it", ["CH2Cl2"]),
        ("PER", "PER is a solvent", ["PER"]),
        ("PER", "AMOUNT PER UNIT OF TIME", []),
    ],
)
def test_spellings(term: str, text: str, expected: list[str] | None) -> None:
    here = found(text, Term(term, 0))
    if expected is None:
        assert here == ["1,2-dichloroethane", "1, 2 dichloroethane"]
    else:
        assert here == expected


def test_a_cas_number_counts_in_its_own_spelling_only() -> None:
    term = Term("107-06-2", 0, cas=True)
    assert found("CAS 107-06-2, (107-06-2).", term) == ["107-06-2", "107-06-2"]
    assert found("107 06 2; 107-06-21; 1107-06-2; 107-06-2-5; 3-107-06-2", term) == []


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("This may lead to a loss of lead time", 0),
        ("lead and zinc", 1),
        ("fumes of lead oxide", 1),
        ("emissions of lead", 1),
        ("the lead wire", 0),
    ],
)
def test_lead_is_a_metal_only_beside_one(text: str, n: int) -> None:
    terms = [Term("lead", 0, doubtful=True), Term("lead to", -1), Term("lead time", -1)]
    assert len(found(text, *terms)) == n


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("As shown above, zinc is used", 0),
        ("As, Cd and Pb", 1),
        ("arsenic (As) is", 1),
        ("As(III) and As2O3", 2),
        ("AS SHOWN", 0),
        ("as Cd", 0),
    ],
)
def test_as_is_a_symbol_only_as_such(text: str, n: int) -> None:
    assert len(found(text, Term("As", 0, doubtful=True))) == n


def test_the_longest_name_counts_and_what_is_nobody_s_is_passed_by() -> None:
    terms = [Term("chloride", 0), Term("vinyl chloride", 1), Term("polyvinyl chloride", -1)]
    hits = Lexicon(terms).find("vinyl chloride, polyvinyl chloride, chloride")
    assert [hit.owner for hit in hits] == [1, 0]
    both = Lexicon([Term("alkylphenol", 0), Term("alkylphenol", 1)]).find("alkylphenols")
    assert [hit.owner for hit in both] == [0, 1]


def test_nothing_in_nothing() -> None:
    assert Lexicon([Term("zinc", 0), Term("", 1)]).find("") == []
    assert Lexicon([]).find("zinc") == []


WORDS = st.sampled_from(["zinc", "oxide", "lead", "ethyl", "benzene", "Zinc", "of", "the", "."])


@given(st.lists(WORDS, max_size=30))
def test_as_many_as_a_regular_expression_finds(words: list[str]) -> None:
    text = " ".join(words)
    terms = ["zinc", "zinc oxide", "ethyl benzene", "benzene"]
    slow = re.compile(r"\b(?:zinc oxide|ethyl benzene|zinc|benzene)\b", re.IGNORECASE)
    expected = [match.span() for match in slow.finditer(text)]
    hits = Lexicon([Term(term, k) for k, term in enumerate(terms)]).find(text)
    assert [(hit.start, hit.end) for hit in hits] == expected


def test_a_megabyte_takes_seconds() -> None:
    text = "zinc oxide from the furnace of a smelter, 1,2-dichloroethane too. " * 16_000
    began = time.monotonic()
    hits = Lexicon([Term("zinc oxide", 0), Term("1,2-dichloroethane", 1)]).find(text)
    assert len(text) > 1_000_000
    assert len(hits) == 32_000
    assert time.monotonic() - began < 20


def test_fold_leaves_words_that_end_in_s() -> None:
    assert [fold(w) for w in ("gas", "Analysis", "phosphorus", "glass", "Xylenes")] == [
        "gas", "analysis", "phosphorus", "glass", "xylene",
    ]  # fmt: skip
