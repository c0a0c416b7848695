"""The cleaning ledger: what each rule touched, and what the study would be without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from linkwise.churn.clean import (
    BURST_RULE,
    PLAY_RULE,
    CleaningRules,
    cleaned,
    count_rules,
    events_rule,
    find_bots,
)
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec, feature_names, user_features
from linkwise.churn.fitted import Fitted
from linkwise.churn.models import Table
from linkwise.churn.windows import Window, in_features, labels
from linkwise.context import Context
from linkwise.data.engine import collect
from linkwise.data.events import Events
from linkwise.estimators.tabular import Boosting, BoostingConfig, Vector
from linkwise.metrics import bootstrap_weights, percentile_interval
from linkwise.metrics.binary import auc, auc_draws, cumulate, order_rows

# One fixed, quick setting for all comparisons: the ledger asks what a rule does, not what tuning does.
QUICK = BoostingConfig(rounds=100, learning_rate=0.1, num_leaves=15)


@dataclass(frozen=True)
class Entry:
    """One rule: rows and users it touched, their share, and the AUC with and without it.

    `low`, `high`: 95 % interval of the paired difference `auc_with - auc_without`, bootstrapped over
    users. None: not measured, because the rule touched nothing or `ledger_auc` is off.
    """

    rule: str
    rows: int
    users: int | None
    share: float
    auc_with: float | None = None
    auc_without: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def make_ledger(fitted: Fitted, config: ChurnConfig, context: Context) -> list[Entry]:
    """Count every rule on the training feature window, and measure what it does to AUC.

    For each rule that touched anything, features are made anew without it at the training and report
    cutoffs, and one quick boosting model is fitted and judged on the reported users, beside the same model
    with all rules. Rules on malformed rows cannot be undone: there is nothing to read in such a row.
    """
    events, spec, rules = fitted.events, fitted.spec, fitted.rules
    parts, window = fitted.parts, fitted.plan.train
    read = events.n_rows + sum(bad.rows for bad in events.bad_rows)
    entries = [Entry(bad.rule, bad.rows, bad.users, bad.rows / read) for bad in events.bad_rows]
    counted = count_rules(events.frame, spec, rules, window)
    counted += _count_bots(events, spec, rules, window)
    reference: Vector | None = None
    for row in counted:
        undo = config.ledger_auc and row["rows"] > 0
        # With one cutoff the bots are among all parts alike, so leaving the rule out is no comparison.
        if row["rule"].startswith("bot:") and (config.bots == "flag" or fitted.plan.single):
            undo = False
        if not undo:
            entries.append(Entry(**row))
            continue
        if reference is None:
            reference = _quick_scores(parts.train, parts.report, context)
        train, report = _without(fitted, rules.without(row["rule"]), config)
        other = _quick_scores(train, report, context)
        entries.append(
            Entry(**row, **_difference(parts.report.labels, reference, other, config, context))
        )
    return entries


def ledger_frame(entries: list[Entry]) -> pl.DataFrame:
    """The ledger as a table, one row per rule."""
    schema = {
        "rule": pl.String,
        "rows": pl.Int64,
        "users": pl.Int64,
        "share": pl.Float64,
        "auc_with": pl.Float64,
        "auc_without": pl.Float64,
        "difference": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
    }
    return pl.DataFrame([asdict(entry) for entry in entries], schema=schema)


def _count_bots(
    events: Events, spec: FeatureSpec, rules: CleaningRules, window: Window
) -> list[dict[str, Any]]:
    bots = find_bots(cleaned(events.frame, spec, rules), spec, rules, window)
    seen = in_features(events.frame, window)
    per_user = collect(seen.group_by("user").agg(nw.len().alias("events")))
    total = int(per_user["events"].sum())
    names = [events_rule(rules)] if rules.max_events is not None else []
    names += [PLAY_RULE] if spec.duration else []
    names += [BURST_RULE] if spec.clock else []
    counted = []
    for name in names:
        users = bots.filter(pl.col("rule") == name)["user"]
        rows = int(per_user.filter(pl.col("user").is_in(users.implode()))["events"].sum())
        share = rows / total if total else 0.0
        counted.append({"rule": name, "rows": rows, "users": len(users), "share": share})
    return counted


def _without(fitted: Fitted, rules: CleaningRules, config: ChurnConfig) -> tuple[Table, Table]:
    """Training and report users with their features made without a rule.

    Without a bot rule its bots are trained on too, but the reported users stay the same, so that the two
    AUCs are of the same people.
    """
    events, spec, plan, parts = fitted.events, fitted.spec, fitted.plan, fitted.parts
    clean = cleaned(events.frame, spec, rules)
    made: dict[Window, pl.DataFrame] = {}
    for window in (plan.train, plan.report):
        if window not in made:
            made[window] = collect(user_features(clean, spec, window))
    train = parts.train
    if any(name.startswith("bot:") for name in rules.off):
        bots = find_bots(clean, spec, rules, plan.train)
        labelled = collect(labels(events.frame, plan.train, config.activity))
        kept = labelled.filter(~pl.col("user").is_in(bots["user"].implode())).sort("user")
        if "calibrate" not in plan.windows:  # its users come from the same cutoff, and stay apart
            kept = kept.filter(~pl.col("user").is_in(parts.calibrate.users.implode()))
        flags = pl.Series([False] * len(kept), dtype=pl.Boolean)
        target = kept["churned"].cast(pl.Float64).to_numpy()
        train = Table(kept["user"], pl.DataFrame(), target, flags)
    return _with_rows(train, made[plan.train], spec), _with_rows(
        parts.report, made[plan.report], spec
    )


def _with_rows(table: Table, features: pl.DataFrame, spec: FeatureSpec) -> Table:
    """The same users with other features, in the same order."""
    users = table.users.to_frame("user")
    rows = users.join(features, on="user", how="left", maintain_order="left")
    return Table(table.users, rows.select(feature_names(spec)), table.labels, table.bot)


def _quick_scores(train: Table, report: Table, context: Context) -> Vector:
    model = Boosting(QUICK).fit(
        train.rows, train.labels, seed=context.seed, threads=context.threads
    )
    return model.score(report.rows)


def _difference(
    labels: Vector, with_rule: Vector, without: Vector, config: ChurnConfig, context: Context
) -> dict[str, Any]:
    """AUC of both, their difference, and its paired bootstrap interval."""
    positive = labels.astype(bool)
    ranked = [order_rows(positive, scores) for scores in (with_rule, without)]
    rng = context.rng("ledger")
    draws = []
    for counts in bootstrap_weights(rng, len(labels), min(config.bootstrap, 200)):
        weights = counts.astype(np.float64)
        first, second = (auc_draws(rows, cumulate(rows, weights)) for rows in ranked)
        draws.append(first - second)
    low, high = percentile_interval(np.concatenate(draws))
    a, b = auc(labels, with_rule), auc(labels, without)
    return {"auc_with": a, "auc_without": b, "difference": a - b, "low": low, "high": high}
