"""What the tests of the reading share."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb

from linkwise.data.engine import EngineConfig, collect, open_duckdb
from linkwise.data.events import Events, read_events

ONE = EngineConfig(threads=1)


@functools.cache
def database() -> duckdb.DuckDBPyConnection:
    """One database for all small reads: opening one takes longer than they do."""
    atexit.register(database.cache_clear)
    return open_duckdb(ONE, Path(tempfile.gettempdir()) / "linkwise-tests-spill")


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, as it is, in a folder that may have to be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(source: Any, **options: Any) -> Events:
    """Read a log whose columns are called user and time, unless told otherwise."""
    if "schema" not in options:
        options = {"user": "user", "time": "time"} | options
    with mock.patch("linkwise.data.events.open_duckdb", return_value=database().cursor()):
        return read_events(source, engine=ONE, **options)


def rows(events: Events) -> list[dict[str, Any]]:
    """The rows of a log, in order."""
    return collect(events.frame).to_dicts()


def column(events: Events, name: str) -> list[Any]:
    """One column of a log, in order."""
    return collect(events.frame)[name].to_list()
