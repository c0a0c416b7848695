"""The records of one surface: members, items, and what was shown to whom, when, with what outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.splits import user_hash
from linkwise.data.texts import read_table
from linkwise.errors import InputError, UsageError
from linkwise.rank.task import Task, placeholders, read_task

Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
HELD_OUT = 0.05  # share of the members that no ranker learns from


@dataclass(frozen=True)
class Surface:
    """A task's records, ids made row numbers; events in the order of members, and within one of time.

    `member`, `item` and `action` (n_events,) are rows of `members`, `items` and `task.actions`; `time`
    (n_events,) is in microseconds or, where the log has no clock, a position. `value` (n_events,) is the
    number that actions were made of, NaN without one. The events of member m are
    `start[m]:start[m + 1]`.
    """

    task: Task
    members: pl.DataFrame
    items: pl.DataFrame
    member: Longs
    item: Longs
    action: Longs
    time: Longs
    value: np.ndarray[Any, np.dtype[np.float64]]
    start: Longs
    clock: bool

    def __len__(self) -> int:
        return len(self.item)

    def events(self, member: int, before: int | None = None) -> Longs:
        """The rows of a member's events, the oldest first; with `before`, those at an earlier time only."""
        rows = np.arange(self.start[member], self.start[member + 1])
        return rows if before is None else rows[self.time[rows] < before]

    @property
    def yes(self) -> int:
        """The label of the action that the task is about; of ratings, the highest."""
        answers = list(self.task.answer)
        if self.task.output == "yes-no":
            return answers.index("yes")
        if self.task.output == "action":
            return answers.index(self.task.action)
        if self.task.output == "rating":
            return int(np.argmax([float(answer) for answer in answers]))
        return 0

    def labels(self) -> Longs:
        """The answer to each event, by its place in `task.answer` (n_events,); -1 where there is none."""
        names, answers = list(self.task.actions), list(self.task.answer)
        if self.task.output in ("yes-no", "order"):
            taken = self.action == names.index(self.task.action)
            found: Longs = np.where(taken, self.yes, 1 - self.yes).astype(np.int64)
            return found
        if self.task.output == "action":
            place = np.array([answers.index(n) if n in answers else -1 for n in names])
            return place[self.action].astype(np.int64)
        ratings = np.array([float(a) for a in answers])
        nearest = np.abs(self.value[:, None] - ratings[None, :]).argmin(axis=1)
        return np.where(np.isnan(self.value), -1, nearest).astype(np.int64)

    def answered(self) -> Surface:
        """The surface with those events only that the task knows an answer to."""
        keep = self.labels() >= 0
        return self if keep.all() else self.only(keep)

    def only(self, keep: Bools) -> Surface:
        """The surface with some of its events (n_events,)."""
        member = self.member[keep]
        return replace(
            self,
            member=member,
            item=self.item[keep],
            action=self.action[keep],
            time=self.time[keep],
            value=self.value[keep],
            start=np.searchsorted(member, np.arange(len(self.members) + 1)).astype(np.int64),
        )

    def row_of(self, ids: str, table: str = "members") -> int:
        """The row of a member (or of an item) by its id.

        Raises `InputError` where there is none.
        """
        frame: pl.DataFrame = getattr(self, table)
        found = np.flatnonzero((frame["id"] == ids).to_numpy())
        if not len(found):
            some = ", ".join(frame["id"].head(3))
            raise InputError(
                f'{self.task.name}: there is no {table[:-1]} "{ids}"; ids look like {some}.'
            )
        return int(found[0])


def held_out(ids: Iterable[str]) -> Bools:
    """Which members no ranker learns from (n,), about one in twenty, by a hash of the id alone.

    They judge a training and weigh answers and vectors, and are never reported on. Whatever the seed, the
    time and the tasks, they are the same: a run that begins from another, or learns from it, has members
    whom neither knows.
    """
    return np.asarray(user_hash(ids, "rank") < HELD_OUT)


