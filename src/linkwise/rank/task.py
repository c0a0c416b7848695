"""A surface is a file: what a member may do with which items, and how it is said to a language model."""

from __future__ import annotations

import math
import re
import string
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from linkwise.errors import InputError, UsageError, explain

Output = Literal["yes-no", "action", "rating", "order"]
LETTERS = string.ascii_uppercase  # the names of candidates in a list that is to be put in order


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class MemberText(_Part):
    """How a member is described."""

    template: str = ""
    """Text with a {column} of the members' table wherever a value belongs."""
    tokens: int = Field(512, ge=4)
    """Tokens of a description at most; a longer value is cut at the end of a sentence."""


class ItemText(_Part):
    """How an item is described."""

    noun: str
    """What an item is called: job."""
    template: str
    """Text with a {column} of the items' table wherever a value belongs."""
    tokens: int = Field(128, ge=4)
    """Tokens of an item at most; a longer value is cut at the end of a sentence."""


class ActionWords(_Part):
    """How an action is said."""

    base: str
    """As in "will apply to"."""
    past: str
    """As in "has applied to"."""
    turns_down: bool = False
    """Whether it turns an item down, as dismissing and hiding do."""


class HistoryText(_Part):
    """Which of a member's past events are shown, and how."""

    select: Literal["newest", "oldest"] = "newest"
    """Which events are kept where the budget has no room for all."""
    group_by_action: bool = True
    """Past items under the action that was taken on them; else one after the other, each with its answer."""
    order: Literal["oldest-first", "newest-first"] = "oldest-first"
    """In which order they are shown."""
    budget_tokens: int = Field(1024, ge=0)
    """Tokens that the history may take; whole items only."""

    @property
    def joint(self) -> bool:
        """Whether a prompt goes on as a sequence of all events does, so that all can be learned at once."""
        return not self.group_by_action and self.select == "newest" and self.order == "oldest-first"


class RatedAction(_Part):
    """Actions made of a number, such as a rating."""

    column: str
    """Column of the events."""
    at_least: float
    """The number from which on the action is `then`, and below it `otherwise`."""
    then: str
    """Action of a number that is large enough."""
    otherwise: str
    """Action of one that is not."""


class DataFiles(_Part):
    """Where the records are; paths from the task's own folder."""

    events: str
    """Table of events: member, item, action and time."""
    items: str
    """Table of items, with their id and what the template names."""
    members: str | None = None
    """Table of members, with their id and what the template names; none where nothing is known of them."""
    columns: dict[str, str] = {}
    """Columns that are called otherwise: `member`, `item`, `action`, `time` of the events, `member_id` and
    `item_id` of the other tables."""
    rated: RatedAction | None = None
    """Actions made of a number, where the events have no action."""


COLUMNS = {
    "member": "member",
    "item": "item",
    "action": "action",
    "time": "time",
    "member_id": "id",
    "item_id": "id",
}


