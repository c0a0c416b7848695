"""Histories as prompts for a language model, with a place for the title that comes next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linkwise.errors import UsageError

if TYPE_CHECKING:  # the command line reads configs from here, and PyTorch may be missing
    from linkwise.lm.load import LanguageModel
    from linkwise.lm.titles import Gap

PROMPTS = {
    "weak": "{history}, {title}.",
    "default": "A user {watched} {history}. Now the user may want to {watch} {title}.",
    "strong": "A user {watched} {movies} {history}. "
    "Now the user may want to {watch} the {movie} {title}.",
}
"""The prompts of LMRecSys; the words in braces are the catalogue's."""


@dataclass(frozen=True)
class Words:
    """How a catalogue speaks: the verb, its past, the noun and its plural."""

    watch: str = "watch"
    watched: str = "watched"
    movie: str = "movie"
    movies: str = "movies"


@dataclass(frozen=True)
class Prompt:
    """A template with `{history}` and `{title}`: what stands before the title and after it."""

    template: str

    @staticmethod
    def of(name: str, words: Words) -> Prompt:
        """One of the named prompts, or a template of one's own.

        Raises `UsageError` for a template that lacks `{history}` or `{title}`, or has them the wrong way
        round.
        """
        template = PROMPTS.get(name, name)
        for field in ("watch", "watched", "movie", "movies"):
            template = template.replace("{" + field + "}", getattr(words, field))
        at = [template.find("{history}"), template.find("{title}")]
        if min(at) < 0 or at[0] > at[1] or re.search(r"\{(?!history\}|title\})", template):
            raise UsageError(
                f'--prompt is "{name}"; expected {", ".join(PROMPTS)}, or a template with {{history}} and, '
                "behind it, {title}."
            )
        return Prompt(template)

    @property
    def after(self) -> str:
        """What follows the title."""
        return self.template.partition("{title}")[2]

    @property
    def lead(self) -> str:
        """The white space before the title, which belongs to its tokens."""
        before = self.template.partition("{title}")[0]
        return before[len(before.rstrip()) :]

    @property
    def dense(self) -> bool:
        """Whether the titles of the history stand as the asked one does: then each can be learned from."""
        between = self.template.partition("{history}")[2].partition("{title}")[0]
        return self.template.startswith("{history}") and between == ", "

    def before(self, history: Sequence[str]) -> str:
        """What stands before the title, without the white space at its end."""
        if not len(history):
            return self.domain
        text = self.template.partition("{title}")[0].rstrip()
        return text.replace("{history}", ", ".join(history))

    @property
    def domain(self) -> str:
        """What stands before the title in the sentence that asks for it, without any history."""
        rest = self.template.partition("{title}")[0].partition("{history}")[2]
        return rest.strip(" .,;:").strip()


def context(
    model: LanguageModel, prompt: Prompt, history: Sequence[str], room: int
) -> tuple[list[int], int]:
    """The tokens before the title, at most `room`, and how many of the oldest titles were left out for it."""
    start = model.text_start()
    for left_out in range(len(history) + 1):
        tokens = [*start, *model.encode(prompt.before(history[left_out:]))]
        if len(tokens) <= room:
            return tokens, left_out
    raise UsageError(
        f"the prompt without any history has {len(tokens)} tokens, and the model has room for {room}."
    )


def gap(model: LanguageModel, prompt: Prompt, history: Sequence[str], room: int) -> tuple[Gap, int]:
    """A masked model's prompt with a gap for the title, and how many old titles were left out."""
    from linkwise.lm.titles import Gap

    after = [*model.encode_after(prompt.after), *model.text_end()]
    before, left_out = context(model, prompt, history, room - len(after))
    return Gap(tuple(before), tuple(after)), left_out


def end_tokens(model: LanguageModel, prompt: Prompt) -> list[int]:
    """What is scored after a title so that it ends: the first token that follows it in the prompt.

    Where nothing follows, the model's own end of text.
    """
    return model.encode_after(prompt.after)[:1] or model.text_end()


def merged(model: LanguageModel, prompt: Prompt, titles: Sequence[str]) -> int:
    """How many titles would become other tokens if written together with the prompt before them."""
    before = prompt.before(titles[:1])
    alone = model.encode(before)
    return sum(
        model.encode(before + prompt.lead + title)
        != [*alone, *model.encode_after(prompt.lead + title)]
        for title in titles
    )
