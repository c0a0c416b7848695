"""The parts of the churn report that explain: why, when, what was used, how sticky, the log, cleaning."""

from __future__ import annotations

from typing import Any

import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.explore import MAX_COHORTS, Rate
from linkwise.churn.fitted import Fitted
from linkwise.churn.insight import Insight
from linkwise.churn.ledger import Entry
from linkwise.churn.words import describe_feature, format_value, percent
from linkwise.data.events import from_epoch_day
from linkwise.report.document import (
    BarChart,
    BarSeries,
    Bullets,
    Column,
    Figure,
    HistogramChart,
    LineChart,
    LineSeries,
    Mark,
    Section,
    Table,
    Text,
)

LEAST_COHORT = 10  # users, for a churn rate to be shown


def why_section(insight: Insight) -> Section:
    """Importances, sentences with thresholds, and what the safest users have in common."""
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
                "cause. A user who is even over 30 days has 7/30 = 23 % of them in the last 7 days (the "
                "Music Box report draws its line at 25 %).",
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
                    format_value(c.feature, c.safest),
                    format_value(c.feature, c.others),
                    c.difference,
                )
                for c in insight.safest
            ),
            note=f"{percent(insight.safest_rate.rate, 1)} of them churned "
            f"[{percent(insight.safest_rate.low, 1)}, {percent(insight.safest_rate.high, 1)}].",
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


def time_section(insight: Insight, fitted: Fitted) -> Section:
    """Churn by silence and over time, retention, cohorts."""
    recency, first_day = insight.by_recency, fitted.events.first_day
    marks = tuple(
        Mark(x=day, label=f"{day} days") for day in (7, 14) if day < fitted.spec.feature_days
    )
    blocks: list[Any] = [
        Figure(
            caption="Churn by days since the last activity",
            alt=f"Churn is {percent(recency[0].rate)} for users last active {recency[0].x} days before the "
            f"cutoff and {percent(recency[-1].rate)} at {recency[-1].x} days.",
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
                alt=f"From {percent(rates[0].rate, 1)} at {rates[0].x} "
                f"to {percent(rates[-1].rate, 1)} at {rates[-1].x}.",
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
                alt=f"{percent(curve[1].rate)} after one week, "
                f"{percent(curve[-1].rate)} after {curve[-1].x}.",
                chart=LineChart(
                    x_label="Weeks since the first week",
                    y_label="Share of users active",
                    series=(_line("retention", curve),),
                    y_format="percent",
                ),
                note="Users of the log's first week may have been there before it: their first week is "
                "the first one seen. Later points are of older cohorts only, so the curve also changes "
                "with who joined when.",
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
        if churn is not None and churn.n < LEAST_COHORT:
            churn = None
        rows.append(
            (
                str(from_epoch_day(first_day + 7 * cohort)),
                size,
                churn.rate if churn else None,
                *kept,
            )
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
        note="Churn: of the cohort's users who are among the reported ones, where they are at least "
        f"{LEAST_COHORT}.",
    )


def items_section(insight: Insight) -> Section:
    """What churners used before they left, against stayers."""
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
                limit=30,
                note="Counted once per user, not per play, among items of 10 users or more at the report "
                "cutoff. Above 0: the item is a larger share of what churners used than of what stayers "
                "used. |z| under 2 may well be chance, and with many items some pass it by chance.",
            ),
        ),
    )


def stage_section(insight: Insight) -> Section:
    """Stickiness, and the stage of the business."""
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


def log_section(insight: Insight, fitted: Fitted) -> Section:
    """What the log looks like before anything is modelled."""
    edges, counts = insight.events_per_user
    per_day = insight.per_day
    totals = (
        per_day.group_by("event")
        .agg(pl.col("n").sum())
        .sort("n", "event", descending=[True, False])
    )
    kinds = totals["event"].to_list()[:5]
    days = list(range(fitted.events.first_day, fitted.events.end_day))
    series = []
    for kind in kinds:
        part = per_day.filter(pl.col("event") == kind)
        found = dict(zip(part["day"].to_list(), part["n"].to_list(), strict=True))
        y = [found.get(day, 0) for day in days]
        series.append(LineSeries(name=kind, x=[str(from_epoch_day(d)) for d in days], y=y))
    shares = (totals["n"] / totals["n"].sum()).to_list()
    counted = tuple(zip(totals["event"].to_list(), totals["n"].to_list(), shares, strict=True))
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
                + ", ".join(
                    f"{s.name} {s.y[0]:,.0f} on the first day, {s.y[-1]:,.0f} on the last"
                    for s in series
                )
                + ".",
                chart=LineChart(x_label="Day", y_label="Events", series=tuple(series)),
            ),
            Figure(
                caption="Kinds of event, by share of all events",
                alt="Shares of all events: "
                + ", ".join(
                    f"{k} {percent(s, 1)}" for k, s in zip(totals["event"], shares, strict=True)
                )
                + ".",
                chart=BarChart(
                    categories=tuple(totals["event"].to_list()),
                    series=(BarSeries(name="share of events", values=shares),),
                    value_label="Share of events",
                    value_format="percent",
                ),
            ),
            Table(
                caption="Events of each kind",
                columns=(
                    Column(name="kind"),
                    Column(name="events", format="int"),
                    Column(name="share", format="percent"),
                ),
                rows=counted,
            ),
        ),
    )


def cleaning_section(entries: list[Entry], insight: Insight, config: ChurnConfig) -> Section:
    """The ledger, and whether values are missing at random."""
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
                    Column(
                        name="Cliff's delta of plays",
                        format="difference",
                        low="d from",
                        high="d to",
                    ),
                    Column(name="d from", format="difference"),
                    Column(name="d to", format="difference"),
                    Column(name="churn difference", format="difference", low="c from", high="c to"),
                    Column(name="c from", format="difference"),
                    Column(name="c to", format="difference"),
                ),
                rows=tuple(
                    (
                        m.field,
                        m.users_with,
                        m.users_without,
                        m.delta,
                        m.delta_low,
                        m.delta_high,
                        m.churn_difference,
                        m.churn_low,
                        m.churn_high,
                    )
                    for m in insight.missing
                ),
                note="By user. A user with many plays is likelier to have one with a missing value, so a "
                "large delta alone does not mean that missing values pick certain users.",
            )
        )
    return Section(title="Cleaning", blocks=tuple(blocks))
