"""`linkwise recommend`: recommenders compared on one log, and lists for new histories from a finished run."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.table import Table

from linkwise.cli.options import (
    Changes,
    Engine,
    Input,
    Json,
    Overwrite,
    Quiet,
    Resume,
    Seed,
)
from linkwise.cli.show import carry_out, metrics_table, show_report
from linkwise.data.engine import EngineConfig
from linkwise.data.schema import InputConfig, parted
from linkwise.errors import UsageError
from linkwise.recommend.config import RecommendConfig
from linkwise.recommend.lists import POPULAR

Study = Annotated[RecommendConfig, Parameter(name="*", group=Group("Study", sort_key=2))]


TITLES = Group("Language model (the model title-lm)", sort_key=4)
Lm = Annotated[
    str | None,
    Parameter(group=TITLES, help="Language model: `minilm`, a folder, or a name on the hub."),
]
Inference = Annotated[
    Literal["one-pass", "by-length", "autoregressive"] | None,
    Parameter(
        group=TITLES,
        help="How titles are scored: in one run with gaps, one run for each length (masked models), or "
        "exactly (causal models; the default).",
    ),
]
Normalise = Annotated[
    Literal["auto", "mean", "sum", "bytes", "catalogue"] | None,
    Parameter(
        group=TITLES,
        help="Log-probability of a title: by token, whole, by byte, or over the catalogue.",
    ),
]
Calibrate = Annotated[
    Literal["none", "subtract", "ratio", "log", "pmi", "batch"] | None,
    Parameter(
        group=TITLES,
        help="Against the model's taste for words; docs/title-lm.md has the definitions.",
    ),
]
PromptText = Annotated[
    str | None,
    Parameter(
        group=TITLES,
        help="`weak`, `default`, `strong`, or a template with {history} and {title}.",
    ),
]


def study(
    paths: Annotated[
        tuple[str, ...], Parameter(help="Files, folders or globs of the log.", negative=())
    ] = (),
    /,
    *,
    out: Annotated[str | None, Parameter(help="Folder of the run; must not exist yet.")] = None,
    run: Annotated[
        str | None, Parameter(help="Folder of a finished run, to list items for a history.")
    ] = None,
    history: Annotated[
        str | None,
        Parameter(help="Ids of items, the oldest first, separated by commas; with --run."),
    ] = None,
    dislikes: Annotated[
        str | None,
        Parameter(help="Ids of items that must not come, nor what is like them; with --history."),
    ] = None,
    user: Annotated[
        str | None, Parameter(name="--for-user", help="Id of a user of the run's log.")
    ] = None,
    model: Annotated[
        str | None, Parameter(help="Model of the run; by default the one it chose. With --history.")
    ] = None,
    at: Annotated[
        datetime | None,
        Parameter(help="Time of the list, 2026-11-20T21:30; with --history, of a --daytime run."),
    ] = None,
    blend: Annotated[
        str | None,
        Parameter(
            help="Weights of the model `blend`, popularity=.2,nmf+svd=.8, or `tune` to learn them on the "
            "validation."
        ),
    ] = None,
    lm: Lm = None,
    inference: Inference = None,
    normalise: Normalise = None,
    calibrate: Calibrate = None,
    prompt: PromptText = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
    input: Input = InputConfig(),  # noqa: B008 (frozen)
    recommend: Study = RecommendConfig(),  # noqa: B008
    engine: Engine = EngineConfig(),  # noqa: B008
) -> None:
    """Compare recommenders on one log: the same users, split, catalogue and intervals for all.

    A worked example, which runs as printed:

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise recommend sim --schema music-box --models item-item,svd,ease --out runs/songs
    linkwise recommend --run runs/songs --for-user 100000011
    ```
    """
    if run is not None:
        if paths or out is not None:
            raise UsageError("--run lists from a finished run: leave the log and --out away.")
        if blend is not None or recommend != RecommendConfig(k=recommend.k):
            raise UsageError(
                "--run lists from a finished run: its study's options cannot be changed."
            )
        _list(run, history, dislikes, user, model, recommend.k[0], at, json_)
        return
    if not paths or out is None:
        raise UsageError(
            "name the log and the folder of the run: linkwise recommend LOG --out FOLDER; or a finished "
            "run and a history: linkwise recommend --run FOLDER --history ID,ID."
        )
    if any(given is not None for given in (history, dislikes, user, model, at)):
        raise UsageError(
            "--history, --dislikes, --for-user, --model and --at go with --run, the folder of a finished run."
        )
    values = recommend.model_dump()
    if blend is not None:
        values["blend"] = blend
    titled = {
        "lm": lm,
        "inference": inference,
        "normalise": normalise,
        "calibrate": calibrate,
        "prompt": prompt,
    }
    values["title_lm"] |= {name: value for name, value in titled.items() if value is not None}
    asked = any(value is not None for value in titled.values())
    if asked and "title-lm" not in recommend.fitted and "title-lm" not in (blend or ""):
        raise UsageError(
            "--lm, --inference, --normalise, --calibrate and --prompt are the model title-lm's; name it "
            "among --models."
        )
    groups = {"input": input.model_dump(by_alias=True), "engine": engine.model_dump()}
    found = carry_out(
        "recommend",
        paths,
        groups | {"recommend": values, "seed": seed},
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
    k = run.config.recommend.k[0]
    console.print(metrics_table(run.metrics, ("recall", "ndcg"), k=k, against="ndcg"))
    show_report(console, run)


def _list(
    folder: str,
    history: str | None,
    dislikes: str | None,
    user: str | None,
    model: str | None,
    k: int,
    at: datetime | None,
    as_json: bool,
) -> None:
    from linkwise.recommend.serving import list_for, unknown_items
    from linkwise.run import Run

    if (history is None) == (user is None):
        raise UsageError("give either --history ID,ID,... or --for-user ID, with --run.")
    ids, disliked = (list(parted(text or "")) for text in (history, dislikes))
    found = list_for(
        Run.open(folder), history=ids, dislikes=disliked, user=user, model=model, k=k, at=at
    )
    unknown = unknown_items(Path(folder), [*ids, *disliked], model)
    if unknown:
        print(f"Not in the catalogue, and passed over: {', '.join(unknown[:5])}.", file=sys.stderr)
    if as_json:
        print(json.dumps(found.to_dicts(), indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in ("rank", "item", "title", "why"):
        table.add_column(name, justify="right" if name == "rank" else "left")
    for row in found.iter_rows(named=True):
        table.add_row(str(row["rank"]), str(row["item"]), row["title"] or "", row["reason"])
    Console(highlight=False, soft_wrap=True).print(table)
    if (found["reason"] == POPULAR).all():
        print(
            "The most popular: too few of these items are known for a list of one's own.",
            file=sys.stderr,
        )


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    verb = App(name="recommend", help_format="markdown")
    verb.default(study)
    app.command(verb)
