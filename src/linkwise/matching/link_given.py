"""Pairs that are given: what people judged, what others published, of any two of the four kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from linkwise.data.texts import read_table
from linkwise.errors import InputError, UsageError
from linkwise.matching.goals import NO, YES
from linkwise.matching.lexicon import folded

Kind = Literal["patent", "technique", "pollutant", "goal"]
Origin = Literal["person", "published"]
Pair = tuple[Kind, Kind]

PAIRS: tuple[Pair, ...] = (
    ("patent", "technique"),
    ("patent", "pollutant"),
    ("technique", "pollutant"),
    ("pollutant", "goal"),
)
# What the columns are usually called, in lower case.
USUAL: dict[Kind, tuple[str, ...]] = {
    "patent": ("patent", "patent_id", "pub_number", "publication_number"),
    "technique": ("technique", "section", "section_id", "bref_code", "code"),
    "pollutant": ("pollutant", "pollutant_name"),
    "goal": ("goal", "sdg", "goal_id"),
}


@dataclass(frozen=True)
class Given:
    """Pairs of one kind from one file.

    `table` has a row for each pair: source, target (ids of ours), score (0 to 1; 1 where none was given) and
    label (1 yes, 0 no).
    """

    pair: Pair
    origin: Origin
    by: str
    table: pl.DataFrame


def read_given(
    path: str | Path,
    origin: Origin,
    known: Mapping[Kind, Mapping[str, object]],
    version: str | None = None,
) -> tuple[Given, list[str]]:
    """Read pairs, and tell in notes what was left out; `known` has the ids of each kind.

    A published pair is a yes with its score; of a pair that stands several times the highest score counts.
    People's pairs have a label, and where they disagree about a pair it is left out.

    Raises `InputError` where the columns are not those of two kinds that are linked, a score or label is
    none, or no pair is of known ids, and `UsageError` where there are several versions and none was chosen.
    """
    path = Path(path)
    pair: Pair
    if path.suffix.lower() == ".json":
        pair, frame = PAIRS[3], _of_impacts(path)
    else:
        pair, frame = _of_table(path, origin, version)
    by = (
        path.name
        if version is None or path.suffix.lower() == ".json"
        else f"{path.name}, {version}"
    )
    notes = []
    n = len(frame)
    for side, kind in (("source", pair[0]), ("target", pair[1])):
        frame = frame.with_columns(_as_known(frame[side], known[kind], kind).alias(side))
        lost = frame[side].null_count()
        if lost == len(frame):
            raise InputError(f"{path}: none of its {n:,} pairs is of a known {kind}.")
        if lost:
            notes.append(
                f"{lost:,} of {n:,} pairs of {path.name} are left out: their {kind} is not known."
            )
            frame = frame.filter(pl.col(side).is_not_null())
    if origin == "person":
        told = frame.group_by("source", "target", maintain_order=True).agg(
            pl.col("label").first(), pl.col("label").n_unique().alias("n")
        )
        unsure = int((told["n"] > 1).sum())
        if unsure:
            notes.append(f"{unsure:,} pairs of {path.name} are left out: people disagree on them.")
        table = told.filter(pl.col("n") == 1).select(
            "source", "target", pl.lit(1.0).alias("score"), "label"
        )
    else:
        table = frame.group_by("source", "target", maintain_order=True).agg(
            pl.col("score").max(), pl.lit(1, pl.Int8).alias("label")
        )
    return Given(pair, origin, by, table), notes


def _of_table(path: Path, origin: Origin, version: str | None) -> tuple[Pair, pl.DataFrame]:
    frame = read_table(path)
    by_lower = {name.lower(): name for name in frame.columns}
    chosen = {
        kind: next(by_lower[name] for name in names if name in by_lower)
        for kind, names in USUAL.items()
        if any(name in by_lower for name in names)
    }
    at_hand = f"the columns are {', '.join(frame.columns)}"
    pair = next((pair for pair in PAIRS if set(pair) == set(chosen)), None)
    if pair is None:
        raise InputError(
            f"{path}: the columns name {', '.join(chosen) or 'nothing'}; expected two kinds that are linked: "
            f"{'; '.join(f'{a} and {b}' for a, b in PAIRS)}. {at_hand[0].upper()}{at_hand[1:]}."
        )
    if "version" in by_lower:
        frame = frame.with_columns(pl.col(by_lower["version"]).cast(pl.String).alias("version"))
        there = frame["version"].unique().drop_nulls().sort().to_list()
        if version is None and len(there) > 1:
            raise UsageError(
                f"{path}: there are the versions {', '.join(there)}; choose one with --version."
            )
        if version is not None:
            frame = frame.filter(pl.col("version") == version)
            if not len(frame):
                raise UsageError(
                    f'{path}: there is no version "{version}"; there are {", ".join(there)}.'
                )
    columns = [
        pl.col(chosen[kind]).cast(pl.String).str.strip_chars().alias(side)
        for side, kind in zip(("source", "target"), pair, strict=True)
    ]
    if origin == "person":
        if "label" not in by_lower:
            raise InputError(f'{path}: no column "label" with what people said; {at_hand}.')
        said = pl.col(by_lower["label"]).cast(pl.String).str.strip_chars().str.to_lowercase()
        label = pl.when(said.is_in(list(YES))).then(1).when(said.is_in(list(NO))).then(0)
        found = frame.select(*columns, label.cast(pl.Int8).alias("label"))
        if found["label"].null_count():
            row = int(found["label"].is_null().arg_max() or 0)
            raise InputError(
                f'{path} row {row + 1}: the label is "{frame[by_lower["label"]][row]}"; expected yes or no, '
                "true or false, 1 or 0."
            )
        return pair, found
    score = pl.lit(1.0)
    if "score" in by_lower:
        score = pl.col(by_lower["score"]).cast(pl.Float64, strict=False)
    found = frame.select(*columns, score.alias("score"))
    bad = ~found["score"].is_between(0, 1).fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f'{path} row {row + 1}: the score is "{frame[by_lower["score"]][row]}"; expected 0 to 1.'
        )
    return pair, found


def _of_impacts(path: Path) -> pl.DataFrame:
    """Goals with their pollutants and impacts, of 0 to 100."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            (str(entry["name"]), str(goal), float(entry["impact"]) / 100)
            for goal, about in found.items()
            for entry in about["pollutants"]
        ]
    except OSError as error:
        raise InputError(f"{path}: the pairs cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected JSON of goals, each with pollutants with name and impact ({error!r})."
        ) from error
    for name, goal, score in rows:
        if not 0 <= score <= 1:
            raise InputError(
                f'{path}: the impact of "{name}" on "{goal}" is {score * 100:g}; expected 0 to 100.'
            )
    schema = {"source": pl.String, "target": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _as_known(column: pl.Series, known: Mapping[str, object], kind: Kind) -> pl.Series:
    """Ids as ours, null where there is none; pollutants also in other spellings, goals as "SDG 3"."""
    distinct = column.unique().drop_nulls().to_list()
    ours = {name: name for name in distinct if name in known}
    if kind == "pollutant":
        spelled = {folded(name): name for name in known}
        ours |= {name: spelled[folded(name)] for name in distinct if folded(name) in spelled}
    elif kind == "goal":
        bare = {name: re.sub(r"^(?:sdg|goal)\s*", "", name, flags=re.I) for name in distinct}
        ours |= {name: number for name, number in bare.items() if number in known}
    return column.replace_strict(ours, default=None, return_dtype=pl.String)
