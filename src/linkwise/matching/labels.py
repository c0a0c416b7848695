"""Pairs that people have judged: read, freed of doubles, parted into folds, and compared between people."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from linkwise.data.texts import read_table
from linkwise.errors import InputError
from linkwise.matching.goals import NO, YES
from linkwise.matching.sides import Side

Longs = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Split = Literal["by-document", "by-patent", "random"]

FEWEST = 20  # labels of each kind, below which nothing is judged
# What the columns are usually called, the likeliest first.
PATENT = ("patent", "query", "text", "patent_id", "pub_number", "publication_number")
SECTION = ("section", "item", "technique", "section_id", "bref_code", "code")


@dataclass(frozen=True)
class Labelled:
    """Pairs of a query and an item, by their rows (m,), and what people said: 1 yes, 0 no (m,)."""

    query: Longs
    item: Longs
    label: Floats
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label)


def read_pairs(
    path: str | Path, queries: Side, items: Side, columns: tuple[str | None, str | None, str]
) -> Labelled:
    """Read pairs with yes or no from a table: a row for each, by the ids of both sides.

    `columns` are those of the patents, of the sections (None: found by their usual names) and of the labels.
    Rows of one pair count once; pairs of equal texts are one pair; where people disagree about a pair it is
    left out. Rows without a label are passed over.

    Raises `InputError` where a column is missing, an id is unknown, a label is neither yes nor no, or there
    are fewer than 20 of either.
    """
    path = Path(path)
    frame = read_table(path)
    names = {name.lower(): name for name in frame.columns}
    chosen = []
    for option, given, usual in (
        ("--patent-column", columns[0], PATENT),
        ("--section-column", columns[1], SECTION),
        ("--label-column", columns[2], (columns[2],)),
    ):
        wanted = (given,) if given is not None else usual
        found = next((names[name.lower()] for name in wanted if name.lower() in names), None)
        if found is None:
            raise InputError(
                f"{path}: no column {' or '.join(wanted)}; name it with {option}. The columns are "
                f"{', '.join(frame.columns)}."
            )
        chosen.append(found)
    rows = queries.rows(), items.rows()
    equal = _first_of_equals(queries.texts), _first_of_equals(items.texts)
    said: dict[tuple[int, int], set[float]] = {}
    given_rows = 0
    values = (frame[name].cast(pl.String).to_list() for name in chosen)
    for number, (query, item, label) in enumerate(zip(*values, strict=True), 1):
        if label is None or not label.strip():
            continue
        for what, name, known, column in (
            ("patents", query, rows[0], chosen[0]),
            ("sections", item, rows[1], chosen[1]),
        ):
            if name is None or name.strip() not in known:
                raise InputError(
                    f'{path} row {number}: the {column} is "{name}", which is not among the {len(known):,} '
                    f"{what} with a text, such as {', '.join(list(known)[:3])}."
                    + (" --section-id names the column of their ids." if what == "sections" else "")
                )
        answer = label.strip().lower()
        if answer not in YES | NO:
            raise InputError(
                f'{path} row {number}: the {chosen[2]} is "{label}"; expected yes or no, true or false, 1 or '
                "0."
            )
        given_rows += 1
        pair = equal[0][rows[0][query.strip()]], equal[1][rows[1][item.strip()]]
        said.setdefault(pair, set()).add(float(answer in YES))
    agreed = {pair: answers.pop() for pair, answers in said.items() if len(answers) == 1}
    notes = []
    if given_rows > len(said):
        notes.append(
            f"{given_rows - len(said):,} of {given_rows:,} labels are of a pair that was there already, or "
            "of equal texts; each pair counts once."
        )
    if len(agreed) < len(said):
        notes.append(
            f"{len(said) - len(agreed):,} pairs are left out, of which people say both yes and no."
        )
    if "chosen" in names:
        uncertain = int((frame[names["chosen"]] == "uncertain").sum())
        if uncertain:
            notes.append(
                f"{uncertain:,} labels are of pairs that were shown because a judge was uncertain of them: "
                "figures hold for such pairs, which are harder than others."
            )
    yes = int(sum(agreed.values()))
    if min(yes, len(agreed) - yes) < FEWEST:
        raise InputError(
            f"{path}: {yes} labels are yes and {len(agreed) - yes} no; a judge needs {FEWEST} of each. Leave "
            "--labels out to match without one, or label more: linkwise match label."
        )
    query_rows, item_rows = (np.array([pair[k] for pair in agreed], dtype=np.int64) for k in (0, 1))
    labels = np.array(list(agreed.values()), dtype=np.float64)
    return Labelled(query_rows, item_rows, labels, tuple(notes))


def confounded(labelled: Labelled, names: Sequence[str]) -> list[str]:
    """Warnings that the labels go with the patents rather than with the pairs, in words.

    Where of the patents with two pairs or more less than half as many have both labels as would if labels
    fell at random; and where one patent has more than half of the pairs of a kind. `names` are the patents'.
    """
    told = []
    patents, of = np.unique(labelled.query, return_inverse=True)
    n = np.bincount(of)
    n_yes = np.bincount(of, weights=labelled.label)
    several = n > 1
    both = int(((n_yes > 0) & (n_yes < n))[several].sum())
    rate = labelled.label.mean()
    expected = float((1 - rate**n - (1 - rate) ** n)[several].sum())
    if both < expected / 2 and expected >= 1:
        told.append(
            f"Of {int(several.sum()):,} patents with two labelled pairs or more {both:,} "
            f"{'has' if both == 1 else 'have'} both a yes and a no; if labels fell at random "
            f"{expected:,.0f} would"
        )
    for kind, counts in (("yes", n_yes), ("no", n - n_yes)):
        most = int(counts.argmax())
        if counts[most] > counts.sum() / 2 and len(patents) > 2:
            told.append(
                f"{int(counts[most]):,} of the {int(counts.sum()):,} pairs with {kind} are of one patent, "
                f"{names[patents[most]]}"
            )
    return told


def _first_of_equals(texts: Sequence[str]) -> list[int]:
    """The first row with the same text, but for spaces and case, of each row."""
    first: dict[str, int] = {}
    return [first.setdefault(" ".join(text.lower().split()), row) for row, text in enumerate(texts)]


def folds_of(
    labelled: Labelled, items: Side, split: Split, n_folds: int, seed: int
) -> tuple[Longs, Longs]:
    """The fold of each pair (m,), and the group that is never parted (m,).

    `by-document`: all pairs of a document's sections are together (a text that stands in several documents is
    of the first); `by-patent`: all of a patent; `random`: each for itself. The largest groups are dealt
    first, each to the fold with the fewest pairs so far.

    Raises `InputError` where there are fewer groups than folds, or a fold leaves one label alone.
    """
    names: Sequence[Hashable]
    if split == "by-document":
        names = [items.document[row] for row in labelled.item]
    elif split == "by-patent":
        names = labelled.query.tolist()
    else:
        names = range(len(labelled))
    group = np.unique(np.array([str(name) for name in names]), return_inverse=True)[1]
    sizes = np.bincount(group)
    if len(sizes) < n_folds:
        raise InputError(
            f"--split {split}: the labelled pairs are of {len(sizes)} "
            f"{'documents' if split == 'by-document' else 'patents'}, and {n_folds} folds need as many. "
            "Use fewer --folds, or another --split."
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of = np.zeros(len(sizes), dtype=np.int64)
    filled = np.zeros(n_folds)
    for number in order:
        fold_of[number] = np.argmin(filled)
        filled[fold_of[number]] += sizes[number]
    fold: Longs = fold_of[group]
    for number in range(n_folds):
        rest = labelled.label[fold != number]
        if rest.all() or not rest.any():
            raise InputError(
                f"--split {split}: without one fold all labels are {'yes' if rest.all() else 'no'}; a judge "
                "learns from both. Label more pairs, or use another --split."
            )
    return fold, group.astype(np.int64)


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Cohen's kappa (1960) of two people who judged the same pairs: agreement beyond chance, 1 at most.

    NaN where both gave one and the same answer throughout: chance explains all.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or not len(a):
        raise InputError(
            f"{len(a)} and {len(b)} answers; expected as many, of the same pairs, and at least one."
        )
    agreed = float((a == b).mean())
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return float("nan") if chance == 1 else (agreed - chance) / (1 - chance)
