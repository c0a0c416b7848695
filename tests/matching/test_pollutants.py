"""Pollutants: names taken apart, files read, and what the package knows checked by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linkwise.errors import InputError, UsageError
from linkwise.matching.lexicon import folded
from linkwise.matching.pollutants import _known, lexicon_of, names_of, read_pollutants


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Zinc and compounds (as Zn)", ["zinc", "Zn"]),
        ("1,2-dichloroethane (DCE-1,2)", ["1,2-dichloroethane", "DCE-1,2", "1,2-DCE"]),
        ("Chlorine and inorganic compounds (as HCl)", ["chlorine", "HCl"]),
        (
            "PCDD + PCDF (dioxins + furans) (as Teq)",
            ["PCDD", "PCDF", "dioxins", "furans"],
        ),
        ("Benzo(g,h,i)perylene", ["benzo(g,h,i)perylene"]),
        ("Phenols (as total C)", ["phenols"]),
        ("Total organic carbon(as total C or COD/3) (TOC)", ["total organic carbon", "TOC"]),
        ("DDT (DDT)", ["DDT"]),
        ("Fluorides (as total F)", ["fluorides"]),
        (
            "Nonylphenol and Nonylphenol ethoxylates",
            ["nonylphenol", "nonylphenol ethoxylates"],
        ),
        ("(2-chloroethyl) ether", ["(2-chloroethyl) ether"]),
    ],
)
def test_names_in_a_register_s_manner(name: str, expected: list[str]) -> None:
    assert names_of(name) == expected


def test_what_the_package_knows_holds_together() -> None:
    known = _known()
    names = [entry["name"] for entry in known.pollutants]
    assert len(set(names)) == len(names) > 85
    numbers: dict[str, str] = {}
    for entry in known.pollutants:
        assert entry["terms"], entry["name"]
        assert set(entry.get("groups", [])) <= set(known.groups)
        assert set(entry) <= {"name", "terms", "doubtful", "without", "cas", "groups", "about"}
        for number in entry.get("cas", []):
            a, b, check = number.split("-")  # the last digit checks the others, by their places
            places = enumerate(reversed(a + b), 1)
            assert sum(k * int(digit) for k, digit in places) % 10 == int(check), number
            assert numbers.setdefault(number, entry["name"]) == entry["name"]
    for group in known.groups.values():
        assert group["terms"]
        assert isinstance(group["about"], list)  # a family's word says nothing of its own


def pollutants(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "pollutants.json"
    path.write_text(json.dumps(content))
    return path


def test_json_and_tables_say_the_same(tmp_path: Path) -> None:
    zinc = {"name": "Zinc", "synonyms": ["spelter"], "cas": "7440-66-6", "formula": "ZnO"}
    of_list = read_pollutants(pollutants(tmp_path, [zinc, "Toluene"]))
    of_object = read_pollutants(
        pollutants(tmp_path, {"Zinc": {k: zinc[k] for k in zinc if k != "name"}, "Toluene": None})
    )
    table = tmp_path / "pollutants.csv"
    table.write_text("name,synonyms,cas,formula\nZinc,spelter,7440-66-6,ZnO\nToluene,,,\n")
    assert of_list == of_object == read_pollutants(table)
    assert of_list[0].terms[:3] == ("zinc", "spelter", "ZnO")
    assert of_list[0].groups == ("heavy metals",)
    assert all(one.known for one in of_list)
    assert any("galvanising" in text for text in of_list[0].about)


def test_a_cas_number_alone_makes_it_known(tmp_path: Path) -> None:
    (found,) = read_pollutants(pollutants(tmp_path, [{"name": "Solvent X", "cas": "75-09-2"}]))
    assert "methylene chloride" in found.terms
    (other,) = read_pollutants(pollutants(tmp_path, ["Unobtainium"]))
    assert not other.known
    assert other.parts == ["unobtainium"]
    assert (other.groups, other.about) == ((), ())


def test_versions_of_a_list(tmp_path: Path) -> None:
    path = pollutants(tmp_path, {"v1": ["Zinc", "Lead"], "v2": ["Zinc"]})
    assert [p.id for p in read_pollutants(path, "v2")] == ["Zinc"]
    with pytest.raises(UsageError, match="lists v1, v2; choose one with --version"):
        read_pollutants(path)
    with pytest.raises(UsageError, match='no list "v3"'):
        read_pollutants(path, "v3")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (["Zinc", "zinc"], 'entry 2: the pollutant "zinc" stands already as entry 1'),
        ([{"cas": "7440-66-6"}], "entry 1: the pollutant has no name"),
        ([{"name": "Zinc", "cas": "7440-66-5"}], '"7440-66-5" is no CAS number of "Zinc"'),
        ([], "no pollutants"),
        ([3], "entry 1: expected a name"),
        ({"a": 1}, '"a" is 1; expected null or an object'),
        ({"Zinc": None, "b": [1]}, r'"b" is \[1\]; expected null or an object'),
        (["a"], 'entry 1: "a" is no name of a pollutant'),
        (["The"], 'entry 1: "The" is no name of a pollutant'),
        ("Zinc", "expected a list"),
    ],
)
def test_pollutants_that_are_none(content: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_pollutants(pollutants(tmp_path, content))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(InputError, match="not JSON"):
        read_pollutants(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_pollutants(tmp_path / "none.json")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match='no column "name"'):
        read_pollutants(tmp_path / "a.csv")


def test_tin_is_not_yet_organotin_and_a_group_speaks_for_its_members(tmp_path: Path) -> None:
    some = read_pollutants(
        pollutants(tmp_path, ["Organotin compounds (as total Sn)", "Lead and compounds (as Pb)"])
    )
    assert "Sn" not in some[0].terms
    assert some[1].doubtful == ("lead",)
    lexicon, groups = lexicon_of(some)
    text = "Sn and heavy metals lead to Pb, CAS 7439-92-1, tributyltin aside from organotin"
    found = [(hit.owner, text[hit.start : hit.end]) for hit in lexicon.find(text)]
    assert found == [
        (2 + groups.index("heavy metals"), "heavy metals"),
        (1, "Pb"),
        (1, "7439-92-1"),
        (0, "organotin"),
    ]
    assert folded("Organo-tin") == ("organo", "tin")


def test_letters_and_articles_are_no_synonyms(tmp_path: Path) -> None:
    entry = {"name": "Unobtainium", "synonyms": ["a", "the", "X", "unob"]}
    (found,) = read_pollutants(pollutants(tmp_path, [entry]))
    assert found.terms == ("unobtainium", "unob")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Di-(2-ethyl hexyl) phthalate (DEHP)", "Hydrogenation of a PHTHALATE compound."),
        ("Octylphenols and Octylphenol ethoxylates", "An alkylphenol ethoxylate as a soap."),
        ("Pentachlorophenol (PCP)", "It removes chlorophenols."),
        ("Simazine", "A triazine herbicide."),
    ],
)
def test_a_family_s_word_names_a_group_and_no_member(tmp_path: Path, name: str, text: str) -> None:
    some = read_pollutants(pollutants(tmp_path, [name, "Zinc"]))
    lexicon, groups = lexicon_of(some)
    hits = lexicon.find(text)
    assert hits
    assert all(hit.owner >= len(some) for hit in hits)
    assert all(groups[hit.owner - len(some)] in some[0].groups for hit in hits)
