"""Sections from outlines and tables: numbers, parents, citations, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from linkwise.data.sections import Sections, cited_in, read_sections
from linkwise.errors import InputError

MARKDOWN = """Foreword of the manual.

# 4 Techniques
Those to consider; see Sections 4.2 and 4.2.1.

## 4.1 Storage
Cover it.

```
# not a heading
```
## 4.2 Cleaning of gas ##
See Section 9.9, Chapter 4 and section 1.1 of the CWW BREF.
### 4.2.1 Scrubbers
Water. Compare section 4.2.1.
"""
HTML = """<html><head><title>4.9 Not this</title><style>h1 {}</style></head><body>
<p>Foreword of the manual.</p><h1>4 Techniques</h1>
<p>Those to consider;&nbsp;see Sections <b>4.2</b> and 4.2.1.</p>
<h2>4.1 <i>Storage</i></h2><div>Cover it.</div><pre># not a heading</pre>
<script>var a = "<h2>4.8 x</h2>"</script>
<h2>4.2 Cleaning of gas</h2><ul><li>See Section 9.9, Chapter 4 and section 1.1 of the CWW BREF.</li></ul>
<h3>4.2.1 Scrubbers</h3>Water. Compare section 4.2.1.</body></html>"""
PLAIN = """Foreword of the manual.
4 Techniques .......... 12
4.1 Storage ........... 13

