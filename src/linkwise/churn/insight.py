"""What the models and the log say about leaving: importances, thresholds, items, the safest users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from linkwise.churn import explore
from linkwise.churn.config import ChurnConfig
from linkwise.churn.explore import Missing, Rate, Stage, rate
from linkwise.churn.fitted import LISTED_MODEL, Fitted
from linkwise.churn.models import RECENCY_FEATURE, Table, recency_columns, silent_days
from linkwise.churn.windows import in_features, labels, newcomers
from linkwise.churn.words import describe_feature, format_value, percent
from linkwise.context import Context
from linkwise.data.engine import collect
from linkwise.estimators.tabular import Vector
from linkwise.metrics.binary import auc

SHAP_USERS = 10_000
PERMUTED_USERS = 5_000
REPEATS = 3
TOP_SENTENCES = 10
TOP_ITEMS = 15
LEAST_USERS = 10  # of an item, for it to be compared
ITEM_PRIOR = 500.0  # users' worth of the log's own mix that an item's counts are shrunk towards


@dataclass(frozen=True)
class Importance:
    """One feature by three measures."""

    feature: str
    shap: float
    """Mean |TreeSHAP value| of boosting on the reported users, in log-odds."""
    permutation: float
    """Fall of boosting's AUC when the feature's values are shuffled among the reported users."""
    gain: float
    """Share of the forest's decrease of impurity on the training users."""


@dataclass(frozen=True)
class Item:
    """An item that churners played before they left more than stayers did, or less."""

    item: str
    text: str
    churners: int
    stayers: int
    log_odds: float
    z: float


@dataclass(frozen=True)
class Common:
    """A feature that the safest tenth of the users share, against the rest, in standard deviations."""

    feature: str
    safest: float
    others: float
    difference: float


@dataclass(frozen=True)
class Insight:
    """Everything that the report tells beyond the metrics."""

    importances: list[Importance]
    sentences: list[str]
    by_recency: list[Rate]
    cohorts: pl.DataFrame
    churn_by_cohort: dict[int, Rate]
    retention: list[Rate]
    active_days: list[int]
    """Users by number of active days in the report feature window; place i holds i + 1 days."""
    stage: Stage
    items: list[Item]
    safest: list[Common]
    safest_rate: Rate
    by_cutoff: list[Rate]
    missing: list[Missing]
    events_per_user: tuple[list[float], list[int]]
    per_day: pl.DataFrame
    newcomers: int
    returning: int


def find_insight(fitted: Fitted, config: ChurnConfig, context: Context) -> Insight:
    """Compute all of it, on the reported users and the report feature window unless said otherwise."""
    table, window = fitted.parts.report, fitted.plan.report
    importances, shap_values, sampled = _importances(fitted, context)
    days = explore.user_days(fitted.events, config, context.work)
    cohort_table = explore.cohorts(days, fitted.events)
    curve = explore.retention_curve(cohort_table)
    active = table.rows["active_days"].to_numpy()
    paying = None
    if fitted.spec.paid:
        paying = float((table.rows["paid_share"].fill_null(0).to_numpy() > 0).mean())
    late = collect(newcomers(fitted.events.frame, window, config.activity)).row(0, named=True)
    safest, safest_rate = _safest(fitted)
    return Insight(
        importances=importances,
        sentences=_sentences(importances, shap_values, sampled, table),
        by_recency=churn_by_recency(table, recency_columns(fitted.spec, config.activity)),
        cohorts=cohort_table,
        churn_by_cohort=explore.churn_by_cohort(fitted, days),
        retention=curve,
        active_days=np.bincount(active.astype(int), minlength=window.feature_days + 1)[1:].tolist(),
        stage=explore.read_stage(explore.retention_tail(cohort_table), active, fitted.spec, paying),
        items=_items(fitted, config) if fitted.spec.item else [],
        safest=safest,
        safest_rate=safest_rate,
        by_cutoff=explore.churn_by_cutoff(days, fitted.events, config),
        missing=explore.missingness(fitted, context.rng("missingness")),
        events_per_user=explore.events_per_user(days),
        per_day=explore.events_per_day(fitted.events.frame),
        newcomers=late["users"],
        returning=late["returning"],
    )


