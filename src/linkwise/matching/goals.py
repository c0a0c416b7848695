"""Texts and goals: what a goal is about, what people said of texts, and who is right."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.texts import read_table, read_texts
from linkwise.errors import InputError
from linkwise.matching.config import MatchConfig

Longs = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

YES = frozenset({"yes", "true", "1", "1.0", "y"})
NO = frozenset({"no", "false", "0", "0.0", "n"})


@dataclass(frozen=True)
class Goals:
    """Goals with their names and what they are about: targets, indicators, sentences."""

    ids: list[str]
    names: list[str]
    about: list[list[str]]
    source: str


def read_goals(path: str | Path | None) -> Goals:
    """Read goals: JSON with goal, name and targets (text, indicators), a table, or the package's own 17.

    A table has id and title, and where it has them text and parent: rows with a parent are targets of that
    goal.

    Raises `InputError` where the file has none, or is none of these.
    """
    if path is None:
        packaged = (files("linkwise.matching") / "goals.toml").read_text(encoding="utf-8")
        found = tomllib.loads(packaged)["goal"]
        return Goals(
            [entry["id"] for entry in found],
            [entry["name"] for entry in found],
            [[entry["name"], *entry["about"]] for entry in found],
            "the 17 Sustainable Development Goals, in the package's own words",
        )
    path = Path(path)
    goals = _of_json(path) if path.suffix.lower() == ".json" else _of_table(path)
    if len(goals.ids) < 2:
        raise InputError(f"{path}: {len(goals.ids)} goals were found; expected two or more.")
    if len(set(goals.ids)) < len(goals.ids):
        twice = next(name for name in goals.ids if goals.ids.count(name) > 1)
        raise InputError(f'{path}: the goal "{twice}" stands twice; give each an id of its own.')
    return goals


def _of_json(path: Path) -> Goals:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the goals cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path}: this is not JSON ({error}).") from error
    ids, names, about = [], [], []
    for number, entry in enumerate(found if isinstance(found, list) else [], 1):
        if not isinstance(entry, dict) or "goal" not in entry or "name" not in entry:
            raise InputError(f'{path} entry {number}: expected an object with "goal" and "name".')
        targets = entry.get("targets", [])
        texts = [str(target["text"]) for target in targets]
        texts += [str(i["text"]) for target in targets for i in target.get("indicators", [])]
        ids.append(str(entry["goal"]))
        names.append(str(entry["name"]))
        about.append([str(entry["name"]), *texts])
    return Goals(ids, names, about, path.name)


def _of_table(path: Path) -> Goals:
    frame = read_table(path)
    for name in ("id", "title"):
        if name not in frame.columns:
            raise InputError(
                f'{path}: no column "{name}"; expected id and title, and where there are text and parent. '
                f"The columns are {', '.join(frame.columns)}."
            )
    frame = frame.with_columns(pl.all().cast(pl.String))
    for name in ("text", "parent"):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, pl.String).alias(name))
    top = frame.filter(pl.col("parent").is_null() | (pl.col("parent") == ""))
    about = {row["id"]: [row["title"]] for row in top.iter_rows(named=True)}
    for row in frame.iter_rows(named=True):
        of = row["parent"] or row["id"]
        if of not in about:
            raise InputError(f'{path}: the parent "{of}" of "{row["id"]}" is not among the goals.')
        said = [row["text"]] if not row["parent"] else [row["title"], row["text"]]
        about[of] += [text for text in said if text]
    return Goals(top["id"].to_list(), top["title"].to_list(), list(about.values()), path.name)


@dataclass(frozen=True)
class Texts:
    """Texts, and what people said of some of them.

    `ids` and `texts` (n,); `row` and `goal` (m,) are rows of texts and of goals, `label` (m,) is 1 for yes.
    """

    ids: list[str]
    texts: list[str]
    row: Longs
    goal: Longs
    label: Floats
    notes: tuple[str, ...]


def _are_ids(frame: pl.DataFrame, column: str) -> bool:
    """Whether a column has an id in every row, and one text of each."""
    name = frame[column].cast(pl.String)
    if (name.fill_null("").str.strip_chars() == "").any():
        return False
    pairs = pl.DataFrame({"id": name, "text": frame["text"]})
    return pairs.n_unique() == name.n_unique()


def read_labelled(paths: Sequence[str], goals: Goals, config: MatchConfig) -> Texts:
    """Read a table of texts; where it has the columns of goals and labels, what people said.

    A text may stand in several rows, with several goals: rows of one text are one text, and of one text and
    goal one pair, unless people disagree, and then none.

    Raises `InputError` where a text is empty, a goal or a label is none, or ids do not fit texts.
    """
    if len(paths) != 1:
        raise InputError(f"{len(paths)} files of texts were given; expected one table.")
    path = Path(paths[0])
    frame = read_texts(path, config.text, option="--text")
    empty = frame["text"].is_null() | (frame["text"].str.strip_chars() == "")
    if empty.any():
        raise InputError(
            f"{path} row {int(empty.arg_max() or 0) + 1}: the text is empty; fill it or leave the row out."
        )
    texts = frame["text"].to_list()
    notes: list[str] = []
    column = config.id or next((name for name in frame.columns if name.lower() == "id"), None)
    if config.id is None and column is not None and not _are_ids(frame, column):
        notes.append(
            f'The column "{column}" is empty in places, or has several texts of one id: texts are numbered.'
        )
        column = None
    if column is not None:
        if column not in frame.columns:
            raise InputError(
                f'{path}: no column "{column}" (--id); the columns are {", ".join(frame.columns)}.'
            )
        names = frame[column].cast(pl.String).fill_null("").to_list()
    else:
        numbers: dict[str, str] = {}
        for number, text in enumerate(texts, 1):
            numbers.setdefault(text, str(number))
        names = [numbers[text] for text in texts]
    of: dict[str, int] = {}
    own: list[str] = []
    for number, (name, text) in enumerate(zip(names, texts, strict=True), 1):
        if name not in of:
            of[name] = len(own)
            own.append(text)
        elif own[of[name]] != text:
            raise InputError(
                f'{path} row {number}: the id "{name}" stands already with another text; give each its own.'
            )
    known = {config.goal, config.label} & set(frame.columns)
    if len(known) == 1:
        missing = ({config.goal, config.label} - known).pop()
        raise InputError(
            f'{path}: there is a column "{known.pop()}" and none "{missing}"; name both with --goal and '
            "--label, or neither."
        )
    said: dict[tuple[int, int], set[float]] = {}
    if known:
        goal_of = {name: row for row, name in enumerate(goals.ids)}
        columns = (frame[config.goal], frame[config.label])
        for number, (name, goal, label) in enumerate(
            zip(names, *(column.cast(pl.String).to_list() for column in columns), strict=True), 1
        ):
            if goal is None or label is None or not label.strip():
                continue
            if goal.strip() not in goal_of:
                raise InputError(
                    f'{path} row {number}: the {config.goal} is "{goal}"; expected one of '
                    f"{', '.join(goals.ids[:20])}."
                )
            answer = label.strip().lower()
            if answer not in YES | NO:
                raise InputError(
                    f'{path} row {number}: the {config.label} is "{label}"; expected yes or no, true or '
                    "false, 1 or 0."
                )
            said.setdefault((of[name], goal_of[goal.strip()]), set()).add(float(answer in YES))
        agreed = {pair: answers.pop() for pair, answers in said.items() if len(answers) == 1}
        if len(agreed) < len(said):
            notes.append(
                f"{len(said) - len(agreed):,} pairs of text and goal are left out, of which people say both "
                "yes and no."
            )
    else:
        agreed = {}
    row, goal_row = (np.array([pair[k] for pair in agreed], dtype=np.int64) for k in (0, 1))
    return Texts(
        list(of),
        own,
        row,
        goal_row,
        np.array(list(agreed.values()), dtype=np.float64),
        tuple(notes),
    )
