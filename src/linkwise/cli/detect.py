"""`linkwise detect`: which graphs do not belong, `linkwise detect score`: new ones by a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from linkwise.anomaly.study_config import DetectConfig
from linkwise.cli.options import Changes, Json, Out, Overwrite, Quiet, Resume, Seed
from linkwise.cli.show import carry_out, metrics_table, show_report
from linkwise.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

FIRST = 10  # graphs of the list on the console

Study = Annotated[DetectConfig, Parameter(name="*", group=Group("Detection", sort_key=1))]
Cores = Annotated[int | None, Field(ge=1), Parameter(help="CPU threads; by default all.")]


def study(
    paths: Annotated[
        tuple[str, ...],
        Parameter(
            help="Graphs: a TUDataset (.zip or folder), .graphml, or a table of edges or SMILES.",
            negative=(),
        ),
    ] = (),
    /,
    *,
    out: Out,
    normal: Annotated[
        tuple[str, ...],
        Parameter(help="The same, by another name: graphs that are normal.", negative=()),
    ] = (),
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    detect: Study = DetectConfig(),  # noqa: B008 (frozen)
) -> None:
    """Learn a family of graphs from normal ones, and rank others by how little they belong to it.

    A worked example, which runs as printed:

    ```
    linkwise simulate graphs --type 1 --n 200 --out type1
    linkwise simulate graphs --type 3 --n 200 --out type3
    linkwise detect --normal type1 --against type3 --out runs/graphs
    ```

    One file with classes: linkwise detect AIDS.zip --normal-class 1 --out runs/aids. Without classes the
    graphs are ranked among themselves.
    """
    files = (*paths, *normal)
    if not files:
        raise UsageError("no graphs were given; name files, or use --normal FILE.")
    values = detect.model_dump()
    values["against"] = [str(Path(path).absolute()) for path in detect.against]
    values["known_anomalies"] = [str(Path(path).absolute()) for path in detect.known_anomalies]
    groups = {"detect": values, "engine": {"threads": threads}, "seed": seed}
    run = carry_out(
        "detect", files, groups, changes, out=out, overwrite=overwrite, resume=resume, quiet=quiet
    )
    show_run(run, json_, quiet)


def show_run(run: Any, as_json: bool, quiet: bool) -> None:
    """Print a finished run: its metrics as JSON, or a table for each question and the strangest graphs."""
    if as_json:
        sys.stdout.write(json.dumps(run.metrics, indent=1) + "\n")
    if quiet:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for slice in dict.fromkeys(row["slice"] for row in run.metrics):
        if slice.endswith(", exchanged"):
            continue
        rows = [
            {**row, "slice": "all", "split": "test", "k": None}
            for row in run.metrics
            if row["slice"] == slice and row["metric"] in ("auc", "average_precision")
        ]
        rows.sort(key=lambda row: -row["value"] if row["metric"] == "auc" else 0)
        console.print(slice, style="bold")
        console.print(metrics_table(rows, ("auc", "average_precision"), against="auc"))
    console.print(_strangest(run.ranking))
    show_report(console, run)


def _strangest(ranking: pl.DataFrame) -> Table:
    """The first graphs of the first list, a line each."""
    import polars as pl

    first = ranking.filter(
        (pl.col("model") == ranking["model"][0]) & (pl.col("query") == ranking["query"][0])
    )
    return _listed(first.head(FIRST))


def _listed(rows: pl.DataFrame) -> Table:
    """A line for each graph; reasons are cut to the terminal's width."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    lines = [
        (
            str(row["rank"]),
            row["item"],
            f"{row['score']:.2f}",
            f"{row['p_value']:.4f}",
            "yes" if row["flagged"] else "no",
        )
        for row in rows.iter_rows(named=True)
    ]
    for at, name in enumerate(("rank", "graph", "score", "p-value", "flagged")):
        widest = min(30, max([len(name), *(len(line[at]) for line in lines)]))
        right = name in ("rank", "score", "p-value")
        table.add_column(name, justify="right" if right else "left", no_wrap=True, min_width=widest)
    table.add_column("why", no_wrap=True)
    for line, reason in zip(lines, rows["reason"], strict=True):
        table.add_row(*map(Text, line), Text(reason or ""))
    return table


def score(
    run: Annotated[str, Parameter(help="Folder of a finished detect run.")],
    graphs: Annotated[
        tuple[str, ...], Parameter(help="Files of graphs, as of the study.", negative=())
    ],
    /,
    *,
    out: Annotated[
        str | None, Parameter(help="List to write, .parquet or .csv; must not exist yet.")
    ] = None,
    overwrite: Annotated[
        bool, Parameter(help="Replace the list if it exists.", negative=())
    ] = False,
    false_alarms: Annotated[
        float | None,
        Parameter(help="Share of false ones among the flagged; by default the run's own."),
    ] = None,
    json_: Annotated[
        bool,
        Parameter(name="--json", help="Print the list as JSON on standard output.", negative=()),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Rank new graphs by the detector of a finished run, with p-values and flags.

    ```
    linkwise detect score runs/graphs type3 --false-alarms 0.05 --out new.csv
    ```
    """
    from linkwise.run import detect_score

    found = detect_score(run, graphs, out=out, overwrite=overwrite, false_alarms=false_alarms)
    if json_:
        sys.stdout.write(json.dumps(found.to_dicts(), indent=1) + "\n")
    if quiet:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(_listed(found.head(FIRST)))
    flagged = int(found["flagged"].sum())
    console.print(f"{flagged:,} of {len(found):,} graphs are flagged as strange.", markup=False)
    if out is not None:
        console.print(f"List: {out}", markup=False)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="detect", help_format="markdown")
    verb.default(study)
    verb.command(score)
    app.command(verb)
