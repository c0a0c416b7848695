"""How well a forecast's models did, on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.report import (
    Column,
    Figure,
    LineChart,
    LineSeries,
    Section,
    Table,
    interval_columns,
)
from linkwise.technology.anchors import RULES
from linkwise.technology.config import WITHOUT_TEXT
from linkwise.technology.words import counted

if TYPE_CHECKING:
    from linkwise.metrics.bootstrap import Interval
    from linkwise.metrics.pairs import PairMetrics
    from linkwise.technology.judging import Judged

CURVE = 200  # points of a ROC curve
BINS = 10  # of cosines


def best_without_text(found: PairMetrics, chosen: str, metric: str) -> str:
    """Of the models that read no text and learn from no outcome the best by a metric, but for the list's
    own."""
    return max(
        (name for name in WITHOUT_TEXT if name != chosen),
        key=lambda name: found.points[name][metric, None],
    )


def models_section(of: Judged) -> Section:
    """The models by both labels, over all pairs and at the top of their lists."""
    blocks: list[Any] = []
    what = f"Pairs of {'codes' if of.level == 'codes' else f'codes at the level {of.level}'}"
    if of.metrics is not None:
        blocks = _figures(of, of.metrics, what)
    if of.combined is not None:
        assert of.labels is not None
        n = int(of.labels.combined.sum())
        points = of.combined.points
        order = sorted(points, key=lambda model: -points[model]["auc", None])
        best = best_without_text(of.combined, of.chosen, "auc")
        blocks.append(
            Table(
                caption=f"{what} that were combined at all in {of.plan.forecast}",
                columns=(
                    Column(name="model"),
                    *interval_columns("AUC", "float3"),
                    *interval_columns(f"over {best}", "difference"),
                    *interval_columns("average precision", "float3"),
                ),
                rows=tuple(
                    (
                        model,
                        *of.combined.value(model, "auc"),
                        *_over(of.combined, model, best, "auc"),
                        *of.combined.value(model, "average_precision"),
                    )
                    for model in order
                ),
                limit=40,
                note=f"{counted(n, 'pair is', 'pairs are')} on a patent together, whatever chance would "
                f"make of them. {best} is the best model without texts by this second label.",
            )
        )
    return Section(
        title=f"How well {of.plan.forecast} was foretold"
        + ("" if of.level == "codes" else f": {of.level}"),
        blocks=tuple(blocks),
    )


def _over(found: PairMetrics, model: str, other: str, metric: str) -> Interval:
    return (None, None, None) if model == other else found.difference(model, other, metric)


def _figures(of: Judged, found: PairMetrics, what: str) -> list[Any]:
    """The models over all pairs, their curves, at the top of their lists, and their differences."""
    assert of.labels is not None
    order = sorted(found.points, key=lambda model: -found.points[model]["auc", None])
    places = sorted(k for metric, k in found.points[order[0]] if metric == "precision_at" and k)
    best = best_without_text(found, of.chosen, "average_precision")
    n = int(of.labels.positive.sum())
    possible = of.possible
    whole = Table(
        caption=f"{what} that {of.labels.do(2)} in {of.plan.forecast}, by what foretold them: all pairs",
        columns=(
            Column(name="model"),
            *interval_columns("AUC", "float3"),
            *interval_columns("over common neighbours", "difference"),
            *(interval_columns("AUC, both codes occur", "float3") if possible else ()),
        ),
        rows=tuple(
            (
                model,
                *found.value(model, "auc"),
                *_over(found, model, "common neighbours", "auc"),
                *(possible.value(model, "auc") if possible else ()),
            )
            for model in order
        ),
        limit=40,
        note=f"{found.n:,} pairs, of which {n:,} {of.labels.do(n)} ({n / found.n:.2%}; "
        f"{of.labels.name}). Intervals: 95 %, bootstrap over codes. Differences are to common "
        "neighbours, the baseline of all runs; the verdict above compares with the best model without texts. "
        + (_who_survives(of) if possible else "")
        + (
            " text: the mean of the patents' text vectors; hidden tokens: of the states where a hidden "
            "technology token stands before their texts; tokens: of the states of the code's own token "
            "there; token rows: the token's own row."
            if any(":" in model for model in order)
            else ""
        ),
    )
    top = Table(
        caption="The same at the top of each list",
        columns=(
            Column(name="model"),
            *interval_columns("average precision", "float3"),
            *interval_columns(f"over {best}", "difference"),
            Column(name="AUC of the first tenth", format="float3"),
            *(Column(name=f"first {int(k):,}", format="percent") for k in places),
        ),
        rows=tuple(
            (
                model,
                *found.value(model, "average_precision"),
                *_over(found, model, best, "average_precision"),
                found.points[model]["partial_auc", 10],
                *(found.points[model]["precision_at", k] for k in places),
            )
            for model in sorted(order, key=lambda m: -found.points[m]["average_precision", None])
        ),
        limit=40,
        note=f"{best} is the best model without texts here. First 10, 100 and more: the share of a list's "
        f"first pairs that {of.labels.do(2)}. AUC of the first tenth: up to a false-positive rate of .1, "
        "standardised so that chance is .5. Their intervals stand in metrics.json.",
    )
    pairs = [
        (model, other, *found.difference(model, other, "auc"))
        for model in order
        if model.startswith(("hidden tokens: ", "learned"))
        for other in order
        if other != model and other not in ("random", "best possible")
    ]
    differences = Table(
        caption="Differences in AUC, paired",
        columns=(
            Column(name="model"),
            Column(name="against"),
            *interval_columns("difference", "difference"),
        ),
        rows=tuple(pairs),
        limit=12,
    )
    return [whole, top, _roc(of), *([differences] if pairs else [])]


def _who_survives(of: Judged) -> str:
    """How far the outcome is told by which codes are used at all, in words."""
    assert of.labels is not None
    there, label = of.labels.there, of.labels.positive
    auc = (
        1 - there[~label].mean() / 2
    )  # all that come true are of codes that occur, and half of ties count
    which = f"of {there.sum():,} pairs both codes are on patents of {of.plan.forecast}"
    return (
        f"Both codes occur: {which}, and no others can come true. Who knew this alone, which no model can, "
        f"would have an AUC of {auc:.3f} over all pairs; over these pairs alone it counts for nothing. "
    )


def _roc(of: Judged) -> Figure:
    assert of.metrics is not None
    assert of.labels is not None
    label = of.labels.positive
    order = sorted(of.metrics.points, key=lambda model: -of.metrics.points[model]["auc", None])  # type: ignore[union-attr]
    drawn = [m for m in order if m not in ("random",)][:6]
    drawn += [m for m in ("common neighbours", "degree product") if m in order and m not in drawn]
    at = np.linspace(0, 1, CURVE)
    series = []
    for model in drawn:
        score = of.scores[model]
        down = np.argsort(-score, kind="stable")
        hits = label[down]
        last = np.append(np.flatnonzero(np.diff(score[down])), len(down) - 1)
        right = np.concatenate([[0], np.cumsum(hits)[last] / hits.sum()])
        wrong = np.concatenate([[0], np.cumsum(~hits)[last] / (~hits).sum()])
        series.append(
            LineSeries(
                name=model,
                x=[round(float(x), 4) for x in at],
                y=[round(float(y), 4) for y in np.interp(at, wrong, right)],
                baseline=model in RULES,
            )
        )
    return Figure(
        caption="ROC curves",
        alt=f"The share of pairs {of.labels.kind} against the share of others, from the top of each model's "
        "list; the areas under the curves are in the table.",
        chart=LineChart(
            x_label="share of the other pairs",
            y_label=f"share of pairs {of.labels.kind}",
            series=tuple(series),
        ),
    )


def sure_section(first: Judged) -> list[Section]:
    """How often the label is true of pairs of a cosine, by tenths of the pairs."""
    if first.metrics is None or first.labels is None:
        return []
    names = [n for n in first.scores if n.startswith(("text: ", "hidden tokens: "))] or [
        "PPMI vectors"
    ]
    label = first.labels.positive
    figures = []
    for name in names[:4]:
        score = first.scores[name].astype(np.float64)
        cuts = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)))
        if len(cuts) < 3:
            continue
        part = np.clip(np.searchsorted(cuts, score, side="right") - 1, 0, len(cuts) - 2)
        n = np.bincount(part, minlength=len(cuts) - 1)
        mean = np.bincount(part, score, len(cuts) - 1) / np.maximum(n, 1)
        rate = np.bincount(part, label, len(cuts) - 1) / np.maximum(n, 1)
        figures.append(
            LineSeries(
                name=name,
                x=[round(float(x), 4) for x in mean[n > 0]],
                y=[round(float(y), 6) for y in rate[n > 0]],
            )
        )
    if not figures:
        return []
    return [
        Section(
            title="From cosine to frequency",
            blocks=(
                Figure(
                    caption=f"How many pairs {first.labels.do(2)}, by cosine (tenths of all pairs)",
                    alt=f"A line for each model: the share of pairs {first.labels.kind}, by the mean cosine "
                    "of a tenth of the pairs.",
                    chart=LineChart(
                        x_label="cosine",
                        y_label=f"share {first.labels.kind}",
                        y_format="percent",
                        series=tuple(figures),
                    ),
                ),
            ),
        )
    ]
