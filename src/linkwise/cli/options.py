"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Group, Parameter

from linkwise.data.engine import EngineConfig
from linkwise.data.schema import InputConfig

Paths = Annotated[
    tuple[str, ...], Parameter(help="Files, folders or globs of the log.", negative=())
]
Out = Annotated[str, Parameter(help="Folder of the run; must not exist yet.")]
Overwrite = Annotated[bool, Parameter(help="Replace the folder if it exists.", negative=())]
Resume = Annotated[
    bool, Parameter(help="Go on with an interrupted run of the same options.", negative=())
]
Seed = Annotated[int, Parameter(help="Seed of everything random.")]
Json = Annotated[
    bool,
    Parameter(
        name="--json",
        help="Print the result (of a study, metrics.json) as JSON on standard output.",
        negative=(),
    ),
]
Quiet = Annotated[bool, Parameter(help="Show no progress and no summary.", negative=())]
Threads = Annotated[int | None, Parameter(help="CPU threads; by default PyTorch's choice.")]
Changes = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        help="Change any config field: churn.boosting.num_leaves=31.",
        negative=(),
    ),
]

Input = Annotated[InputConfig, Parameter(name="*", group=Group("Input", sort_key=1))]
Engine = Annotated[EngineConfig, Parameter(name="*", group=Group("Engine", sort_key=3))]


def use_threads(threads: int | None) -> None:
    """Let PyTorch use so many threads, or its own choice; raises `UsageError` for less than one."""
    from linkwise.errors import UsageError, optional

    if threads is None:
        return
    if threads < 1:
        raise UsageError(f"--threads is {threads}; expected 1 or more.")
    optional("torch", "lm", "a language model").set_num_threads(threads)
