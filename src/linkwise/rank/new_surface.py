"""A log made a ranking surface: tables of members, items and events, and a task file to edit."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.engine import collect
from linkwise.data.events import read_events
from linkwise.data.files import find_files, is_simulated
from linkwise.data.items import find_titles, read_catalogue, spoken_title
from linkwise.data.movielens_users import read_users
from linkwise.data.schema import MOVIELENS_FIELDS, InputConfig
from linkwise.data.texts import read_table
from linkwise.errors import InputError, UsageError
from linkwise.folders import prepare_partial, whole_or_not
from linkwise.rank.config import NewSurfaceConfig
from linkwise.rank.new_task import PASS, extent, own_task, slug, tag_task

TAGS = "tags.csv"
MISSING = ("", "N/A", "(no genres listed)")  # how tables say that they know nothing


@dataclass(frozen=True)
class NewSurface:
    """What was written: the task files, how many members, items and events, and what a user should know."""

    tasks: tuple[Path, ...]
    member: str
    """Id of the member with the most events, to look at."""
    n_members: int
    n_items: int
    n_events: int
    notes: tuple[str, ...]


def new_surface(
    paths: Sequence[str],
    input_config: InputConfig,
    config: NewSurfaceConfig,
    out: Path,
    seed: int = 0,
) -> NewSurface:
    """Write `items.parquet`, `events.parquet`, `tasks/`, and `members.parquet` if asked for.

    Events have `member`, `item`, `time` (a time stamp, a date or a position) and `rating` or `action`, a row
    for each event of the log that names an item. Beside MovieLens ratings, tags.csv becomes a second task.
    `out` is written whole or not at all.

    Raises `UsageError` where `out` exists or an option does not go with the log, `InputError` where the log
    or a table cannot be used.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out}: it exists already and is no empty folder. Name a new one, or remove it first."
        )
    out = out.absolute()
    partial = out.parent / f".{out.name}.partial"
    prepare_partial(partial, out, False)
    with whole_or_not(partial, out):
        made = _write(paths, input_config, config, partial, seed)
        if out.exists():
            out.rmdir()
    tasks = tuple(out / path.relative_to(partial) for path in made.tasks)
    return NewSurface(tasks, made.member, made.n_members, made.n_items, made.n_events, made.notes)


def _write(
    paths: Sequence[str],
    input_config: InputConfig,
    config: NewSurfaceConfig,
    folder: Path,
    seed: int,
) -> NewSurface:
    notes: list[str] = []
    log = _read_log(paths, input_config, notes)
    events = log.events
    tagged = _tagged(log, notes) if input_config.log_schema == "movielens" else None
    rated = "rating" in events.columns
    if rated:
        action = config.action or "like"
        _check_ratings(events["rating"], config)
    else:
        kinds = events["action"].unique(maintain_order=True).to_list()
        action = _action(config.action, kinds, config)
        if len(kinds) == 1:
            events = events.with_columns(action=pl.lit(action))
    if action == PASS and (rated or config.drawn):
        raise UsageError(
            f'--action is "{PASS}", which is what no means; choose another word with --action.'
        )
    if tagged is not None and action == "tag":
        raise UsageError(
            f'--action is "tag", and {TAGS} beside the ratings becomes a task of that name; choose another '
            "word."
        )
    ids = events["item"] if tagged is None else pl.concat([events["item"], tagged["item"]])
    items = _items(ids, log, input_config, config, notes)
    if config.drawn and not rated:
        events, n = _with_drawn(events, config.drawn, seed)
        notes.append(
            f"{n:,} items were drawn, in proportion to how often they were chosen, and stand as passed by: "
            "nobody was shown them."
        )
    members = _members(events["member"], input_config, config, notes)
    items.write_parquet(folder / "items.parquet")
    events.write_parquet(folder / "events.parquet")
    if members is not None:
        members.write_parquet(folder / "members.parquet")
    if is_simulated(log.files):  # so that reports say it
        (folder / "truth.json").write_text(json.dumps({"simulated": True}))
    (folder / "tasks").mkdir()
    tasks = [folder / "tasks" / f"{slug(action)}.toml"]
    tasks[0].write_text(own_task(action, events, items, members, config), encoding="utf-8")
    if tagged is not None:
        tagged.write_parquet(folder / "tags.parquet")
        tasks.append(folder / "tasks" / "tag.toml")
        tasks[1].write_text(tag_task(items, members, config), encoding="utf-8")
    counts = events["member"].value_counts().sort("count", "member", descending=[True, False])
    return NewSurface(
        tuple(tasks),
        str(counts["member"][0]),
        len(counts) if members is None else len(members),
        len(items),
        len(events),
        tuple(notes),
    )


# The log


