"""Language models: load, adapt, tune, embed and score."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkwise.lm import tree
    from linkwise.lm.encode import embed
    from linkwise.lm.load import LanguageModel, load_model

__all__ = ["LanguageModel", "embed", "load_model", "tree"]

# Public names and where they live; no submodule has the name of one of them, which would hide it.
_HOMES = {
    "LanguageModel": "linkwise.lm.load",
    "embed": "linkwise.lm.encode",
    "load_model": "linkwise.lm.load",
}


def __getattr__(name: str) -> Any:
    if name == "tree":
        return import_module("linkwise.lm.tree")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
