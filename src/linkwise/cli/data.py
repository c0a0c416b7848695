"""`linkwise data describe`: what a log or patents hold, before anything is done with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cyclopts import App
from rich.console import Console
from rich.table import Table
from rich.text import Text

from linkwise.cli.options import Engine, Input, Json, Paths
from linkwise.data.bad_rows import printable
from linkwise.data.document_tables import CODES
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
    """Say what a log or a table of patents holds: rows, users, days, kinds of event, columns, malformed rows.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise data describe sim --schema music-box
    ```

    Without a schema or columns named, it lists the columns of the files and looks no further; of patents,
    known by their usual columns, it says years, codes and what is left out.
    """
    from linkwise.data.describe import columns_of, describe_events, describe_patents
    from linkwise.data.events import read_events

    if input.log_schema == "generic" and not (input.user or input.time):
        if (patents := describe_patents(paths)) is not None:
            if json_:
                print(json.dumps(patents, indent=1))
            else:
                _print_patents(patents, paths)
            return
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
        others = f" and {item['files'] - 1:,} more" if item["files"] > 1 else ""
        console.print(f"{printable(item['file'], 1000)}{others}", markup=False, style="bold")
        table = _table("column", "first value")
        for name, value in item["columns"].items():
            table.add_row(_cell(name), _cell(value) if value else Text("(empty)", style="dim"))
        console.print(table)
        console.print()
    console.print(
        "Name the columns to read it as a log: --user COLUMN --time COLUMN [--item, --event, "
        "--duration, --length, --value, --device, --paid, --text].",
        markup=False,
    )
    codes = [n for item in found for n in item["columns"] if n.lower() in CODES.split()]
    if codes:
        console.print(
            f"Patents? linkwise forecast PATENTS --codes {codes[0]} --out RUN (linkwise forecast --help).",
            markup=False,
        )


def _print_patents(found: dict[str, Any], paths: Sequence[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found['patents']:,} patents of {found['first year']} to {found['last year']}, with "
        f"{found['codes']:,} codes, {found['codes of a patent']:.1f} of a patent in the mean"
    )
    depths = ", ".join(f"{n:,} {name}" for name, n in found["codes by depth"].items())
    more = [
        f"{found[name]:,} {words}"
        for name, words in (
            ("indexing codes", "are indexing codes (--leave-out-indexing)"),
            ("respelled", "stood in another spelling"),
        )
        if found[name]
    ]
    console.print("; ".join([f"codes by depth: {depths}", *more]), markup=False)
    columns = ", ".join(f"{role} from {_cell(name)}" for role, name in found["columns"].items())
    console.print(f"columns: {columns}\n", markup=False)
    years = _table("year", "patents")
    for year, n in found["patents by year"].items():
        years.add_row(year, f"{n:,}")
    console.print(years)
    if found["left out"]:
        console.print()
        left = _table("what reading leaves out or joins", "how many")
        for rule, n in found["left out"].items():
            left.add_row(rule, f"{n:,}")
        console.print(left)
    console.print(f"\nGo on with: linkwise forecast {' '.join(paths)} --out RUN", markup=False)


def _print_events(described: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    items = f" on {described['items']:,} items" if described["items"] is not None else ""
    console.print(f"{described['rows']:,} events of {described['users']:,} users{items}")
    console.print(_days(described))
    spread = described["events of a user"]
    console.print(
        f"events of a user: median {spread['median']:,}, mean {spread['mean']:,.1f}, "
        f"most {spread['most']:,}\n"
    )
    kinds = _table("kind of event", "events", "share", "users")
    for row in described["kinds"]:
        kinds.add_row(
            _cell(row["event"]), f"{row['events']:,}", percent(row["share"]), f"{row['users']:,}"
        )
    console.print(kinds)
    if described["columns"]:
        console.print()
        console.print(_columns_table(described["columns"]))
    if described["malformed"]:
        console.print()
        bad = _table("malformed rows, skipped", "rows", "users")
        for row in described["malformed"]:
            users = "-" if row["users"] is None else f"{row['users']:,}"
            bad.add_row(_cell(row["rule"]), f"{row['rows']:,}", users)
        console.print(bad)


def _days(described: dict[str, Any]) -> str:
    if described["days"] is None:
        return "no dates: the order of each user's events is known by position"
    days = f"{described['days']:,} days" if described["days"] > 1 else "1 day"
    clock = "with clock times" if described["clock times"] else "dates only, no clock times"
    return (
        f"{described['first day']} to {described['last day']}: {days}, "
        f"{described['days with events']:,} with events; {clock}"
    )


def _columns_table(columns: list[dict[str, Any]]) -> Table:
    table = _table("column", "filled", "smallest", "mean", "largest")
    for row in columns:
        cells = [""] * 3
        if row.get("mean") is not None:
            cells = [f"{row[key]:,.2f}" for key in ("smallest", "mean", "largest")]
        unit = f", {row['unit']}" if row.get("unit") else ""
        if "yes" in row:
            unit = f" ({percent(row['yes'])} yes)"
        table.add_row(f"{row['column']}{unit}", percent(row["filled"]), *cells)
    return table


def percent(share: float) -> str:
    """A share as a percentage, to a tenth; never 0 or 100 where it is not quite that."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{share:.1%}".replace("%", " %")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="left" if name == "first value" else "right", no_wrap=True)
    return table


def _cell(text: str) -> Text:
    """What stands in a file, as text: brackets in it are no markup."""
    return Text(printable(text, 60))


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="data", help="Look at data before using them.")
    verb.command(describe)
    app.command(verb)
