"""`linkwise serve`: finished runs as an HTTP API and a dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from linkwise.errors import UsageError
from linkwise.serve.config import ServeConfig

LIMITS = Group("Address and limits", sort_key=1)
SERVED = Group("Model behind a server", sort_key=2)


def serve(
    runs: Annotated[str, Parameter(help="Folder that holds the runs, or a run itself.")],
    /,
    *,
    config: Annotated[ServeConfig, Parameter(name="*", group=LIMITS)] = ServeConfig(),  # noqa: B008 (frozen)
    threads: Annotated[int, Parameter(help="CPU threads of a model.")] = 1,
    access_log: Annotated[
        bool, Parameter(help="Print a line for each request.", negative=())
    ] = False,
    server: Annotated[
        str | None,
        Parameter(
            group=SERVED,
            help="Let a chat model word answers: address of an OpenAI-compatible API, up to and with /v1.",
        ),
    ] = None,
    model: Annotated[
        str | None, Parameter(group=SERVED, help="Name of the model, as the server calls it.")
    ] = None,
    key_variable: Annotated[
        str, Parameter(group=SERVED, help="Environment variable with the key; unset: no key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Serve finished runs: an API below /v1, and a dashboard for the browser.

    Runs that appear, change or go are found without a restart. Any address but this machine's own demands a
    token, in the environment variable LINKWISE_TOKEN. Ctrl-C, or SIGTERM, ends it once running requests are
    answered.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise churn sim --schema music-box --out runs/churn
    linkwise serve runs
    ```
    """
    from linkwise.serve.listen import listen

    if threads < 1:
        raise UsageError(f"--threads is {threads}; expected 1 or more.")
    served = None
    if server is not None:
        from linkwise.lm.server import Server

        if model is None:
            raise UsageError(
                "--server needs --model, the name that the server has for what it serves."
            )
        served = Server(server, model, key_variable=key_variable, timeout=config.answer_seconds)
    elif model is not None:
        raise UsageError("--model needs --server, the address of the server that has it.")
    listen(Path(runs), config, server=served, access_log=access_log, threads=threads)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(serve)
