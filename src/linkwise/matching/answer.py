"""Answers to questions about a finished run, from its records alone.

A question that a template understands whole is answered by the run's tables; any other by the passages that
have its words, where one has nearly all of them; else it is refused, before any model is asked. A chat model,
where one is given, puts these records into words, and every sentence of it is checked against them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from linkwise.errors import InputError, ResourceError
from linkwise.lm.server import Server
from linkwise.matching.answer_draft import Draft
from linkwise.matching.answer_figures import answer_figures
from linkwise.matching.answer_links import answer_links
from linkwise.matching.answer_lists import answer_lists
from linkwise.matching.answer_model import checked, prompt, says_nothing, sentences
from linkwise.matching.answer_names import Names
from linkwise.matching.answer_question import Question, check, read_question
from linkwise.matching.answer_records import Record, Records
from linkwise.matching.answer_study import answer_study
from linkwise.matching.answer_texts import (
    Texts,
    all_texts,
    encoder,
    is_measured,
    is_personal,
    quote,
)

REFUSAL = "The records of this run do not answer this question."
TEMPLATES = (answer_links, answer_figures, answer_study, answer_lists)
GIVEN = 40  # records in a model's prompt
TOKENS = 800  # of a model's reply
THIS = re.compile(
    r"\b(?:this|that|the\s+same)\s+(?=patent|technique|pollutant|goal|query|item)", re.I
)
YES_OR_NO = re.compile(r"^(?:is|are|was|were|does|do|did|has|have|can|could|will)\b", re.I)
ONE = re.compile(r"\b(?:its|it|this one|that one)\b", re.I)
THEY = re.compile(r"\b(?:their|they|them)\b", re.I)
ALSO = re.compile(
    r"^\W*(?:and|what about|how about|and what about|and how about)\b(?:\s+for)?", re.I
)


@dataclass(frozen=True)
class Source:
    """A record that an answer rests on: its number there, the file and row, and the words."""

    number: int
    where: str
    text: str


@dataclass(frozen=True)
class Answer:
    """An answer, with its sources by number.

    `how`: "tables", "passages" or "model"; "refused" where the records do not answer, and `text` is the one
    sentence `REFUSAL`. `dropped` counts the sentences of a model that did not hold.
    """

    text: str
    sources: tuple[Source, ...] = ()
    refused: bool = False
    how: str = "tables"
    dropped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `answer, sources, refused, how, dropped`."""
        found = asdict(self)
        return {"answer": found.pop("text"), **found}


@dataclass(frozen=True)
class Turn:
    """A question that was answered, as it was understood, and the one thing that its answer was, if any."""

    question: Question
    named: str


