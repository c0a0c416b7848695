"""The detectors by name: one line for each, and what other packages add by entry points."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linkwise.anomaly.base import Detector, read_about
from linkwise.errors import UsageError

if TYPE_CHECKING:
    from linkwise.anomaly.study_config import DetectConfig


@dataclass(frozen=True)
class Kind:
    """A class of detectors, the group of the study's config that holds its settings, and those that its name
    decides."""

    home: str
    group: str
    settings: dict[str, Any] = field(default_factory=dict)


_REFERENCE = "linkwise.anomaly.references:Reference"
DETECTORS = {
    "size": Kind(_REFERENCE, "reference", {"description": "size"}),
    "degrees": Kind(_REFERENCE, "reference", {"description": "degrees"}),
    "labels": Kind(_REFERENCE, "reference", {"description": "labels"}),
    "wl": Kind(_REFERENCE, "reference", {"description": "wl"}),
    "wl-cosine": Kind(
        _REFERENCE, "reference", {"description": "wl", "rounds": 4, "metric": "cosine"}
    ),
    "netlsd": Kind(_REFERENCE, "reference", {"description": "netlsd"}),
    "masked": Kind("linkwise.anomaly.masked:Masked", "masked", {"mode": "full-mask"}),
    "masked-edge": Kind(
        "linkwise.anomaly.masked:Masked", "masked", {"mode": "full-edge-prediction"}
    ),
    "graphrnn": Kind("linkwise.anomaly.graphrnn:GraphRNN", "graphrnn", {"edge": "rnn"}),
    "graphrnn-s": Kind("linkwise.anomaly.graphrnn:GraphRNN", "graphrnn", {"edge": "mlp"}),
    "gran": Kind("linkwise.anomaly.gran:GRAN", "gran"),
    "ensemble": Kind("linkwise.anomaly.ensemble:Ensemble", "ensemble"),
}
GROUP = "linkwise.detectors"
AUTO = "auto"
BASELINE = "size"
REFERENCES = ("size", "degrees", "labels", "wl", "wl-cosine", "netlsd")


def names() -> list[str]:
    """The names of all detectors at hand."""
    return [*DETECTORS, *sorted(point.name for point in entry_points(group=GROUP))]


def make(name: str, config: DetectConfig) -> Detector:
    """An untrained detector with the study's settings; raises `UsageError` listing the names for another."""
    if name in DETECTORS:
        kind = DETECTORS[name]
        cls = _imported(kind.home)
        found: Detector
        settings = getattr(config, kind.group).model_copy(update=kind.settings)
        if name == "ensemble":
            found = cls(settings, [make(member, config) for member in settings.members])
        else:
            found = cls(settings)
        return found
    for point in entry_points(group=GROUP):
        if point.name == name:
            added: type[Detector] = point.load()
            return added(added.Config())  # type: ignore[call-arg]
    raise UsageError(f'there is no detector "{name}"; the detectors are {", ".join(names())}.')


def load(folder: Path) -> Detector:
    """Read any detector; raises `InputError` where the folder holds none that is known here."""
    name = read_about(folder)["detector"]
    for kind in DETECTORS.values():
        cls = _imported(kind.home)
        if cls.name == name:
            found: Detector = cls.load(folder)
            return found
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load().load(folder)  # type: ignore[no-any-return]
    raise UsageError(f'{folder}: there is no detector "{name}" here; install what made it.')


def _imported(home: str) -> Any:
    module, _, attribute = home.partition(":")
    return getattr(import_module(module), attribute)
