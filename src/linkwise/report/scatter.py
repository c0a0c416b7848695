"""Where the names of a map's groups go, and which colours their points have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linkwise.report.limits import Floats
from linkwise.report.looks import SERIES

NEAR = len(SERIES) - 1  # groups whose colours a group's own should differ from
EDGE = 0.04  # of the side, free of points


def window(points: Floats) -> tuple[float, float, float]:
    """Left end, lower end and side of a square around all points (n, 2): x and y have one scale."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max()) / (1 - 2 * EDGE) or 1.0
    left, below = (low + high) / 2 - side / 2
    return float(left), float(below), side


def colours(centres: Floats) -> list[int]:
    """The number of a colour for each group by its centre (n, 2): neighbours differ."""
    found: list[int] = []
    for i, centre in enumerate(centres):
        distance = np.linalg.norm(centres[:i] - centre, axis=1)
        near = [found[j] for j in np.argsort(distance, kind="stable")[:NEAR]]
        # The first that no neighbour has.
        found.append(next(c for c in range(len(SERIES)) if c not in near))
    return found


def room(
    centres: Floats, sizes: Sequence[tuple[float, float]], side: float
) -> list[tuple[float, float] | None]:
    """The middles of labels on a square, each just off its group's centre, or on it; None: no room.

    `centres` (n, 2), `sizes` (width and height) and `side` have one unit. The first labels choose first, and
    none covers another or leaves the square.
    """
    found: list[tuple[float, float] | None] = []
    taken: list[tuple[float, float, float, float]] = []  # x, y, width, height
    for (x, y), (width, height) in zip(centres.tolist(), sizes, strict=True):
        middle = min(max(x, width / 2), side - width / 2)
        places = [(middle, y + step * height) for step in (0.75, -0.75, 0, 1.4, -1.4)]
        free = (
            (a, b)
            for a, b in places
            if height / 2 <= b <= side - height / 2
            and width <= side
            and all(
                abs(a - c) >= (width + w) / 2 or abs(b - d) >= (height + h) / 2
                for c, d, w, h in taken
            )
        )
        place = next(free, None)
        found.append(place)
        if place is not None:
            taken.append((*place, width, height))
    return found
