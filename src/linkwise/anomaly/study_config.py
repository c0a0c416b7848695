"""The parameters of a detection: which graphs are normal, what learns them, how it is judged."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from cyclopts import Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from linkwise.anomaly.config import EnsembleConfig, ReferenceConfig
from linkwise.anomaly.gran import GRANConfig
from linkwise.anomaly.graphrnn import GraphRNNConfig
from linkwise.anomaly.masked import MaskedConfig
from linkwise.data.schema import parted

LEARN_ANOMALIES = frozenset({"masked", "masked-edge"})  # detectors that known anomalies can teach
Hidden = Parameter(show=False, parse=False)


class DetectConfig(BaseModel):
    """Which graphs are normal, what learns them, and how it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    against: Annotated[tuple[str, ...], BeforeValidator(parted)] = ()
    """Files of graphs that are strange, to judge the detectors by, separated by commas."""
    known_anomalies: Annotated[tuple[str, ...], BeforeValidator(parted)] = ()
    """Files of graphs known to be strange, two or more graphs, separated by commas: `masked` and
    `masked-edge` learn from them, too. They are not judged, and strange graphs equal to one are left out."""
    normal_class: str | None = None
    """Class of the normal graphs, as the file has it; by default all but the strange one."""
    anomalous_class: str | None = None
    """Class of the strange graphs; by default all but the normal one, and with `folds` each in turn."""
    detector: Annotated[tuple[str, ...], BeforeValidator(parted)] = ("auto",)
    """Detectors, separated by commas: graphrnn, graphrnn-s, gran, masked, masked-edge, ensemble, size,
    degrees, labels, wl, wl-cosine, netlsd; `auto` chooses among --auto-from by graphs made strange."""
    auto_from: Annotated[tuple[str, ...], BeforeValidator(parted)] = (
        "size",
        "degrees",
        "labels",
        "wl",
        "wl-cosine",
        "netlsd",
    )
    """What `auto` chooses from."""
    without_references: bool = False
    """Judge the detectors that were named and size alone, not all cheap references."""
    protocol: Literal["holdout", "folds"] = "holdout"
    """`holdout` keeps a share of the normal graphs for the test; `folds` judges every graph once, by a
    detector that learned the normal ones of the other folds."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Share of the normal graphs that are kept for the test, with `holdout`."""
    folds: int = Field(5, ge=2, le=20)
    """Parts of equal shares of each class, with `folds`."""
    calibration: float = Field(0.2, gt=0, lt=1)
    """Share of the normal graphs in training that p-values are counted among, and nothing learns from."""
    false_alarms: float = Field(0.05, gt=0, lt=1)
    """Share of false ones among the graphs that are flagged (false discovery rate)."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples of graphs for the intervals."""
    explain: int = Field(20, ge=0)
    """Strangest graphs that get a reason."""
    reference: Annotated[ReferenceConfig, Hidden] = ReferenceConfig()
    """Settings of the cheap references."""
    graphrnn: Annotated[GraphRNNConfig, Hidden] = GraphRNNConfig()
    """Settings of GraphRNN."""
    gran: Annotated[GRANConfig, Hidden] = GRANConfig()
    """Settings of GRAN."""
    masked: Annotated[MaskedConfig, Hidden] = MaskedConfig()
    """Settings of masked completion."""
    ensemble: Annotated[EnsembleConfig, Hidden] = EnsembleConfig()
    """Settings of the ensemble."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.detector:
            raise ValueError("detector names none; expected one or more, such as auto")
        if self.known_anomalies and not LEARN_ANOMALIES & set(self.detector):
            raise ValueError(
                f"known_anomalies go with one of {', '.join(sorted(LEARN_ANOMALIES))}; the detectors are "
                f"{', '.join(self.detector)}, which learn from normal graphs alone"
            )
        same = self.normal_class is not None and self.normal_class == self.anomalous_class
        if same:
            raise ValueError(f'class "{self.normal_class}" cannot be normal and strange at once')
        return self
