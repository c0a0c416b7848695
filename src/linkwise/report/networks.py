"""Graphs drawn side by side, their weightier nodes and edges in colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from linkwise.report.document import NetworkChart, NetworkPicture
from linkwise.report.labels import cut
from linkwise.report.limits import Floats
from linkwise.report.looks import BASE, INK, SERIES
from linkwise.report.scatter import window

STRONG = 0.25  # weight above which a node or an edge is drawn in colour
INSIDE = 0.86  # of its square that a graph fills; its name stands above
NAME = 30  # columns
MANY = 300  # edges, from which on they are drawn thinner


def networks(axes: Any, chart: NetworkChart, note: Callable[..., None]) -> None:
    """Draw the pictures two to a row; `note` writes a name at a place of the axes."""
    axes.set_axis_off()
    axes.set_position((0, 0, 1, 1))
    axes.set(xlim=(0, 2), ylim=(-len(chart.pictures) // 2, 0))
    for number, picture in enumerate(chart.pictures):
        row, column = divmod(number, 2)
        at = np.column_stack([picture.x, picture.y])
        left, below, side = window(at)
        edge = (1 - INSIDE) / 2
        place = (at - (left, below)) / side * INSIDE + (column + edge, -row - 1 + edge / 2)
        _edges(axes, picture, place)
        _nodes(axes, picture, place)
        note(
            cut(picture.name, NAME),
            (column + 0.5, -row - 0.02),
            "data",
            (0, 0),
            ha="center",
            va="top",
        )


def _edges(axes: Any, picture: NetworkPicture, at: Floats) -> None:
    thin = 0.8 if len(picture.edges) < MANY else 0.4
    light = [
        pair for pair, w in zip(picture.edges, picture.edge_weight, strict=True) if w <= STRONG
    ]
    _strokes(axes, at, light, color=BASE, linewidth=thin, alpha=0.7, zorder=1)
    for pair, weight in zip(picture.edges, picture.edge_weight, strict=True):
        if weight > STRONG:
            _strokes(
                axes, at, [pair], color=SERIES[1], linewidth=1.0 + 2.0 * weight, zorder=2,
                solid_capstyle="round",
            )  # fmt: skip
    dashed = {"color": SERIES[0], "linewidth": 1.1, "linestyle": (0, (3, 2)), "zorder": 2}
    _strokes(axes, at, list(picture.missing), **dashed)


def _strokes(axes: Any, at: Floats, pairs: list[tuple[int, int]], **look: Any) -> None:
    """Lines between nodes as one path, cut by gaps: not an element of the page for each."""
    if not pairs:
        return
    ends = at[np.array(pairs)]  # (n, 2, 2)
    gap = np.full((len(pairs), 1, 2), np.nan)
    path = np.concatenate([ends, gap], axis=1).reshape(-1, 2)
    (line,) = axes.plot(*path.T, **look)
    line.get_path().should_simplify = False


def _nodes(axes: Any, picture: NetworkPicture, at: Floats) -> None:
    size = float(np.clip(36 / np.sqrt(len(at)), 1.5, 6.0))
    heavy = np.array(picture.node_weight) > STRONG
    for some, look in (
        (~heavy, {"marker": "o", "markersize": size, "color": INK}),
        (heavy, {"marker": "s", "markersize": 1.5 * size, "color": SERIES[1]}),
    ):
        if some.any():
            axes.plot(*at[some].T, linestyle="", markeredgewidth=0.0, zorder=3, **look)