class Task(_Part):
    """One question that may be asked about a member and an item."""

    name: str
    """Name of the task."""
    instruction: str
    """What the model is told first."""
    notes: tuple[str, ...] = ()
    """What else it is told."""
    question: str
    """The question, with {item}, and where wanted {action} and {noun}."""
    answer: dict[str, str]
    """What may be answered: `yes` and `no`, or an answer for each of several actions or ratings; empty for
    an order."""
    output: Output = "yes-no"
    """What is answered: yes or no, one of several actions, a rating, or the candidates in order."""
    target: str | None = None
    """The action that yes means; by default the one that the task is called after, or the first."""
    member: MemberText = MemberText()
    """How a member is described."""
    item: ItemText
    """How an item is described."""
    actions: dict[str, ActionWords]
    """How actions are said, in the order in which the history shows them."""
    history: HistoryText = HistoryText()
    """What of the past is shown."""
    data: DataFiles
    """Where the records are."""
    weight: float = Field(1.0, gt=0)
    """How much the task counts in a training mixture."""
    folder: Path = Field(Path(), exclude=True)
    """The folder of the task's file."""

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if not self.name.strip() or "," in self.name:
            raise ValueError(f'name is "{self.name}"; expected a name without commas')
        if not self.actions:
            raise ValueError("actions names none; expected how each action of the events is said")
        if self.target is not None and self.target not in self.actions:
            raise ValueError(
                f'target is "{self.target}"; expected one of {", ".join(self.actions)}'
            )
        expected = {
            "yes-no": {"yes", "no"},
            "order": set(),
        }.get(self.output)
        if expected is not None and set(self.answer) != expected:
            raise ValueError(
                f"answer has {', '.join(self.answer) or 'nothing'}; expected "
                f"{' and '.join(sorted(expected, reverse=True)) or 'nothing'} for the output "
                f"{self.output}"
            )
        if self.output == "action" and (
            len(self.answer) < 2 or set(self.answer) - set(self.actions)
        ):
            raise ValueError(
                f"answer has {', '.join(self.answer)}; expected two or more of the actions "
                f"{', '.join(self.actions)}"
            )
        if self.output == "action" and self.action not in self.answer:
            raise ValueError(
                f"target is {self.action}, for which there is no answer; expected one of "
                f"{', '.join(self.answer)}"
            )
        if self.output == "rating":
            if self.data.rated is None:
                raise ValueError(
                    "output is rating, and data.rated, the number that the events have, is missing"
                )
            wrong = [key for key in self.answer if not _is_number(key)]
            if len(self.answer) < 2 or wrong:
                raise ValueError(
                    f"answer has {', '.join(self.answer)}; expected two or more numbers, the ratings"
                )
        where = {
            "question": (self.question, {"item", "action", "noun"}),
            **{f"answer.{key}": (text, {"action", "noun"}) for key, text in self.answer.items()},
        }
        for field, (text, known) in where.items():
            for name in placeholders(text, field):
                if name not in known:
                    raise ValueError(
                        f"{field} has {{{name}}}; expected {', '.join(f'{{{n}}}' for n in sorted(known))}"
                    )
        if placeholders(self.question, "question").count("item") != 1:
            raise ValueError("question is to have {item}, the place of the candidate, once")
        placeholders(self.member.template, "member.template")
        placeholders(self.item.template, "item.template")
        for name in self.data.columns:
            if name not in COLUMNS:
                raise ValueError(f"data.columns has {name}; expected {', '.join(COLUMNS)}")
        return self

    @property
    def action(self) -> str:
        """The action that yes means."""
        if self.target is not None:
            return self.target
        return self.name if self.name in self.actions else next(iter(self.actions))

    @property
    def turns_down(self) -> bool:
        """Whether yes means that an item is turned down."""
        return self.actions[self.action].turns_down

    def column(self, name: str) -> str:
        """What a column is called in the tables."""
        return self.data.columns.get(name, COLUMNS[name])

    def said(self, text: str, action: str | None = None) -> str:
        """The question or an answer, with an action, by default the target, and noun; {item} is left."""
        words = self.actions[action or self.action]
        return text.replace("{action}", words.base).replace("{noun}", self.item.noun)

    @property
    def answers(self) -> dict[str, str]:
        """What is said for each answer; {action} is the answer's own where it is one of several actions."""
        own = self.output == "action"
        return {name: self.said(text, name if own else None) for name, text in self.answer.items()}


def placeholders(template: str, field: str) -> list[str]:
    """The names in braces of a template.

    Raises `ValueError` naming the field where braces do not close, or hold more than a name.
    """
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"{field}: {error}; braces stand around the name of a column") from error
    found = []
    for _, name, form, conversion in parts:
        if not name or form or conversion or re.search(r"[.\[]", name):
            more = f"!{conversion}" * bool(conversion) + f":{form}" * bool(form)
            raise ValueError(
                f"{field} has {{{name}{more}}}; expected the name of a column between the braces, and no more"
            )
        found.append(name)
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_task(path: str | Path) -> Task:
    """Read a task's file.

    Raises `InputError` naming the file, the field, what it has and what was expected.
    """
    path = Path(path)
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: the task cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not TOML ({error}).") from error
    try:
        return Task.model_validate({**values, "folder": path.absolute().parent})
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, _fields_at)}") from error


def _fields_at(path: tuple[int | str, ...]) -> str:
    """The names of the fields that a part of a task has."""
    parts: dict[str, type[BaseModel]] = {
        "member": MemberText,
        "item": ItemText,
        "history": HistoryText,
        "data": DataFiles,
        "actions": ActionWords,
        "rated": RatedAction,
    }
    kind: type[BaseModel] = Task
    for name in path:
        kind = parts.get(str(name), kind)
    return ", ".join(name for name in kind.model_fields if name != "folder")
