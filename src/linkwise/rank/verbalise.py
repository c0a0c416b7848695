"""Members, their past and candidates as text, within a budget of tokens.

What stays the same for all candidates of a member stands first and the candidate last, so that a model runs
the first part once. Values from the tables are data: what could pass for a part of the prompt is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from linkwise.errors import InputError
from linkwise.rank.surface import Longs, Surface
from linkwise.rank.task import LETTERS, Task

UNKNOWN = "unknown"


class Tokens(Protocol):
    """What a verbaliser needs of a language model: its tokens, and how many it has room for."""

    folder: Path

    @property
    def positions(self) -> int | None:
        """Tokens that there is room for; None where there is no limit."""

    def text_start(self) -> list[int]:
        """Tokens that every text begins with."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""

    def encode_after(self, text: str) -> list[int]:
        """The tokens of a text that stands behind another."""


def escape(value: str | None) -> str:
    """A value as it may stand in a prompt: one line, no brackets that end an item, no special tokens.

    Square brackets enclose items, and names in angle brackets or `[SEP]` are special tokens of some models.
    """
    if value is None or not value.strip():
        return UNKNOWN
    text = re.sub(r"\s+", " ", value.strip())
    text = text.replace("[", "(").replace("]", ")")
    return re.sub(r"[<\uff1c]([|\uff5c]?[\w/][^<>\uff1c\uff1e]*)[>\uff1e]", r"(\1)", text)


def shorten(text: str, room: int, count: Any) -> str:
    """A text of at most `room` tokens by `count`, cut at the end of a sentence, else of a word.

    Of a text without spaces between its words, anywhere.
    """
    if count(text) <= room:
        return text
    for ends in (r"(?<=[.!?])\s|(?<=[\u3002\uff01\uff1f])", r"\s", r"(?=.)"):
        places = [match.start() for match in re.finditer(ends, text)]
        low, high = 0, len(places)
        while low < high:  # the last place that fits
            middle = (low + high + 1) // 2
            if count(text[: places[middle - 1]]) <= room:
                low = middle
            else:
                high = middle - 1
        if low:
            return text[: places[low - 1]].rstrip()
    return ""


@dataclass(frozen=True)
class Answers:
    """What may be answered, as tokens: the beginning that all share, and then the token that decides.

    `lead` are the shared tokens, `tokens` (n_answers,) the first in which the answers differ, `whole` each
    answer's tokens in all.
    """

    lead: tuple[int, ...]
    tokens: tuple[int, ...]
    whole: tuple[tuple[int, ...], ...]


def read_answers(model: Tokens, task: Task) -> Answers:
    """The answers of a task in a model's tokens.

    Raises `InputError` where two answers do not differ, or one is the beginning of another.
    """
    if task.output == "order":
        names = list(LETTERS)
        whole = tuple(tuple(model.encode_after(f" {letter}")) for letter in names)
    else:
        names = list(task.answer)
        whole = tuple(tuple(model.encode_after(f" {answer}")) for answer in task.answers.values())
    shared = 0
    while all(len(tokens) > shared for tokens in whole) and len({t[shared] for t in whole}) == 1:
        shared += 1
    first = [tokens[shared] if len(tokens) > shared else None for tokens in whole]
    if None in first or len(set(first)) < len(first):
        said = ", ".join(f'{n} = "{task.answer.get(n, n)}"' for n in names[:5])
        raise InputError(
            f"task {task.name}: the answers {said} have no token in which all of them differ, in the model "
            f"{model.folder}; word them so that they part at one place."
        )
    return Answers(whole[0][:shared], tuple(int(t) for t in first if t is not None), whole)


@dataclass
class Prompt:
    """A member's prompt up to the candidate: its parts as tokens, and what was left out."""

    parts: dict[str, list[int]]
    shown: int = 0
    left_out: int = 0

    @property
    def tokens(self) -> list[int]:
        """All parts, one after the other."""
        return [token for part in self.parts.values() for token in part]


@dataclass
class JointSequence:
    """A member's events one after the other, each with its answer: what joint training runs at once.

    `place` (n,) are the places of the answers' deciding tokens, `label` (n,) which answer was given, `event`
    (n,) the events' rows.
    """

    tokens: list[int]
    place: list[int]
    label: list[int]
    event: list[int]


