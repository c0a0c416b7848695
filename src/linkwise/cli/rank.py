"""`linkwise rank`: one text model for every surface: its prompts, its training, its lists."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from pydantic import Field
from rich.console import Console

from linkwise.cli.options import (
    Changes,
    Input,
    Json,
    Out,
    Overwrite,
    Paths,
    Quiet,
    Resume,
    Seed,
)
from linkwise.cli.rank_score import score
from linkwise.cli.show import carry_out, metrics_table, show_report
from linkwise.data.schema import InputConfig, parted
from linkwise.errors import UsageError
from linkwise.rank.config import NewSurfaceConfig, RankStudyConfig

TaskFile = Annotated[str, Parameter(help="The task's file (TOML).")]
Member = Annotated[str, Parameter(help="Id of a member.")]
At = Annotated[
    str | None,
    Parameter(help="Time, 2026-04-20; nothing of then or later is shown. By default all is."),
]


def new(
    paths: Paths,
    /,
    *,
    out: Annotated[str, Parameter(help="Folder of the surface; must not exist yet.")],
    seed: Seed = 0,
    quiet: Quiet = False,
    input: Input = InputConfig(),  # noqa: B008 (frozen)
    surface: Annotated[
        NewSurfaceConfig, Parameter(name="*", group=Group("Surface", sort_key=2))
    ] = NewSurfaceConfig(),  # noqa: B008
) -> None:
    """Make a surface of a log: tables of members, items and events, and a task file to edit.

    Ratings become likes (`--at-least`), kinds of event actions, one of which is asked for (`--action`). Of a
    log that tells only what was chosen, items are drawn that stand as passed by (`--drawn`).

    ```
    linkwise rank new ml-latest-small --schema movielens --noun movie --out surface
    linkwise rank show surface/tasks/like.toml --member 547
    ```
    """
    from linkwise.rank.new_surface import new_surface

    made = new_surface(paths, input, surface, Path(out), seed)
    if quiet:
        return
    for note in made.notes:
        print(f"{note[:1].upper()}{note[1:]}", file=sys.stderr)
    print(
        f"Surface: {out}, {made.n_members:,} members, {made.n_items:,} items, {made.n_events:,} events. Look "
        f"at a prompt:\n  linkwise rank show {Path(out) / 'tasks' / made.tasks[0].name} --member "
        f"{shlex.quote(made.member)}",
        file=sys.stderr,
    )


def show(
    task: TaskFile,
    /,
    *,
    member: Member,
    item: Annotated[
        str | None, Parameter(help="Id of a candidate; by default the first of the items.")
    ] = None,
    at: At = None,
    base: Annotated[
        str, Parameter(help="Model whose tokens count: a size, a folder, a hub name, or a run.")
    ] = "small",
    json_: Json = False,
) -> None:
    """Print the exact prompt of a member and a candidate, and how many tokens each part takes.

    ```
    linkwise simulate members --members 300 --seed 3 --out net
    linkwise rank show net/tasks/apply.toml --member m17 --at 2026-04-20
    ```
    """
    from linkwise.rank.config import RankConfig
    from linkwise.rank.ranker import Ranker
    from linkwise.rank.surface import moment, read_surface
    from linkwise.rank.task import read_task

    folder = Path(base) / "model"
    ranker = (
        Ranker.load(folder) if (folder / "ranker.json").is_file() else Ranker(RankConfig(base=base))
    )
    surface = read_surface(read_task(task))
    verbaliser = ranker.verbaliser(surface)
    before = None if at is None else moment(at, surface.clock, "--at")
    prompt = verbaliser.prompt(surface.row_of(member), before)
    row = 0 if item is None else surface.row_of(item, "items")
    parts = {**prompt.parts, "candidate": verbaliser.candidate(row)}
    counts = {name: len(tokens) for name, tokens in parts.items()}
    text = ranker.model.tokenizer.decode([t for tokens in parts.values() for t in tokens])
    if json_:
        about = {"prompt": text, "tokens": counts, "shown": prompt.shown}
        print(json.dumps({**about, "left_out": prompt.left_out}, indent=1))
        return
    print(text)
    words = ", ".join(f"{name} {n:,}" for name, n in counts.items())
    print(
        f"{sum(counts.values()):,} tokens: {words}. {prompt.shown} past events are shown, "
        f"{prompt.left_out} have no room.",
        file=sys.stderr,
    )


Tasks = Annotated[tuple[str, ...], Parameter(help="Task files, or folders with such.", negative=())]
Cores = Annotated[int | None, Parameter(help="CPU threads; all cores by default.")]


class DistilConfig(RankStudyConfig):
    """The same with the options that `distil` alone has."""

    base: Annotated[str, Parameter(name="--student")] = "small"
    """Model that learns: `tiny`, `small` or `medium` (new, with MiniLM's words), a causal model's folder,
    its name on the hub, or a finished rank run's folder."""
    soft: Annotated[float, Parameter(parse=True, show=True)] = Field(0.5, ge=0, le=1)
    """How much the teacher's probabilities count against the answers really given; 1: they alone count."""


def train(
    tasks: Tasks,
    /,
    *,
    out: Annotated[
        str | None, Parameter(help="Folder of the run; must not exist yet. Not with --dry-run.")
    ] = None,
    dry_run: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Train nothing: print parameters, memory, sequences and updates. Weights are not needed.",
        ),
    ] = False,
    processes: Annotated[
        int | None,
        Parameter(
            help="With --dry-run: processes to divide it among; by default WORLD_SIZE, or 1."
        ),
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    rank: Annotated[
        RankStudyConfig, Parameter(name="*", group=Group("Training and test", sort_key=1))
    ] = RankStudyConfig(),  # noqa: B008 (frozen)
) -> None:
    """Train one model on many surfaces, and judge it on all of them, those held out included.

    A worked example, which runs as printed:

    ```
    linkwise simulate members --members 300 --seed 3 --out net
    linkwise rank train net/tasks --held-out view,comment,follow,open --base tiny --out runs/brew
    ```
    """
    groups = {"rank": rank.model_dump(), "engine": {"threads": threads}, "seed": seed}
    if dry_run:
        _show_plan(tasks, groups, changes, processes, json_)
        return
    if out is None:
        raise UsageError(
            "--out is missing, the folder of the run (or --dry-run, to see what it takes)."
        )
    if processes is not None:
        raise UsageError("--processes goes with --dry-run; a run trains in one process.")
    found = carry_out(
        "rank",
        tasks,
        groups,
        changes,
        out=out,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    show_run(found, json_, quiet)


def distil(
    tasks: Tasks,
    /,
    *,
    teacher: Annotated[
        str, Parameter(help="Folder of the finished rank run that is learned from.")
    ],
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Cores = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    rank: Annotated[
        DistilConfig, Parameter(name="*", group=Group("Training and test", sort_key=1))
    ] = DistilConfig(),  # noqa: B008 (frozen)
) -> None:
    """Train a student on a teacher's probabilities: `train`, with a finished run to learn from.

    ```
    linkwise simulate members --members 300 --seed 3 --out net
    linkwise rank train net/tasks/connect.toml --base tiny --out runs/brew
    linkwise rank distil net/tasks/connect.toml --teacher runs/brew --student tiny --out runs/sip
    ```
    """
    train(
        tasks,
        out=out,
        overwrite=overwrite,
        resume=resume,
        seed=seed,
        json_=json_,
        quiet=quiet,
        changes=changes,
        rank=rank.model_copy(update={"teacher": teacher}),
        threads=threads,
    )


def _show_plan(
    tasks: tuple[str, ...],
    groups: dict[str, Any],
    changes: tuple[str, ...],
    processes: int | None,
    as_json: bool,
) -> None:
    """Print what a training would take."""
    from linkwise.config import RunConfig, with_changes
    from linkwise.errors import optional

    optional("torch", "lm", "the ranker")
    from linkwise.rank.plan import plan, words_of

    values = {"verb": "rank", "paths": [str(Path(path).absolute()) for path in tasks]} | groups
    config = RunConfig.from_values(with_changes(values, changes), "linkwise rank")
    if processes is None:
        said = os.environ.get("WORLD_SIZE", "1")
        if not said.isdigit():
            raise UsageError(f'WORLD_SIZE is "{said}"; expected a number of processes.')
        processes = int(said)
    found = plan(config.paths, config.rank, config.seed, processes)
    print(json.dumps(found, indent=1) if as_json else "\n".join(words_of(found)))


def show_run(run: Any, as_json: bool, quiet: bool) -> None:
    """Print a finished run: its metrics as JSON, or a table for each task and where the report is."""
    if as_json:
        sys.stdout.write(json.dumps(run.metrics, indent=1) + "\n")
    if quiet:
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    rows = [row for row in run.metrics if row["metric"] == "auc" and "," not in row["slice"]]
    for name in dict.fromkeys(row["slice"] for row in rows):
        mine = [{**row, "slice": "all", "split": "test"} for row in rows if row["slice"] == name]
        held = any(row["slice"] == name and row["split"] == "held out" for row in rows)
        console.print(f"{name}{' (held out)' if held else ''}", style="bold")
        console.print(metrics_table(mine, ("auc",), against="auc"))
    show_report(console, run)


def study(
    name: Annotated[
        str,
        Parameter(
            help="in-domain, zero-shot, data, models, history, cold-start, decay or parts (of the prompt)."
        ),
    ],
    run: Annotated[str, Parameter(help="Folder of a finished run of rank train.")],
    /,
    *,
    task: Annotated[
        tuple[str, ...],
        Parameter(
            help="Task files, or folders with such, separated by commas; by default all of the run.",
            negative=(),
        ),
    ] = (),
    out: Annotated[
        str | None,
        Parameter(help="Folder of the study; by default that of the run, with its name."),
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    judged: Annotated[
        int | None, Parameter(help="Members whose events are judged; by default as in the run.")
    ] = None,
    threads: Annotated[int | None, Parameter(help="CPU threads; by default as in the run.")] = None,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
) -> None:
    """Study a trained ranker: a table and a figure with intervals for each task.

    `in-domain` and `zero-shot`: the tasks it was trained on, and those it never saw. `data` and `models`
    train anew, on 1/8 to all of the members, and in three sizes: not of a distilled run, nor of one that
    began from a run (`data`) or from anything but a new model (`models`). `history`: with more and more
    tokens of the past. `cold-start`: by the length of the past. `decay`: by the weeks since training.
    `parts`: without the member's text, the notes, the history, or in another order.

    ```
    linkwise simulate members --members 300 --seed 3 --out net
    linkwise rank train net/tasks --held-out view,comment,follow,open --base tiny --out runs/brew
    linkwise rank study cold-start runs/brew --task net/tasks/apply.toml
    ```
    """
    from linkwise.run import Run

    trained = Run.open(run)
    config = trained.config
    if config.verb != "rank" or config.rank.study is not None:
        raise UsageError(f"{run}: this is no run of linkwise rank train.")
    values = config.rank.model_dump() | {"study": name, "run": str(trained.folder.absolute())}
    if judged is not None:
        values["judged"] = judged
    engine = config.engine.model_dump()
    if threads is not None:
        engine["threads"] = threads
    groups = {"rank": values, "engine": engine, "seed": config.seed}
    found = carry_out(
        "rank",
        parted(task) or config.paths,
        groups,
        changes,
        out=out or f"{str(trained.folder).rstrip('/')}-{name}",
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    if json_:
        sys.stdout.write(json.dumps(found.metrics, indent=1) + "\n")
    if not quiet:
        show_report(Console(stderr=True, highlight=False, soft_wrap=True), found)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(
        name="rank",
        help="One text model for every surface: show its prompts, train and study it, rank candidates.",
        help_format="markdown",
    )
    for command in (new, show, train, distil, study, score):
        verb.command(command)
    app.command(verb)
