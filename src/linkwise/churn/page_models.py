"""The part of the churn report that says how well the models do."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np

from linkwise.churn.fitted import Fitted
from linkwise.churn.words import percent
from linkwise.estimators.calibrate import reliability_bins
from linkwise.report.document import (
    BarChart,
    BarSeries,
    Column,
    Figure,
    LineChart,
    LineSeries,
    ReliabilityChart,
    ReliabilitySeries,
    Section,
    Table,
    Text,
)

Metrics = list[dict[str, Any]]
TITLES = {
    "recency": "Recency alone (baseline)",
    "logistic": "Logistic regression",
    "forest": "Random forest",
    "boosting": "Gradient boosting",
}


def models_section(metrics: Metrics, fitted: Fitted) -> Section:
    """The models against recency alone, with gain and reliability."""
    names = list(fitted.models)
    blocks: list[Any] = [
        _model_table(metrics, names),
        Text(
            paragraphs=(
                "Intervals are 95 % bootstrap intervals over users; differences are paired, on the "
                "same resamples. The baseline is recency alone: days since the last event. Ties at a "
                "cut are counted against the models, and in expectation for the baseline.",
            ),
            tone="note",
        ),
        _top_table(metrics, names),
        _auc_figure(metrics, names),
        _lift_figure(fitted),
        _reliability_figure(fitted),
        _metric_table(metrics, names),
        *([_published_table()] if "play" in fitted.spec.kinds else []),
    ]
    return Section(title="How well is it known", blocks=tuple(blocks))


def _model_table(metrics: Metrics, names: list[str]) -> Table:
    shown = ("auc", "average_precision", "brier")
    columns = [Column(name="model")]
    for metric in shown:
        words = metric.replace("_", " ") if metric != "auc" else "AUC"
        columns += _ranged(words, "float3")
        if metric == "auc":
            columns += _ranged("over recency", "difference")
    rows = []
    for name in names:
        cells: list[Any] = [TITLES[name]]
        for metric in shown:
            row = pick(metrics, name, metric)
            cells += [row["value"], row["low"], row["high"]]
            if metric == "auc":
                cells += [row["difference"], row["difference_low"], row["difference_high"]]
        rows.append(tuple(cells))
    return Table(
        caption="The models on the reported users",
        columns=tuple(columns),
        rows=tuple(rows),
        source="metrics.json",
        note="Less is better for brier. Chance has an AUC of .5.",
    )


def _ranged(name: str, form: Any) -> list[Column]:
    """A column shown with its interval: value, low, high."""
    low, high = f"{name} low", f"{name} high"
    return [
        Column(name=name, format=form, low=low, high=high),
        Column(name=low, format=form),
        Column(name=high, format=form),
    ]


def _metric_table(metrics: Metrics, names: list[str]) -> Table:
    """Every metric of every model, on the reported users and on the training users."""
    shown = (
        "auc",
        "average_precision",
        "accuracy",
        "precision",
        "recall",
        "f1",
        "brier",
        "log_loss",
    )
    splits = {"test": "reported", "train": "training"}
    rows = []
    for split, users in splits.items():
        for metric in shown:
            for name in names:
                row = pick(metrics, name, metric, split)
                value = (row["value"], row["low"], row["high"])
                over = (row["difference"], row["difference_low"], row["difference_high"])
                rows.append((users, metric.replace("_", " "), TITLES[name], *value, *over))
    return Table(
        caption="All metrics, on the reported users and on the models' own training users",
        columns=(
            Column(name="users"),
            Column(name="metric"),
            Column(name="model"),
            *_ranged("value", "float3"),
            *_ranged("over recency", "difference"),
        ),
        rows=tuple(rows),
        limit=len(names),
        source="metrics.json",
        note="Accuracy, precision, recall and f1 at the calibrated probability .5.",
    )


def _top_table(metrics: Metrics, names: list[str]) -> Table:
    tops = [row for row in metrics if row["split"] == "test" and row["k"] is not None]
    rows = []
    for k in sorted({row["k"] for row in tops}):
        for name in names:
            found = {r["metric"]: r for r in tops if (r["model"], r["k"]) == (name, k)}
            cells: list[Any] = [f"top {k:g} %", TITLES[name]]
            for metric in ("precision_at", "lift_at"):
                cells += [found[metric][key] for key in ("value", "low", "high")]
            rows.append(tuple(cells))
    return Table(
        caption="Precision and lift among the riskiest users",
        columns=(
            Column(name="users"),
            Column(name="model"),
            *_ranged("precision", "float3"),
            *_ranged("lift", "float3"),
        ),
        rows=tuple(rows),
        source="metrics.json",
        note="Lift: precision over the churn rate of all reported users.",
    )


def _auc_figure(metrics: Metrics, names: list[str]) -> Figure:
    rows = [pick(metrics, name, "auc") for name in names]
    words = ", ".join(f"{TITLES[n]} {interval(r)}" for n, r in zip(names, rows, strict=True))
    return Figure(
        caption="AUC of each model on the reported users",
        alt=f"Bars of AUC with 95 % intervals: {words}.",
        chart=BarChart(
            categories=tuple(TITLES[name] for name in names),
            series=(
                BarSeries(
                    name="AUC",
                    values=[r["value"] for r in rows],
                    low=[r["low"] for r in rows],
                    high=[r["high"] for r in rows],
                ),
            ),
            value_label="AUC",
        ),
    )


def _lift_figure(fitted: Fitted) -> Figure:
    """Cumulative gain: the share of churners among the riskiest users."""
    labels = fitted.parts.report.labels
    shares = np.linspace(0, 1, 41)
    series = []
    for name, scores in fitted.judged.scores.items():
        caught = _gain(labels, scores, shares)
        series.append(LineSeries(name=TITLES[name], x=shares, y=caught, baseline=name == "recency"))
    series.append(LineSeries(name="chance", x=shares, y=shares, baseline=True))
    tenth = {s.name: s.y[4] for s in series}
    words = ", ".join(
        f"{name} {percent(value)}" for name, value in tenth.items() if value is not None
    )
    return Figure(
        caption="Share of all churners caught among the riskiest users",
        alt=f"Gain curves. The riskiest tenth of the users holds this share of all churners: {words}.",
        chart=LineChart(
            x_label="Share of users, riskiest first",
            y_label="Share of churners",
            series=tuple(series),
            x_format="percent",
            y_format="percent",
        ),
    )


def _gain(labels: Any, scores: Any, shares: Any) -> list[float]:
    """Share of the positives among the top share of users, tied users in equal parts."""
    order = np.argsort(-scores, kind="stable")
    _, starts = np.unique(-scores[order], return_index=True)
    ends = np.append(starts[1:], len(scores))
    hits = np.concatenate(([0.0], np.cumsum(np.add.reduceat(labels[order], starts))))
    places = np.concatenate(([0.0], ends.astype(float)))
    caught = np.interp(shares * len(scores), places, hits) / labels.sum()
    return [float(value) for value in caught]


def _reliability_figure(fitted: Fitted) -> Figure:
    series = []
    for name, probabilities in fitted.judged.probabilities.items():
        bins = reliability_bins(fitted.parts.report.labels, probabilities)
        series.append(
            ReliabilitySeries(
                name=TITLES[name],
                predicted=[b.mean_predicted for b in bins],
                observed=[b.observed_rate for b in bins],
                low=[b.low for b in bins],
                high=[b.high for b in bins],
                count=[b.n for b in bins],
                baseline=name == "recency",
            )
        )
    gaps = {
        s.name: float(
            np.average(
                np.abs(np.array(s.predicted, float) - np.array(s.observed, float)),
                weights=np.array(s.count, float),
            )
        )
        for s in series
    }
    words = ", ".join(f"{name} {gap:.3f}" for name, gap in gaps.items())
    return Figure(
        caption="Reliability: predicted against observed churn",
        alt=f"Reliability curves; mean distance from the diagonal: {words}.",
        chart=ReliabilityChart(series=tuple(series)),
        note="Probabilities were calibrated on other users, or at an earlier cutoff.",
    )


def published() -> dict[str, Any]:
    """The Music Box report's own figures."""
    path = files("linkwise.churn").joinpath("published.json")
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def _published_table() -> Table:
    report = published()
    return Table(
        caption="For comparison: the Music Box report's own AUCs, on another data set",
        columns=(Column(name="model"), Column(name="AUC", format="float4")),
        rows=tuple((row["model"], row["auc"]) for row in report["auc"]),
        external=True,
        note="These are that report's figures on its own users; nothing here was fitted to them.",
    )


def pick(metrics: Metrics, model: str, metric: str, split: str = "test") -> dict[str, Any]:
    """The one row of a model and metric."""
    return next(
        row
        for row in metrics
        if (row["model"], row["metric"], row["split"]) == (model, metric, split)
    )


def interval(row: dict[str, Any]) -> str:
    """A metric with its interval as text: 0.91 [0.90, 0.92]."""
    if row["value"] is None:
        return "undefined"
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
