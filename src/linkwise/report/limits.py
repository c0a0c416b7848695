"""How much of a chart's data is drawn; all of it is in the data below the figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linkwise.report.document import (
    BarChart,
    Chart,
    HistogramChart,
    LineChart,
    NetworkChart,
    ScatterChart,
)

Floats = NDArray[np.float64]

MAX_SERIES = 8
MAX_BARS = 40  # categories
MAX_POINTS = 1000  # per line
MAX_DOTS = 5000  # of a map
MAX_NAMES = 20  # written on it


def left_out(chart: Chart) -> str:
    """What of `chart` is in its data but not drawn, in words; empty if all is drawn."""
    said = []
    if isinstance(chart, NetworkChart):
        return ""
    if isinstance(chart, ScatterChart):
        if (step := every(chart)) > 1:
            said.append(f"Of each group one point in {step:,} is drawn.")
        if chart.x_label:
            return " ".join(said)
        if (named := sum(not (group.baseline or group.mark) for group in chart.series)) > 1:
            some = f"The first {MAX_NAMES} names are" if named > MAX_NAMES else "Names are"
            said.append(f"{some} written where they cover no other.")
        return " ".join(said)
    if not isinstance(chart, HistogramChart) and len(chart.series) > MAX_SERIES:
        said.append(f"The first {MAX_SERIES} of {len(chart.series)} series are drawn.")
    if isinstance(chart, BarChart) and len(chart.categories) > MAX_BARS:
        said.append(f"The first {MAX_BARS} of {len(chart.categories)} categories are drawn.")
    if isinstance(chart, LineChart) and any(len(s.x) > MAX_POINTS for s in chart.series):
        said.append(f"Lines are thinned to {MAX_POINTS:,} points that keep highs and lows.")
    return " ".join(said)


def every(chart: ScatterChart) -> int:
    """Draw each how manyth point of a map, so that there are not too many."""
    return max(1, -(-sum(len(group.x) for group in chart.series if not group.mark) // MAX_DOTS))


def thin(y: Floats, n: int) -> NDArray[np.int64]:
    """Rows of `y` to draw, at most `n`: ends, gaps (NaN), and the lowest and highest of each stretch.

    This is the min-max decimation of oscilloscopes: the outline of the line stays as it was.
    """
    if len(y) <= n:
        return np.arange(len(y))
    kept = {0, len(y) - 1}
    for stretch in np.array_split(np.arange(len(y)), (n - 2) // 3):
        part = y[stretch]
        missing = np.isnan(part)
        if missing.any():
            kept.add(int(stretch[np.argmax(missing)]))
        if not missing.all():
            kept.update((int(stretch[np.nanargmin(part)]), int(stretch[np.nanargmax(part)])))
    return np.array(sorted(kept))
