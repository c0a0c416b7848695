"""The churn report: the study's numbers as a `Report`, told in the order in which a reader asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.fitted import LISTED_MODEL, Fitted
from linkwise.churn.insight import Insight
from linkwise.churn.ledger import Entry
from linkwise.churn.page_insight import (
    cleaning_section,
    items_section,
    log_section,
    stage_section,
    time_section,
    why_section,
)
from linkwise.churn.page_models import Metrics, interval, models_section, pick
from linkwise.churn.shortlist import DISCOUNT, LEAVE, OFFER, TRIAL, profit_curve
from linkwise.churn.words import percent
from linkwise.data.events import from_epoch_day
from linkwise.report.document import (
    Bullets,
    Column,
    Fact,
    Figure,
    LineChart,
    LineSeries,
    Mark,
    Report,
    Section,
    Table,
    Text,
)

SHOWN_USERS = 50
FEW_CALIBRATED = 30  # users who left, or who stayed, below which probabilities say little


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
            f"Of the {len(fitted.parts.report):,} reported users, active from {report['features']}, "
            f"{percent(rate, 1)} had no activity from {report['label']}.",
            *[s for s in insight.sentences if "neither clearly" not in s][:1],
        ),
        simulated=simulated,
        beats_baseline=beats,
        facts=_facts(fitted, shortlist, rate),
        sections=(
            models_section(metrics, fitted),
            _list_section(fitted, shortlist, insight, config),
            why_section(insight),
            time_section(insight, fitted),
            items_section(insight),
            stage_section(insight),
            _windows_section(fitted, insight, config),
            log_section(insight, fitted),
            cleaning_section(entries, insight, config),
            _method_section(config, fitted),
        ),
    )


def lead(metrics: Metrics) -> tuple[str, bool]:
    """The verdict in a sentence, and whether the listed model beats recency alone, intervals apart."""
    mine, base = pick(metrics, LISTED_MODEL, "auc"), pick(metrics, "recency", "auc")
    apart = mine["difference_low"] is not None and mine["difference_low"] > 0
    numbers = f"AUC {interval(mine)} against {interval(base)}"
    gap = f"difference {_signed(mine)}"
    if apart:
        return f"Boosting beats recency alone: {numbers}, {gap}.", True
    return (
        f"Boosting does not beat recency alone: {numbers}, {gap}. "
        + (
            "Boosting found nothing to learn: all its scores are equal."
            if mine["value"] == 0.5
            else "These users do not tell the two apart; the simpler list, by days since the last "
            "activity, is the safer choice."
        ),
        False,
    )


def _signed(row: dict[str, Any]) -> str:
    low, high = row["difference_low"], row["difference_high"]
    ends = f" [{low:+.3f}, {high:+.3f}]" if low is not None else ""
    return f"{row['difference']:+.3f}{ends}"


def _facts(fitted: Fitted, shortlist: pl.DataFrame, rate: float) -> tuple[Fact, ...]:
    events = fitted.events
    return (
        Fact(label="Events read", value=f"{events.n_rows:,}"),
        *(
            [Fact(label="Malformed rows skipped", value=f"{skipped:,}", note="see the ledger")]
            if (skipped := sum(bad.rows for bad in events.bad_rows))
            else []
        ),
        Fact(label="Users in the log", value=f"{events.n_users:,}"),
        Fact(
            label="Days",
            value=f"{events.end_day - events.first_day}",
            note=f"{from_epoch_day(events.first_day)} to {from_epoch_day(events.last_day)}",
        ),
        Fact(label="Churn rate", value=f"{percent(rate, 1)}", note="of the reported users"),
        Fact(
            label="Users on the list", value=f"{len(shortlist):,}", note="active at the log's end"
        ),
    )


def _list_section(
    fitted: Fitted, shortlist: pl.DataFrame, insight: Insight, config: ChurnConfig
) -> Section:
    # Offers go to users who are neither silent nor held out; the curve is theirs.
    open_to_offers = shortlist.filter(pl.col("action").is_in([OFFER, TRIAL, DISCOUNT, LEAVE]))
    listed = len(shortlist)
    rows = tuple(
        (
            row["rank"],
            str(row["user"]),
            row["probability"],
            row["low"],
            row["high"],
            row["reason"],
            row["action"],
            *((row["items"] or "",) if "items" in row else ()),
        )
        for row in shortlist.head(SHOWN_USERS).iter_rows(named=True)
    )
    actions = (
        shortlist.group_by("action").agg(pl.len().alias("users")).sort("users", descending=True)
    )
    held = int(shortlist["holdout"].sum())
    return Section(
        title="The list",
        blocks=(
            Text(
                paragraphs=(
                    f"{listed:,} users were active in the {fitted.spec.feature_days} days before "
                    f"{fitted.plan.final.describe()['cutoff']}, the log's end{_without_bots(config)}. They "
                    "are not labelled yet: these are forecasts.",
                    *_few_calibrators(fitted),
                    "Risk is not persuadability: a user who is likely to leave is not for that reason "
                    "likely to be kept by an offer. "
                    f"{held:,} users (a random share of {percent(config.holdout)}) are held out from any "
                    "action, "
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
                    *((Column(name="what to send"),) if "items" in shortlist.columns else ()),
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
            *_profit_figure(open_to_offers, config),
        ),
    )


def _without_bots(config: ChurnConfig) -> str:
    return ", and are not taken for bots (see the cleaning ledger)" if config.bots == "drop" else ""


def _few_calibrators(fitted: Fitted) -> list[str]:
    """A warning where the probabilities rest on few users."""
    labels = fitted.parts.calibrate.labels
    gone = int(labels.sum())
    if min(gone, len(labels) - gone) >= FEW_CALIBRATED:
        return []
    return [
        f"The probabilities rest on {len(labels):,} calibration users, {gone:,} of whom left: too few to "
        "tell users apart by them. Trust the order more than the numbers."
    ]


def _profit_figure(open_to_offers: pl.DataFrame, config: ChurnConfig) -> list[Figure]:
    """The profit curve; nothing where nobody can be offered anything."""
    n = len(open_to_offers)
    if n == 0:
        return []
    curve, best = profit_curve(open_to_offers["probability"].to_numpy(), config)
    places = np.unique(np.linspace(0, n, min(n + 1, 101)).astype(int))
    shares = places / n
    return [
        Figure(
            caption="Expected profit of offers to the riskiest of the users who are not silent",
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
            f"{percent(config.offer_success)} of the leaving users, and that a user is worth "
            f"{config.user_value:g}. Change them with --offer-cost, --offer-success, --user-value.",
        )
    ]


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
                rows=tuple(
                    (name, len(table), float(np.mean(table.labels)))
                    for name, table in fitted.parts.named()
                ),
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


def _method_section(config: ChurnConfig, fitted: Fitted) -> Section:
    tuned = {
        "grid": "a small grid, as in the Music Box report",
        "optuna": f"{config.trials} settings each, chosen by Optuna (TPE)",
        "none": "",
    }[config.search]
    forest, boosting = fitted.forest.config, fitted.boosting.config
    share = ", with their share as a feature" if fitted.spec.duration else ""
    return Section(
        title="How it was made",
        blocks=(
            Bullets(
                items=(
                    f"Features: {len(fitted.boosting.columns_)} per user, from "
                    f"{fitted.spec.feature_days} days; nothing from the cutoff on is read.",
                    f"Tuned on log-loss over {tuned}, never on reported users."
                    if tuned
                    else "Not tuned: the settings were given.",
                    f"Random forest: {forest.trees} trees, at least {forest.min_samples_leaf} users a leaf, "
                    f"{forest.max_features} of the features a split, depth "
                    f"{forest.max_depth or 'unbounded'}.",
                    f"Gradient boosting: {boosting.rounds} trees of {boosting.num_leaves} leaves, learning "
                    f"rate {boosting.learning_rate:.3g}, at least {boosting.min_data_in_leaf} users a leaf.",
                    "Every threshold of cleaning and every kind of event was taken from the training "
                    "feature window alone"
                    + (
                        ", which with one cutoff is that of the reported users, too (their labels were "
                        "not looked at)."
                        if fitted.plan.single
                        else "."
                    ),
                    "Missing values: "
                    + (
                        "play times and song lengths become the training mean."
                        if config.impute == "mean"
                        else f"stay missing{share}; the trees send them where they split best, the "
                        "regression takes the median and an indicator."
                    ),
                )
            ),
        ),
    )
