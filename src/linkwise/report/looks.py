"""Colours, dashes, markers and hatches of charts.

Colours are told apart by the colour-blind too, and never stand alone: lines differ in dash and marker, bars
in hatching. Baselines are grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# CSS variable -> colour on light and on dark ground; against it, all but
# the grid and the ground itself have a contrast of at least 3 to 1.
COLOURS = {
    "ink": ("#20242c", "#e8eaee"),
    "muted": ("#5a6270", "#a4acba"),
    "grid": ("#e4e6ea", "#343a45"),
    "card": ("#fefefe", "#1b1f27"),
    "base": ("#767c88", "#969daa"),
    "c1": ("#0b66a8", "#5fb4f2"),
    "c2": ("#c4500c", "#ff9a62"),
    "c3": ("#007a5c", "#45cba0"),
    "c4": ("#a2478a", "#ea95cd"),
    "c5": ("#8a6500", "#e2b548"),
    "c6": ("#4b3fb0", "#a99ff7"),
}

_HEX = {name: light for name, (light, _) in COLOURS.items()}
INK, MUTED, GRID, CARD, BASE = (_HEX[name] for name in ("ink", "muted", "grid", "card", "base"))
SERIES = [_HEX[f"c{i}"] for i in range(1, 7)]
FIRST = SERIES[0]

HATCHES = ["", "//", "--", "\\\\", "xx", "||", "++", "///"]
_DASHES: list[Any] = [
    "-",
    (0, (6, 2)),
    (0, (1.5, 1.5)),
    (0, (7, 2, 1.5, 2)),
    (0, (3, 1.5)),
    (0, (9, 3)),
]
_GREY_DASHES: list[Any] = [(0, (4, 3)), (0, (1, 2)), (0, (8, 3, 1, 3))]
MARKERS = "osD^vPX*"


def looks(baselines: Sequence[bool]) -> list[dict[str, Any]]:
    """Matplotlib's line properties of each series; those of baselines are grey and have no marker."""
    found: list[dict[str, Any]] = []
    strong = grey = 0
    for baseline in baselines:
        look: dict[str, Any] = {"markersize": 5.0, "markeredgewidth": 0.0}
        if baseline:
            look |= {"color": _HEX["base"], "linestyle": _GREY_DASHES[grey % 3], "linewidth": 1.7}
            grey += 1
        else:
            dash = _DASHES[(strong + strong // 6) % 6]
            look |= {"color": SERIES[strong % 6], "linestyle": dash, "linewidth": 2.0}
            look["marker"] = MARKERS[strong % 8]
            strong += 1
        found.append(look)
    return found
