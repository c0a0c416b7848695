"""Names in texts: which of many terms stand where, word for word, chemical symbols only as such."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

TOKEN = re.compile(r"[^\W\d_]+|\d+")
NEAR = 3  # words on either side that tell what a doubtful word means
# Beside one of these "lead" is a metal, and beside a symbol "As" is one. Folded, as `fold` leaves them.
METALS = "arsenic cadmium chromium copper mercury nickel zinc tin antimony cobalt manganese iron"
METAL_SYMBOLS = "Zn Cd Pb Hg Ni Cr Cu Sn Sb Co Mn Fe Tl Se Mo Al Ba"
CHEMISTRY = (
    "compound oxide ion salt dust emission smelter smelting sulfate sulfide chloride chromate acetate "
    "battery batterie alloy solder poisoning toxic heavy metal metallic recovery content contamination"
)
BESIDE = frozenset(f"{METALS} {METAL_SYMBOLS.lower()} {CHEMISTRY}".split())
SYMBOLS = frozenset(METAL_SYMBOLS.split())


def fold(token: str) -> str:
    """A word in lower case, of British and American spelling and of both numbers the same."""
    token = token.lower().replace("sulph", "sulf")
    if len(token) > 4 and token.endswith("s") and not token.endswith(("ss", "us", "is")):
        token = token[:-1]
    return token


def folded(text: str) -> tuple[str, ...]:
    """The words of a text, each folded: what two spellings of a name have in common."""
    return tuple(fold(token) for token in TOKEN.findall(text))


@dataclass(frozen=True)
class Term:
    """A name, and whose it is.

    A term in lower case is found in any case and number. Its words with capitals are found only as they
    stand (Zn, HCl, PCBs). A `doubtful` term counts only near a word that shows that a substance is meant.
    A `cas` number counts only in its own spelling. A negative owner is nobody's: what it covers is passed by.
    """

    text: str
    owner: int
    doubtful: bool = False
    cas: bool = False


@dataclass(frozen=True)
class Hit:
    """Where in a text a name of `owner` stands: `text[start:end]`."""

    owner: int
    start: int
    end: int


@dataclass
class _Node:
    next: dict[str, _Node] = field(default_factory=dict)
    ends: list[tuple[Term, tuple[str, ...], tuple[bool, ...]]] = field(default_factory=list)


class Lexicon:
    """Many terms, found in one pass over a text; where several begin at one word the longest counts."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._root = _Node()
        for term in terms:
            spans = [match.span() for match in TOKEN.finditer(term.text)]
            tokens = tuple(term.text[a:b] for a, b in spans)
            if not tokens:
                continue
            tight = tuple(before[1] == after[0] for before, after in pairwise(spans))
            node = self._root
            for token in tokens:
                node = node.next.setdefault(fold(token), _Node())
            node.ends.append((term, tokens, tight))

    def find(self, text: str) -> list[Hit]:
        """The names in a text, from left to right; time is linear in its length."""
        spans = [match.span() for match in TOKEN.finditer(text)]
        words = [text[a:b] for a, b in spans]
        keys = [fold(word) for word in words]
        found: list[Hit] = []
        at = 0
        while at < len(words):
            node, place = self._root, at
            longest: list[Term] = []
            end = at
            while place < len(words) and keys[place] in node.next:
                node = node.next[keys[place]]
                place += 1
                here = [
                    term
                    for term, tokens, tight in node.ends
                    if _fits(term, tokens, tight, text, spans, words, keys, at, place)
                ]
                if here:
                    longest, end = here, place
            if longest:
                begin, stop = spans[at][0], spans[end - 1][1]
                owners = dict.fromkeys(term.owner for term in longest if term.owner >= 0)
                found += [Hit(owner, begin, stop) for owner in owners]
                at = end
            else:
                at += 1
        return found


def _fits(
    term: Term,
    tokens: tuple[str, ...],
    tight: tuple[bool, ...],
    text: str,
    spans: list[tuple[int, int]],
    words: list[str],
    keys: list[str],
    at: int,
    end: int,
) -> bool:
    """Whether the words from `at` to `end`, alike but for case and number, are the term."""
    begin, stop = spans[at][0], spans[end - 1][1]
    if term.cas:
        alone = not re.match(r"-?\d", text[stop : stop + 2]) and not re.search(
            r"\d-?$", text[max(0, begin - 2) : begin]
        )
        return text[begin:stop] == term.text and alone
    gaps = [text[a[1] : b[0]] for a, b in pairwise(spans[at:end])]
    for k, (gap, close) in enumerate(zip(gaps, tight, strict=True)):
        digit = words[at + k].isdigit() or words[at + k + 1].isdigit()
        if (close and gap) or not _joins(gap, digit):
            return False
    capitals = False
    for token, word in zip(tokens, words[at:end], strict=True):
        if token != token.lower():
            capitals = True
            if token != word:
                return False
    # Among capitals alone PER is "per" and CO a company.
    if capitals and text[begin:stop].isupper():
        around = text[max(0, begin - 40) : begin] + text[stop : stop + 40]
        if around.strip() and around.upper() == around and any(c.isalpha() for c in around):
            return False
    if not term.doubtful:
        return True
    near = range(max(0, at - NEAR), min(len(words), end + NEAR))
    others = [k for k in near if not at <= k < end]
    if capitals:
        bracketed = text[begin - 1 : begin] == "(" and text[stop : stop + 1] == ")"
        counted = bool(re.match(r"\d|\([IVX]+\)", text[stop : stop + 5]))  # As2O3, As(III)
        return bracketed or counted or any(words[k] in SYMBOLS for k in others)
    return any(keys[k] in BESIDE for k in others)


def _joins(gap: str, digit: bool) -> bool:
    """Whether two words with this between them are one name: 1,2-dichloro, benzo(g,h,i), ethyl benzene."""
    if len(gap) > 3 or any(mark in ".;:!?" for mark in gap):
        return False
    return digit or not ("," in gap and gap != ",")
