"""Four views of a reference work, for a language model to learn its field from."""

from __future__ import annotations

import re

import polars as pl

from linkwise.data.sections import Sections
from linkwise.errors import InputError, UsageError
from linkwise.matching.config import VIEWS

SCHEMA = {"view": pl.String, "document": pl.String, "section": pl.String, "text": pl.String}


def section_views(
    sections: Sections,
    views: tuple[str, ...] = VIEWS,
    *,
    words: int = 300,
    overlap: int = 60,
) -> pl.DataFrame:
    """Texts of a reference work in up to four views: `view, document, section, text`.

    `document` and `chapter`: the text of each in reading order, headings included, in pieces of at most
    `words` words of which `overlap` stand at the end of the piece before. `section`: each under the titles
    above it, with the titles of the sections that it cites and that cite it. `pair`: the texts of two
    sections, one of which cites the other. `section` is the id of the first section that a text is of.

    Raises `UsageError` for a view that there is not or pieces that do not move on, `InputError` where no
    section has a text.
    """
    if unknown := [view for view in views if view not in VIEWS]:
        raise UsageError(f'there is no view "{unknown[0]}"; the views are {", ".join(VIEWS)}.')
    if not 0 <= overlap < words:
        raise UsageError(f"an overlap of {overlap} words in pieces of {words}: it is to be less.")
    rows = {row["id"]: row for row in sections.table.iter_rows(named=True)}
    if not any(row["text"] for row in rows.values()):
        raise InputError("no section has a text of its own; there is nothing to learn from.")
    order = _reading_order(sections)
    found: list[tuple[str, str, str, str]] = []
    for view in views:
        if view in ("document", "chapter"):
            found += _pieces(view, order, rows, words, overlap)
        elif view == "section":
            found += _sections(sections, order, rows)
        else:
            for citing, cited in sections.cites.iter_rows():
                both = [section_text(rows[name]) for name in (citing, cited) if rows[name]["text"]]
                if len(both) == 2:
                    found.append((view, rows[citing]["document"], citing, "\n\n".join(both)))
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


def _reading_order(sections: Sections) -> list[str]:
    """Ids, document after document as they first stand, by their numbers, those without numbers last."""
    place = {
        name: k for k, name in enumerate(sections.table["document"].unique(maintain_order=True))
    }

    def key(row: dict[str, str | None]) -> tuple[int, bool, list[int], str]:
        number = row["number"] or ""
        parts = [int(part) for part in re.findall(r"\d+", number)]
        return place[str(row["document"])], not parts, parts, number

    return [str(row["id"]) for row in sorted(sections.table.iter_rows(named=True), key=key)]


def section_text(row: dict[str, str]) -> str:
    """A section's heading and text; the heading once, where the text begins with it."""
    text = (row["text"] or "").strip()
    return text if text.startswith(row["title"]) else f"{row['title']}\n{text}".strip()


def _pieces(
    view: str, order: list[str], rows: dict[str, dict[str, str]], words: int, overlap: int
) -> list[tuple[str, str, str, str]]:
    whole: dict[str, list[str]] = {}
    for name in order:
        top = rows[name]["document"]
        if view == "chapter":
            top = name
            while rows[top]["parent"] is not None:
                top = rows[top]["parent"]
        whole.setdefault(top, []).append(name)
    found: list[tuple[str, str, str, str]] = []
    for names in whole.values():
        said: list[str] = []
        begins: list[str] = []  # for each word the section that it is of
        for name in names:
            own = section_text(rows[name]).split()
            said += own
            begins += [name] * len(own)
        start = 0
        while start < len(said):
            piece = said[start : start + words]
            found.append((view, rows[names[0]]["document"], begins[start], " ".join(piece)))
            if start + words >= len(said):
                break
            start += words - overlap
    return found


def _sections(
    sections: Sections, order: list[str], rows: dict[str, dict[str, str]]
) -> list[tuple[str, str, str, str]]:
    near: dict[str, list[str]] = {}
    for citing, cited in sections.cites.iter_rows():
        near.setdefault(citing, []).append(cited)
        near.setdefault(cited, []).append(citing)
    found: list[tuple[str, str, str, str]] = []
    for name in order:
        row = rows[name]
        if not row["text"]:
            continue
        above: list[str] = []
        at = row["parent"]
        while at is not None:
            above.append(rows[at]["title"])
            at = rows[at]["parent"]
        parts = [" > ".join(above[::-1])] if above else []
        parts.append(section_text(row))
        if name in near:
            titles = dict.fromkeys(rows[other]["title"] for other in near[name])
            parts.append(f"See also: {'; '.join(titles)}.")
        found.append(("section", row["document"], name, "\n".join(parts)))
    return found