@dataclass(frozen=True)
class _Log:
    """`events`: `member, item` (text), `time`, and `rating` or `action`; `titles` (id, title) that it has."""

    events: pl.DataFrame
    titles: pl.DataFrame | None
    files: list[Path]


def _read_log(paths: Sequence[str], config: InputConfig, notes: list[str]) -> _Log:
    """The log, its events by member and time; those of one time in the order of the files."""
    files = [file.path for file in find_files(list(paths))]
    log: Any = list(paths)
    lists = _lists(files, config)
    if lists is not None:
        log, config = lists
    read = read_events(log, config)
    for bad in read.bad_rows:
        notes.append(f"{bad.rows:,} malformed rows of the log were dropped ({bad.rule}).")
    if "item" not in read.columns:
        raise InputError(
            "the log has no items, and items are what is ranked. Name their column with --item."
        )
    # Of some logs only the order within each member is known: then positions are their times.
    order = next(n for n in ("time", "position", "day") if n in read.columns)
    more = [n for n in ("position", "value", "text") if n in read.columns and n != order]
    frame = collect(read.frame.select("user", "item", "event", order, *more))
    found = frame.filter(pl.col("item").is_not_null())
    if len(found) < len(frame):
        notes.append(
            f"left out, as they name no item: {len(frame) - len(found):,} of {len(frame):,} events."
        )
    if "position" in more:  # events of one time keep their order
        found = found.sort("position", maintain_order=True)
    rated = "value" in more and config.event is None  # beside kinds of event it is an amount
    if rated:
        known = found.filter(pl.col("value").is_not_null())
        if len(known) < len(found):
            notes.append(
                f"left out, as they have no rating: {len(found) - len(known):,} of {len(found):,} events."
            )
        found = known
    if not len(found):
        raise InputError("no event of the log names an item" + " and has a rating." * rated)
    time = pl.col(order)
    events = found.select(
        pl.col("user").cast(pl.String).alias("member"),
        pl.col("item").cast(pl.String),
        (time.cast(pl.Int32).cast(pl.Date) if order == "day" else time).alias("time"),
        (pl.col("value") / 100).alias("rating")  # hundredths
        if rated
        else pl.col("event").alias("action"),
    )
    if order == "position":
        notes.append(
            "the log has no times, only the order of each member's events: --train-until is a position in it."
        )
    titles = None
    if "text" in more:  # the first in alphabetical order, as in recommend
        titles = found.group_by(
            pl.col("item").cast(pl.String).alias("id"), maintain_order=True
        ).agg(pl.col("text").min().alias("title"))
    return _Log(events.sort("member", "time", maintain_order=True), titles, files)


def _lists(files: Sequence[Path], config: InputConfig) -> tuple[pl.DataFrame, InputConfig] | None:
    """A log of one row for each user, whose items are a list, as one row for each item; None of another."""
    item = config.item
    if item is None or {path.suffix for path in files} != {".parquet"}:
        return None
    try:
        schema = pl.read_parquet_schema(files[0])
    except (OSError, pl.exceptions.PolarsError):
        return None  # the reader of logs says what is wrong
    if not isinstance(schema.get(item), pl.List):
        return None
    if config.time or config.position:
        raise UsageError(
            f'the column "{item}" holds lists, whose order is that of the events; leave --time and '
            "--position away."
        )
    frame = pl.concat([pl.read_parquet(path) for path in files])
    place = pl.int_ranges(pl.col(item).list.len()).alias("position")
    wide = frame.select(pl.exclude("position"), place).filter(pl.col(item).list.len() > 0)
    return wide.explode(item, "position"), config.model_copy(update={"position": "position"})


def _check_ratings(ratings: pl.Series, config: NewSurfaceConfig) -> None:
    if config.drawn:
        raise UsageError(
            "--drawn is for a log that tells only what was chosen; this one has ratings."
        )
    liked = (ratings >= config.at_least).sum()
    if liked in (0, len(ratings)):
        low, high = extent(ratings)
        raise UsageError(
            f"--at-least is {config.at_least:g}, and {'all' if liked else 'none'} of the ratings (they go "
            f"from {low} to {high}) are that large; choose one between them."
        )


def _action(action: str | None, kinds: list[str], config: NewSurfaceConfig) -> str:
    """What yes means in a log without ratings."""
    if len(kinds) > 1:
        if config.drawn:
            raise UsageError(
                "--drawn is for a log that tells only what was chosen; this one has the kinds "
                f"{', '.join(kinds)}."
            )
        if action not in kinds:
            got = "is missing" if action is None else f'is "{action}"'
            raise UsageError(
                f"--action {got}: which kind of event does yes mean? The kinds are {', '.join(kinds)}."
            )
        return action
    if not config.drawn:
        raise UsageError(
            f'the log has one kind of event only ("{kinds[0]}"): it tells what was chosen and not what was '
            "shown and passed by, so that there is nothing to rank. Name the ratings with --value, the kinds "
            "of event with --event, or let items be drawn that stand as passed by: --drawn 1."
        )
    return action or ("choose" if kinds[0] == "event" else kinds[0])


