"""The runs of a folder as they are now: found, changed and gone without a restart, damaged ones named so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from linkwise.errors import InputError, LinkwiseError
from linkwise.run import Run

Stamp = tuple[int, ...]
RESCAN = 0.5  # seconds between two looks at the folder for a run that is not known
# A table that the service hands out, by the name that it has there. Nothing else of a folder is read by name.
TABLES = (
    "ranking",
    "evaluation",
    "recommendations",
    "pairs",
    "map",
    "topics",
    "nodes",
    "links",
    "features",
    "cleaning",
)
# What a run of a verb can be asked for beyond its records.
ASKS = {
    "churn": ("churn",),
    "recommend": ("recommend",),
    "rank": ("rank",),
    "forecast": ("forecast",),
    "match-pairs": ("match",),
    "match": (),
    "match-link": (),
    "detect": ("detect",),
}


class NoRunError(InputError):
    """There is no run of that name, or none that can be read."""


@dataclass(frozen=True)
class Entry:
    """One run: its name in the folder, and what is wrong with it, if anything is.

    `stamp` changes with the run, so that what was kept of it can be dropped.
    """

    id: str
    folder: Path
    stamp: Stamp
    problem: str = ""
    verb: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """The run."""
        return Run(self.folder)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.json`."""
        return self.run.metrics

    @cached_property
    def tables(self) -> dict[str, Path]:
        """The tables that it holds, by name."""
        found = {name: self.folder / f"{name}.parquet" for name in TABLES}
        return {name: path for name, path in found.items() if path.is_file()}

    @property
    def asks(self) -> tuple[str, ...]:
        """What it can be asked for: names of the service's verbs."""
        if self.problem:
            return ()
        if self.verb == "rank" and not (self.folder / "model" / "ranker.json").is_file():
            return ("ask",)  # a study of a ranker, which holds none
        return (*ASKS.get(self.verb, ()), "ask")

    def card(self) -> dict[str, Any]:
        """What a list of runs says of it."""
        if self.problem:
            return {"id": self.id, "status": "corrupt", "problem": self.problem}
        return {
            "id": self.id,
            "status": "ok",
            "verb": self.verb,
            "title": self.report["title"],
            "lead": self.report["lead"],
            "simulated": self.report["simulated"],
            "beats_baseline": self.report["beats_baseline"],
            "facts": self.report["facts"],
            "finished": self.info.get("finished"),
            "seconds": self.info.get("seconds"),
            "asks": list(self.asks),
            "tables": list(self.tables),
        }


class Catalogue:
    """The runs below `root`, one folder each; `root` may be a run itself.

    Names are looked up among what was found there: none is ever made into a path. `gone` is told the names
    of runs that are there no more.
    """

    def __init__(self, root: Path, gone: Callable[[set[str]], None] = lambda names: None) -> None:
        self.root = root
        self._gone = gone
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self._looked = -RESCAN

    def entries(self) -> list[Entry]:
        """All runs, the latest first; damaged ones last."""
        with self._lock:
            self._look()
            found = list(self._entries.values())
        found.sort(key=lambda entry: entry.id)
        found.sort(key=lambda entry: str(entry.info.get("finished", "")), reverse=True)
        return found

    def get(self, name: str) -> Entry:
        """The run of that name, as it is now.

        Raises `NoRunError` where there is none, or it is damaged.
        """
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or _stamp(entry.folder) != entry.stamp:
                if entry is not None or time.monotonic() - self._looked >= RESCAN:
                    self._look()
                entry = self._entries.get(name)
        if entry is None:
            raise NoRunError(f'there is no run "{name[:80]}"; GET /v1/runs names those there are.')
        if entry.problem:
            raise NoRunError(f"{entry.id}: {entry.problem}")
        return entry

    def _look(self) -> None:
        """Bring the entries up to date; only what is new or changed is read."""
        self._looked = time.monotonic()
        found: dict[str, Entry] = {}
        for folder in _run_folders(self.root):
            name = folder.name if folder != self.root else folder.resolve().name
            stamp = _stamp(folder)
            known = self._entries.get(name)
            found[name] = (
                known if known is not None and known.stamp == stamp else _read(name, folder, stamp)
            )
        before, self._entries = self._entries, found
        if lost := before.keys() - found.keys():
            self._gone(set(lost))


def _run_folders(root: Path) -> list[Path]:
    """The folders that hold a run or what is left of one; what begins with a dot is still being made."""
    if (root / "run.json").is_file():
        return [root]
    try:
        inside = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
    return [
        path
        for path in inside
        if not path.name.startswith(".")
        and any((path / name).exists() for name in ("run.json", "config.toml", "metrics.json"))
    ]


def _stamp(folder: Path) -> Stamp:
    """What changes when a run is replaced or edited; empty where it is gone."""
    found: list[int] = []
    for name in (".", "run.json", "report.json", "ranking.parquet"):
        try:
            about = (folder / name).stat()
        except OSError:
            found += [0, 0, 0]
            continue
        found += [about.st_ino, about.st_mtime_ns, 0 if name == "." else about.st_size]
    return tuple(found) if any(found) else ()


def _read(name: str, folder: Path, stamp: Stamp) -> Entry:
    """The run in a folder, or what is wrong with it."""
    try:
        run = Run.open(folder)
        verb = run.config.verb
        report = json.loads((folder / "report.json").read_text())
        for key in ("title", "lead", "simulated", "beats_baseline", "facts", "sections"):
            report[key]
        info, rows = run.info, run.metrics
        if not isinstance(rows, list) or not isinstance(info, dict):
            raise InputError("metrics.json or run.json is damaged; run the study again.")
        pl.read_parquet_schema(folder / "ranking.parquet")
    except LinkwiseError as error:
        text = str(error).removeprefix(f"{folder}: ").removeprefix(f"{folder}/")
        return Entry(name, folder, stamp, problem=text)
    except Exception as error:  # whatever a damaged file can raise: it must not harm the other runs
        lost = error.filename if isinstance(error, OSError) and error.filename else ""
        what = f"{Path(lost).name} cannot be read" if lost else f"a file of it is damaged ({error})"
        text = what.replace(f"{folder}/", "")[:300]
        return Entry(name, folder, stamp, problem=f"{text}; run the study again.")
    return Entry(name, folder, stamp, verb=verb, report=report, info=info)
