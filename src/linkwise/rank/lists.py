"""Ranked candidates of a member: which come first, why, and what the member did with them before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.rank.surface import Longs, Surface

if TYPE_CHECKING:
    from linkwise.rank.ranker import Ranker
    from linkwise.rank.verbalise import Verbaliser

FORMATS = (".parquet", ".csv", ".jsonl")


def acted_on(surface: Surface, member: int, before: int | None = None) -> Longs:
    """The items on which a member took the task's action, before a time (n,)."""
    events = surface.events(member, before)
    target = list(surface.task.actions).index(surface.task.action)
    return np.unique(surface.item[events[surface.action[events] == target]])


def ranked(
    surface: Surface,
    member: int,
    items: Sequence[int],
    scores: np.ndarray[Any, np.dtype[np.float64]],
    top: int,
    before: int | None = None,
) -> tuple[list[int], list[dict[str, Any]]]:
    """The places of the `top` best of some items by score, and of each what a list says of it.

    Member, rank, item, score, `before` (the action that the member last took on the item, in words; None
    without one), and the item's columns.
    """
    places = np.argsort(-scores, kind="stable")[:top].tolist()
    events = surface.events(member, before)
    last = dict(zip(surface.item[events].tolist(), surface.action[events].tolist(), strict=True))
    words = [action.past for action in surface.task.actions.values()]
    listed = []
    for number, place in enumerate(places, 1):
        row = surface.items.row(items[place], named=True)
        done = last.get(items[place])
        listed.append(
            {
                "member": surface.members["id"][member],
                "rank": number,
                "item": row["id"],
                "score": float(scores[place]),
                "before": None if done is None else words[done],
            }
            | {name.removeprefix("text."): value for name, value in row.items() if name != "id"}
        )
    return places, listed


def reasons(
    ranker: Ranker,
    verbaliser: Verbaliser,
    member: int,
    items: Sequence[int],
    before: int | None = None,
) -> list[str]:
    """What each item's log-odds are made of, in words; nothing where the answers alone are the score."""
    surface = verbaliser.surface
    if ranker.evidence_ is None or surface.task.output != "yes-no":
        return ["" for _ in items]
    past = surface.task.actions[surface.task.action].past
    found = []
    like = ranker.most_like(verbaliser, member, items, before)
    for terms, nearest in zip(ranker.terms(verbaliser, member, items, before), like, strict=True):
        answers, described, acted, passed = terms.tolist()
        parts = [f"answer {answers:+.2f}"] if answers else []
        parts += [f"description {described:+.2f}"] if described else []
        if nearest is not None:
            row = surface.items.row(nearest, named=True)
            named = next((row[n] for n in surface.items.columns if n != "id" and row[n]), row["id"])
            parts.append(f"{past} before {acted:+.2f} (most like {beginning(named, 40)})")
        parts += [f"passed by {passed:+.2f}"] if passed else []
        found.append(", ".join(parts) or "nothing is known of the member")
    return found


def beginning(text: str, most: int) -> str:
    """A text's beginning, of `most` characters at most."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\u2026"


def write_lists(listed: list[dict[str, Any]], path: Path) -> None:
    """Write lists as Parquet, JSON lines, or CSV that is safe in a spreadsheet: whole or not."""
    from linkwise.data.spreadsheet import write_csv

    frame = pl.DataFrame(listed, infer_schema_length=None)
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".parquet":
            frame.write_parquet(partial, compression="zstd")
        elif path.suffix == ".csv":
            write_csv(frame, partial)
        else:
            frame.write_ndjson(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