def task_files(paths: Sequence[str]) -> list[Path]:
    """The task files among paths, of which folders hold some, each once, in order.

    Raises `InputError` for a folder without any.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        inside = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: there is no task (*.toml) in this folder.")
        found += inside
    return list(dict.fromkeys(found))


def tables(paths: Sequence[str]) -> list[Path]:
    """The task files and all tables that they name, each once."""
    found: list[Path] = []
    for path in task_files(paths):
        task = read_task(path)
        names = (task.data.events, task.data.items, task.data.members)
        found += [path, *(task.folder / name for name in names if name is not None)]
    for path in found:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file.")
    return list(dict.fromkeys(path.resolve() for path in found))


def read_surface(task: Task) -> Surface:
    """Read a task's tables; events of members or items that no table knows are refused.

    Raises `InputError` naming the file, the column, what it has and what was expected.
    """
    where = task.folder / task.data.events
    events = _events(_table(where), where, task)
    items = _entities(task.folder / task.data.items, task.column("item_id"), "item", task)
    if task.data.members is not None:
        place = task.folder / task.data.members
        members = _entities(place, task.column("member_id"), "member", task)
    else:
        if placeholders(task.member.template, "member.template"):
            raise InputError(
                f"task {task.name}: member.template names columns, and data.members is missing."
            )
        members = pl.DataFrame({"id": events["member"].unique(maintain_order=True).sort()})
    columns = {}
    for name, table in (("member", members), ("item", items)):
        rows = dict(zip(table["id"], range(len(table)), strict=True))
        found = [rows.get(value, -1) for value in events[name]]
        if -1 in found:
            bad = found.index(-1)
            raise InputError(
                f'{where} row {bad + 1}: there is no {name} "{events[name][bad]}" in '
                f"{task.data.items if name == 'item' else task.data.members}."
            )
        columns[name] = np.array(found, dtype=np.int64)
    time, clock = _times(events["time"], where, task.column("time"))
    order = np.lexsort((time, columns["member"]))
    member = columns["member"][order]
    return Surface(
        task=task,
        members=members,
        items=items,
        member=member,
        item=columns["item"][order],
        action=events["action"].to_numpy().astype(np.int64)[order],
        time=time[order],
        value=events["value"].to_numpy().astype(np.float64)[order],
        start=np.searchsorted(member, np.arange(len(members) + 1)).astype(np.int64),
        clock=clock,
    )


def _table(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    return read_table(path)


def _entities(path: Path, id_column: str, kind: str, task: Task) -> pl.DataFrame:
    """A table of members or items: `id`, unique, and the columns that its template names, as text."""
    frame = _table(path)
    if id_column not in frame.columns:
        raise InputError(
            f'{path}: no column "{id_column}" for the id; name it in data.columns.{kind}_id. The columns '
            f"are {', '.join(frame.columns)}."
        )
    template = task.member.template if kind == "member" else task.item.template
    wanted = list(dict.fromkeys(placeholders(template, f"{kind}.template")))
    for name in wanted:
        if name not in frame.columns:
            raise InputError(
                f"task {task.name}: {kind}.template has {{{name}}}, and {path} has no such column; the "
                f"columns are {', '.join(frame.columns)}."
            )
    found = frame.select(
        pl.col(id_column).cast(pl.String).alias("id"),
        *(pl.col(name).cast(pl.String).alias(f"text.{name}") for name in wanted),
    )
    if found["id"].null_count():
        raise InputError(f"{path}: an id is missing in column {id_column}.")
    twice = found.filter(found["id"].is_duplicated())
    if len(twice):
        raise InputError(f'{path}: the id "{twice["id"][0]}" stands there more than once.')
    return found


def _events(frame: pl.DataFrame, path: Path, task: Task) -> pl.DataFrame:
    """`member, item` (text), `time`, `action` (a number) and `value`, in the order of the file."""
    rated = task.data.rated
    source = task.column("action") if rated is None else rated.column
    for kind, name in (
        *((n, task.column(n)) for n in ("member", "item", "time")),
        ("action", source),
    ):
        if name not in frame.columns:
            raise InputError(
                f'{path}: no column "{name}" for the {kind}; name it in data.columns'
                f"{', or use data.rated' if kind == 'action' else ''}. The columns are "
                f"{', '.join(frame.columns)}."
            )
    value = pl.Series([float("nan")] * len(frame), dtype=pl.Float64)
    if rated is None:
        said = frame[source].cast(pl.String).to_list()
    else:
        for name in (rated.then, rated.otherwise):
            if name not in task.actions:
                raise InputError(
                    f'task {task.name}: data.rated has "{name}"; expected one of '
                    f"{', '.join(task.actions)}."
                )
        try:
            value = frame[source].cast(pl.Float64)
        except pl.exceptions.PolarsError as error:
            raise InputError(f"{path}: column {source} is not of numbers.") from error
        missing = value.is_null() | value.is_nan()
        if missing.any():
            raise InputError(
                f"{path} row {int(missing.arg_max() or 0) + 1}: column {source} has no number; expected one "
                "in every row, or leave such rows out."
            )
        large = (value >= rated.at_least).to_list()
        said = [rated.then if yes else rated.otherwise for yes in large]
    number = {name: place for place, name in enumerate(task.actions)}
    for row, action in enumerate(said):
        if action not in number:
            raise InputError(
                f'{path} row {row + 1}: the action is "{action}", and the task {task.name} says nothing of '
                f"it; expected one of {', '.join(number)} (the table actions)."
            )
    return pl.DataFrame(
        {
            "member": frame[task.column("member")].cast(pl.String),
            "item": frame[task.column("item")].cast(pl.String),
            "time": frame[task.column("time")],
            "action": pl.Series([number[a] for a in said if a is not None], dtype=pl.Int64),
            "value": value,
        }
    )


def moment(text: str, clock: bool, option: str) -> int:
    """A time as `Surface.time` has it, from what a user wrote.

    Raises `UsageError` naming the option.
    """
    try:
        found = np.datetime64(text, "us") if clock else None
        if found is not None and np.isnat(found):
            raise ValueError(text)
        return int(text) if found is None else int(found.astype(np.int64))
    except ValueError as error:
        expected = "a time such as 2026-04-20T12:00" if clock else "a whole number"
        raise UsageError(f'{option} is "{text}"; expected {expected}.') from error


def _times(values: pl.Series, path: Path, column: str) -> tuple[Longs, bool]:
    """Times as microseconds, and whether they are a clock's; bare numbers stay what they are."""
    if values.null_count():
        raise InputError(
            f"{path} row {int(values.is_null().arg_max() or 0) + 1}: column {column} has no time."
        )
    if values.dtype.is_temporal():
        return values.cast(pl.Datetime("us")).dt.epoch("us").to_numpy().astype(np.int64), True
    if values.dtype == pl.String:
        number = values.cast(pl.Float64, strict=False)
        if number.null_count():
            try:
                moment = values.str.to_datetime(time_unit="us", strict=False)
            except pl.exceptions.PolarsError:  # no format fits
                moment = pl.Series([None] * len(values), dtype=pl.Datetime("us"))
            if moment.null_count():
                bad = int(moment.is_null().arg_max() or 0)
                raise InputError(
                    f'{path} row {bad + 1}: {column} is "{values[bad]}"; expected a time such as '
                    "2026-11-20T21:30, or a number."
                )
            return moment.dt.epoch("us").to_numpy().astype(np.int64), True
        values = number
    plain = values.cast(pl.Float64).to_numpy()
    if not np.isfinite(plain).all():
        raise InputError(
            f"{path} row {int(np.flatnonzero(~np.isfinite(plain))[0]) + 1}: column {column} is no number."
        )
    # Since 1970, later than 1973: of seconds, milliseconds, microseconds or nanoseconds.
    for least, unit in ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (1e8, 1e6)):
        if len(plain) and plain.min() > least:
            return (plain * unit).astype(np.int64), True
    # Positions: their order is all that counts, and they stay as they are, so that one may be named.
    odd = np.flatnonzero((plain != np.round(plain)) | (np.abs(plain) > 2**53))
    if len(odd):
        raise InputError(
            f"{path} row {int(odd[0]) + 1}: {column} is {plain[odd[0]]:g}; expected a time since 1970, or a "
            "position, a whole number."
        )
    return plain.astype(np.int64), False
