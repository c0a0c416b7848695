"""`linkwise compare`: paired differences between two finished runs."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from linkwise.cli.options import Json, Seed
from linkwise.cli.show import short
from linkwise.errors import UsageError

FEW = 20  # queries, below which a warning is printed


def compare(
    first: Annotated[str, Parameter(help="Folder of a finished run.")],
    second: Annotated[str, Parameter(help="Folder of another; the same one, with --models.")],
    /,
    *,
    models: Annotated[
        str | None,
        Parameter(
            help="One model of the first run and one of the second, with a comma between; by default "
            "those that both have, and the two that the runs chose."
        ),
    ] = None,
    k: Annotated[
        tuple[int, ...],
        Parameter(help="Lengths of the lists; by default those of both runs."),
    ] = (),
    samples: Annotated[int, Parameter(help="Resamples behind each interval.")] = 1000,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Compare two runs on the queries that both were judged on: paired differences with intervals.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise recommend sim --schema music-box --models item-item,svd --out runs/a
    linkwise recommend sim --schema music-box --models svd,ease --set svd.factors=20 --out runs/b
    linkwise compare runs/a runs/b
    ```
    """
    from linkwise.compare import compare as compare_runs

    pair = None
    if models is not None:
        names = [name.strip() for name in models.split(",")]
        if len(names) != 2 or not all(names):
            raise UsageError(f'--models is "{models}"; expected one of each run, such as svd,ease.')
        pair = names[0], names[1]
    if samples < 20:
        raise UsageError(f"--samples is {samples}; expected 20 or more.")
    found = compare_runs(first, second, models=pair, k=k or None, samples=samples, seed=seed)
    if json_:
        print(json.dumps(found.rows.to_dicts(), indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("first", "second", "metric", "value", "against", "difference", "p"):
        table.add_column(name, justify="left" if name in ("first", "second", "metric") else "right")
    shown = found.rows.filter(~found.rows["metric"].is_in(["mrr", "hit_rate"]))
    for row in shown.iter_rows(named=True):
        metric = row["metric"].replace("_", " ") + (f"@{row['k']}" if row["k"] else "")
        gap = "-" if row["difference"] is None else short(row["difference"], "+")
        if row["low"] is not None:
            gap += f" [{short(row['low'], '+')}, {short(row['high'], '+')}]"
        table.add_row(
            row["first_model"],
            row["second_model"],
            metric,
            *(short(row[name]) if row[name] is not None else "-" for name in ("first", "second")),
            gap,
            "" if row["p"] is None else "< .001" if row["p"] < 0.001 else short(row["p"]),
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    first_left, second_left = found.left_out
    console.print(
        f"{found.shared:,} {found.unit} that both runs have; {first_left:,} of the first run and "
        f"{second_left:,} of the second are left out. Differences are first - second, with 95 % bootstrap "
        "intervals"
        + (
            "; p of t tests, after Holm's correction for the pairs."
            if found.unit == "queries"
            else "."
        ),
        markup=False,
    )
    if found.shared < FEW:
        console.print(
            f"So few {found.unit} tell next to nothing; compare runs of one log and one split.",
            markup=False,
        )


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(compare)
