"""Language models: load and embed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkwise.lm.encode import embed

__all__ = ["embed"]

# Public names and where they live; no submodule has the name of one of them, which would hide it.
_HOMES = {"embed": "linkwise.lm.encode"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
