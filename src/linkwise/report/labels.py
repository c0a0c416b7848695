"""The words and numbers in charts: short, and measured right."""

from __future__ import annotations

import unicodedata

from linkwise.report.document import AxisFormat


def tick(value: float, style: AxisFormat = "number", digits: int = 4) -> str:
    """A number as an axis shows it: ``0.25``, ``1,200``, ``20k``, ``3.5M``; or ``25 %``."""

    def short(number: float) -> str:
        return f"{float(f'{number:.{digits}g}') + 0.0:g}"  # no "-0"

    size = abs(value)
    if style == "percent":
        return f"{short(100 * value)}\u202f%"
    if size >= 1e12 or size < 1000:
        return short(value)
    for least, unit, letter in ((1e9, 1e9, "bn"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= least:
            return short(value / unit) + letter
    return f"{value:,.0f}"


def columns_of(text: str) -> int:
    """Width in columns of a terminal: 2 for wide characters, 0 for combining ones."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, columns: int) -> str:
    """`text` itself, or its beginning and an ellipsis where it is wider than `columns`."""
    if len(text) <= columns and columns_of(text) <= columns:
        return text
    text = text[: 2 * columns]
    while columns_of(text) > columns - 1:
        text = text[:-1]
    return text.rstrip() + "…"


class Labels:
    """Labels as Matplotlib should measure them, and what to write in their place.

    Wide characters (Chinese, emoji) are missing from DejaVu, so a W, which is as wide, stands in for each.
    Zero-width spaces in front keep the stand-ins of different texts apart.
    """

    def __init__(self) -> None:
        self.originals: dict[str, str] = {}

    def __call__(self, text: str, columns: int = 60) -> str:
        """One line of at most `columns` for Matplotlib to draw; see `originals` for what it means."""
        label = cut(" ".join(text.replace("\u200b", "").split()), columns)
        stand_in = "".join("W" if columns_of(c) == 2 else c for c in label)
        if stand_in == label and not label.startswith("_"):  # legends skip names like _this
            return label
        stand_in = "\u200b" + stand_in
        while self.originals.get(stand_in, label) != label:
            stand_in = "\u200b" + stand_in
        self.originals[stand_in] = label
        return stand_in