class Session:
    """Questions about the run in `folder`, one after the other.

    With a `server` a model words the answers. `history` is a file of JSON lines to which every question and
    answer is added; a session begun with it goes on where it ended: "and its pollutants?" is understood.
    `last` is what the next question may refer to.

    Raises `InputError` where the history cannot be read.
    """

    def __init__(
        self, folder: Path, *, server: Server | None = None, history: str | Path | None = None
    ) -> None:
        self.records = Records(folder)
        self.server = server
        self.history = None if history is None else Path(history)
        self.last: Turn | None = None
        if self.history is not None and self.history.exists():
            self._go_on(self.history)

    @cached_property
    def names(self) -> Names:
        """The names of the run's things."""
        return Names(self.records)

    @cached_property
    def texts(self) -> Texts:
        """The run's texts, ready for free questions."""
        return Texts(all_texts(self.records), encoder)

    def ask(self, text: str, show: Callable[[str], None] | None = None) -> Answer:
        """Answer a question; `show` gets each line as soon as it is known to hold.

        Raises `UsageError` for an empty or overlong question, `InputError` where a file of the run is
        damaged, and what `Server.complete` raises.
        """
        said = check(text)
        question, draft = self._understood(said)
        how = "tables"
        if draft is None:
            draft, how = self._passages(question), "passages"
        lines: Iterable[tuple[str, tuple[Record, ...]]] = draft.lines
        notes = [note for note in question.notes if draft.lines]
        written = _Written(show)
        if draft.lines and self.server is not None and not draft.choice:
            how = "model"
            lines = self._worded(question, draft, written)
        for line, records in lines:
            for note in notes:  # only once there is an answer
                written.add(note, ())
            notes = []
            written.add(line, records)
        answer = written.answer(how)
        if not answer.refused:
            self.last = Turn(question, draft.named)
        elif show is not None:
            show(REFUSAL)
        if self.history is not None:
            self._keep(self.history, text, question.text, draft.named, answer)
        return answer

    def _understood(self, said: str) -> tuple[Question, Draft | None]:
        """The question as it is understood, and what the tables answer; None where no template fits."""
        first: Question | None = None
        for meant, note in self._meanings(said):
            question = read_question(meant, self.names)
            question.notes += [note] if note else []
            first = first or question
            for template in TEMPLATES:
                draft = template(question, self.records)
                if draft is not None:
                    return question, draft
        return first or read_question(said, self.names), None

    def _meanings(self, said: str) -> Iterable[tuple[str, str]]:
        """What a question may mean after the last one: that thing for "its", or the same asked of another."""
        last = self.last
        if last is not None and not (own := read_question(said, self.names)).things:
            names = [thing.id for thing in last.question.things]
            if len(names) > 1 and not last.named and THEY.search(said):
                meant = " and ".join(names)
                yield THEY.sub(meant, said, count=1), f"Asked of {meant}."
            name = last.named or (names[-1] if names else "")
            for pattern, after in ((THIS, " "), (ONE, ""), (THEY, "")):
                if name and pattern.search(said):
                    meant = ALSO.sub("", pattern.sub(lambda _: name + after, said, count=1))  # noqa: B023
                    yield meant.strip(), f"Asked of {name}."
                    break
        elif last is not None and ALSO.match(said) and len(own.things) == 1:
            (thing,) = own.things
            left = [word for word in own.words if word not in ("about", "how")]
            before = [t for t in last.question.things if t.kind == thing.kind]
            if not left and not own.kinds and before:
                asked, old = last.question.text, before[-1]
                meant = f"{asked[: old.start]}{thing.id}{asked[old.stop :]}"
                yield meant, f"Asked: {meant}"
        yield said, ""

    def _passages(self, question: Question) -> Draft:
        if is_personal(question.text) or is_measured(question.text):
            return Draft()
        found = self.texts.find(question.text, named=bool(question.things))
        if self.server is not None:
            return quote(found, len(found))
        draft = quote(found)
        if draft.lines and YES_OR_NO.match(question.text):  # a text that says so makes it no yes
            first, records = draft.lines[0]
            draft.lines[0] = (f"No yes or no is on record; a text says: {first}", records)
        return draft

    def _worded(
        self, question: Question, draft: Draft, written: _Written
    ) -> Iterable[tuple[str, tuple[Record, ...]]]:
        """The sentences of the model that hold, each with its records."""
        assert self.server is not None
        given = draft.records[:GIVEN]
        turns = prompt(question.text, given, [thing.shown for thing in question.things])
        if written.show is None:
            pieces: Iterable[str] = [self.server.complete(turns, max_tokens=TOKENS)[0].text]
        else:
            pieces = self.server.stream(turns, max_tokens=TOKENS)
        for sentence in sentences(pieces):
            if says_nothing(sentence):
                continue
            held = checked(sentence, given)
            if held is None:
                written.dropped += 1
                continue
            yield held[0], tuple(given[number - 1] for number in held[1])

    def _keep(self, path: Path, asked: str, meant: str, named: str, answer: Answer) -> None:
        line = {"question": asked, "meant": meant, "named": named, **answer.as_dict()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ResourceError(
                f"{path}: the history cannot be written ({error.strerror})."
            ) from error

    def _go_on(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: the history cannot be read ({error}).") from error
        for number, line in enumerate(lines, 1):
            try:
                turn = json.loads(line)
                meant, named, refused = (
                    str(turn["meant"]),
                    str(turn["named"]),
                    bool(turn["refused"]),
                )
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"{path} line {number}: this is no line of a history; give another file for --history."
                ) from error
            if not refused:
                self.last = Turn(read_question(check(meant), self.names), named)


class _Written:
    """The lines of an answer with the numbers of their sources, in the order in which they are cited."""

    def __init__(self, show: Callable[[str], None] | None) -> None:
        self.show = show
        self.lines: list[str] = []
        self.numbers: dict[Record, int] = {}
        self.dropped = 0

    def add(self, text: str, records: tuple[Record, ...]) -> None:
        """Add a line."""
        marks = "".join(
            f"[{self.numbers.setdefault(record, len(self.numbers) + 1)}]"
            for record in dict.fromkeys(records)
        )
        line = f"{text} {marks}".rstrip()
        self.lines.append(line)
        if self.show is not None:
            self.show(line)

    def answer(self, how: str) -> Answer:
        """The whole; refused where nothing was said."""
        if not self.lines:
            return Answer(REFUSAL, (), True, "refused", self.dropped)
        sources = tuple(
            Source(number, record.where, record.text) for record, number in self.numbers.items()
        )
        return Answer("\n".join(self.lines), sources, False, how, self.dropped)
