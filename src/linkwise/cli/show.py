"""Progress and results on a terminal: a bar there, plain lines in a pipe, nothing under --quiet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from linkwise.context import Silent

if TYPE_CHECKING:
    from linkwise.run import Run


class Bar:
    """A progress bar on a terminal, with count, time spent and time left."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self.progress.start()
        self.task: TaskID | None = None
        self.name = ""

    def start(self, name: str, total: int | None) -> None:
        """Show a new line for the step."""
        self.name = name
        self.task = self.progress.add_task(name, total=total or 1)

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self.task is not None:
            self.progress.update(self.task, completed=done)

    def note(self, text: str) -> None:
        """Put the words beside the step's name."""
        if self.task is not None:
            self.progress.update(self.task, description=f"{self.name}: {text}")

    def say(self, text: str) -> None:
        """Print the line above the bars."""
        self.progress.console.print(text, markup=False, highlight=False)

    def finish(self, seconds: float) -> None:
        """Fill the bar."""
        if self.task is not None:
            total = self.progress.tasks[self.task].total
            self.progress.update(self.task, completed=total or 1)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()


EVERY = 10.0  # seconds between two lines on how a step is going, at the least


class Lines:
    """One plain line for each finished step, and one every ten seconds for how a long one is going."""

    def __init__(self) -> None:
        self.names: list[str] = []  # a step may stand within another
        self.total: int | None = None  # of the last one that began
        self.said = 0.0

    def start(self, name: str, total: int | None) -> None:
        """Remember the step."""
        self.names.append(name)
        self.total = total
        self.said = time.monotonic()

    def advance(self, done: int) -> None:
        """Write how many are done, at most every ten seconds."""
        if self.total is not None:
            self.note(f"{done:,} of {self.total:,}")

    def say(self, text: str) -> None:
        """Write the line."""
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Write the words, at most every ten seconds."""
        if self.names and time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            print(f"{self.names[-1]}: {text}", file=sys.stderr, flush=True)

    def finish(self, seconds: float) -> None:
        """Write the step and its time."""
        print(f"{self.names.pop()}: {seconds:.1f} s", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is left to undo."""


class Quiet(Silent):
    """Shows nothing."""

    def close(self) -> None:
        """Nothing is left to undo."""


def progress(quiet: bool) -> Bar | Lines | Quiet:
    """The progress that fits where the output goes."""
    if quiet:
        return Quiet()
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines()


def carry_out(
    verb: str,
    paths: Sequence[str],
    groups: dict[str, Any],
    changes: Sequence[str],
    *,
    out: str,
    overwrite: bool,
    resume: bool,
    quiet: bool,
) -> Run:
    """Run a verb from its options, with its progress; `changes` are those of --set."""
    from linkwise.config import RunConfig, with_changes
    from linkwise.run import execute

    values = {"verb": verb, "paths": [str(Path(path).absolute()) for path in paths]} | groups
    config = RunConfig.from_values(with_changes(values, changes), f"linkwise {verb}")
    shown = progress(quiet)
    try:
        return execute(config, Path(out), overwrite=overwrite, resume=resume, progress=shown)
    finally:
        shown.close()


def metrics_table(
    rows: list[dict[str, Any]],
    metrics: tuple[str, ...],
    k: int | None = None,
    against: str = "auc",
) -> Table:
    """The models on the reported rows: one line per model, the chosen metrics with intervals.

    `k` is the length of the lists that the metrics are of; `against` the metric whose difference is shown.
    """
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    table.add_column("model")
    for metric in metrics:
        table.add_column(_heading(metric, k), justify="right")
    table.add_column(f"{_heading(against, k)} over baseline", justify="right")
    shown = [
        row
        for row in rows
        if (row["split"], row["slice"], row["metric"], row["k"]) == ("test", "all", against, k)
    ]
    for model in dict.fromkeys(row["model"] for row in shown):
        found = {
            row["metric"]: row
            for row in rows
            if (row["model"], row["split"], row["slice"], row["k"]) == (model, "test", "all", k)
        }
        cells = [_cell(found[metric]) for metric in metrics]
        table.add_row(model, *cells, _difference(found[against]))
    return table


def _heading(metric: str, k: int | None) -> str:
    return metric.replace("_", " ") + (f"@{k}" if k is not None else "")


def _cell(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "-"
    if row["low"] is None:
        return short(row["value"])
    return f"{short(row['value'])} [{short(row['low'])}, {short(row['high'])}]"


def short(value: float, sign: str = "") -> str:
    """Three decimals without the leading zero, so that a table fits 80 columns: .917."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.3f}"


def _difference(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return "baseline"
    if row["difference_low"] is None:
        return short(row["difference"], "+")
    low, high = short(row["difference_low"], "+"), short(row["difference_high"], "+")
    return f"{short(row['difference'], '+')} [{low}, {high}]"


def show_report(console: Console, run: Run) -> None:
    """Print the first words of a run's report, and where it is."""
    report = json.loads((run.folder / "report.json").read_text())
    simulated = " Simulated data." if report["simulated"] else ""
    console.print(" ".join(report["lead"]) + simulated, markup=False)
    console.print(f"Report: {run.report}", markup=False)
