"""`linkwise doctor`: what is installed, what is missing, what this machine has."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from cyclopts import App
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

PURPOSES = {
    "deep": "neural recommenders",
    "factors": "the recommenders als and bpr",
    "lm": "language models, the recommender knn-text",
    "offline": "the embedded text encoder, for work with no network",
    "onnx": "int8 text encoders on CPU",
    "graphs": "graphs in GraphML files",
    "anomaly": "detectors that learn families of graphs by networks",
    "map": "the technology map",
    "serve": "the HTTP API and dashboard",
    "spark": "--engine spark",
}


def doctor() -> int:
    """Say what is installed and what is missing; exits 4 if the core is not whole.

    ```
    linkwise doctor
    ```
    """
    console = Console(highlight=False)
    console.print(f"linkwise {version('linkwise')}, Python {sys.version.split()[0]}", markup=False)
    wanted = [Requirement(text) for text in requires("linkwise") or []]
    table = Table("part", "package", "installed", "needs")
    whole = True
    for part in ("core", *PURPOSES):
        for need in wanted:
            if not _belongs(need, part):
                continue
            found = _version(need.name)
            fits = found is not None and need.specifier.contains(found, prereleases=True)
            whole = whole and (fits or part != "core")
            shown = found or "[red]missing[/]"
            table.add_row(
                part,
                need.name,
                shown if fits or not found else f"[red]{found}[/]",
                str(need.specifier),
            )
    console.print(table)
    for part, purpose in PURPOSES.items():
        missing = [n.name for n in wanted if _belongs(n, part) and _version(n.name) is None]
        if missing:
            console.print(f'{purpose}: pip install "linkwise[{part}]"', markup=False)
    free = shutil.disk_usage(".").free / 2**30
    java = shutil.which("java") or "not found (only --engine spark needs it)"
    console.print(
        f"cores {os.cpu_count()}, free disk here {free:.0f} GiB, java {java}", markup=False
    )
    return 0 if whole else 4


def _belongs(need: Requirement, part: str) -> bool:
    if need.name == "linkwise":
        return False
    if part == "core":
        return need.marker is None or "extra" not in str(need.marker)
    return need.marker is not None and f'extra == "{part}"' in str(need.marker).replace("'", '"')


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(doctor)
