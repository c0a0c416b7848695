"""`linkwise run`: repeat a run from its config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from linkwise.cli.churn import show_run as show_churn
from linkwise.cli.detect import show_run as show_detect
from linkwise.cli.forecast import show_run as show_forecast
from linkwise.cli.match import show_links
from linkwise.cli.match import show_run as show_match
from linkwise.cli.options import Changes, Json, Out, Overwrite, Quiet, Resume
from linkwise.cli.rank import show_run as show_rank
from linkwise.cli.recommend import show_run as show_recommend
from linkwise.cli.show import progress


def run(
    config: Annotated[str, Parameter(help="A config.toml, such as every run folder holds.")],
    /,
    *,
    out: Out,
    overwrite: Overwrite = False,
    resume: Resume = False,
    json_: Json = False,
    quiet: Quiet = False,
    changes: Changes = (),
) -> None:
    """Repeat a run from its config file, with or without changes.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise churn sim --schema music-box --out runs/churn
    linkwise run runs/churn/config.toml --set churn.trials=4 --out runs/again
    ```
    """
    from linkwise.config import RunConfig
    from linkwise.run import execute

    shows = {
        "churn": show_churn,
        "detect": show_detect,
        "forecast": show_forecast,
        "match": show_match,
        "match-pairs": show_match,
        "match-link": show_links,
        "rank": show_rank,
        "recommend": show_recommend,
    }
    settings = RunConfig.from_toml(Path(config), changes)
    shown = progress(quiet)
    try:
        finished = execute(settings, Path(out), overwrite=overwrite, resume=resume, progress=shown)
    finally:
        shown.close()
    shows[settings.verb](finished, json_, quiet)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(run)