class Verbaliser:
    """Says the records of a surface to one model."""

    def __init__(self, model: Tokens, surface: Surface) -> None:
        self.model, self.surface, self.task = model, surface, surface.task
        self.answers = read_answers(model, self.task)
        self.labels = surface.labels()
        task = self.task
        head, _, behind = task.said(task.question).partition("{item}")
        head, behind = head.strip(), behind.strip()
        notes = "".join(f" Note: {note}" for note in task.notes)
        self.instruction = [
            *model.text_start(),
            *model.encode(f"Instruction: {task.instruction}{notes}"),
        ]
        tail = model.encode_after(f" {behind}") if behind else []
        self._stop, self._close = model.encode_after("."), model.encode_after("]")
        self.question = model.encode_after(f" Question: {head}")
        self._asked = [*tail, *model.encode_after(" Answer:")]
        self._answered = [[*answer, *self._stop] for answer in self.answers.whole]
        self._comma = model.encode_after(",")
        self._heads = [
            model.encode_after(f" The member has {words.past} the following {task.item.noun}s:")
            for words in task.actions.values()
        ]
        self._items: dict[int, list[int]] = {}
        self._members: dict[int, list[int]] = {}
        self.room = model.positions

    # ------------------------------------------------------------------------------------------ the parts

    def member(self, member: int) -> list[int]:
        """A member's description; no tokens where the task has none."""
        template = self.task.member.template
        if not template:
            return []
        known = self._members.get(member)
        if known is None:
            row = self.surface.members.row(member, named=True)
            head = self.model.encode_after(" Member:")
            most = self.task.member.tokens
            said = self._within(
                template, row, most, lambda text: self.model.encode_after(f" {text}")
            )
            known = self._members[member] = [*head, *said[:most]]
        return known

    def item(self, item: int) -> list[int]:
        """An item in its brackets, at most `item.tokens` of them; its longest value is cut first."""
        known = self._items.get(item)
        if known is None:
            known = self._items[item] = self._say_item(self.surface.items.row(item, named=True))
        return known

    def _say_item(self, row: dict[str, Any]) -> list[int]:
        most = self.task.item.tokens

        def encode(text: str) -> list[int]:
            return self.model.encode_after(f" {text}" if text[:1] == "[" else f" [{text}]")

        tokens = self._within(self.task.item.template, row, most, encode)
        if len(tokens) > most:
            tokens = [*tokens[: most - len(self._close)], *self._close]
        return tokens

    def _within(
        self, template: str, row: dict[str, Any], most: int, encode: Callable[[str], list[int]]
    ) -> list[int]:
        """A template filled from a row, in at most so many tokens where cutting its values can do that.

        Longest value first: descriptions lose their last sentences before titles lose a word.
        """
        tokens, count = encode(_filled(template, row).strip()), self._count
        for name in sorted(row, key=lambda n: -len(row[n] or "")):
            if len(tokens) <= most:
                break
            if name == "id" or not row[name]:
                continue
            value = escape(row[name])
            row[name] = shorten(value, max(1, count(value) - (len(tokens) - most)), count)
            tokens = encode(_filled(template, row).strip())
        return tokens

    def _count(self, text: str) -> int:
        return len(self.model.encode(text))

    def answer(self, label: int) -> list[int]:
        """An answer in full, with the stop that ends it."""
        return self._answered[label]

    # ----------------------------------------------------------------------------------------- the prompt

    def prompt(self, member: int, before: int | None = None, room: int | None = None) -> Prompt:
        """What stands before a candidate, with nothing of the member's past at or after `before`.

        The history takes its budget, or what `room` tokens leave of it; by default the prompt has what the
        model has room for beside a candidate. Raises `InputError` where there is not even room for the rest.
        """
        events = self.surface.events(member, before)
        shown = events[self._shown(events, self._budget(member, room))]
        parts = {"instruction": self.instruction, "member": self.member(member)}
        if self.task.history.group_by_action:
            parts |= {"history": self._grouped(shown), "question": self.question}
        else:
            shots = [token for event in shown for token in self.shot(int(event))]
            parts |= {"question": self.question, "history": shots}
        return Prompt(parts, len(shown), len(events) - len(shown))

    def past(self, member: int, before: int | None = None) -> tuple[Longs, Longs]:
        """The items of the events that a prompt shows: those acted on (a,), and those not (p,)."""
        events = self.surface.events(member, before)
        shown = events[self._shown(events, self._budget(member))]
        labels, items = self.labels[shown], self.surface.item[shown]
        yes = self.surface.yes
        return items[labels == yes], items[(labels >= 0) & (labels != yes)]

    def _budget(self, member: int, room: int | None = None) -> int:
        """Tokens that the history may take."""
        task = self.task
        if room is None and self.room is not None:
            room = self.room - self.behind
        if room is None:
            return task.history.budget_tokens
        rest = len(self.instruction) + len(self.member(member)) + len(self.question)
        if rest > room:
            raise InputError(
                f"task {task.name}: instruction, member and question take {rest} tokens, and there is room "
                f"for {room}; shorten them, or use a model or --max-tokens with more."
            )
        return min(task.history.budget_tokens, room - rest)

    @property
    def behind(self) -> int:
        """The most tokens that follow a prompt: the longest item, the question's end, the answer."""
        return self.task.item.tokens + len(self._asked) + len(self.answers.lead) + 1

    def candidate(self, item: int) -> list[int]:
        """What follows a prompt: the item, the question's end, and the answer up to where it decides."""
        return [*self.item(item), *self._asked, *self.answers.lead]

    def listing(self, items: Sequence[int]) -> list[int]:
        """What follows a prompt that asks for an order: all items, each behind its letter."""
        found: list[int] = []
        for letter, item in zip(LETTERS, items, strict=False):
            found += [*self.model.encode_after(f" {letter}:"), *self.item(item)]
        return [*found, *self._asked, *self.answers.lead]

    def _shown(self, events: Longs, budget: int) -> Longs:
        """The places of the events that there is room for, by the rule of the task."""
        history = self.task.history
        places = range(len(events))
        opened: set[int] = set()
        kept = []
        for place in reversed(places) if history.select == "newest" else places:
            event = int(events[place])
            size = self._size(event, opened)
            if size > budget:
                break
            budget -= size
            kept.append(place)
        kept.sort(reverse=history.order == "newest-first")
        return np.array(kept, dtype=np.int64)

    def _size(self, event: int, opened: set[int]) -> int:
        """Tokens of an event; the first of a group of `opened` ones pays for the words before it."""
        item = len(self.item(int(self.surface.item[event])))
        if not self.task.history.group_by_action:
            label = int(self.labels[event])
            return item + len(self._asked) + len(self._answered[label]) if label >= 0 else 0
        action = int(self.surface.action[event])
        head = 0 if action in opened else len(self._heads[action])
        opened.add(action)
        return item + len(self._comma) + head

    def _grouped(self, events: Longs) -> list[int]:
        """Items under what was done with them, in the order of the task's actions."""
        surface = self.surface
        found: list[int] = []
        for action, head in enumerate(self._heads):
            mine = events[surface.action[events] == action]
            if len(mine):
                found += head
                for number, event in enumerate(mine):
                    comma = self._comma if number else []
                    found += [*comma, *self.item(int(surface.item[event]))]
        return found

    def shot(self, event: int) -> list[int]:
        """One event as an answered question; no tokens where the task knows no answer to it."""
        label = int(self.labels[event])
        if label < 0:
            return []
        item = self.item(int(self.surface.item[event]))
        return [*item, *self._asked, *self.answer(label)]

    # ----------------------------------------------------------------------------------- joint sequences

    def sequence(self, member: int, events: Longs, room: int) -> JointSequence | None:
        """Events as answered questions behind the member's description, in at most `room` tokens.

        The last ones that fit, the oldest first; None where there is room for none. Of events of one time
        the first alone is asked about: the others would be asked with its answer in sight, which no prompt
        shows.
        """
        tokens = [*self.instruction, *self.member(member), *self.question]
        room -= len(tokens)
        kept: list[tuple[int, list[int]]] = []
        for event in events[::-1]:
            shot = self.shot(int(event))
            if not shot:
                continue
            if len(shot) > room:
                break
            room -= len(shot)
            kept.append((int(event), shot))
        if not kept:
            return None
        found = JointSequence(tokens, [], [], [])
        last = None
        for event, shot in reversed(kept):
            label, time = int(self.labels[event]), int(self.surface.time[event])
            if time != last:
                before = len(shot) - len(self.answer(label)) + len(self.answers.lead)
                found.place.append(len(found.tokens) + before)
                found.label.append(label)
                found.event.append(event)
            found.tokens = [*found.tokens, *shot]
            last = time
        return found


def _filled(template: str, row: dict[str, Any]) -> str:
    """A template with the values of a row, escaped."""
    values = {
        name.removeprefix("text."): escape(value)
        for name, value in row.items()
        if name.startswith("text.")
    }
    return template.format_map(values)