4 Techniques
Those to consider; see Sections 4.2 and 4.2.1.
4.1 Storage
Cover it.
1. First put it on.
25 Kilograms are enough.
4.2 Cleaning of gas
See Section 9.9, Chapter 4 and section 1.1 of the CWW BREF.
4.2 kg of it.
4.2.1 Scrubbers
Water. Compare section 4.2.1.
"""


@pytest.mark.parametrize("name", ["manual.md", "manual.html", "manual.txt"])
def test_outlines(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text({"md": MARKDOWN, "html": HTML, "txt": PLAIN}[path.suffix[1:]])
    other = tmp_path / "CWW.md"
    other.write_text("# 1 Waste water\n## 1.1 Treatment\nOf water.\n")
    found = read_sections([path, other])
    rows = found.table.select("id", "title", "parent", "depth").rows()
    assert rows == [
        ("manual:::0", "manual", None, 0),
        ("manual:::4", "Techniques", None, 0),
        ("manual:::4.1", "Storage", "manual:::4", 1),
        ("manual:::4.2", "Cleaning of gas", "manual:::4", 1),
        ("manual:::4.2.1", "Scrubbers", "manual:::4.2", 2),
        ("CWW:::1", "Waste water", None, 0),
        ("CWW:::1.1", "Treatment", "CWW:::1", 1),
    ]
    text = dict(found.table.select("id", "text").rows())
    assert text["manual:::0"].startswith("Foreword of the manual.")
    assert text["manual:::4"] == "Those to consider; see Sections 4.2 and 4.2.1."
    assert text["manual:::4.1"].startswith("Cover it.")
    assert text["CWW:::1"] is None
    assert found.cites.rows() == [
        ("manual:::4", "manual:::4.2"),
        ("manual:::4", "manual:::4.2.1"),
        ("manual:::4.2", "manual:::4"),
        ("manual:::4.2", "CWW:::1.1"),
    ]
    assert found.path("manual:::4.2.1") == ["Techniques", "Cleaning of gas", "Scrubbers"]


def test_headings_without_numbers_are_numbered_by_place(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# One\n## Left\n## Right\n#### Deep\n# Two\n## Left\n")
    rows = read_sections(path).table.select("number", "title", "parent").rows()
    assert rows == [
        ("1", "One", None),
        ("1.1", "Left", "a:::1"),
        ("1.2", "Right", "a:::1"),
        ("1.2.1", "Deep", "a:::1.2"),
        ("2", "Two", None),
        ("2.1", "Left", "a:::2"),
    ]


def tree(tmp_path: Path, **columns: list[str | None]) -> Sections:
    path = tmp_path / "tree.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return read_sections(path)


def test_tables_of_a_tree_and_its_texts(tmp_path: Path) -> None:
    names = ["IRPP:::4", "IRPP:::4.1.1", "SA:::2"]
    pl.DataFrame({"code": names, "name": ["Techniques", "Animals", "Salt"]}).write_csv(
        tmp_path / "tree.csv"
    )
    texts = pl.DataFrame(
        {
            "sec_id": ["0", "1", "2", "3"],
            "codes": ["IRPP:::4.1.1", "IRPP:::4.1.1", None, "SA:::2"],
            "title": ["Storage", "Other", "Loose", "Salt"],
            "text": ["Dig. See section 2 of the SA BREF.", "Burn.", "No code.", None],
        }
    )
    texts.write_parquet(tmp_path / "texts.parquet")
    found = read_sections([tmp_path / "tree.csv", tmp_path / "texts.parquet"])
    assert found.table.drop("number").rows() == [
        ("IRPP:::4", "IRPP", "Techniques", None, None, 0),
        # 4.1 is missing: 4 is the nearest above
        (
            "IRPP:::4.1.1",
            "IRPP",
            "Animals",
            "Dig. See section 2 of the SA BREF.\n\nBurn.",
            "IRPP:::4",
            1,
        ),
        ("SA:::2", "SA", "Salt", None, None, 0),
        ("2", "texts", "Loose", "No code.", None, 0),
    ]
    assert found.cites.rows() == [("IRPP:::4.1.1", "SA:::2")]
    assert found.notes[-1] == "3 of 7 rows name a section again; their texts are joined."


def test_parents_by_name(tmp_path: Path) -> None:
    found = tree(tmp_path, id=["c", "a", "b"], title=["C", "A", "B"], parent=["b", None, "a"])
    assert found.table.select("id", "depth").rows() == [("c", 2), ("a", 0), ("b", 1)]
    assert found.path("c") == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": list("abc"), "title": list("ABC"), "parent": list("bca")}, "circle: a -> b -> c -> a"),
        ({"id": ["a"], "title": ["A"], "parent": ["a"]}, "circle: a -> a"),
        ({"id": ["a"], "title": ["A"], "parent": ["z"]}, 'its parent "z" is not among the 1 sections'),
        ({"id": ["a", None], "title": ["A", "B"]}, "row 2: id are empty"),
        ({"id": ["a"], "words": ["A"]}, "no column of titles"),
        ({"name": ["a"], "words": ["A"]}, "no column of ids"),
    ],
)  # fmt: skip
def test_trees_that_are_none(
    columns: dict[str, list[str | None]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        tree(tmp_path, **columns)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.md", "No heading at all.", "no headings were found"),
        ("a.txt", "# One", "no headings were found"),
        ("a.md", "# 1 One\n# 1 Two\n", 'line 2: the section 1 "Two" stands already in line 1'),
        ("a.docx", "x", 'not read from files ending in ".docx"'),
        ("a.csv", "", "empty"),
    ],
)
def test_files_that_are_none(name: str, text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_sections(path)
    for path in (tmp_path / "missing.md", tmp_path):
        with pytest.raises(InputError):
            read_sections(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see Section 4.2.", [(None, "4.2")]),
        ("Sections 2.4, 2.6 and 3.1 of the CWW BREF", [("CWW", "2.4"), ("CWW", "2.6"), ("CWW", "3.1")]),
        ("chapter 3 and 15 plants", [(None, "3")]),
        ("an intersection 4.2", []),
        ("Section 3.1, and 3.2 or 3.3", [(None, "3.1"), (None, "3.2"), (None, "3.3")]),
    ],
)  # fmt: skip
def test_citations(text: str, expected: list[tuple[str | None, str]]) -> None:
    assert list(cited_in(text)) == expected


def test_which_column_the_ids_are_of_is_said_and_may_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("sec_id,codes,title,text\n1,A:::1,One,x\n2,A:::2,Two,y\n3,,Three,z\n")
    found = read_sections([path])
    assert found.table["id"].to_list() == ["A:::1", "A:::2", "3"]
    assert found.notes == (
        "s.csv: the sections' ids are of the column codes, but 1 of sec_id; --section-id takes one alone.",
    )
    named = read_sections([path], "sec_id")
    assert named.table["id"].to_list() == ["1", "2", "3"]
    assert named.notes == ()
    with pytest.raises(InputError, match=r'no column "number" \(--section-id\)'):
        read_sections([path], "number")
