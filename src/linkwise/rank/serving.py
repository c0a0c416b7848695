"""A finished ranker and its surfaces, held in memory: candidates ranked for members, and the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.errors import InputError, LinkwiseError, UsageError
from linkwise.rank.lists import acted_on, beginning, ranked, reasons
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import moment, read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.rank.verbalise import Verbaliser

TEXT = 300  # characters of an item's text in a list


@dataclass(frozen=True)
class Asked:
    """Candidates to be ranked for a member of a task's surface, by default all items.

    `new` leaves out what the member has acted on; `retrieve` scores only so many, those nearest to the
    member; nothing of `at` or later is shown.
    """

    task: str
    member: str
    candidates: tuple[str, ...] = ()
    k: int = 10
    new: bool = False
    retrieve: int | None = None
    at: str | None = None


@dataclass(frozen=True)
class _Work:
    """A request with its ids made rows."""

    asked: Asked
    verbaliser: Verbaliser
    member: int
    items: tuple[int, ...]
    before: int | None


class Surfaces:
    """The ranker of a run and the surfaces of its tasks, read where the run read them.

    Raises `InputError` where a task's file is gone.
    """

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self.ranker = Ranker.load(folder / "model")
        self.files = {read_task(path).name: path for path in task_files(paths)}
        self._verbalisers: dict[str, Verbaliser] = {}

    def tasks(self) -> list[dict[str, Any]]:
        """`name, noun, output, trained` of each task; `trained`: the model learned from it."""
        found = []
        for name, path in self.files.items():
            task = read_task(path)
            about = {"name": name, "noun": task.item.noun, "output": task.output}
            found.append(about | {"trained": name in self.ranker.prior_})
        return found

    def verbaliser(self, task: str) -> Verbaliser:
        """What says a task's records, read once; raises `InputError` for one that the run does not have."""
        if task not in self._verbalisers:
            if task not in self.files:
                raise InputError(
                    f'the run has no task "{task[:80]}"; it has {", ".join(self.files)}.'
                )
            surface = read_surface(read_task(self.files[task]))
            self._verbalisers[task] = self.ranker.verbaliser(surface)
        return self._verbalisers[task]

    def find(self, task: str, table: str, text: str, limit: int) -> list[dict[str, str]]:
        """Members or items whose id or text has some words: `id, text`; `table` is members or items."""
        surface = self.verbaliser(task).surface
        frame = getattr(surface, table)
        words = text.lower().split()
        found: list[dict[str, str]] = []
        for row in frame.iter_rows(named=True):
            said = _said(row)
            if all(word in f"{row['id']} {said}".lower() for word in words):
                found.append({"id": row["id"], "text": beginning(said, TEXT)})
                if len(found) == limit:
                    break
        return found

    def answer(self, asked: Sequence[Asked]) -> list[list[dict[str, Any]] | LinkwiseError]:
        """The list of each request, or why there is none: `rank, item, score, text, before, why`.

        Requests for the same candidates of one surface are run through the model together.
        """
        found: list[list[dict[str, Any]] | LinkwiseError] = [InputError("unanswered")] * len(asked)
        together: dict[tuple[str, tuple[int, ...]], list[tuple[int, _Work]]] = {}
        for number, one in enumerate(asked):
            try:
                work = self._work(one)
            except LinkwiseError as error:
                found[number] = error
                continue
            together.setdefault((one.task, work.items), []).append((number, work))
        for (_, items), several in together.items():
            works = [work for _, work in several]
            try:
                scores = self.ranker.scores_of(
                    works[0].verbaliser,
                    [work.member for work in works],
                    items,
                    [work.before for work in works],
                )
                lists = [self._list(work, own) for work, own in zip(works, scores, strict=True)]
            except LinkwiseError as error:
                for number, _ in several:
                    found[number] = error
                continue
            for (number, _), listed in zip(several, lists, strict=True):
                found[number] = listed
        return found

    def _work(self, one: Asked) -> _Work:
        verbaliser = self.verbaliser(one.task)
        surface = verbaliser.surface
        member = surface.row_of(one.member)
        before = None if one.at is None else moment(one.at, surface.clock, "at")
        if one.candidates:
            items = [surface.row_of(name, "items") for name in dict.fromkeys(one.candidates)]
            if one.retrieve is not None:
                raise UsageError("retrieve chooses the candidates itself; give no candidates.")
        else:
            items = list(range(len(surface.items)))
        if one.new:
            done = set(acted_on(surface, member, before).tolist())
            items = [item for item in items if item not in done]
        if one.retrieve is not None and one.retrieve < len(items):
            near = self.ranker.retrieve(verbaliser, member, one.retrieve, before, among=items)
            items = sorted(near)
        return _Work(one, verbaliser, member, tuple(items), before)

    def _list(self, work: _Work, scores: Any) -> list[dict[str, Any]]:
        surface, items = work.verbaliser.surface, list(work.items)
        places, listed = ranked(
            surface, work.member, items, np.asarray(scores), work.asked.k, work.before
        )
        shown = [items[place] for place in places]
        why = reasons(self.ranker, work.verbaliser, work.member, shown, work.before)
        return [
            {
                "rank": line["rank"],
                "item": line["item"],
                "score": line["score"],
                "text": beginning(_said(surface.items.row(item, named=True)), TEXT),
                "before": line["before"],
                "why": words,
            }
            for line, item, words in zip(listed, shown, why, strict=True)
        ]

    def prompt(
        self, task: str, member: str, candidate: str | None, at: str | None
    ) -> dict[str, Any]:
        """The exact prompt of a member and a candidate: `parts` (`name, text, tokens`), `tokens`, `shown`
        and `left_out` past events."""
        verbaliser = self.verbaliser(task)
        surface = verbaliser.surface
        before = None if at is None else moment(at, surface.clock, "at")
        prompt = verbaliser.prompt(surface.row_of(member), before)
        row = 0 if candidate is None else surface.row_of(candidate, "items")
        parts = {**prompt.parts, "candidate": verbaliser.candidate(row)}
        decode = self.ranker.model.tokenizer.decode
        return {
            "parts": [
                {"name": name, "text": decode(tokens), "tokens": len(tokens)}
                for name, tokens in parts.items()
            ],
            "tokens": sum(map(len, parts.values())),
            "shown": prompt.shown,
            "left_out": prompt.left_out,
        }


def _said(row: dict[str, Any]) -> str:
    """What a record says of itself, its id apart."""
    return ", ".join(str(value) for name, value in row.items() if name != "id" and value)