def _with_drawn(events: pl.DataFrame, share: float, seed: int) -> tuple[pl.DataFrame, int]:
    """The events and, for each, `share` items that the member never chose, passed by; and how many those are.

    Items come in proportion to how often they were chosen, so that popularity alone does not tell them
    apart. Each stands at the time of any of the member's events, in no order within it: were there one beside
    each that was chosen, the one would give the other away.
    """
    rng = np.random.default_rng(seed)
    item, names = events["item"].to_numpy(), events["item"].unique(maintain_order=True)
    number = dict(zip(names, range(len(names)), strict=True))
    chosen = np.array([number[name] for name in item])
    drawn_item, drawn_row, start = [], [], 0
    for (_,), own in events.group_by("member", maintain_order=True):
        rows = np.arange(start, start + len(own))
        start += len(own)
        n = int(rng.poisson(share * len(own)))
        guess = chosen[rng.integers(len(chosen), size=4 * n)]
        guess = guess[~np.isin(guess, chosen[rows])][:n]
        drawn_item.append(guess)
        drawn_row.append(rng.choice(rows, size=len(guess)))
    rows = np.concatenate(drawn_row)
    drawn = events[rows].with_columns(
        item=names.gather(np.concatenate(drawn_item)), action=pl.lit(PASS)
    )
    both = pl.concat([events, drawn])
    both = both.with_columns(pl.Series("shuffled", rng.random(len(both))))
    return both.sort("member", "time", "shuffled").drop("shuffled"), len(drawn)


def _tagged(log: _Log, notes: list[str]) -> pl.DataFrame | None:
    """What members who tag at all have tagged, and what they rated and never tagged: `action` tag or pass.

    None where there is no tags.csv beside the ratings, or these have no times to put tags among.
    """
    events = log.events
    path = next((f.parent / TAGS for f in log.files if (f.parent / TAGS).is_file()), None)
    if path is None or not isinstance(events.schema["time"], pl.Datetime):
        return None
    user, item, _, time = MOVIELENS_FIELDS
    named = InputConfig(user=user, item=item, time=time, on_bad_row="skip")
    tags = _read_log([str(path)], named, notes).events
    first = tags.group_by("member", "item", maintain_order=True).agg(pl.col("time").min())
    passed = events.join(first, on=("member", "item"), how="anti")
    passed = passed.filter(pl.col("member").is_in(first["member"].unique().implode()))
    passed = passed.group_by("member", "item", maintain_order=True).agg(pl.col("time").max())
    both = pl.concat(
        [first.with_columns(action=pl.lit("tag")), passed.with_columns(action=pl.lit(PASS))]
    )
    return both.sort("member", "time", "item")


# The tables


def _items(
    ids: pl.Series,
    log: _Log,
    input_config: InputConfig,
    config: NewSurfaceConfig,
    notes: list[str],
) -> pl.DataFrame:
    """`id`, `title`, `genres` and the columns that were asked for, of all items of the log and the titles."""
    items = pl.DataFrame({"id": ids.unique(maintain_order=True)})
    path = Path(config.titles) if config.titles else find_titles(log.files)
    if path is not None:
        titles = read_catalogue(path).unique("id", keep="first", maintain_order=True)
        titles = titles.filter(pl.col("id").is_not_null())
        if not titles["id"].is_in(items["id"].implode()).any():
            raise InputError(_strangers(path, titles.columns[0], titles["id"], ids))
        if (
            input_config.log_schema == "movielens"
        ):  # whose articles stand behind: "Matrix, The (1999)"
            titles = titles.with_columns(
                pl.col("title").map_elements(_article_in_front, return_dtype=pl.String)
            )
        if "genres" in titles.columns:
            titles = titles.with_columns(pl.col("genres").str.replace_all("|", ", ", literal=True))
        titles = titles.drop(n for n in titles.columns if titles[n].is_null().all())
        items = titles.join(items, on="id", how="full", coalesce=True, maintain_order="left_right")
    elif log.titles is not None:
        items = log.titles
    items = _joined(
        items,
        config.texts,
        config.text_column,
        config.text_id,
        ("text", (_item_column(input_config), "item", config.noun)),
    )
    if items.width == 1:
        raise InputError(
            f"nothing is said of any {config.noun}: give a table of titles (--titles TABLE), or texts "
            "(--texts TABLE --text-column COLUMN)."
        )
    items = _blank_as_missing(items)
    for name in items.columns[1:]:
        missing = items[name].null_count()
        if missing:
            notes.append(f"{missing:,} of {len(items):,} items have no {name}.")
    return items


