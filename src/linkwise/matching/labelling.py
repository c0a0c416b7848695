"""Pairs for people to label: which next, kept as they come, and how far two people agree."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.errors import InputError
from linkwise.matching.goals import NO, YES
from linkwise.matching.labels import kappa

SKIPPED = ""  # the label of a pair that a person passed over
COLUMNS = ("patent", "section", "label", "person", "chosen")
AGAIN = 4  # every fourth pair is one that another person has labelled: by these people are compared


@dataclass(frozen=True)
class Asked:
    """A pair to be labelled, and why it was chosen: uncertain, first, random, or again (another person's)."""

    patent: str
    section: str
    chosen: str


def read_labels(path: Path) -> pl.DataFrame:
    """The labels so far, of all people, empty where one was passed over; none where there is no file yet.

    Raises `InputError` where the file is another one.
    """
    if not path.exists():
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    try:
        found = pl.read_csv(path, infer_schema=False).fill_null("")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: the labels cannot be read ({error}).") from error
    if tuple(found.columns) != COLUMNS:
        raise InputError(
            f"{path}: the columns are {', '.join(found.columns)}; expected {', '.join(COLUMNS)}, as "
            "linkwise match label writes them. Choose another --out."
        )
    bad = ~found["label"].str.to_lowercase().is_in([*YES, *NO, SKIPPED])
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f'{path} row {row + 1}: the label is "{found["label"][row]}"; expected yes or no.'
        )
    return found


def pairs_to_ask(
    ranking: pl.DataFrame, labels: pl.DataFrame, person: str, order: str, seed: int
) -> list[Asked]:
    """All pairs that a person has not seen yet, in the order in which they are to be asked.

    `uncertain`: those nearest to the judge's even odds first. Without a judge nothing is known of them: by
    turns the first of a patent's list, where a yes is likeliest, and any pair. `random`: any, so that
    figures on them hold for all that was retrieved.
    Every fourth is one that another person labelled, as long as there are such.
    """
    mine = set(labels.filter(pl.col("person") == person).select("patent", "section").rows())
    theirs = [
        pair
        for pair in labels.filter(pl.col("person") != person, pl.col("label") != SKIPPED)
        .select("patent", "section")
        .unique(maintain_order=True)
        .rows()
        if pair not in mine
    ]
    rng = np.random.default_rng(seed)
    shuffled = ranking[rng.permutation(len(ranking))]
    known = mine | set(theirs)
    judged = shuffled["probability"].null_count() < len(shuffled)
    if order == "uncertain" and judged:
        shuffled = shuffled.sort((pl.col("probability") - 0.5).abs(), maintain_order=True)
    any_pair = [pair for pair in shuffled.select("query", "item").rows() if pair not in known]
    new = [(pair, order) for pair in any_pair]
    if order == "uncertain" and not judged:
        ranked = shuffled.sort("rank", maintain_order=True).select("query", "item").rows()
        new = _by_turns([pair for pair in ranked if pair not in known], any_pair)
    found: list[Asked] = []
    while new or theirs:
        again = bool(theirs) and (len(found) % AGAIN == AGAIN - 1 or not new)
        pair, why = (theirs.pop(0), "again") if again else new.pop(0)
        found.append(Asked(pair[0], pair[1], why))
    return found


def _by_turns(first: Sequence[Any], any_pair: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each pair once, the next of either list by turns, and of which list it was."""
    found: dict[Any, str] = {}
    for likely, some in zip(first, any_pair, strict=True):
        found.setdefault(likely, "first")
        found.setdefault(some, "random")
    return list(found.items())


def add_label(path: Path, asked: Asked, label: str, person: str) -> None:
    """Append a label to the file, at once: what was answered is never lost."""
    begins = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if begins:
            writer.writerow(COLUMNS)
        writer.writerow((asked.patent, asked.section, label, person, asked.chosen))


def drop_last(path: Path, person: str) -> tuple[Asked, str] | None:
    """Take a person's last answer back, also a pair passed over: its pair and label, or None without any."""
    labels = read_labels(path)
    mine = labels.with_row_index("row").filter(pl.col("person") == person)
    if not len(mine):
        return None
    last = mine.row(-1, named=True)
    partial = path.with_name(f".{path.name}.partial")
    labels.with_row_index("row").filter(pl.col("row") != last["row"]).drop("row").write_csv(partial)
    partial.replace(path)
    return Asked(last["patent"], last["section"], last["chosen"]), last["label"]


def agreements(labels: pl.DataFrame) -> list[tuple[str, str, int, float]]:
    """Of each two people the pairs that both labelled, and Cohen's kappa."""
    said = {
        person: dict(
            zip(
                own.select("patent", "section").rows(),
                own["label"].str.to_lowercase().is_in(list(YES)).to_list(),
                strict=True,
            )
        )
        for (person,), own in labels.filter(pl.col("label") != SKIPPED).group_by(
            "person", maintain_order=True
        )
    }
    found = []
    for first, second in combinations(said, 2):
        both: Sequence[tuple[str, str]] = [pair for pair in said[first] if pair in said[second]]
        if both:
            value = kappa([said[first][p] for p in both], [said[second][p] for p in both])
            found.append((str(first), str(second), len(both), value))
    return found
