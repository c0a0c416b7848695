"""Files in, validated records out; splits and simulators."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkwise.data.documents import Documents, DocumentsConfig, read_documents
    from linkwise.data.events import Events, read_events
    from linkwise.data.schema import InputConfig

__all__ = [
    "Documents",
    "DocumentsConfig",
    "Events",
    "InputConfig",
    "read_documents",
    "read_events",
]

# Imported when they are first asked for: `import linkwise` costs nothing of DuckDB.
_HOMES = {
    "Documents": "linkwise.data.documents",
    "DocumentsConfig": "linkwise.data.documents",
    "Events": "linkwise.data.events",
    "InputConfig": "linkwise.data.schema",
    "read_documents": "linkwise.data.documents",
    "read_events": "linkwise.data.events",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
