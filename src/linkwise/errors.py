"""Every error that Linkwise raises on purpose, as one tree.

LinkwiseError
├── UsageError            2   the call itself is wrong: options, config, an existing --out
├── InputError            3   the data are wrong: a file, a column, a value, too little of it
├── ResourceError         4   memory, disk or an optional package is missing
└── Interrupted         130   the user stopped the run

The number is the exit code of the command line. A message says what is wrong, where it stands, what was
found, and how to mend it: ``plays.csv line 812: play_time is "-4x"; expected seconds. Use
--on-bad-row=skip to drop such rows.``
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class LinkwiseError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(LinkwiseError):
    """The call is wrong: an unknown option, a negative window, an output folder that exists."""

    exit_code = 2


class InputError(LinkwiseError):
    """The data cannot be used: unreadable file, missing column, bad value, too few rows."""

    exit_code = 3


class ResourceError(LinkwiseError):
    """The machine lacks something: disk space, memory, an optional package."""

    exit_code = 4


class Interrupted(LinkwiseError):
    """The user stopped the run; what was finished is kept for ``--resume``."""

    exit_code = 130


def optional(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency.

    Raises `ResourceError` naming the extra to install where the package is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ResourceError(
            f'{purpose} needs the package "{module}", which is not installed. '
            f'Install it with: pip install "linkwise[{extra}]"'
        ) from error


def explain(
    error: ValidationError, fields_at: Callable[[tuple[int | str, ...]], str] | None = None
) -> str:
    """A pydantic error in our words: field, what was got, what was expected.

    `fields_at` names the fields that there are at a place, for one that is not known.
    """
    parts = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = "" if fields_at is None else f"; expected {fields_at(item['loc'][:-1])}"
            parts.append(f"there is no field {name}{known}")
        elif item["type"] == "missing":
            parts.append(f"{name} is missing")
        elif isinstance(item["input"], dict):  # several fields do not fit each other
            parts.append(message)
        else:
            message = message[0].lower() + message[1:]
            parts.append(f'{name or "the options"} is "{item["input"]}": {message}')
    return "; ".join(parts) + "."
