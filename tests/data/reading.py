"""What the tests of the reading share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linkwise.data.engine import EngineConfig, collect
from linkwise.data.events import Events, read_events

ONE = EngineConfig(threads=1)


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, as it is, in a folder that may have to be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(source: Any, **options: Any) -> Events:
    """Read a log whose columns are called user and time, unless told otherwise."""
    if "schema" not in options:
        options = {"user": "user", "time": "time"} | options
    return read_events(source, engine=ONE, **options)


def rows(events: Events) -> list[dict[str, Any]]:
    """The rows of a log, in order."""
    return collect(events.frame).to_dicts()


def column(events: Events, name: str) -> list[Any]:
    """One column of a log, in order."""
    return collect(events.frame)[name].to_list()
