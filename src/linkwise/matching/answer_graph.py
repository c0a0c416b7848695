"""A graph of nodes and links, looked up by kind and id, for the templates that answer from it."""

from __future__ import annotations

from typing import Any

import polars as pl

from linkwise.matching.answer_draft import Draft
from linkwise.matching.answer_names import Thing
from linkwise.matching.answer_records import Record, Records, clean, figure

# Makers of links whose scores are similarities, brought to 0 to 1, and no probabilities.
SIMILARITIES = ("text vectors", "text similarity", "lexicon + text vectors")
PROBABLE = ("weighed", "server:")  # and how those begin whose scores are
MOST = 100  # of a list, whatever the question gives


class Graph:
    """Nodes and links, looked up by kind and id."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.nodes = records.nodes

    def knows(self, thing: Thing) -> bool:
        """Whether a thing is a node."""
        return not self.nodes.filter(kind=thing.kind, id=thing.id).is_empty()

    def rows(self, kind: str, ids: list[str]) -> dict[str, dict[str, Any]]:
        """The rows of some nodes, by id."""
        found = self.nodes.filter(pl.col("kind") == kind, pl.col("id").is_in(ids))
        return {row["id"]: row for row in found.iter_rows(named=True)}

    def shown(self, kind: str, name: str, rows: dict[str, dict[str, Any]] | None = None) -> str:
        """The id of a node, and its title where it says more."""
        row = (self.rows(kind, [name]) if rows is None else rows).get(name)
        title = None if row is None else row["title"]
        return clean(name if title in (None, "", name) else f"{name} {title}")

    def near(self, thing: Thing, kind: str, years: tuple[int, int] | None = None) -> pl.DataFrame:
        """What a thing is linked with, of a kind: one row each, that of the best score, the best first."""
        found = self.records.links_of(thing.kind, kind, id=thing.id)
        found = found.sort(
            ["score", "other", "row"], descending=[True, False, False], nulls_last=True
        )
        found = found.unique("other", keep="first", maintain_order=True)
        if years is not None:
            within = self.nodes.filter(pl.col("kind") == kind, pl.col("year").is_between(*years))
            found = found.filter(pl.col("other").is_in(within["id"].to_list()))
        return found

    def between(self, one: Thing, other: Thing) -> pl.DataFrame:
        """The links of two things, the best first."""
        found = self.records.links_of(one.kind, other.kind, id=one.id, other=other.id)
        return found.sort(["score", "row"], descending=[True, False], nulls_last=True)

    def of_links(self, row: dict[str, Any]) -> Record:
        """A row of links.parquet as a record."""
        told = [
            f"{row['kind']} {self.shown(row['kind'], row['id'])} – "
            f"{row['other_kind']} {self.shown(row['other_kind'], row['other'])}:"
            + ("" if row["score"] is None else f" {scored(row)},")
            + f" origin {row['origin']}, by {row['by']}"
        ]
        if row["reason"]:
            told.append(f"reason: {row['reason']}")
        if row["part"] and row["other_part"]:
            told.append(f'"{row["part"]}" – "{row["other_part"]}"')
        return Record(f"links.parquet row {row['row']}", clean("; ".join(told)))

    def which(self, thing: Thing) -> Draft:
        """The things of one name, to be told apart."""
        rows = self.rows(thing.kind, [name for name, _ in thing.options])
        shown = list(rows.values())[:MOST]
        total = Record("nodes.parquet", f"{len(rows)} {plural(thing.kind)} are called so")
        draft = Draft().say(
            f'The name "{clean(thing.title)}" is that of {len(rows)} {plural(thing.kind)}; ask again with '
            "the id:",
            total,
            *(self.records.node(row) for row in shown[:1]),
        )
        for row in shown:
            draft.say(f"- {clean(row['id'])} {clean(row['title'])}", self.records.node(row))
        draft.choice = True
        return draft


def scored(row: dict[str, Any]) -> str:
    """A link's score, and what it is: a similarity is no probability."""
    if row["score"] is None:
        return "no score"
    return f"{measure(row)} {figure(row['score'])}"


def measure(row: dict[str, Any]) -> str:
    """What a link's score is called: a similarity, a probability, or a score of whatever it is."""
    by = str(row["by"])
    if row["origin"] == "model" and by in SIMILARITIES:
        return "similarity"
    goal = "goal" in (row["kind"], row["other_kind"])  # whose scores are a relevance
    probable = row["origin"] == "model" and by.startswith(PROBABLE) and not goal
    return "probability" if probable else "score"


def counted(n: int, kind: str) -> str:
    """1 goal, 12 goals."""
    return f"{figure(n)} {kind if n == 1 else plural(kind)}"


def plural(kind: str) -> str:
    """The kind's name for several."""
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
