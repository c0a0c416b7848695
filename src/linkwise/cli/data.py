"""`linkwise data describe`: what a log holds, before anything is done with it."""

from __future__ import annotations

import json
from typing import Any

from cyclopts import App
from rich.console import Console
from rich.table import Table

from linkwise.cli.options import Engine, Input, Json, Paths
from linkwise.data.engine import EngineConfig
from linkwise.data.schema import InputConfig


def describe(
    paths: Paths,
    /,
    *,
    json_: Json = False,
    input: Input = InputConfig(),  # noqa: B008 (frozen)
    engine: Engine = EngineConfig(),  # noqa: B008
) -> None:
    """Say what a log holds: rows, users, days, kinds of event, columns, malformed rows.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise data describe sim --schema music-box
    ```

    Without a schema or columns named, it lists the columns of the files and looks no further.
    """
    from linkwise.data.describe import columns_of, describe_events
    from linkwise.data.events import read_events

    if input.log_schema == "generic" and not (input.user and input.time):
        found = columns_of(paths)
        _print_columns(found, json_)
        return
    events = read_events(list(paths), input, engine=engine)
    described = describe_events(events)
    if json_:
        print(json.dumps(described, indent=1))
        return
    _print_events(described)


def _print_columns(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console(highlight=False)
    for item in found:
        table = Table(title=f"{item['files']} file(s) like {item['file']}", title_justify="left")
        table.add_column("column")
        table.add_column("first value")
        for name, value in item["columns"].items():
            table.add_row(name, value)
        console.print(table)
    console.print(
        "Name the columns to read it as a log: --user COLUMN --time COLUMN [--item, --event, "
        "--duration, --length, --value, --device, --paid, --text].",
        markup=False,
    )


def _print_events(described: dict[str, Any]) -> None:
    console = Console(highlight=False)
    head = Table(box=None, show_header=False, pad_edge=False)
    for key in (
        "rows",
        "users",
        "items",
        "first day",
        "last day",
        "days",
        "clock times",
        "columns",
    ):
        value = described[key]
        text = ", ".join(value) if isinstance(value, list) else str(value)
        head.add_row(key, f"{value:,}" if isinstance(value, int) else text)
    console.print(head)
    kinds = Table("kind of event", "events", "users", "share")
    for row in described["kinds"]:
        kinds.add_row(
            row["event"], f"{row['events']:,}", f"{row['users']:,}", f"{row['share']:.1%}"
        )
    console.print(kinds)
    if described["malformed"]:
        bad = Table("malformed rows, skipped", "rows")
        for row in described["malformed"]:
            bad.add_row(row["rule"], f"{row['rows']:,}")
        console.print(bad)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="data", help="Look at data before using them.")
    verb.command(describe)
    app.command(verb)
