"""Values of a report as they come in, made plain Python, finite and of one length, or refused.

Sequences may be of Python, NumPy, Polars or Arrow. The checks raise `ValueError`, which pydantic gathers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

# What XML cannot hold: most control characters, lone surrogates, U+FFFE and U+FFFF.
_UNWRITABLE = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _writable(text: str) -> str:
    """Text as HTML, SVG and JSON can all hold it: one kind of line end, no control characters."""
    return _UNWRITABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _plain(values: Any) -> Any:
    """Sequences and scalars of NumPy, Polars and Arrow as plain Python."""
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return values


def _sequence(values: Any) -> list[Any]:
    values = _plain(values)
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"expected a sequence of values, got {type(values).__name__}")
    return [_plain(value) for value in values]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where} is {value!r}: expected a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{where} has more than 308 digits") from None
    if not math.isfinite(number):
        raise ValueError(f"{where} is {value}: values must be finite, or None for a gap")
    return number


def _numbers(values: Any) -> tuple[float | None, ...]:
    found = _sequence(values)
    return tuple(None if v is None else _number(v, f"value {i}") for i, v in enumerate(found))


def _amounts(values: Any) -> tuple[float, ...]:
    return tuple(_number(value, f"value {i}") for i, value in enumerate(_sequence(values)))


def _position(value: Any, where: str) -> float | str:
    value = _plain(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{where} is {value!r}: expected a number or an ISO date") from None
        return value
    return _number(value, where)


def _positions(values: Any) -> tuple[float | str, ...]:
    return tuple(_position(value, f"value {i}") for i, value in enumerate(_sequence(values)))


def _cells(values: Any) -> tuple[str | int | float | None, ...]:
    cells = _sequence(values)
    for i, cell in enumerate(cells):
        if cell is not None and not isinstance(cell, str):
            _number(cell, f"cell {i}")
    return tuple(_writable(cell) if isinstance(cell, str) else cell for cell in cells)


def check_count(name: str, values: Sequence[object] | None, n: int, of: str) -> None:
    """`values`, where given, are `n`."""
    if values is not None and len(values) != n:
        raise ValueError(f"{name} has {len(values)} values for {n} {of}")


def check_interval(low: Sequence[float | None] | None, high: Sequence[float | None] | None) -> None:
    """Both ends or neither, and low below high wherever both are known."""
    if (low is None) != (high is None):
        raise ValueError("low and high belong together: give both or neither")
    for i, (a, b) in enumerate(zip(low or (), high or (), strict=True)):
        if a is not None and b is not None and a > b:
            raise ValueError(f"value {i}: low is {a}, above high, which is {b}")


def check_rising(name: str, values: Sequence[float | str]) -> None:
    """Values of one kind must not fall; equal neighbours are fine."""
    points: list[Any] = [datetime.fromisoformat(v) if isinstance(v, str) else v for v in values]
    for i in range(1, len(points)):
        if points[i] < points[i - 1]:
            raise ValueError(
                f"{name} falls from {values[i - 1]} to {values[i]} at value {i}: sort it"
            )


def check_one_kind(values: Sequence[float | str]) -> None:
    """All numbers, all dates with a time zone, or all dates without one: what one axis can hold."""
    if len({isinstance(value, str) for value in values}) > 1:
        raise ValueError("x mixes numbers and dates in one chart: use one of them")
    if len({datetime.fromisoformat(v).tzinfo is None for v in values if isinstance(v, str)}) > 1:
        raise ValueError("x mixes dates with and without a time zone: use one of them")


PlainText = Annotated[str, AfterValidator(_writable)]
Numbers = Annotated[tuple[float | None, ...], BeforeValidator(_numbers)]
Amounts = Annotated[tuple[float, ...], BeforeValidator(_amounts)]
Position = Annotated[float | str, BeforeValidator(lambda value: _position(value, "x"))]
Positions = Annotated[tuple[float | str, ...], BeforeValidator(_positions), Field(min_length=1)]
Value = Annotated[float, BeforeValidator(lambda value: _number(_plain(value), "value"))]
Cells = Annotated[tuple[str | int | float | None, ...], BeforeValidator(_cells)]
