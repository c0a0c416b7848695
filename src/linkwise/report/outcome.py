"""What every study returns to `run`, which writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from linkwise.report.document import Report


@dataclass(frozen=True)
class Outcome:
    """The numbers, the lists, and the page of a finished study."""

    metrics: list[dict[str, Any]]
    ranking: pl.DataFrame | pl.LazyFrame
    """Lazy where it may be more than memory holds: it is written piece by piece."""
    evaluation: pl.DataFrame
    report: Report
