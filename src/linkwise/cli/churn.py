"""`linkwise churn`: the study, and `linkwise churn score`: a fitted run on a newer log."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from rich.console import Console

from linkwise.churn.config import ChurnConfig
from linkwise.cli.options import (
    Changes,
    Engine,
    Input,
    Json,
    Out,
    Overwrite,
    Paths,
    Quiet,
    Resume,
    Seed,
)
from linkwise.cli.show import carry_out, metrics_table, progress
from linkwise.data.engine import EngineConfig
from linkwise.data.schema import InputConfig

Study = Annotated[ChurnConfig, Parameter(name="*", group=Group("Study", sort_key=2))]
SHOWN = ("auc", "average_precision")


def study(
    paths: Paths,
    /,
    *,
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    input: Input = InputConfig(),  # noqa: B008 (frozen)
    churn: Study = ChurnConfig(),  # noqa: B008
    engine: Engine = EngineConfig(),  # noqa: B008
) -> None:
    """Predict who will be gone: a ranked, explained list from a raw log.

    A worked example, which runs as printed:

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise churn sim --schema music-box --out runs/churn
    ```

    A shop's log, whose best customers are no bots: `linkwise churn orders.csv --user customer --time date
    --value amount --feature-days 180 --label-days 90 --bots-above 100 --out runs/shop`
    """
    groups = {"input": input.model_dump(by_alias=True), "engine": engine.model_dump()}
    found = carry_out(
        "churn",
        paths,
        groups | {"churn": churn.model_dump(), "seed": seed},
        changes,
        out=out,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    show_run(found, json_, quiet)


def show_run(run: Any, as_json: bool, quiet: bool) -> None:
    """Print a finished run: its metrics as JSON, or a table and where the report is."""
    if as_json:
        sys.stdout.write(json.dumps(run.metrics, indent=1) + "\n")
    if quiet:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(metrics_table(run.metrics, SHOWN))
    console.print(_verdict(run), markup=False)
    console.print(f"Report: {run.report}", markup=False)


def _verdict(run: Any) -> str:
    report = json.loads((run.folder / "report.json").read_text())
    words = [str(report["lead"][0])]
    if report["simulated"]:
        words.append("Simulated data.")
    skipped = [f["value"] for f in report["facts"] if f["label"] == "Malformed rows skipped"]
    if skipped:
        were = "row was" if skipped[0] == "1" else "rows were"
        words.append(f"{skipped[0]} malformed {were} skipped.")
    return " ".join(words)


def score(
    run: Annotated[str, Parameter(help="Folder of a finished churn run.")],
    paths: Paths,
    /,
    *,
    out: Annotated[str, Parameter(help="List to write, .parquet or .csv; must not exist yet.")],
    overwrite: Annotated[
        bool, Parameter(help="Replace the list if it exists.", negative=())
    ] = False,
    quiet: Quiet = False,
    engine: Engine = EngineConfig(),  # noqa: B008
) -> None:
    """Rank the users of a newer log with a fitted run.

    The log is read with the run's own schema and columns, and cut at its end:

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise churn sim --schema music-box --out runs/churn
    linkwise churn score runs/churn sim --out list.parquet
    ```
    """
    from linkwise.run import score as score_run

    shown = progress(quiet)
    try:
        frame = score_run(
            run, list(paths), out=out, overwrite=overwrite, engine=engine, progress=shown
        )
    finally:
        shown.close()
    if not quiet:
        print(f"{len(frame):,} users ranked: {out}", file=sys.stderr)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="churn", help_format="markdown")
    verb.default(study)
    verb.command(score)
    app.command(verb)
