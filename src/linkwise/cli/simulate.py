"""`linkwise simulate`: logs to try everything on, with the truth beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from linkwise.cli.options import Quiet
from linkwise.cli.show import progress
from linkwise.data.simulate_members import MembersSimulation, simulate_members
from linkwise.data.simulate_music import MusicSimulation, holds_simulation, simulate_music
from linkwise.data.simulate_patents import PatentsSimulation, simulate_patents


def music(
    *,
    out: Annotated[
        str, Parameter(help="Folder of the log; must not exist yet, or hold this very log.")
    ],
    quiet: Quiet = False,
    simulation: Annotated[MusicSimulation, Parameter(name="*")] = MusicSimulation(),  # noqa: B008
) -> None:
    """Simulate the raw logs of a music app: daily files of plays, downloads and searches.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    ```

    The numbers are simulated; the folder's README says how, and truth.parquet what was planted.
    """
    if holds_simulation(simulation, Path(out)):
        if not quiet:
            print(f"{out} holds this very log already.", file=sys.stderr)
        return
    shown = progress(quiet)
    try:
        shown.start("simulate", simulation.days)
        simulate_music(simulation, Path(out), progress=lambda done, _: shown.advance(done))
    finally:
        shown.close()
    if not quiet:
        print(f"Simulated log: {out}", file=sys.stderr)


def members(
    *,
    out: Annotated[str, Parameter(help="Folder of the network; must not exist yet.")],
    quiet: Quiet = False,
    simulation: Annotated[MembersSimulation, Parameter(name="*")] = MembersSimulation(),  # noqa: B008
) -> None:
    """Simulate a professional network: members, six surfaces, what was shown and done there, and task files.

    ```
    linkwise simulate members --members 300 --seed 3 --out net
    ```

    The numbers are simulated; truth.json has the best that any model could do, truth.parquet every chance.
    """
    simulate_members(simulation, Path(out))
    if not quiet:
        print(f"Simulated network: {out}", file=sys.stderr)


def patents(
    *,
    out: Annotated[str, Parameter(help="Folder of the patents; must not exist yet.")],
    quiet: Quiet = False,
    simulation: Annotated[PatentsSimulation, Parameter(name="*")] = PatentsSimulation(),  # noqa: B008
) -> None:
    """Simulate patents with technology codes: fields approach each other, and are combined some years later.

    ```
    linkwise simulate patents --patents 10000 --codes 300 --seed 5 --out pat
    ```

    The numbers are simulated; truth.parquet has how near any two codes were in each year.
    """
    simulate_patents(simulation, Path(out))
    if not quiet:
        print(f"Simulated patents: {out}", file=sys.stderr)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="simulate", help="Make simulated logs, with the truth beside them.")
    verb.command(music)
    verb.command(members)
    verb.command(patents)
    app.command(verb)