def _importances(
    fitted: Fitted, context: Context
) -> tuple[list[Importance], np.ndarray[Any, Any], Table]:
    """All features by mean |SHAP|, largest first; with the SHAP values and the users they are of."""
    table = _sample(fitted.parts.report, SHAP_USERS, context.rng("shap"))
    model = fitted.boosting
    values = model.contributions(table.rows)[:, :-1]  # (n, p) without the base value
    shap = np.abs(values).mean(axis=0)
    gains = fitted.forest.importances
    falls = _permutation(fitted, context)
    found = [
        Importance(name, float(shap[i]), falls.get(name, 0.0), gains[name])
        for i, name in enumerate(model.columns_)
    ]
    return sorted(found, key=lambda f: (-f.shap, f.feature)), values, table


def _permutation(fitted: Fitted, context: Context) -> dict[str, float]:
    """Mean fall of AUC over a few shuffles; features that no tree uses fall by exactly 0."""
    rng = context.rng("permutation")
    table = _sample(fitted.parts.report, PERMUTED_USERS, rng)
    model = fitted.boosting
    if len(set(table.labels.tolist())) < 2:
        return {}
    before = auc(table.labels, model.score(table.rows))
    used = model.booster_.feature_importance("split") > 0
    falls = {}
    for name, is_used in zip(model.columns_, used, strict=True):
        if not is_used:
            continue
        column = table.rows[name]
        after = []
        for _ in range(REPEATS):
            order = rng.permutation(len(table))
            shuffled = table.rows.with_columns(column.gather(order))
            after.append(auc(table.labels, model.score(shuffled)))
        falls[name] = before - float(np.mean(after))
    return falls


def _sample(table: Table, n: int, rng: np.random.Generator) -> Table:
    if len(table) <= n:
        return table
    mask = np.zeros(len(table), dtype=bool)
    mask[rng.choice(len(table), n, replace=False)] = True
    return table.where(mask)


def _sentences(
    importances: list[Importance], values: np.ndarray[Any, Any], sampled: Table, table: Table
) -> list[str]:
    """A sentence per top feature: direction, threshold, and the churn rates on either side of it."""
    sentences = []
    columns = sampled.rows.columns
    for importance in importances[:TOP_SENTENCES]:
        if importance.shap == 0:  # no tree uses it
            break
        name = importance.feature
        x = sampled.rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        cut = threshold(x, values[:, columns.index(name)])
        if cut is None:
            continue
        everyone = table.rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        sentences.append(_sentence(name, cut, everyone, table.labels))
    return sentences


def threshold(x: Vector, effect: Vector) -> float | None:
    """The value that best splits a feature's SHAP values in two (least squares); None without one.

    x (n,) with NaN for missing, effect (n,). The halfway point between two neighbouring values, each side
    holding at least one user in fifty.
    """
    known = ~np.isnan(x)
    x, effect = x[known], effect[known]
    order = np.argsort(x, kind="stable")
    x, effect = x[order], effect[order]
    n = len(x)
    if n < 20:
        return None
    below = np.cumsum(effect)[:-1]
    k = np.arange(1, n)
    # The split with the largest between-group sum of squares.
    gain = below**2 / k + (effect.sum() - below) ** 2 / (n - k)
    allowed = (x[1:] > x[:-1]) & (k >= n / 50) & (n - k >= n / 50)
    if not allowed.any():
        return None
    best = int(np.argmax(np.where(allowed, gain, -np.inf)))
    return float((x[best] + x[best + 1]) / 2)


def _sentence(name: str, cut: float, x: Vector, labels: Vector) -> str:
    parts = []
    for side, mask in (("above", x > cut), ("up to", x <= cut)):
        if mask.any():
            found = rate(side, int(labels[mask].sum()), int(mask.sum()))
            parts.append((side, found))
    rates = dict(parts)
    missing = np.isnan(x)
    words = describe_feature(name)
    high, low = rates["above"], rates["up to"]
    bottom, top = difference_interval(high, low)
    direction = "more" if bottom > 0 else "less" if top < 0 else "neither clearly more nor less"
    sentence = (
        f"{words} ({name}): users above {format_value(name, cut)} churn {direction}, "
        f"{_interval(high)} against {_interval(low)} below"
    )
    if missing.sum() >= 20:
        gone = rate("missing", int(labels[missing].sum()), int(missing.sum()))
        sentence += f"; where it is missing, {_interval(gone)}"
    return sentence + "."


