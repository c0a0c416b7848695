"""The churn report: the study's numbers as a `Report`, told in the order in which a reader asks."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.explore import MAX_COHORTS, Rate
from linkwise.churn.fitted import LISTED_MODEL, Fitted
from linkwise.churn.insight import Insight
from linkwise.churn.ledger import Entry
from linkwise.churn.models import Parts
from linkwise.churn.shortlist import profit_curve
from linkwise.churn.words import describe_feature, format_value
from linkwise.data.events import from_epoch_day
from linkwise.estimators.calibrate import reliability_bins
from linkwise.report.document import (
    BarChart,
    BarSeries,
    Bullets,
    Column,
    Fact,
    Figure,
    HistogramChart,
    LineChart,
    LineSeries,
    Mark,
    Reference,
    ReliabilityChart,
    ReliabilitySeries,
    Report,
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
SHOWN_USERS = 50


def build_report(
    fitted: Fitted,
    *,
    metrics: Metrics,
    entries: list[Entry],
    insight: Insight,
    shortlist: pl.DataFrame,
    simulated: bool,
    config: ChurnConfig,
) -> Report:
    """The whole report of a churn study."""
    verdict, beats = lead(metrics)
    report = fitted.plan.report.describe()
    rate = float(np.mean(fitted.parts.report.labels))
    return Report(
        title="Who will be gone",
        lead=(
            verdict,
            f"Of {len(fitted.parts.report):,} users active from {report['features']}, {rate:.1%} "
            f"did nothing from {report['label']}.",
            *insight.sentences[:1],
        ),
        simulated=simulated,
        beats_baseline=beats,
        facts=_facts(fitted, shortlist, rate),
        sections=(
            _answer_section(metrics, fitted),
            _list_section(fitted, shortlist, insight, config),
            _why_section(insight),
            _time_section(insight, fitted),
            _items_section(insight),
            _stage_section(insight),
            _windows_section(fitted, insight, config),
            _log_section(insight, fitted),
            _cleaning_section(entries, insight, config),
            _method_section(config, fitted),
        ),
    )


def pick(metrics: Metrics, model: str, metric: str, split: str = "test") -> dict[str, Any]:
    """The one row of a model and metric."""
    return next(
        row
        for row in metrics
        if (row["model"], row["metric"], row["split"]) == (model, metric, split)
    )


def lead(metrics: Metrics) -> tuple[str, bool]:
    """The verdict in a sentence, and whether the listed model beats recency alone, intervals apart."""
    mine, base = pick(metrics, LISTED_MODEL, "auc"), pick(metrics, "recency", "auc")
    apart = mine["difference_low"] is not None and mine["difference_low"] > 0
    numbers = f"AUC {_interval(mine)} against {_interval(base)}"
    gap = f"difference {_signed(mine)}"
    if apart:
        return f"Boosting beats recency alone: {numbers}, {gap}.", True
    return (
        f"Boosting does not beat recency alone: {numbers}, {gap}. "
        "A list sorted by days since the last event serves as well.",
        False,
    )


def _interval(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _signed(row: dict[str, Any]) -> str:
    low, high = row["difference_low"], row["difference_high"]
    ends = f" [{low:+.3f}, {high:+.3f}]" if low is not None else ""
    return f"{row['difference']:+.3f}{ends}"


def _facts(fitted: Fitted, shortlist: pl.DataFrame, rate: float) -> tuple[Fact, ...]:
    events = fitted.events
    return (
        Fact(label="Events read", value=f"{events.n_rows:,}"),
        Fact(label="Users in the log", value=f"{events.n_users:,}"),
        Fact(
            label="Days",
            value=f"{events.end_day - events.first_day}",
            note=f"{from_epoch_day(events.first_day)} to {from_epoch_day(events.last_day)}",
        ),
        Fact(label="Churn rate", value=f"{rate:.1%}", note="of the reported users"),
        Fact(label="Users on the list", value=f"{len(shortlist):,}", note="active at the log's end"),
    )


def _answer_section(metrics: Metrics, fitted: Fitted) -> Section:
    names = list(fitted.models)
    blocks: list[Any] = [
        _metric_table(metrics, names, "test", "The models on the reported users"),
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
        _metric_table(metrics, names, "train", "The same models on their own training users"),
        _published_table(),
    ]
    return Section(title="How well is it known", blocks=tuple(blocks))


def _metric_table(metrics: Metrics, names: list[str], split: str, caption: str) -> Table:
    shown = ("auc", "average_precision", "accuracy", "precision", "recall", "f1", "brier", "log_loss")
    rows = []
    for metric in shown:
        for name in names:
            row = pick(metrics, name, metric, split)
            rows.append(
                (metric.replace("_", " "), TITLES[name])
                + tuple(row[key] for key in ("value", "low", "high"))
                + tuple(row[key] for key in ("difference", "difference_low", "difference_high"))
            )
    return Table(
        caption=caption,
        columns=(
            Column(name="metric"),
            Column(name="model"),
            Column(name="value", format="float3", low="low", high="high"),
            Column(name="low", format="float3"),
            Column(name="high", format="float3"),
            Column(name="over recency", format="difference", low="from", high="to"),
            Column(name="from", format="difference"),
            Column(name="to", format="difference"),
        ),
        rows=tuple(rows),
        limit=len(names),
        source="metrics.json",
        note="Less is better for brier and log loss. Threshold of accuracy to f1: probability .5.",
    )


def _top_table(metrics: Metrics, names: list[str]) -> Table:
    rows = []
    for name in names:
        for metric in ("precision_at", "lift_at"):
            found = [r for r in metrics if (r["model"], r["metric"], r["split"]) == (name, metric, "test")]
            rows += [
                (TITLES[name], metric.replace("_at", ""), f"top {row['k']:g} %")
                + (row["value"], row["low"], row["high"])
                for row in found
            ]
    return Table(
        caption="Precision and lift among the riskiest users",
        columns=(
            Column(name="model"),
            Column(name="metric"),
            Column(name="users"),
            Column(name="value", format="float3", low="low", high="high"),
            Column(name="low", format="float3"),
            Column(name="high", format="float3"),
        ),
        rows=tuple(rows),
        limit=6,
        source="metrics.json",
        note="Lift: precision over the churn rate of all reported users.",
    )


def _auc_figure(metrics: Metrics, names: list[str]) -> Figure:
    rows = [pick(metrics, name, "auc") for name in names]
    words = ", ".join(f"{TITLES[n]} {_interval(r)}" for n, r in zip(names, rows, strict=True))
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
            references=(Reference(value=0.5, label="chance"),),
        ),
    )


def _lift_figure(fitted: Fitted) -> Figure:
    """Cumulative gain: the share of churners among the riskiest users."""
    labels = fitted.parts.report.labels
    shares = np.linspace(0, 1, 41)
    series = []
    for name, scores in fitted.judged.scores.items():
        caught = _gain(labels, scores, shares)
        series.append(
            LineSeries(name=TITLES[name], x=shares, y=caught, baseline=name == "recency")
        )
    series.append(LineSeries(name="chance", x=shares, y=shares, baseline=True))
    tenth = {s.name: s.y[4] for s in series}
    words = ", ".join(f"{name} {value:.0%}" for name, value in tenth.items() if value is not None)
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
    levels, starts = np.unique(-scores[order], return_index=True)
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
        alt=f"Reliability curves near the diagonal; mean distance from it: {words}.",
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
        note="These are that report's figures on its own users; nothing here was fitted to them.",
    )


def _list_section(
    fitted: Fitted, shortlist: pl.DataFrame, insight: Insight, config: ChurnConfig
) -> Section:
    curve, best = profit_curve(shortlist["probability"].to_numpy(), config)
    n = len(shortlist)
    places = np.unique(np.linspace(0, n, min(n + 1, 101)).astype(int))
    shares = places / max(n, 1)
    rows = tuple(
        (
            row["rank"],
            str(row["user"]),
            row["probability"],
            row["low"],
            row["high"],
            row["reason"],
            row["action"],
        )
        for row in shortlist.head(SHOWN_USERS).iter_rows(named=True)
    )
    actions = shortlist.group_by("action").agg(pl.len().alias("users")).sort("users", descending=True)
    held = int(shortlist["holdout"].sum())
    return Section(
        title="The list",
        blocks=(
            Text(
                paragraphs=(
                    f"{n:,} users were active in the {fitted.spec.feature_days} days before "
                    f"{fitted.plan.final.describe()['cutoff']}, the log's end. They are not labelled yet: "
                    "these are forecasts.",
                    "Risk is not persuadability: a user who is likely to leave is not for that reason "
                    "likely to be kept by an offer. "
                    f"{held:,} users ({config.holdout:.0%} at random) are held out from any action, "
                    "so that the effect of acting can be measured against them.",
                ),
                tone="note",
            ),
            Table(
                caption="The riskiest users",
                columns=(
                    Column(name="rank", format="int"),
                    Column(name="user"),
                    Column(name="probability", format="percent", low="low", high="high"),
                    Column(name="low", format="percent"),
                    Column(name="high", format="percent"),
                    Column(name="reasons"),
                    Column(name="action"),
                ),
                rows=rows,
                limit=15,
                source="churn.csv",
                note="The interval is that of the churn rate observed, on the calibration users, at "
                "this score. Reasons are the features that raise this user's risk most (exact TreeSHAP).",
            ),
            Table(
                caption="Suggested actions",
                columns=(Column(name="action"), Column(name="users", format="int")),
                rows=tuple(actions.iter_rows()),
            ),
            Figure(
                caption="Expected profit of offers to the riskiest users",
                alt=f"Profit rises to {curve[best]:,.0f} at {best:,} users and is {curve[-1]:,.0f} for "
                f"all {n:,}.",
                chart=LineChart(
                    x_label="Share of users offered to, riskiest first",
                    y_label="Expected profit",
                    series=(LineSeries(name="offers", x=shares, y=curve[places]),),
                    marks=(Mark(x=best / max(n, 1), label=f"{best:,} users"),),
                    x_format="percent",
                    y_from_zero=False,
                ),
                note=f"Assumes that an offer costs {config.offer_cost:g}, keeps "
                f"{config.offer_success:.0%} of the leaving users, and that a user is worth "
                f"{config.user_value:g}. Change them with --offer-cost, --offer-success, --user-value.",
            ),
        ),
    )


def _why_section(insight: Insight) -> Section:
    top = insight.importances[:15]
    blocks: list[Any] = [
        Figure(
            caption="What moves the risk: mean |TreeSHAP| of boosting",
            alt="Most important first: "
            + ", ".join(f"{f.feature} {f.shap:.3f}" for f in top[:10])
            + ".",
            chart=BarChart(
                categories=tuple(f.feature for f in top),
                series=(BarSeries(name="mean |SHAP|", values=[f.shap for f in top]),),
                value_label="Mean |SHAP|, log-odds",
            ),
        ),
    ]
    if insight.sentences:
        blocks.append(Bullets(items=tuple(insight.sentences)))
    blocks += [
        Text(
            paragraphs=(
                "A threshold is the value that best splits the feature's contributions in two; rates are "
                "those of the reported users, with 95 % intervals. They describe, they do not prove a "
                "cause. Where a feature is a ratio of 7 to 30 days, an even user stands at 7/30 = 23 % "
                "(the Music Box report draws its line at 25 %).",
            ),
            tone="note",
        ),
        Table(
            caption="All features by three measures",
            columns=(
                Column(name="feature"),
                Column(name="in words"),
                Column(name="mean |SHAP|", format="float4"),
                Column(name="permutation (fall of AUC)", format="float4"),
                Column(name="forest gain", format="float4"),
            ),
            rows=tuple(
                (f.feature, describe_feature(f.feature), f.shap, f.permutation, f.gain)
                for f in insight.importances
            ),
            limit=15,
        ),
        Table(
            caption="What the tenth of the users least likely to churn have in common",
            columns=(
                Column(name="feature"),
                Column(name="safest tenth"),
                Column(name="others"),
                Column(name="difference (sd)", format="difference"),
            ),
            rows=tuple(
                (
                    c.feature,
                    format_value(c.feature, round(c.safest, 2)),
                    format_value(c.feature, round(c.others, 2)),
                    c.difference,
                )
                for c in insight.safest
            ),
            note=f"{insight.safest_rate.rate:.1%} of them churned "
            f"[{insight.safest_rate.low:.1%}, {insight.safest_rate.high:.1%}].",
        ),
    ]
    return Section(title="Why they leave", blocks=tuple(blocks))


def _line(name: str, rates: list[Rate]) -> LineSeries:
    return LineSeries(
        name=name,
        x=[r.x for r in rates],
        y=[r.rate for r in rates],
        low=[r.low for r in rates],
        high=[r.high for r in rates],
    )


def _time_section(insight: Insight, fitted: Fitted) -> Section:
    recency, first_day = insight.by_recency, fitted.events.first_day
    marks = tuple(
        Mark(x=day, label=f"{day} days") for day in (7, 14) if day < fitted.spec.feature_days
    )
    blocks: list[Any] = [
        Figure(
            caption="Churn by days since the last activity",
            alt=f"Churn is {recency[0].rate:.0%} for users last active {recency[0].x} days before the "
            f"cutoff and {recency[-1].rate:.0%} at {recency[-1].x} days.",
            chart=LineChart(
                x_label="Days since the last event",
                y_label="Churn rate",
                series=(_line("churn rate", recency),),
                y_format="percent",
                marks=marks,
            ),
        )
    ]
    if len(insight.by_cutoff) > 1:
        rates = insight.by_cutoff
        blocks.append(
            Figure(
                caption="Churn over time",
                alt=f"From {rates[0].rate:.1%} at {rates[0].x} to {rates[-1].rate:.1%} at {rates[-1].x}.",
                chart=LineChart(
                    x_label="Cutoff",
                    y_label="Churn rate",
                    series=(_line("churn rate", rates),),
                    y_format="percent",
                ),
            )
        )
    if len(insight.retention) > 1:
        curve = insight.retention
        blocks.append(
            Figure(
                caption="Retention: users active again, by weeks since their first",
                alt=f"{curve[1].rate:.0%} after one week, {curve[-1].rate:.0%} after {curve[-1].x}.",
                chart=LineChart(
                    x_label="Weeks since the first week",
                    y_label="Share of users active",
                    series=(_line("retention", curve),),
                    y_format="percent",
                ),
                note="Users of the log's first week may have been there before it: their first week is "
                "the first one seen.",
            )
        )
        blocks.append(_cohort_table(insight, first_day))
    return Section(title="When they leave", blocks=tuple(blocks))


def _cohort_table(insight: Insight, first_day: int) -> Table:
    table = insight.cohorts
    weeks = min(int(table["week"].max() or 0), MAX_COHORTS - 1)  # type: ignore[arg-type]
    rows = []
    for cohort in sorted(set(table["cohort"].to_list()))[:MAX_COHORTS]:
        part = table.filter(pl.col("cohort") == cohort)
        size = int(part["size"][0])
        active = dict(zip(part["week"].to_list(), part["active"].to_list(), strict=True))
        newest = int(table.select((pl.col("cohort") + pl.col("week")).max()).item()) - cohort
        kept = [active.get(w, 0) / size if w <= newest else None for w in range(1, weeks + 1)]
        churn = insight.churn_by_cohort.get(cohort)
        rows.append(
            (str(from_epoch_day(first_day + 7 * cohort)), size, churn.rate if churn else None, *kept)
        )
    names = [f"week {w}" for w in range(1, weeks + 1)]
    return Table(
        caption="Cohorts: retention and churn by week of first activity",
        columns=(
            Column(name="first active"),
            Column(name="users", format="int"),
            Column(name="churn", format="percent"),
            *(Column(name=name, format="percent0") for name in names),
        ),
        rows=tuple(rows),
        limit=MAX_COHORTS,
        heat=tuple(names),
        note="Churn: of the cohort's users who are among the reported ones.",
    )


def _items_section(insight: Insight) -> Section:
    if not insight.items:
        return Section(
            title="What they used before they left",
            blocks=(Text(paragraphs=("The log has no items that enough users share.",)),),
        )
    return Section(
        title="What they used before they left",
        blocks=(
            Table(
                caption="Items of churners against stayers in the feature window",
                columns=(
                    Column(name="item"),
                    Column(name="title"),
                    Column(name="churners", format="int"),
                    Column(name="stayers", format="int"),
                    Column(name="log-odds", format="difference"),
                    Column(name="z", format="difference"),
                ),
                rows=tuple(
                    (i.item, i.text, i.churners, i.stayers, i.log_odds, i.z) for i in insight.items
                ),
                limit=15,
                note="Users who used the item, not plays. Above 0: more used by churners. |z| under 2 may "
                "well be chance, and with many items compared some pass it by chance.",
            ),
        ),
    )


def _stage_section(insight: Insight) -> Section:
    days = insight.active_days
    return Section(
        title="How sticky is it",
        blocks=(
            Text(paragraphs=(f"The log reads as the stage of {insight.stage.name}.",)),
            Bullets(items=insight.stage.reasons),
            Figure(
                caption="Users by active days in the feature window",
                alt=f"{days[0]:,} users were active on one day, {days[-1]:,} on all {len(days)} days.",
                chart=HistogramChart(
                    edges=[i + 0.5 for i in range(len(days) + 1)],
                    counts=days,
                    x_label="Active days",
                    y_label="Users",
                ),
            ),
            Text(
                paragraphs=(
                    "One churn number hides this: a product that users try once and leave has another "
                    "problem than one that loses its regulars. Read the retention curve first.",
                ),
                tone="note",
            ),
        ),
    )


def _windows_section(fitted: Fitted, insight: Insight, config: ChurnConfig) -> Section:
    names = {"tune": "tuning", "train": "training", "calibrate": "calibration", "report": "report"}
    rows = []
    for role, window in fitted.plan.windows.items():
        dates = window.describe()
        rows.append((names[role], dates["cutoff"], dates["features"], dates["label"]))
    final = fitted.plan.final.describe()
    rows.append(("the list", final["cutoff"], final["features"], "not known yet"))
    activity = ", ".join(config.activity) or "any event"
    return Section(
        title="Windows and labels",
        blocks=(
            Table(
                caption="Cutoffs, counted back from the log's end",
                columns=tuple(Column(name=n) for n in ("serves", "cutoff", "features", "label")),
                rows=tuple(rows),
                note="A cutoff is the first day that the features do not see.",
            ),
            Table(
                caption="Users of each part",
                columns=(
                    Column(name="part"),
                    Column(name="users", format="int"),
                    Column(name="churned", format="percent"),
                ),
                rows=tuple(part_rows(fitted.parts)),
                note=f"How they are separated: {fitted.parts.how}.",
            ),
            Text(
                paragraphs=(
                    f"A user counts as gone who was active ({activity}) in the feature window and has "
                    "no activity in the label window. "
                    f"{insight.newcomers:,} users were active in the report label window but not in its "
                    f"feature window and are ignored; {insight.returning:,} of them had been seen before.",
                ),
            ),
        ),
    )


def part_rows(parts: Parts) -> list[tuple[str, int, float]]:
    """Name, users and churn rate of each part."""
    names = {
        "tuning": parts.fit,
        "tuning check": parts.check,
        "training": parts.train,
        "calibration": parts.calibrate,
        "report": parts.report,
    }
    return [(name, len(t), float(np.mean(t.labels))) for name, t in names.items()]


def _log_section(insight: Insight, fitted: Fitted) -> Section:
    edges, counts = insight.events_per_user
    per_day = insight.per_day
    totals = per_day.group_by("event").agg(pl.col("n").sum()).sort("n", "event", descending=[True, False])
    kinds = totals["event"].to_list()[:5]
    days = list(range(fitted.events.first_day, fitted.events.end_day))
    series = []
    for kind in kinds:
        part = per_day.filter(pl.col("event") == kind)
        found = dict(zip(part["day"].to_list(), part["n"].to_list(), strict=True))
        y = [found.get(day, 0) for day in days]
        series.append(LineSeries(name=kind, x=[str(from_epoch_day(d)) for d in days], y=y))
    shares = (totals["n"] / totals["n"].sum()).to_list()
    return Section(
        title="The log",
        blocks=(
            Figure(
                caption="Events per user",
                alt=f"Histogram on log scales, from {counts[0]:,} users with one event to {counts[-1]:,} "
                f"with {edges[-2]:,.0f} or more.",
                chart=HistogramChart(
                    edges=edges,
                    counts=counts,
                    x_label="Events",
                    y_label="Users",
                    log_x=True,
                    log_y=True,
                ),
            ),
            Figure(
                caption="Events per day",
                alt="Lines of events per day: "
                + ", ".join(f"{s.name} {s.y[0]:,.0f} on the first day, {s.y[-1]:,.0f} on the last"
                            for s in series)
                + ".",
                chart=LineChart(x_label="Day", y_label="Events", series=tuple(series)),
            ),
            Figure(
                caption="Kinds of event",
                alt="Shares of all events: "
                + ", ".join(f"{k} {s:.1%}" for k, s in zip(totals["event"], shares, strict=True))
                + ".",
                chart=BarChart(
                    categories=tuple(totals["event"].to_list()),
                    series=(BarSeries(name="share of events", values=shares),),
                    value_label="Share of events",
                    value_format="percent",
                ),
            ),
        ),
    )


def _cleaning_section(entries: list[Entry], insight: Insight, config: ChurnConfig) -> Section:
    columns = (
        Column(name="rule"),
        Column(name="rows", format="int"),
        Column(name="users", format="int"),
        Column(name="share", format="percent"),
        Column(name="AUC with", format="float4"),
        Column(name="without", format="float4"),
        Column(name="difference", format="difference", low="from", high="to"),
        Column(name="from", format="difference"),
        Column(name="to", format="difference"),
    )
    rows = tuple(
        (e.rule, e.rows, e.users, e.share, e.auc_with, e.auc_without, e.difference, e.low, e.high)
        for e in entries
    )
    blocks: list[Any] = [
        Table(
            caption="The cleaning ledger",
            columns=columns,
            rows=rows,
            limit=30,
            source="cleaning.parquet",
            note="Counted on the training feature window (malformed rows: on the whole log). AUC of one "
            "quick boosting model on the reported users, with all rules and with all but this one. Bots are "
            + ("left out." if config.bots == "drop" else "marked and kept."),
        )
    ]
    if insight.missing:
        blocks.append(
            Table(
                caption="Are values missing at random? Users with missing values against users without",
                columns=(
                    Column(name="field"),
                    Column(name="with", format="int"),
                    Column(name="without", format="int"),
                    Column(name="Cliff's delta of plays", format="difference", low="d from", high="d to"),
                    Column(name="d from", format="difference"),
                    Column(name="d to", format="difference"),
                    Column(name="churn difference", format="difference", low="c from", high="c to"),
                    Column(name="c from", format="difference"),
                    Column(name="c to", format="difference"),
                ),
                rows=tuple(
                    (
                        m.field, m.users_with, m.users_without, m.delta, m.delta_low, m.delta_high,
                        m.churn_difference, m.churn_low, m.churn_high,
                    )
                    for m in insight.missing
                ),
                note="By user. A user with many plays is likelier to have one with a missing value, so a "
                "large delta alone does not mean that missing values pick certain users.",
            )
        )
    return Section(title="Cleaning", blocks=tuple(blocks))


def _method_section(config: ChurnConfig, fitted: Fitted) -> Section:
    tuned = {
        "grid": "a small grid, as in the Music Box report",
        "optuna": f"{config.trials} settings each, chosen by Optuna (TPE)",
        "none": "nothing: the settings were given",
    }[config.search]
    forest, boosting = fitted.forest.config, fitted.boosting.config
    return Section(
        title="How it was made",
        blocks=(
            Bullets(
                items=(
                    f"Features: {len(fitted.boosting.columns_)} per user, from "
                    f"{fitted.spec.feature_days} days; nothing from the cutoff on is read.",
                    f"Tuned on log-loss over {tuned}, never on reported users.",
                    f"Random forest: {forest.trees} trees, at least {forest.min_samples_leaf} users a leaf, "
                    f"{forest.max_features} of the features a split, depth "
                    f"{forest.max_depth or 'unbounded'}.",
                    f"Gradient boosting: {boosting.rounds} trees of {boosting.num_leaves} leaves, learning "
                    f"rate {boosting.learning_rate:.3g}, at least {boosting.min_data_in_leaf} users a leaf.",
                    "Every threshold of cleaning and every kind of event was taken from the training "
                    "feature window alone.",
                    "Missing values: " + (
                        "play times and song lengths become the training mean."
                        if config.impute == "mean"
                        else "stay missing, with their share as a feature; the trees send them where they "
                        "split best, the regression takes the median and an indicator."
                    ),
                )
            ),
        ),
    )
