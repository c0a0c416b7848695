"""The application: global options, errors in our words, exit codes."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import cyclopts
from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnknownOptionError
from pydantic import ValidationError
from rich.console import Console

from linkwise import __version__
from linkwise.cli import (
    ask,
    churn,
    compare,
    data,
    detect,
    doctor,
    forecast,
    lm,
    match,
    rank,
    recommend,
    report,
    run,
    serve,
    simulate,
)
from linkwise.errors import Interrupted, LinkwiseError, UsageError, explain

HELP = """Predict links: what a person will choose next, who is about to leave.

Options come from the command line, then from the environment (LINKWISE_CHURN_TRIALS=5), then from a
linkwise.toml in this folder. Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 not enough resources,
130 interrupted.
"""


SETTINGS = "linkwise.toml"


def build() -> App:
    """The whole command line."""
    app = App(
        name="linkwise",
        help=HELP,
        help_format="markdown",
        version=__version__,
        suppress_keyboard_interrupt=False,
        config=[
            cyclopts.config.Env("LINKWISE_", command=True),
            cyclopts.config.Toml(SETTINGS, must_exist=False, search_parents=False),
        ],
        default_parameter=cyclopts.Parameter(negative=(), consume_multiple=False),
    )
    for module in (
        churn,
        recommend,
        rank,
        detect,
        forecast,
        match,
        ask,
        serve,
        lm,
        compare,
        simulate,
        data,
        report,
        run,
        doctor,
    ):
        module.add_to(app)
    app.register_install_completion_command(add_to_startup=False)
    return app


def run_words(words: list[str]) -> int:
    """Run the words of a command line; returns the exit code."""
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    words, log_file = _take(words, "--log-file")
    try:
        _logging(debug, log_file)
        app = build()
        _check_settings(Path(SETTINGS), app)
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except (LinkwiseError, CycloptsError, ValidationError, KeyboardInterrupt) as error:
        if debug:
            raise
        return _fail(error)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        # The reader of our output has gone; say nothing more into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(UsageError(f"{where}{error.strerror or error}."))
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        return _fail(
            LinkwiseError(
                f"this should not have happened: {kind}: {error}. Run it again with --debug and "
                "report what it prints."
            )
        )


def _check_settings(path: Path, app: App) -> None:
    """Raise `UsageError` where a table of the settings file is no verb's: Cyclopts would pass over it."""
    if not path.is_file():
        return
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this is not TOML ({error}).") from error
    verbs = sorted(name for name in app if not name.startswith("-"))
    for name in found:
        if name not in verbs:
            raise UsageError(
                f"{path}: there is no verb {name}; expected tables called {', '.join(verbs)}, "
                "such as [churn] with label_days = 7."
            )


def _take(words: list[str], option: str) -> tuple[list[str], str | None]:
    """Remove a global option and its value from the words."""
    for i, word in enumerate(words):
        if word == option and i + 1 < len(words):
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(f"{option}="):
            return words[:i] + words[i + 1 :], word.partition("=")[2]
    return words, None


def _logging(debug: bool, log_file: str | None) -> None:
    logger = logging.getLogger("linkwise")
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if log_file is not None:
        path = Path(log_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    else:
        logger.addHandler(logging.NullHandler())


def _fail(error: BaseException) -> int:
    """Say what went wrong, in one sentence or two, on standard error; returns the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    code, text = 2, str(error)
    if isinstance(error, LinkwiseError):
        code = error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        code, text = Interrupted.exit_code, "interrupted."
    elif isinstance(error, ValidationError):
        text = _as_options(explain(error))
    else:
        text = _in_our_words(error)
    logging.getLogger("linkwise").error("%s", text)
    console.print(f"[bold red]linkwise:[/] {_plain(text)}", markup=True)
    return code


def _in_our_words(error: Any) -> str:
    cause: Any = getattr(error, "__cause__", None)
    if isinstance(cause, ValidationError):
        return _as_options(explain(cause))
    text = " ".join(str(error).split())
    if isinstance(error, UnknownOptionError):
        text = re.sub(r" Did you mean (--\S+)\?$", lambda m: _if_near(error, m), text)
    # From the settings file: "[study][x]" is the field study.x.
    text = re.sub(r'"\[(.+?)\]" from', lambda m: f'"{m[1].replace("][", ".")}" from', text)
    return f"{text} See linkwise --help." if text else "the command is wrong; see linkwise --help."


def _if_near(error: UnknownOptionError, suggested: re.Match[str]) -> str:
    """A suggestion, unless little but the dashes is alike: not --id for --windw."""
    typed, meant = (
        word.lstrip("-").partition("=")[0]
        for word in (error.token.keyword or error.token.value, suggested[1])
    )
    near = difflib.SequenceMatcher(None, typed, meant).ratio() >= 0.6
    return suggested[0] if near else ""


def _as_options(text: str) -> str:
    """Name fields as they are typed: feature_days becomes --feature-days."""
    return re.sub(
        r"(?:^|(?<=; ))([a-z_]+(?:\.[a-z_]+)*)(?= is \")",
        lambda m: "--" + m[1].replace("log_schema", "schema").replace("_", "-"),
        text,
    )


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
