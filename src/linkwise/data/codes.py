"""Classification codes of patents, IPC and CPC alike: read in any of their spellings, rolled up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

Level = Literal["section", "class", "subclass", "main-group", "group"]
LEVELS = get_args(Level)

# Section, class, subclass; then main group and subgroup: `C08F 4/642`, `C08F4/642`, `C08F4`, `C08F`; indexing
# codes of the older IPC, `A61K31:045`; and the fixed width of patent offices' tables (four digits and six),
# `C08F0004642000`.
SPELLED = re.compile(
    r"(?P<section>[A-HY])(?:(?P<class>\d{2})(?:(?P<subclass>[A-Z])"
    r"(?:\s*(?P<main>\d{1,4})(?:\s*[/:]\s*(?P<group>\d{2,6}))?)?)?)?"
)
FIXED = re.compile(
    r"(?P<section>[A-HY])(?P<class>\d{2})(?P<subclass>[A-Z])\s*(?P<main>\d{4})(?P<group>\d{6})"
)
# What may follow a symbol: the version in brackets, or the value and position letters of an office's table.
TAIL = re.compile(r"\s*(?:[\[(][^\])]*[\])])?\s*$")


def roll_up(code: str, level: Level) -> str | None:
    """The part of a code down to a level: `C08F 4/642` is `C08F4` as a main group, `C08F` as a subclass.

    None where the text is no IPC or CPC symbol, or not one as deep as the level.
    """
    text = TAIL.sub("", code.strip().upper()).rstrip("/")  # `A47B/`: no group was given
    found = FIXED.fullmatch(text) or SPELLED.fullmatch(text)
    if found is None:
        return None
    depth = LEVELS.index(level)
    names = ("section", "class", "subclass", "main", "group")[: depth + 1]
    parts = [found[name] for name in names]
    if any(part is None for part in parts):
        return None
    if depth >= 3:
        parts[3] = parts[3].lstrip("0") or "0"
    if depth == 4:
        # Trailing zeros of the fixed width are no part of a subgroup, which has two digits at least.
        parts[4] = "/" + (parts[4].rstrip("0").ljust(2, "0") if FIXED.fullmatch(text) else parts[4])
    return "".join(parts)


def spelled(code: str) -> str | None:
    """A symbol in one spelling, as deep as it stands: `h01m  4/02` is `H01M4/02`; None where it is none.

    A letter alone may be a label of any kind, and is no symbol here.
    """
    symbols = (roll_up(code, level) for level in reversed(LEVELS[1:]))
    return next((symbol for symbol in symbols if symbol is not None), None)


def is_indexing(code: str) -> bool:
    """Whether a code of the CPC only adds to others: the 2000 series (`B60L 2200/12`), Y10S and Y10T.

    These say in which other respects a patent may be looked for; Y10S and Y10T come from the former
    classification of the US and are no longer given.
    """
    if roll_up(code, "subclass") in ("Y10S", "Y10T"):
        return True
    symbol = roll_up(code, "main-group")
    return symbol is not None and int(symbol[4:]) >= 2000


def roll_up_all(codes: Iterable[str], level: Level | None) -> tuple[list[str], list[str]]:
    """A patent's codes at a level, each once, in order; and those that were no symbols, kept as they are.

    Without a level symbols are only brought to one spelling. Codes less deep than the level are left out: a
    patent that is only said to be in `C08F` is in no main group that is known.
    """
    found: dict[str, None] = {}
    opaque: dict[str, None] = {}
    for code in codes:
        text = code.strip()
        if not text:
            continue
        if level is None:
            found[spelled(text) or text] = None
            continue
        rolled = roll_up(text, level)
        if rolled is not None:
            found[rolled] = None
        elif roll_up(text, "section") is None:
            opaque[text] = found[text] = None
    return list(found), list(opaque)


def split_codes(text: str) -> list[str]:
    """Codes of one text, separated by commas, semicolons or bars."""
    return [part.strip() for part in re.split(r"[,;|]", text) if part.strip()]
