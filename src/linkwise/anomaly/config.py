"""The parameters of detectors of strange graphs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from linkwise.data.schema import parted


class DetectorConfig(BaseModel):
    """What every detector has."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    contamination: float = Field(0.05, gt=0, lt=1)
    """Share of normal graphs that may be called strange: it sets the threshold."""


class ReferenceConfig(DetectorConfig):
    """Graphs as vectors, and how far these are from the training graphs'."""

    description: Literal["size", "degrees", "labels", "wl", "netlsd"] = "size"
    """`size` nodes and edges, `degrees` and `labels` histograms, `wl` Weisfeiler-Lehman subtrees, `netlsd`
    heat traces."""
    by: Literal["knn", "svm", "forest"] = "knn"
    """`knn` mean distance to the nearest, `svm` one-class support vectors, `forest` isolation forest."""
    neighbours: int = Field(1, ge=1)
    """Nearest training graphs whose distance counts."""
    rounds: int = Field(1, ge=0, le=10)
    """Rounds of refinement of `wl`."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance of `wl`: of counts, which know a graph's size, or of their directions, which do not."""


class EnsembleConfig(DetectorConfig):
    """Several detectors together."""

    members: Annotated[tuple[str, ...], BeforeValidator(parted)] = (
        "size",
        "degrees",
        "wl",
        "wl-cosine",
    )
    """Detectors whose p-values are put together."""
    share: float = Field(0.25, gt=0, lt=1)
    """Share of the training graphs that the members leave out, to count p-values among."""
