"""`linkwise forecast`: which technology codes will be combined."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from linkwise.cli.options import Changes, Json, Out, Overwrite, Quiet, Resume, Seed
from linkwise.cli.show import carry_out, metrics_table, show_report
from linkwise.data.documents import DocumentsConfig
from linkwise.technology.config import ForecastConfig

if TYPE_CHECKING:
    import polars as pl

FIRST = 10  # pairs of the list on the console

Documents = Annotated[DocumentsConfig, Parameter(name="*", group=Group("Patents", sort_key=1))]
Study = Annotated[ForecastConfig, Parameter(name="*", group=Group("Forecast", sort_key=2))]
Cores = Annotated[int | None, Field(ge=1), Parameter(help="CPU threads; by default all.")]


def study(
    paths: Annotated[
        tuple[str, ...], Parameter(help="Tables of the patents, or a folder of them.", negative=())
    ],
    /,
    *,
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    documents: Documents = DocumentsConfig(),  # noqa: B008 (frozen)
    forecast: Study = ForecastConfig(),  # noqa: B008 (frozen)
) -> None:
    """Rank pairs of technology codes that no patent has combined, and judge the same ranking on the past.

    A worked example, which runs as printed:

    ```
    linkwise simulate patents --patents 10000 --codes 300 --seed 5 --out pat
    linkwise forecast pat/patents.parquet --embed 2006-2010 --forecast 2011-2015 --out runs/fc
    ```

    With texts: --lm minilm, or a model tuned on them by linkwise lm adapt --objective technology-tokens.
    """
    groups = {
        "documents": documents.model_dump(),
        "forecast": forecast.model_dump(),
        "engine": {"threads": threads},
        "seed": seed,
    }
    run = carry_out(
        "forecast", paths, groups, changes, out=out, overwrite=overwrite, resume=resume, quiet=quiet
    )
    show_run(run, json_, quiet)


def show_run(run: Any, as_json: bool, quiet: bool) -> None:
    """Print a finished run: its metrics as JSON, or a table for each level and where the report is."""
    if as_json:
        sys.stdout.write(json.dumps(run.metrics, indent=1) + "\n")
    if quiet:
        return
    import polars as pl

    from linkwise.technology.words import what_ranks

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for level, split in dict.fromkeys((row["slice"], row["split"]) for row in run.metrics):
        rows = [
            {**row, "slice": "all", "split": "test"}
            for row in run.metrics
            if (row["slice"], row["split"]) == (level, split)
        ]
        rows.sort(key=lambda row: -(row["value"] or 0) if row["metric"] == "auc" else 0)
        console.print(f"{level}, {split}", style="bold")
        console.print(metrics_table(rows, ("auc", "average_precision"), against="auc"))
    listed = pl.read_parquet(run.folder / "pairs.parquet")
    if len(listed):
        console.print(what_ranks(listed["model"][0]), markup=False)
        console.print(_first_pairs(listed.head(FIRST)))
    show_report(console, run)


def _first_pairs(listed: pl.DataFrame) -> Table:
    """The first pairs of the list, a line each: patents of each code, common partners, what became of it."""
    from linkwise.technology.words import outcome

    table = Table(box=None, pad_edge=False, header_style="bold")
    judged = listed["combined"].null_count() == 0
    for name in ("rank", "pair", "score", "patents", "common", *(["since"] if judged else [])):
        table.add_column(name, justify="left" if name in ("pair", "since") else "right")
    for row in listed.iter_rows(named=True):
        table.add_row(
            str(row["rank"]),
            Text(f"{row['a']}  {row['b']}"),
            f"{row['score']:.3f}",
            f"{row['n_patents_a']:,}, {row['n_patents_b']:,}",
            f"{row['n_common']:,}",
            *([outcome(row)] if judged else []),
        )
    return table


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(study, name="forecast")
