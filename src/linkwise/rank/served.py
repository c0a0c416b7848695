"""A chat model behind a server as a ranker: nothing is trained, and a surface is still a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.errors import InputError, ResourceError, UsageError
from linkwise.lm.minilm import packaged_minilm
from linkwise.lm.prompting import SHORT, answer_masses, likeliest, map_questions, messages
from linkwise.lm.server import Server
from linkwise.rank.surface import Surface
from linkwise.rank.task import Task
from linkwise.rank.verbalise import Verbaliser

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class Pieces:
    """Text in numbered pieces that, put together, are the text: a tokenizer that loses nothing.

    A server keeps its own tokenizer to itself, and MiniLM's drops cases and spaces. These pieces are cut
    where MiniLM's tokens begin, so that budgets count as they do there; where the package is not installed,
    at words and marks.
    """

    positions = None

    def __init__(self) -> None:
        self.folder = Path("words")
        self._tokenizer: Any = None
        self._numbers: dict[str, int] = {}
        self._pieces: list[str] = []
        if find_spec("tokenizers") is None:
            return
        try:
            folder = packaged_minilm()
        except ResourceError:
            return
        from tokenizers import Tokenizer

        self.folder = folder
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def text_start(self) -> list[int]:
        """Nothing: the server puts its own tokens before a text."""
        return []

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces, known ones and new ones."""
        if not text:
            return []
        if self._tokenizer is None:
            starts = [match.start() for match in re.finditer(r"\w+|[^\w\s]", text)]
        else:
            found = self._tokenizer.encode(text, add_special_tokens=False)
            starts = sorted({start for start, _ in found.offsets})
        # What stands before the first token, and spaces between, belong to a piece as well.
        bounds = [0, *starts[1:], len(text)]
        pieces = [text[a:b] for a, b in pairwise(bounds)]
        for piece in pieces:
            if piece not in self._numbers:
                self._numbers[piece] = len(self._pieces)
                self._pieces.append(piece)
        return [self._numbers[piece] for piece in pieces]

    def encode_after(self, text: str) -> list[int]:
        """The same: pieces depend on nothing before them."""
        return self.encode(text)

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of some pieces."""
        return "".join(self._pieces[number] for number in numbers)


@dataclass(frozen=True)
class ServedAnswers:
    """What a server says of some candidates.

    `probability` (n, n_answers) adds up to one for each. Where `bounded` (n, n_answers) the answer was not
    among the tokens that the server reports, and the most that it can have stands in its place.
    """

    probability: Floats
    bounded: Bools


class ServedRanker:
    """A chat model behind an OpenAI-compatible server, asked about each candidate by itself.

    Probabilities are those of the first word in which a task's answers differ, among these answers, from the
    server's log-probabilities. Tasks whose output is yes-no or action can be asked. `workers` questions are
    asked at a time; budget, cache and key are the `server`'s.
    """

    def __init__(self, server: Server, *, workers: int = 8) -> None:
        self.server, self.workers = server, workers
        self._pieces = Pieces()

    def verbaliser(self, surface: Surface) -> Verbaliser:
        """What says a surface's records.

        Raises `UsageError` where the task asks for a rating or an order, `InputError` where its answers do
        not differ.
        """
        task = surface.task
        if task.output not in ("yes-no", "action"):
            raise UsageError(
                f"task {task.name}: its output is {task.output}, and a server is asked for yes-no and action "
                "only; train a ranker for it (linkwise rank train), or change the output."
            )
        parted_answers(task)
        return Verbaliser(self._pieces, surface)

    def prompt(
        self, verbaliser: Verbaliser, member: int, item: int, before: int | None = None
    ) -> list[dict[str, str]]:
        """The conversation about a member and an item: how to answer, and the task's text up to there."""
        lead, tails = parted_answers(verbaliser.task)
        asked = verbaliser.candidate(item)
        asked = asked[: len(asked) - len(verbaliser.answers.lead)]
        text = self._pieces.decode([*verbaliser.prompt(member, before).tokens, *asked])
        said = " or ".join(f'"{tail}"' for tail in tails)
        return messages(
            f"Go on where the text ends. Answer with {said}, and nothing else.",
            f"{text} {lead}".rstrip(),
        )

    def probabilities(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
    ) -> ServedAnswers:
        """The probability of each of a task's answers, for a member and some items.

        Nothing of the member's past at or after `before` is shown. Raises the first error of the server,
        `OverBudget` where the budget ends, and `InputError` where it reports no log-probability of any
        answer. What was answered until then is in the server's cache, if it has one.
        """
        questions = [self.prompt(verbaliser, member, int(item), before) for item in items]
        lead, tails = parted_answers(verbaliser.task)

        def ask(question: list[dict[str, str]]) -> tuple[list[float], list[bool]]:
            return self._shares(question, lead, tails)

        found = map_questions(ask, questions, workers=self.workers)
        error = found.stopped or next(iter(found.errors.values()), None)
        if error is not None:
            raise error
        answers = [answer for answer in found.answers if answer is not None]
        shape = (len(answers), len(tails))
        return ServedAnswers(
            np.array([shares for shares, _ in answers], dtype=np.float64).reshape(shape),
            np.array([bounded for _, bounded in answers], dtype=np.bool_).reshape(shape),
        )

    def scores(
        self,
        verbaliser: Verbaliser,
        member: int,
        items: Sequence[int],
        before: int | None = None,
    ) -> Floats:
        """The probability of yes, or of the target action (n,)."""
        found = self.probabilities(verbaliser, member, items, before)
        chosen: Floats = found.probability[:, verbaliser.surface.yes]
        return chosen

    def _shares(
        self, question: Sequence[dict[str, str]], lead: str, tails: Sequence[str]
    ) -> tuple[list[float], list[bool]]:
        """The answers' probabilities among themselves, and which of them are bounds."""
        where, said = self.server.base_url, " or ".join(f'"{tail}"' for tail in tails)
        tokens = likeliest(self.server, question, SHORT)
        if not tokens:
            raise InputError(
                f'{where}: the model "{self.server.model}" gives no log-probabilities; use a server and a '
                "model that give top_logprobs of chat completions (vLLM, SGLang, llama.cpp)."
            )
        found = answer_masses(tokens, tails, lead)
        if found is None or not any(found.of.values()):
            got = "".join(token.text for token in tokens)[:80]
            raise InputError(
                f'{where}: none of the answers {said} begins the reply "{got}"; ask a model that follows '
                f"instructions, or word the answers so that it takes them up."
            )
        if found.unsure:
            raise InputError(
                f"{where}: the answers {said} begin with the same token of this model; word them so that "
                "they differ from their first letters on."
            )
        bounded = [found.of[tail] == 0 for tail in tails]
        values = [found.of[tail] or found.least for tail in tails]
        return [value / sum(values) for value in values], bounded


def parted_answers(task: Task) -> tuple[str, list[str]]:
    """The words that all answers of a task begin with, and what is left of each.

    Raises `InputError` where nothing is left of one, or two differ in case or spaces only.
    """
    words = [answer.split() for answer in task.answers.values()]
    shared = 0
    for column in zip(*words, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    tails = [" ".join(answer[shared:]) for answer in words]
    if not all(tails) or len({tail.casefold() for tail in tails}) < len(tails):
        raise InputError(
            f"task {task.name}: the answers {', '.join(map(repr, task.answer.values()))} have no word in "
            "which all of them differ; word them so that they part at one place."
        )
    return " ".join(words[0][:shared]), tails