def difference_interval(a: Rate, b: Rate) -> tuple[float, float]:
    """95 % interval of the difference a - b of two independent rates.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions",
    method 10, from the two Wilson intervals.
    """
    gap = a.rate - b.rate
    low = gap - float(np.hypot(a.rate - a.low, b.high - b.rate))
    return low, gap + float(np.hypot(a.high - a.rate, b.rate - b.low))


def _interval(found: Rate) -> str:
    return f"{percent(found.rate)} [{percent(found.low)}, {percent(found.high)}]"


def churn_by_recency(table: Table, columns: tuple[str, ...] = (RECENCY_FEATURE,)) -> list[Rate]:
    """Churn rate by whole days since the last activity, days with users only."""
    days = pl.Series(silent_days(table.rows, columns)).cast(pl.Int64)
    counts = (
        pl.DataFrame({"days": days, "churned": table.labels})
        .group_by("days")
        .agg(pl.len().alias("n"), pl.col("churned").sum())
        .sort("days")
    )
    return [rate(row[0], int(row[2]), row[1]) for row in counts.iter_rows()]


def _items(fitted: Fitted, config: ChurnConfig) -> list[Item]:
    """Items by how much more churners than stayers used them in the feature window, both ends.

    Counted by user, not by play. Log-odds ratio with a Dirichlet prior of the log's own mix, and its
    z-score (Monroe, Colaresi and Quinn 2008, "Fightin' Words"): rare items do not win by chance.
    """
    window = fitted.plan.report
    seen = in_features(fitted.events.frame, window).filter(~nw.col("item").is_null())
    titled = [nw.col("text").max().alias("text")] if "text" in fitted.events.columns else []
    known = labels(fitted.events.frame, window, config.activity)
    used = seen.group_by("user", "item").agg(nw.len().alias("events"), *titled)
    counts = used.join(known, on="user", how="inner").group_by("item")
    both = collect(
        counts.agg(
            nw.col("churned").sum().cast(nw.Int64).alias("churners"),
            nw.len().cast(nw.Int64).alias("users"),
            *titled,
        ).filter(nw.col("users") >= LEAST_USERS)
    )
    if len(both) < 2:
        return []
    both = both.with_columns(stayers=pl.col("users") - pl.col("churners"))
    a, b = both["churners"].to_numpy(), both["stayers"].to_numpy()
    odds, z = log_odds(a, b, ITEM_PRIOR)
    both = both.with_columns(odds=odds, z=z)
    ranked = both.sort("z", "item", descending=[True, False])
    rows = list(ranked.head(TOP_ITEMS).iter_rows(named=True))
    rows += [r for r in ranked.tail(TOP_ITEMS).iter_rows(named=True) if r not in rows]
    return [
        Item(
            item=str(row["item"]),
            text=row.get("text") or "",
            churners=row["churners"],
            stayers=row["stayers"],
            log_odds=row["odds"],
            z=row["z"],
        )
        for row in rows
    ]


def log_odds(
    a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], prior: float
) -> tuple[Vector, Vector]:
    """Log-odds ratio of each item between two groups and its z-score; counts (n,) of either group.

    The prior spreads `prior` counts over the items in proportion to a + b.
    """
    alpha = prior * (a + b) / (a + b).sum()
    total_a, total_b = a.sum() + prior, b.sum() + prior
    odds = np.log((a + alpha) / (total_a - a - alpha)) - np.log((b + alpha) / (total_b - b - alpha))
    return odds, odds / np.sqrt(1 / (a + alpha) + 1 / (b + alpha))


def _safest(fitted: Fitted) -> tuple[list[Common], Rate]:
    """What the tenth of the reported users least likely to churn have in common."""
    table = fitted.parts.report
    risk = fitted.judged.scores[LISTED_MODEL]
    order = np.argsort(risk, kind="stable")
    safe = np.zeros(len(table), dtype=bool)
    safe[order[: max(1, len(table) // 10)]] = True
    found = []
    for name in table.rows.columns:
        x = table.rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = ~np.isnan(x)
        if (known & safe).sum() < 5 or (known & ~safe).sum() < 5 or np.nanstd(x) == 0:
            continue
        inside, outside = float(x[known & safe].mean()), float(x[known & ~safe].mean())
        found.append(Common(name, inside, outside, (inside - outside) / float(np.nanstd(x))))
    found.sort(key=lambda c: -abs(c.difference))
    gone = int(table.labels[safe].sum())
    return found[:8], rate("safest tenth", gone, int(safe.sum()))
