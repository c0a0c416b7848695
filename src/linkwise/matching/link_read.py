"""What a graph is made of, read and checked: patents, techniques, pollutants, goals, and given pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from linkwise.data.documents import Documents, DocumentsConfig, read_documents
from linkwise.data.sections import Sections, read_sections
from linkwise.errors import InputError, UsageError
from linkwise.matching.goals import Goals, read_goals
from linkwise.matching.link_config import LinkConfig
from linkwise.matching.link_given import Given, Kind, Origin, Pair, read_given
from linkwise.matching.link_graph import LINKS, NODES
from linkwise.matching.pollutants import Pollutant, read_pollutants
from linkwise.matching.views import section_text

Texts = tuple[list[str], list[str]]
"""Ids and texts."""


@dataclass(frozen=True)
class Read:
    """What was read: the four kinds of nodes, the given pairs between them, and notes."""

    documents: Documents
    texts: list[str]
    """Of the documents."""
    sections: Sections
    pollutants: list[Pollutant]
    goals: Goals
    given: list[Given]
    notes: list[str]

    def of(self, pair: Pair, origin: str) -> list[Given]:
        """The given pairs of two kinds and an origin."""
        return [given for given in self.given if given.pair == pair and given.origin == origin]


def read_all(paths: Sequence[str], documents: DocumentsConfig, config: LinkConfig) -> Read:
    """Everything that the study reads.

    Raises `InputError` or `UsageError`, naming the file.
    """
    if not config.sections or config.pollutants is None:
        raise UsageError(
            "a graph needs techniques and pollutants; name their files with --sections and --pollutants."
        )
    if len(documents.text) > 1:
        raise UsageError(
            f"documents.text is {', '.join(documents.text)}; a graph is made of one of them."
        )
    patents = read_documents(list(paths), documents, codes=False)
    texts = patents.texts(documents.text[0])
    sections = read_sections(config.sections, config.section_id)
    if not sections.table["text"].is_not_null().any():
        raise InputError(
            f"{', '.join(config.sections)}: no section has a text of its own to be linked by."
        )
    pollutants = read_pollutants(config.pollutants, config.version)
    goals = read_goals(config.goals)
    known: dict[Kind, dict[str, object]] = {
        "patent": dict.fromkeys(patents.table["id"]),
        "technique": dict.fromkeys(sections.table["id"]),
        "pollutant": dict.fromkeys(p.id for p in pollutants),
        "goal": dict.fromkeys(goals.ids),
    }
    given: list[Given] = []
    notes = [*([said] if (said := patents.left_out()) else []), *sections.notes]
    empty = sum(not text.strip() for text in texts)
    if empty:
        notes.append(f"{empty:,} patents have no text, and no link by their text.")
    if unknown := [p.id for p in pollutants if not p.known]:
        notes.append(
            f"{len(unknown):,} pollutants are not known to the package, and have their names alone: "
            f"{', '.join(unknown[:5])}."
        )
    by_origin: dict[Origin, tuple[str, ...]] = {
        "person": config.labels,
        "published": config.published,
    }
    for origin, files in by_origin.items():
        for path in files:
            pairs, own = read_given(path, origin, known, config.version)
            given.append(pairs)
            notes += own
    return Read(patents, texts, sections, pollutants, goals, given, notes)


def texts_of(read: Read) -> tuple[Texts, Texts]:
    """Ids and texts of the patents, and of the sections that have one."""
    table = read.sections.table.filter(pl.col("text").is_not_null())
    sections = table["id"].to_list(), [section_text(row) for row in table.iter_rows(named=True)]
    return (read.documents.table["id"].to_list(), read.texts), sections


def files_of(config: LinkConfig) -> list[Path]:
    """The files that a study reads, beside its patents."""
    named = (*config.sections, config.pollutants, config.goals, *config.published, *config.labels)
    return [Path(path) for path in named if path is not None]


def given_links(given: Given) -> pl.DataFrame:
    """Given pairs as links: what people said yes to, and what was published."""
    source, target = given.pair
    empty = pl.lit(None, pl.String)
    return (
        given.table.filter(pl.col("label") == 1)
        .select(
            pl.lit(source).alias("source_kind"),
            "source",
            pl.lit(target).alias("target_kind"),
            "target",
            "score",
            pl.lit(given.origin).alias("origin"),
            pl.lit(given.by).alias("by"),
            empty.alias("reason"),
            empty.alias("source_part"),
            empty.alias("target_part"),
        )
        .select(pl.col(name).cast(kind) for name, kind in LINKS.items())
    )


def nodes_of(read: Read) -> pl.DataFrame:
    """All patents, pollutants and goals, and the techniques that have a text or stand in a given pair."""
    no_year = pl.lit(None, pl.Int32)
    named: set[str] = set()
    for given in read.given:
        for side, kind in zip(("source", "target"), given.pair, strict=True):
            if kind == "technique":
                named |= set(given.table[side])
    parts = [
        read.documents.table.select(
            pl.lit("patent").alias("kind"),
            "id",
            "title",
            pl.col("abstract").replace("", None).alias("text"),
            "year",
        ),
        read.sections.table.filter(
            pl.col("text").is_not_null() | pl.col("id").is_in(list(named))
        ).select(pl.lit("technique").alias("kind"), "id", "title", "text", no_year.alias("year")),
        pl.DataFrame(
            [("pollutant", p.id, p.id, " ".join(p.about) or None, None) for p in read.pollutants],
            schema=NODES,
            orient="row",
        ),
        pl.DataFrame(
            [
                ("goal", name, title, " ".join(about[1:]) or None, None)
                for name, title, about in zip(
                    read.goals.ids, read.goals.names, read.goals.about, strict=True
                )
            ],
            schema=NODES,
            orient="row",
        ),
    ]
    return pl.concat(
        [part.select(pl.col(name).cast(kind) for name, kind in NODES.items()) for part in parts]
    )
