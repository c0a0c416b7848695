"""What a log, or a table of patents, holds, before anything is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw

from linkwise.data.codes import LEVELS, is_indexing, roll_up
from linkwise.data.document_tables import choose_columns, find_tables
from linkwise.data.documents import DocumentsConfig, read_documents
from linkwise.data.engine import collect, count_where
from linkwise.data.events import Events, from_epoch_day
from linkwise.data.files import LogFile, find_files, open_bytes, reading, shown
from linkwise.data.intact import check_intact
from linkwise.data.lines import Cut, Row, header, json_fields, rows
from linkwise.data.schema import CANONICAL
from linkwise.errors import InputError

# What whole numbers in the frame are told as: unit, and how many of them make one.
UNITS = {"duration": ("seconds", 1000), "length": ("seconds", 1000), "value": ("", 100)}


def describe_events(events: Events) -> dict[str, Any]:
    """Rows, users, items, days, kinds of event, columns and malformed rows, as JSON values.

    `share` and `filled` are shares of the rows, from 0 to 1; `smallest`, `mean` and `largest` are in the
    column's `unit`.
    """
    kinds = collect(
        events.frame.group_by("event").agg(
            nw.len().alias("events"), nw.col("user").n_unique().alias("users")
        )
    ).sort("events", "event", descending=[True, False])
    items = None
    if "item" in events.columns:
        named = events.frame.filter(~nw.col("item").is_null())
        items = collect(named.select(nw.col("item").n_unique().alias("n"))).item()
    active = None
    if events.has_days:
        active = collect(events.frame.select(nw.col("day").n_unique().alias("n"))).item()
    return {
        "rows": events.n_rows,
        "users": events.n_users,
        "items": items,
        "first day": str(from_epoch_day(events.first_day)) if events.has_days else None,
        "last day": str(from_epoch_day(events.last_day)) if events.has_days else None,
        "days": events.end_day - events.first_day if events.has_days else None,
        "days with events": active,
        "clock times": events.has_clock,
        "events of a user": _per_user(events),
        "columns": _filled(events),
        "kinds": [
            {
                "event": row["event"],
                "events": row["events"],
                "users": row["users"],
                "share": row["events"] / events.n_rows,
            }
            for row in kinds.iter_rows(named=True)
        ],
        "malformed": [
            {"rule": bad.rule, "rows": bad.rows, "users": bad.users} for bad in events.bad_rows
        ],
    }


def _per_user(events: Events) -> dict[str, float]:
    """Median, mean and most events of a user."""
    users = events.frame.group_by("user").agg(nw.len().alias("events"))
    # How many users have each number: small, however many users there are.
    counts = collect(users.group_by("events").agg(nw.len().alias("users")).sort("events"))
    reached = counts["users"].cum_sum()
    middle = counts["events"].filter(reached * 2 >= events.n_users)[0]
    return {
        "median": middle,
        "mean": events.n_rows / events.n_users,
        "most": counts["events"].max(),
    }


def _filled(events: Events) -> list[dict[str, Any]]:
    """What is known of each column that need not be filled."""
    names = [n for n in CANONICAL if n in events.columns - {"user", "event", "day", "time"}]
    if not names:
        return []
    wanted = [nw.col(name).count().alias(f"{name} filled") for name in names]
    for name in UNITS.keys() & set(names):
        column = nw.col(name)
        wanted += [
            column.min().alias(f"{name} smallest"),
            column.mean().alias(f"{name} mean"),
            column.max().alias(f"{name} largest"),
        ]
    if "paid" in names:
        wanted.append(count_where(nw.col("paid")).alias("paid yes"))
    found = collect(events.frame.select(*wanted)).row(0, named=True)
    columns: list[dict[str, Any]] = []
    for name in names:
        entry = {"column": name, "filled": found[f"{name} filled"] / events.n_rows}
        if name in UNITS:
            unit, scale = UNITS[name]
            values = {key: found[f"{name} {key}"] for key in ("smallest", "mean", "largest")}
            entry["unit"] = unit
            entry |= {key: None if v is None else v / scale for key, v in values.items()}
        if name == "paid" and found["paid filled"]:
            entry["yes"] = found["paid yes"] / found["paid filled"]
        columns.append(entry)
    return columns


def columns_of(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """For each layout among the files: one of them, how many there are, and its columns.

    `columns` maps a column's name to its first value as text. Raises `InputError` where a file is damaged
    or has no names for its columns.
    """
    layouts: dict[tuple[str, ...], dict[str, Any]] = {}
    for file in check_intact(find_files(paths), skip_empty=True):
        columns = _columns(file)
        entry = layouts.setdefault(
            tuple(columns), {"file": shown(file.path), "files": 0, "columns": columns}
        )
        entry["files"] += 1
    return list(layouts.values())


def describe_patents(paths: Sequence[str | Path]) -> dict[str, Any] | None:
    """Patents, their years, codes and what is wrong with them, as JSON values; None where the files are none.

    They are where the usual names give a column of codes, one of years, and one of texts or ids, and no
    choice between two is left open.
    """
    try:
        files = find_tables(list(paths))
        names = list(columns_of(files[:1])[0]["columns"])
        columns = choose_columns(files[0], names, DocumentsConfig())
    except InputError:
        return None
    if not columns.keys() >= {"codes", "year"} or not columns.keys() & {"title", "abstract", "id"}:
        return None
    documents = read_documents(list(paths), DocumentsConfig(on_bad_row="skip"))
    table = documents.table
    codes = table["codes"].explode(empty_as_null=False).drop_nulls()
    depth: dict[str, int] = {}
    for code in codes.unique().sort().to_list():
        deep = [level for level in LEVELS[1:] if roll_up(code, level) is not None]
        name = deep[-1] if deep else "label"
        depth[name] = depth.get(name, 0) + 1
    years = table.group_by("year").len().sort("year")
    return {
        "patents": len(table),
        "columns": dict(columns),
        "first year": int(years["year"][0]),
        "last year": int(years["year"][-1]),
        "patents by year": {str(year): n for year, n in years.iter_rows()},
        "codes": sum(depth.values()),
        "codes by depth": {name: depth[name] for name in (*LEVELS, "label") if name in depth},
        "codes of a patent": len(codes) / len(table),
        "indexing codes": sum(is_indexing(code) for code in codes.unique().to_list()),
        "respelled": len(documents.respelled),
        "left out": {rule: n for rule, n in documents.ledger.items() if n},
    }


def _columns(file: LogFile) -> dict[str, str]:
    if file.format == "json":
        return json_fields(file)
    if file.format == "csv":
        names, delimiter = header(file)
        cut = Cut(len(names), delimiter, quoted=True, has_header=True)
        with reading(file), open_bytes(file) as stream:
            first = next((row for row in rows(stream, cut) if isinstance(row, Row)), None)
        values = first.fields(cut) if first is not None else [""] * len(names)
        return dict(zip(names, values, strict=False))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.ParquetFile(file.path)
        batch = next(stored.iter_batches(batch_size=1), None)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{file.path}: this is not a whole Parquet file ({str(error).splitlines()[0]}). "
            "Was it cut short while it was written or copied?"
        ) from error
    row = batch.to_pylist()[0] if batch is not None and batch.num_rows else {}
    found = {name: row.get(name) for name in stored.schema_arrow.names}
    return {name: "" if value is None else str(value) for name, value in found.items()}
