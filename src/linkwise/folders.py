"""Folders that are made whole or not at all: beside their place first, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linkwise.errors import InputError, Interrupted, ResourceError, UsageError

COSTLY = ("*.pt", "replies.jsonl")  # what a failed run leaves to go on from: trained, or paid for


def prepare_partial(partial: Path, out: Path, resume: bool) -> None:
    """Make the folder in which `out` is prepared, empty unless an interrupted one is resumed.

    Raises `UsageError` where there is nothing to resume, or the folder cannot be made.
    """
    if resume and not partial.exists():
        others = sorted(path.name for path in out.parent.glob(f".{out.name}.partial-*"))
        hint = (
            f" A run with other options was interrupted here ({', '.join(others)}); "
            "resume it with the same options."
            if others
            else ""
        )
        raise UsageError(f"{out}: there is no interrupted run to resume.{hint}")
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: the folder cannot be made ({error.strerror}).") from error


@contextmanager
def whole_or_not(partial: Path, out: Path) -> Iterator[None]:
    """Prepare `partial`, which becomes `out` at the end.

    It is kept for a resumed run where this one was interrupted, or failed with a training's checkpoint or a
    server's replies in it for another reason than its input and options; else a failed one is removed.
    """
    try:
        yield
        shutil.rmtree(partial / ".work", ignore_errors=True)
        put_in_place(partial, out)
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException as error:
        given = isinstance(error, InputError | UsageError)
        if given or not any(any((partial / ".work").glob(name)) for name in COSTLY):
            shutil.rmtree(partial, ignore_errors=True)
        elif isinstance(error, ResourceError):
            raise ResourceError(
                f"{error} What was done is kept: the same command with --resume goes on from there."
            ) from error
        raise


def put_in_place(partial: Path, out: Path) -> None:
    """Rename the finished folder to its name; an older one is removed only once the new one stands."""
    if not out.exists():
        partial.rename(out)
        return
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    out.rename(old)
    partial.rename(out)
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink()
