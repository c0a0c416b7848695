"""The two sides of a match: patents or other documents, and the sections that they are matched with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.documents import Documents
from linkwise.data.sections import Sections
from linkwise.errors import InputError
from linkwise.matching.similar import Embed, parts_of, unit

Singles = np.ndarray[Any, np.dtype[np.float32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

PIECE = 1000  # characters: about what an encoder of 256 tokens reads


@dataclass(frozen=True)
class Side:
    """Texts to be matched: `ids`, `titles` and `texts` (n,); `document` (n,) is what each is a part of.

    `notes` tell what was left out.
    """

    ids: list[str]
    titles: list[str]
    texts: list[str]
    document: list[str]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> dict[str, int]:
        """The row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def table(self, kind: str) -> pl.DataFrame:
        """`kind, id, title, text` of each."""
        columns = {"id": self.ids, "title": self.titles, "text": self.texts}
        return pl.DataFrame({"kind": [kind] * len(self), **columns})


def side_of_documents(documents: Documents, which: Any = "abstract") -> Side:
    """Documents that have a text; each is a document of its own.

    Raises `InputError` where none has.
    """
    texts = documents.texts(which)
    kept = [row for row, text in enumerate(texts) if text.strip()]
    if not kept:
        raise InputError("no document has a title or a text; name their columns with --abstract.")
    ids, titles = documents.table["id"].to_list(), documents.table["title"].to_list()
    left = len(texts) - len(kept)
    notes: tuple[str, ...] = (said,) if (said := documents.left_out()) else ()
    notes += (f"{left:,} documents without a text are left out.",) if left else ()
    if which == "abstract" and not (documents.table["abstract"] != "").any():
        notes += ("No document has an abstract (--abstract): all are matched by their titles.",)
    some = [ids[row] for row in kept]
    return Side(
        some,
        [titles[row] or _begin(texts[row]) for row in kept],
        [texts[row] for row in kept],
        some,
        notes,
    )


def side_of_sections(sections: Sections) -> Side:
    """Sections with a text of their own, under the titles above them; where none has, all by their titles.

    Titles are those from the document's chapters down, so that "Techniques" is known from another.
    """
    rows = {row["id"]: row for row in sections.table.iter_rows(named=True)}
    kept = [row for row in rows.values() if (row["text"] or "").strip()] or list(rows.values())
    titles, texts = [], []
    for row in kept:
        own, text = row["title"], (row["text"] or "").strip()
        texts.append(text if text.startswith(own) else f"{own}\n{text}".strip())
        way = [own]
        at = row["parent"]
        while at is not None:
            way.append(rows[at]["title"])
            at = rows[at]["parent"]
        titles.append(" > ".join(way[::-1]))
    left = len(rows) - len(kept)
    notes = (f"{left:,} headings without a text of their own are not matched.",) if left else ()
    if not any((row["text"] or "").strip() for row in kept):
        notes = (
            f"No section has a text of its own: all {len(kept):,} are matched by their titles.",
        )
    return Side(
        [row["id"] for row in kept],
        titles,
        texts,
        [row["document"] for row in kept],
        (*sections.notes, *notes),
    )


def _begin(text: str, most: int = 80) -> str:
    """The first words of a text."""
    words = " ".join(text.split())
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0] + " ..."


@dataclass(frozen=True)
class Pieces:
    """Vectors of texts in pieces that an encoder can read: those of text i are `start[i]:start[i + 1]`.

    `vectors` (n_pieces, size) and `whole` (n, size), the mean of a text's pieces, are of length one.
    """

    start: Longs
    vectors: Singles
    whole: Singles

    def __len__(self) -> int:
        return len(self.start) - 1


def pieces_of(text: str) -> list[str]:
    """A text in sentences that stand together up to `PIECE` characters."""
    found: list[str] = []
    for part in parts_of(text):
        if found and len(found[-1]) + len(part) < PIECE:
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return found


def embed_pieces(texts: Sequence[str], embed: Embed) -> Pieces:
    """The vectors of texts of any length; a text of one piece has the vector of that piece."""
    own = [pieces_of(text) for text in texts]
    start = np.concatenate([[0], np.cumsum([len(some) for some in own])]).astype(np.int64)
    vectors = embed([piece for some in own for piece in some])
    return Pieces(start, vectors, unit(np.add.reduceat(vectors, start[:-1], axis=0)))
