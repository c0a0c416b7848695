"""The list: every user with risk, interval, reasons in words, and what to do about it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec
from linkwise.churn.models import Table, recency_columns, silent_days
from linkwise.churn.windows import Window
from linkwise.churn.words import reason, theme
from linkwise.context import Context
from linkwise.data.splits import user_hash
from linkwise.estimators.calibrate import IsotonicCalibrator
from linkwise.estimators.tabular import Boosting, Vector

REASONS = 3


class ItemsOf(Protocol):
    """What to send to users who should be reached."""

    def check(self, users: pl.Series) -> None:
        """Raise `InputError` where nothing is known of any of the users."""

    def __call__(self, users: pl.Series) -> pl.Series:
        """What to send to each user, as text (n,)."""


UNREMARKABLE = "nothing raises this user's risk above the average"
CHUNK = 50_000  # users whose contributions are in memory at a time
WATCH_DAYS, REACH_DAYS = 7, 14

TRIAL = "offer a trial of the paid version"
OFFER = "make an offer"
DISCOUNT = "offer a discount or a free month"
WATCH = "watch: silent for 7 to 13 days"
REACH_SONGS = "reach out with recommended songs: silent for 14 days or more"
REACH_ITEMS = "reach out with recommended items: silent for 14 days or more"
REACH = "reach out: silent for 14 days or more"
EMAIL = "e-mail: an offer costs more than the user is worth"
LEAVE = "leave alone: the risk does not pay for an offer"
HOLDOUT = "control: no action, so that the effect of acting can be measured"

# A cell that begins with one of these is a formula to a spreadsheet; so is one after a tab or line end.

COLUMNS = (
    "user",
    "rank",
    "score",
    "probability",
    "low",
    "high",
    "reason",
    "action",
    "holdout",
    "bot",
)


def make_list(
    table: Table,
    model: Boosting,
    calibrator: IsotonicCalibrator,
    spec: FeatureSpec,
    stage: str,
    config: ChurnConfig,
    context: Context,
    items_of: ItemsOf | None = None,
) -> pl.DataFrame:
    """Every user of a table, riskiest first: columns `COLUMNS`.

    `score` is the model's log-odds; `probability` with `low` and `high` is the calibrator's observed rate
    and its 95 % bootstrap interval; `reason` names the three features that raise this user's risk the most
    (exact TreeSHAP). Risk is not persuadability: `holdout` marks a random share to leave alone.
    With `items_of`, a further column `items` says what to send to those who should be reached.
    """
    scores = model.score(table.rows)
    probability = calibrator.predict(scores)
    low, high = calibrator.interval(scores)
    reasons = reasons_of(table.rows, model)
    # By hash: a user held out once stays held out on every later list of the same seed.
    held = user_hash(table.users, f"holdout-{context.seed}") < config.holdout
    silent = silent_days(table.rows, recency_columns(spec, config.activity))
    paying = table.rows["paid_share"].fill_null(0).to_numpy() > 0 if spec.paid else None
    reach = REACH_SONGS if "play" in spec.kinds else REACH_ITEMS if spec.item else REACH
    actions = suggest(probability, silent, paying, held, stage, reach, config)
    frame = pl.DataFrame(
        {
            "user": table.users,
            "score": scores,
            "probability": probability,
            "low": low,
            "high": high,
            "reason": reasons,
            "action": actions,
            "holdout": held,
            "bot": table.bot,
        }
    )
    # Equal scores keep the order of the ids, so that the list is the same every time.
    frame = frame.sort("score", "user", descending=[True, False])
    ranks = pl.int_range(1, len(frame) + 1, eager=True)
    frame = frame.with_columns(rank=ranks).select(COLUMNS)
    if items_of is None:
        return frame
    items = items_of(frame["user"])
    return frame.with_columns(items=pl.when(pl.col("action") == reach).then(items))


def reasons_of(rows: pl.DataFrame, model: Boosting) -> list[str]:
    """The features with the largest positive contributions to each user's risk, in words (n,).

    Exact TreeSHAP values of the boosting model, in log-odds, against the average user.
    """
    names = model.columns_
    found: list[str] = []
    for start in range(0, len(rows), CHUNK):
        part = rows.slice(start, CHUNK)
        values = model.contributions(part)[:, :-1]  # (chunk, p)
        top = np.argsort(-values, axis=1, kind="stable")[:, : 3 * REASONS]  # (chunk, 9)
        columns = [part[name].to_list() for name in names]
        for i, features in enumerate(top):
            # Two features may tell the same, such as the silence of 30 and of 14 days.
            said: dict[str, str] = {}
            for j in features:
                if values[i, j] > 0:
                    told = names[j], columns[j][i]
                    said.setdefault(theme(*told), reason(*told))
            found.append("; ".join([*said.values()][:REASONS]) or UNREMARKABLE)
    return found


def suggest(
    probability: Vector,
    silent: Vector,
    paying: np.ndarray[Any, Any] | None,
    held: np.ndarray[Any, Any],
    stage: str,
    reach: str,
    config: ChurnConfig,
) -> list[str]:
    """The action for each user, from the report's rules and the costs (n,).

    Users silent for 14 days or more are reached out to, those for 7 to 13 watched. The others get an offer
    where what it is expected to save, risk x success x value, is more than it costs: a trial for free
    users, a discount for paid ones, just an offer where the log does not say who pays (`paying` None).
    E-mail takes the offer's place only at the stage of revenue, where the offer costs more than the user
    is worth.
    """
    # A log that does not say who pays knows of no paid version to try.
    offers = (OFFER, OFFER) if paying is None else (TRIAL, DISCOUNT)
    worth = probability * config.offer_success * config.user_value >= config.offer_cost
    mail_only = stage == "revenue" and config.offer_cost > config.user_value
    actions = []
    for i, days in enumerate(silent):
        if held[i]:
            actions.append(HOLDOUT)
        elif days >= REACH_DAYS:
            actions.append(reach)
        elif days >= WATCH_DAYS:
            actions.append(WATCH)
        elif mail_only:
            actions.append(EMAIL)
        elif not worth[i]:
            actions.append(LEAVE)
        else:
            actions.append(offers[int(paying is not None and paying[i])])
    return actions


def profit_curve(probability: Vector, config: ChurnConfig) -> tuple[Vector, int]:
    """Expected profit of offering to the k riskiest users, k = 0 ... n, and the k that is best.

    Each offer costs `offer_cost` and keeps a leaving user, worth `user_value`, with `offer_success`.
    """
    ordered = -np.sort(-probability)
    gain = ordered * config.offer_success * config.user_value - config.offer_cost
    curve = np.concatenate(([0.0], np.cumsum(gain)))
    return curve, int(np.argmax(curve))


def ranking_of(shortlist: pl.DataFrame, model: str, window: Window) -> pl.DataFrame:
    """The list in the shape that every study's ranking has."""
    return shortlist.select(
        pl.lit(model).alias("model"),
        pl.lit(window.describe()["cutoff"]).alias("query"),
        pl.col("user").cast(pl.String).alias("item"),
        "score",
        "rank",
        "probability",
        "low",
        "high",
        "reason",
        "action",
        "holdout",
    )
