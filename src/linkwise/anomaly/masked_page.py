"""What masked completion adds to a report: how edges are completed, and whether classes fall apart by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.anomaly.masked_clusters import SAMPLES, cluster_completions
from linkwise.data.graphs import Graphs

if TYPE_CHECKING:
    from linkwise.anomaly.masked import Masked
    from linkwise.report import Section

MOST = 200  # graphs of a kind that are looked at
BINS = 20  # of a probability


def completion_sections(detector: Masked, normal: Graphs, strange: Graphs) -> tuple[Section, ...]:
    """Probabilities of edges and of pairs without one, in normal and strange graphs, and two clusters."""
    from linkwise.report import (
        Column,
        Figure,
        LineChart,
        LineSeries,
        ScatterChart,
        ScatterSeries,
        Section,
        Table,
    )

    kinds = {"normal": _some(normal), "strange": _some(strange)}
    edges = np.linspace(0, 1, BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    series, means = [], []
    for kind, graphs in kinds.items():
        found = list(detector.completions_of(graphs))
        for there, what in ((True, "edges"), (False, "pairs without")):
            p = np.concatenate([one.probability[one.there == there] for one in found])
            weight = np.concatenate([one.weight[one.there == there] for one in found])
            if not weight.sum():
                continue
            share = np.histogram(p, edges, weights=weight)[0] / weight.sum()
            name = f"{what}, {kind}"
            series.append(
                LineSeries(name=name, x=middles, y=share.tolist(), baseline=kind == "normal")
            )
            means.append(f"{name} {np.average(p, weights=weight):.2f}")
    blocks: list[Any] = [
        Figure(
            caption="How likely the network finds an edge, where there is one and where there is none",
            alt=f"Distributions of probabilities. Means: {'; '.join(means)}.",
            chart=LineChart(
                x_label="probability of an edge", y_label="share", series=tuple(series),
                y_format="percent",
            ),
            note=f"Up to {MOST} graphs of a kind; each graph counts the same.",
        )
    ]  # fmt: skip
    rows = []
    for by, what in (
        ("histogram", f"histograms of {SAMPLES} edges"),
        ("summary", "whole summaries"),
    ):
        clustered = cluster_completions(detector, *kinds.values(), by=by)  # type: ignore[arg-type]
        rows.append((what, clustered.accuracy, len(clustered.strange)))
        if by == "histogram":
            points = clustered.coordinates
            groups = tuple(
                ScatterSeries(
                    name=kind,
                    x=points[clustered.strange == (kind == "strange"), 0].tolist(),
                    y=points[clustered.strange == (kind == "strange"), 1].tolist(),
                    baseline=kind == "normal",
                )
                for kind in kinds
            )
            blocks.append(
                Figure(
                    caption=f"Graphs by their histograms of {SAMPLES} completed edges",
                    alt="Each graph by the first two principal components of its histogram of 10 bins; two "
                    f"clusters put {clustered.accuracy:.1%} of the graphs with their kind.",
                    chart=ScatterChart(
                        series=groups, x_label="first component", y_label="second component"
                    ),
                )
            )
    blocks.append(
        Table(
            caption="Two clusters of graphs by how their edges are completed",
            columns=(
                Column(name="clustered by"),
                Column(name="graphs where they belong", format="percent"),
                Column(name="graphs", format="int"),
            ),
            rows=tuple(rows),
            note="Agglomerative clustering by Ward's distance, without labels; clusters are named the better "
            "way, so that 50 % is nothing.",
        )
    )
    return (Section(title="How edges are completed", blocks=tuple(blocks)),)


def _some(graphs: Graphs) -> Graphs:
    """At most 200 of the graphs, evenly spread."""
    rows = np.unique(np.linspace(0, len(graphs) - 1, min(MOST, len(graphs))).astype(np.int64))
    return graphs.select(rows)
