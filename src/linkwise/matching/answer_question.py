"""A question read: which things it names, which numbers and years, and which words are left to understand.

Every word must be accounted for, or a template does not answer: "Which patents are not linked with mercury?"
is no question about the patents that are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from linkwise.errors import UsageError
from linkwise.matching.answer_names import KINDS, STOP, WORD, Names, Thing, pieces

LATEST = 9999  # the last year of those without an end
LONGEST = 1000  # characters of a question
COUNTED = dict(
    zip(
        (
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ),
        range(2, 13),
        strict=True,
    )
)
NUMBER = re.compile(r"(?<![\w.:/-])(\d[\d,]*(?:\.\d+)?)(?![\w:/]|[.-]\d)")
YEAR = r"((?:19|20)\d\d)"
BETWEEN = re.compile(rf"\b(?:between|from)\s+{YEAR}\s+(?:and|to|until|till)\s+{YEAR}\b", re.I)
SPAN = re.compile(rf"\b{YEAR}\s*[-–]\s*{YEAR}\b")
SINCE = re.compile(rf"\b(?:since|from)\s+{YEAR}(?:\s+on(?:wards?)?)\b|\bsince\s+{YEAR}\b", re.I)
AFTER = re.compile(rf"\b(?:after|later\s+than)\s+{YEAR}\b", re.I)
BEFORE = re.compile(rf"\b(?:before|earlier\s+than)\s+{YEAR}\b", re.I)
UNTIL = re.compile(rf"\b(?:until|till|up\s+to)\s+{YEAR}\b", re.I)
PLAIN = re.compile(rf"\b(?:(?:in|from|of|during)\s+)?(?:the\s+)?(?:years?\s+)?{YEAR}\b", re.I)
POLITE = re.compile(r"^\W*(?:please\s+)?(?:can|could|would)\s+you\s+(?:please\s+)?", re.I)


@dataclass
class Question:
    """A question in parts.

    `words` are the words that are neither names nor numbers nor years nor without meaning of their own;
    `kinds` those of what is asked for, in their order; `years` the first and last one; `numbers` the others.
    """

    text: str
    things: list[Thing] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    years: tuple[int, int] | None = None
    numbers: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    every: list[str] = field(default_factory=list)
    """All words in lower case, in their order."""

    def has(self, *words: str) -> bool:
        """Whether any of the words (or of the phrases) stands in it."""
        said = f" {' '.join(self.every)} "
        return any(f" {word} " in said for word in words)

    def left(self, allowed: Iterable[str]) -> list[str]:
        """The words that are not among those that a template understands."""
        known = set(allowed)
        return [word for word in self.words if word not in known]


def check(text: str) -> str:
    """The question without what is polite; raises `UsageError` where it is empty or too long."""
    said = " ".join(text.split())
    if not WORD.search(said):
        raise UsageError("the question is empty; ask something, as: Which model is best?")
    if len(said) > LONGEST:
        raise UsageError(f"the question has {len(said):,} characters; ask in {LONGEST:,} at most.")
    return POLITE.sub("", said)


def read_question(text: str, names: Names) -> Question:
    """Take a question apart; `text` as `check` returns it."""
    asked = [KINDS[piece.word] for piece in pieces(text) if piece.word in KINDS]
    things, notes = names.find(text, asked)
    found = Question(text, things, notes=notes, every=[piece.word for piece in pieces(text)])
    # What is accounted for is blanked out, so that every place stays where it was.
    rest = text
    for thing in things:
        rest = _blank(rest, thing.start, thing.stop)
    rest = _years(rest, found)
    rest = _numbers(rest, found)
    words = pieces(rest)
    stand = {thing.start: thing.kind for thing in things}
    ends = {thing.stop: thing.kind for thing in things}
    for piece in words:
        kind = KINDS.get(piece.word)
        if kind is None:
            if piece.word not in STOP:
                found.words.append(piece.word)
            continue
        # "the patent EP1" and "the EP1 patent" ask for no patents.
        after = re.match(r"[\s\"'“”‘’]*", text[piece.stop :])
        behind = piece.stop + (after.end() if after else 0)
        before = len(re.sub(r"[\s\"'“”‘’]*$", "", text[: piece.start]))
        if stand.get(behind) == kind or (ends.get(before) == kind and piece.word == kind):
            continue
        if kind not in found.kinds:
            found.kinds.append(kind)
    return found


def _blank(text: str, start: int, stop: int) -> str:
    return text[:start] + " " * (stop - start) + text[stop:]


def _years(rest: str, found: Question) -> str:
    patterns: tuple[tuple[re.Pattern[str], Callable[[list[int]], tuple[int, int]]], ...] = (
        (BETWEEN, lambda years: (years[0], years[1])),
        (SPAN, lambda years: (years[0], years[1])),
        (SINCE, lambda years: (years[0], LATEST)),
        (AFTER, lambda years: (years[0] + 1, LATEST)),
        (BEFORE, lambda years: (0, years[0] - 1)),
        (UNTIL, lambda years: (0, years[0])),
        (PLAIN, lambda years: (years[0], years[0])),
    )
    for pattern, ends in patterns:
        match = pattern.search(rest)
        if match:
            found.years = ends([int(year) for year in match.groups() if year])
            return _blank(rest, *match.span())
    return rest


def _numbers(rest: str, found: Question) -> str:
    for match in NUMBER.finditer(rest):
        found.numbers.append(float(match[1].replace(",", "")))
        rest = _blank(rest, *match.span(1))
    for piece in pieces(rest):
        if piece.word in COUNTED:
            found.numbers.append(float(COUNTED[piece.word]))
            rest = _blank(rest, piece.start, piece.stop)
    return rest
