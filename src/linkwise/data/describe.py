"""What a log holds, before anything is done with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw

from linkwise.data.engine import collect
from linkwise.data.events import Events, from_epoch_day
from linkwise.data.files import LogFile, find_files, header, open_text
from linkwise.errors import InputError


def describe_events(events: Events) -> dict[str, Any]:
    """Rows, users, items, days, kinds of event, columns and malformed rows, as JSON values."""
    kinds = collect(
        events.frame.group_by("event").agg(
            nw.len().alias("events"), nw.col("user").n_unique().alias("users")
        )
    ).sort("events", "event", descending=[True, False])
    items = 0
    if "item" in events.columns:
        named = events.frame.filter(~nw.col("item").is_null())
        items = collect(named.select(nw.col("item").n_unique().alias("n"))).item()
    return {
        "rows": events.n_rows,
        "users": events.n_users,
        "items": items,
        "first day": str(from_epoch_day(events.first_day)),
        "last day": str(from_epoch_day(events.last_day)),
        "days": events.end_day - events.first_day,
        "clock times": "yes" if events.has_clock else "no, dates only",
        "columns": sorted(events.columns),
        "kinds": [
            {
                "event": row["event"],
                "events": row["events"],
                "users": row["users"],
                "share": row["events"] / events.n_rows,
            }
            for row in kinds.iter_rows(named=True)
        ],
        "malformed": [{"rule": bad.rule, "rows": bad.rows} for bad in events.bad_rows],
    }


def columns_of(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """For each layout among the files: one of them, how many there are, and its columns.

    `columns` maps a column's name to its first value as text.
    """
    layouts: dict[tuple[str, ...], dict[str, Any]] = {}
    for file in find_files(paths):
        columns = _columns(file)
        entry = layouts.setdefault(
            tuple(columns), {"file": str(file.path), "files": 0, "columns": columns}
        )
        entry["files"] += 1
    return list(layouts.values())


def _columns(file: LogFile) -> dict[str, str]:
    if file.format == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            stored = pq.ParquetFile(file.path)
            first = next(stored.iter_batches(batch_size=1), None)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file.path}: this is not a whole Parquet file ({error}).") from error
        row = first.to_pylist()[0] if first is not None and first.num_rows else {}
        return {name: str(row.get(name, "")) for name in stored.schema_arrow.names}
    if file.format == "json":
        with open_text(file) as stream:
            line = stream.readline()
        try:
            return {name: str(value) for name, value in json.loads(line).items()}
        except (json.JSONDecodeError, AttributeError) as error:
            raise InputError(f"{file.path} line 1: expected one JSON object a line.") from error
    names, delimiter = header(file)
    with open_text(file) as stream:
        stream.readline()
        values = stream.readline().rstrip("\r\n").split(delimiter)
    return {name: (values[i] if i < len(values) else "") for i, name in enumerate(names)}