def _members(
    ids: pl.Series, input_config: InputConfig, config: NewSurfaceConfig, notes: list[str]
) -> pl.DataFrame | None:
    """`id` and the columns that were asked for; None where nothing was."""
    members = pl.DataFrame({"id": ids.unique(maintain_order=True)})
    column = input_config.user or MOVIELENS_FIELDS[0]
    found = _joined(
        members,
        config.members,
        config.member_column,
        config.member_id,
        ("member", (column, "user", "member")),
    )
    if found.width == 1:
        return None
    found = _blank_as_missing(found)
    unknown = found.filter(pl.all_horizontal(pl.exclude("id").is_null()))
    if len(unknown):
        notes.append(
            f"nothing is said of {len(unknown):,} of {len(found):,} members in {config.members}."
        )
    return found


def _joined(
    frame: pl.DataFrame,
    table: str | None,
    columns: tuple[str, ...],
    id_column: str | None,
    called: tuple[str, tuple[str, ...]],
) -> pl.DataFrame:
    """The frame with columns of another table, by `id`; `called`: the options' name, and names of the id."""
    option, names = called
    asked = f"--{option}s"
    if table is None:
        if columns or id_column:
            raise UsageError(
                f"--{option}-{'column' if columns else 'id'} needs {asked}, the table that has the column."
            )
        return frame
    path = Path(table)
    if not columns:
        raise UsageError(f"{asked} needs --{option}-column, the columns of {path} to take.")
    texts = read_users(path) if path.name == "users.dat" else read_table(path)
    at_hand = ", ".join(texts.columns)
    if id_column is None:
        plain = {_plain(name) for name in names} | {_plain(f"{name}id") for name in names} | {"id"}
        found = [name for name in texts.columns if _plain(name) in plain]
        if len(found) != 1:
            raise InputError(
                f"{path}: which column has the {'member' if option == 'member' else 'item'}'s id? Name it "
                f"with --{option}-id; the columns are {at_hand}."
            )
        id_column = found[0]
    for name, given in ((id_column, "id"), *((name, "column") for name in columns)):
        if name not in texts.columns:
            raise InputError(
                f'{path}: no column "{name}" (--{option}-{given}); the columns are {at_hand}.'
            )
    odd = [name for name in columns if not re.fullmatch(r"\w[\w -]*", name)]
    if odd:
        raise UsageError(
            f'--{option}-column has "{odd[0]}", which cannot stand in a template: expected letters, digits, '
            f"blanks and _. Rename it in {path}."
        )
    taken = sorted(set(columns) & set(frame.columns))
    if taken:
        raise UsageError(
            f"--{option}-column has {taken[0]}, which is there already; rename it in {path}."
        )
    try:
        texts = texts.select(
            pl.col(id_column).cast(pl.String).alias("id"),
            *(pl.col(name).cast(pl.String) for name in columns),
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: {', '.join(columns)}: expected text or numbers.") from error
    twice = texts.filter(texts["id"].is_duplicated() & texts["id"].is_not_null())
    if len(twice):
        raise InputError(
            f'{path}: the id "{twice["id"][0]}" stands more than once in column {id_column}; expected one '
            "row for each."
        )
    if not texts["id"].is_in(frame["id"].implode()).any():
        raise InputError(_strangers(path, id_column, texts["id"], frame["id"]))
    return frame.join(texts, on="id", how="left", maintain_order="left")


def _strangers(path: Path, column: str, ids: pl.Series, known: pl.Series) -> str:
    """What is said of a table that knows none of the log's ids."""
    some, own = (", ".join(map(str, values.drop_nulls().head(3))) for values in (ids, known))
    return (
        f"{path}: no id of the log is among those of column {column}: there they look like {some}, in the "
        f"log like {own}."
    )


def _item_column(config: InputConfig) -> str:
    return config.item or MOVIELENS_FIELDS[1]


def _plain(name: str) -> str:
    """movie_id and movieId alike."""
    return "".join(c for c in name.lower() if c.isalnum())


def _article_in_front(title: str) -> str:
    """The spoken title with its year: The Matrix (1999)."""
    year = re.search(r"\s*\(\d{4}\)\s*$", title)
    return spoken_title(title) + (f" {year[0].strip()}" if year else "")


def _blank_as_missing(frame: pl.DataFrame) -> pl.DataFrame:
    said = pl.exclude("id")
    return frame.with_columns(
        pl.when(said.str.strip_chars().is_in(MISSING)).then(None).otherwise(said).name.keep()
    )
