"""What a run hands to every step: randomness, a checkpoint folder, progress, and the wish to stop."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from linkwise.errors import Interrupted

log = logging.getLogger("linkwise")


class Progress(Protocol):
    """Where progress is shown: a bar on a terminal, plain lines in a pipe, nothing under --quiet."""

    def start(self, name: str, total: int | None) -> None:
        """A step begins, with `total` units of work where that is known."""

    def advance(self, done: int) -> None:
        """`done` units of the step are done."""

    def note(self, text: str) -> None:
        """How the step is going, in words: speed, loss, time left."""

    def say(self, text: str) -> None:
        """A line worth keeping: what an epoch brought, what was decided for the user."""

    def finish(self, seconds: float) -> None:
        """The step is done."""


class Silent:
    """Shows nothing."""

    def start(self, name: str, total: int | None) -> None:
        """Show nothing."""

    def advance(self, done: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def finish(self, seconds: float) -> None:
        """Show nothing."""


@dataclass
class Context:
    """The surroundings of one run.

    `folder` is the run's folder while it is being made; what a step leaves there is found again by
    ``--resume``. `work` inside it holds what only a resumed run needs, and is gone from a finished run.
    """

    folder: Path
    seed: int = 0
    threads: int = 1
    progress: Progress = field(default_factory=Silent)
    cancelled: Callable[[], bool] = lambda: False
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The folder of the checkpoints; made when first asked for."""
        folder = self.folder / ".work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def rng(self, name: str) -> np.random.Generator:
        """A generator of its own for each name: adding a step does not change the others' numbers."""
        word = int.from_bytes(hashlib.md5(name.encode()).digest()[:4], "big")
        return np.random.default_rng(np.random.SeedSequence([self.seed, word]))

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[None]:
        """Time a step and show its progress.

        Raises `Interrupted` where the run was asked to stop before it began.
        """
        if self.cancelled():
            raise Interrupted("the run was stopped; go on with --resume.")
        self.progress.start(name, total)
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.timings[name] = self.timings.get(name, 0.0) + seconds
        self.progress.finish(seconds)
        log.info("%s: %.1f s", name, seconds)
