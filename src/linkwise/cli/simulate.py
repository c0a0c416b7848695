"""`linkwise simulate`: logs to try everything on, with the truth beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from linkwise.cli.options import Quiet, Seed
from linkwise.cli.show import progress
from linkwise.data.graph_files import write_tu
from linkwise.data.simulate_graphs import Family, simulate_graphs
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


def graphs(
    *,
    out: Annotated[str, Parameter(help="Folder of the graphs (TUDataset); must not exist yet.")],
    type_: Annotated[
        Family, Parameter(name="--type", help="Family: the rule by which edges are drawn.")
    ] = "1",
    n: Annotated[int, Parameter(name="--n", help="Graphs.")] = 500,
    width: Annotated[int, Parameter(help="Nodes of a layer.")] = 6,
    height: Annotated[int, Parameter(help="Layers.")] = 10,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate graphs of one family: layers of nodes, and a rule by which their edges are drawn.

    1: three edges from each node to the next layer. 2a: a grid, and one more edge from each node to the next
    layer; 2b: last and first layers joined; 2c: each layer a ring; 2c-6: rings, straight links and six more
    edges between layers. 3: rings, and two edges from each node to the next layer. regular-6: any six
    neighbours.

    ```
    linkwise simulate graphs --type 1 --n 500 --out type1
    ```
    """
    note = (
        f"Simulated graphs: {n} of family {type_}, {height} layers of {width} nodes, seed {seed}.\n"
        "Made by linkwise simulate graphs; its help tells the family's rule.\n"
    )
    made = simulate_graphs(type_, n, width=width, height=height, seed=seed)
    write_tu(made, Path(out), readme=note)
    if not quiet:
        print(f"Simulated graphs: {out}", file=sys.stderr)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="simulate", help="Make simulated logs, with the truth beside them.")
    verb.command(music)
    verb.command(members)
    verb.command(patents)
    verb.command(graphs)
    app.command(verb)
