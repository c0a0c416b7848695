"""`linkwise report`: where a run's report is, rebuilt if asked."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter


def report(
    run: Annotated[str, Parameter(help="Folder of a finished run.")],
    /,
    *,
    rebuild: Annotated[
        bool, Parameter(help="Make report.html anew from report.json.", negative=())
    ] = False,
) -> None:
    """Print the path of a run's report.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise churn sim --schema music-box --out runs/churn
    linkwise report runs/churn
    ```
    """
    from linkwise.report import write_report
    from linkwise.run import Run

    found = Run.open(run)
    if rebuild or not found.report.exists():
        write_report(found.folder)
    print(found.report)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(report)
