"""A small surface, written by hand: its tables and its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import tomli_w

TASK: dict[str, Any] = {
    "name": "play",
    "instruction": "a user watched movies",
    "question": "will the user {action} the {noun}: {item}",
    "answer": {"yes": "a user {action}", "no": "a user not {action}"},
    "member": {"template": "the user says {says}"},
    "item": {"noun": "movie", "template": "[movie {title}, plot {plot}]"},
    "actions": {
        "play": {"base": "play", "past": "played"},
        "watch": {"base": "watch", "past": "watched"},
        "ignore": {"base": "ignore", "past": "not played"},
    },
    "history": {"group_by_action": True, "budget_tokens": 60},
    "data": {"members": "members.csv", "items": "items.csv", "events": "events.csv"},
}

EVENTS = [
    ("u1", "toy", "play", "2026-01-01"),
    ("u1", "alien", "ignore", "2026-01-02"),
    ("u1", "heat", "watch", "2026-01-03"),
    ("u1", "ran", "play", "2026-01-04"),
    ("u2", "heat", "play", "2026-01-01"),
    ("u2", "toy", "ignore", "2026-01-05"),
]


def write_surface(folder: Path, events: Any = None, **changes: Any) -> Path:
    """The task's file in a folder, with its tables; `changes` replace parts of the task."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"id": ["u1", "u2", "u3"], "says": ["meow", "woof", None]}).write_csv(
        folder / "members.csv"
    )
    titles = ["toy story", "alien", "heat", "ran"]
    plots = ["toys that live", "alien song", "the dog says woof", "a cat"]
    pl.DataFrame({"id": ["toy", "alien", "heat", "ran"], "title": titles, "plot": plots}).write_csv(
        folder / "items.csv"
    )
    pl.DataFrame(
        EVENTS if events is None else events,
        schema=["member", "item", "action", "time"],
        orient="row",
    ).write_csv(folder / "events.csv")
    path = folder / "play.toml"
    values = {**TASK, **changes}
    path.write_text(tomli_w.dumps({k: v for k, v in values.items() if v is not None}))
    return path


# A training of seconds that learns from members of every task, and leaves some to weigh by.
QUICK = [
    "--bootstrap",
    "20",
    "--judged",
    "20",
    "--threads",
    "1",
    "--quiet",
    "--part-tokens",
    "2048",
]
QUICK += ["--max-tokens", "800", "--learning-rate", "0.001"]
QUICK += ["--sequences", "40", "--batch-size", "4", "--evaluations", "2"]
