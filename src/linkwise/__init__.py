"""Linkwise predicts links: records in, a ranking out, judged the same honest way.

    import linkwise
    run = linkwise.churn("logs/", schema="music-box")
    run.ranking, run.metrics, run.report

The verbs are functions; each also names the package that carries it out (`linkwise.churn.features`).
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkwise.data.events import Events, read_events
    from linkwise.errors import LinkwiseError
    from linkwise.matching.answer import Answer
    from linkwise.run import (
        Run,
        ask,
        churn,
        detect,
        detect_score,
        forecast,
        match,
        match_goals,
        match_links,
        rank,
        recommend,
        score,
    )

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Events",
    "LinkwiseError",
    "Run",
    "ask",
    "churn",
    "detect",
    "detect_score",
    "forecast",
    "match",
    "match_goals",
    "match_links",
    "rank",
    "read_events",
    "recommend",
    "score",
]

_HOMES = {
    "Answer": "linkwise.matching.answer",
    "Events": "linkwise.data.events",
    "read_events": "linkwise.data.events",
    "LinkwiseError": "linkwise.errors",
    "Run": "linkwise.run",
    "ask": "linkwise.run",
    "detect": "linkwise.run",
    "detect_score": "linkwise.run",
    "forecast": "linkwise.run",
    "match": "linkwise.run",
    "match_goals": "linkwise.run",
    "match_links": "linkwise.run",
    "score": "linkwise.run",
}
_VERBS = ("churn", "rank", "recommend")


class _Verb(ModuleType):
    """A study's package that can be called: ``linkwise.churn(log)`` runs the study.

    The import system binds the package to the verb's name, so the package itself must be the function.
    """

    @property
    def __signature__(self) -> Any:
        return inspect.signature(
            getattr(import_module("linkwise.run"), self.__name__.rpartition(".")[2])
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(import_module("linkwise.run"), self.__name__.rpartition(".")[2])(
            *args, **kwargs
        )


for _name in _VERBS:
    import_module(f"linkwise.{_name}")
    sys.modules[f"linkwise.{_name}"].__class__ = _Verb


import_module("linkwise.lm")  # whose own names are loaded when first used


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
