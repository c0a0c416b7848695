"""Words about a forecast that the page and the console share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linkwise.technology.config import LEARNED, LOOSE

SCORES = {
    LEARNED: "log-odds, learned on earlier windows from all other scores, that a pair comes to have p < .05",
    "text": "cosine of the codes' mean text vectors",
    "hidden tokens": "cosine of the codes' mean states at a hidden technology token",
    "tokens": "cosine of the codes' mean states at their own technology tokens",
    "token rows": "cosine of the rows of the codes' technology tokens",
    "PPMI vectors": "cosine of vectors of which codes are together on patents",
    "word2vec": "cosine of word2vec vectors of which codes are together on patents",
    "random walks": "cosine of vectors of random walks on the graph of codes",
    "degree product": "product of how often either code is together with others",
    "common neighbours": "number of codes that both have been together with",
    "Adamic-Adar": "common partners, each by 1 / log of its own partners",
    "resource allocation": "common partners, each by 1 / its own partners",
}


def what_ranks(model: str) -> str:
    """What the list is ranked by and what its score is, in a sentence."""
    what = SCORES[model.partition(": ")[0]]
    how = "--list-by; by default the first there of learned, hidden tokens, text and PPMI vectors"
    return (
        f"Listed by {model} ({how}). Score: {what}; higher is likelier, and only the order counts."
    )


def outcome(row: Mapping[str, Any]) -> str:
    """What became of a pair of the list in the forecast years."""
    if row["above_chance"]:
        return "above chance"
    if row["above_chance"] is None and row["p_value"] < LOOSE:
        return "p < .05"
    return "combined" if row["combined"] else "not combined"


def counted(n: int, one: str, more: str) -> str:
    """A number with its noun."""
    return f"{n:,} {one if n == 1 else more}"


def spoken(
    value: float | None, low: float | None, high: float | None, *, sign: bool = False
) -> str:
    """A value with its interval."""
    if value is None or low is None or high is None:
        return "not defined"
    form = "+.3f" if sign else ".3f"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"
