"""The models of the churn study: recency alone, and three tabular scorers, tuned on log-loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import polars as pl

from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec, kind_codes
from linkwise.churn.windows import Plan, Role
from linkwise.context import Context
from linkwise.data.splits import user_hash
from linkwise.errors import InputError
from linkwise.estimators.tabular import (
    Boosting,
    BoostingConfig,
    Forest,
    ForestConfig,
    Logistic,
    Vector,
    matrix,
    write_atomically,
)
from linkwise.metrics import binary

RECENCY_FEATURE = "last_event_time_from_cutoff"
MAX_ROUNDS = 600  # of boosting while tuning; early stopping ends it sooner
PATIENCE = 30
GRIDS: dict[str, dict[str, list[Any]]] = {
    "forest": {"min_samples_leaf": [5, 20, 50], "max_features": ["sqrt", 0.3]},
    "boosting": {"num_leaves": [7, 15, 31], "learning_rate": [0.03, 0.1]},
}


@dataclass(frozen=True)
class Table:
    """The users of one cutoff: ids, features, labels (0 or 1), and which were found to be bots."""

    users: pl.Series
    rows: pl.DataFrame
    labels: Vector
    bot: pl.Series

    def where(self, mask: np.ndarray[Any, Any]) -> Table:
        """The users of a boolean mask."""
        kept = pl.Series(mask)
        return Table(
            self.users.filter(kept),
            self.rows.filter(kept),
            self.labels[mask],
            self.bot.filter(kept),
        )

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Parts:
    """The rows that each step may see. `check` and `fit` serve the tuning; `train` the final fit."""

    fit: Table
    check: Table
    train: Table
    calibrate: Table
    report: Table
    how: str

    def named(self) -> list[tuple[str, Table]]:
        """What each part serves, and its users."""
        return [
            ("tuning", self.fit),
            ("checking the tuning", self.check),
            ("training", self.train),
            ("calibration", self.calibrate),
            ("the report", self.report),
        ]


def split(plan: Plan, tables: dict[Role, Table]) -> Parts:
    """Give each step its rows: by cutoff where the log reaches, else by a stable hash of the users.

    On small logs a part may come out with one class only; the users are then split by the order of their
    hashes within each class, so that every part gets its share of both.
    """
    parts = _split(plan, tables, lambda table: user_hash(table.users, "split"))
    if any(len(set(table.labels.tolist())) < 2 for _, table in parts.named()):
        return replace(
            _split(plan, tables, _place_within_class),
            how=f"{parts.how}; the log is small, so each class is split by itself",
        )
    return parts


def _place_within_class(table: Table) -> Vector:
    """The place of each user's hash among those of its class, in [0, 1) (n,)."""
    hashes = user_hash(table.users, "split")
    places = np.empty(len(table))
    for label in (0, 1):
        members = np.flatnonzero(table.labels == label)
        order = np.argsort(np.argsort(hashes[members], kind="stable"), kind="stable")
        places[members] = (order + 0.5) / max(len(members), 1)
    return places


def _split(plan: Plan, tables: dict[Role, Table], placed: Callable[[Table], Vector]) -> Parts:
    train, report = tables["train"], tables["report"]
    place = placed(train)
    if plan.single:
        return Parts(
            fit=train.where(place < 0.45),
            check=train.where((place >= 0.45) & (place < 0.6)),
            train=train.where(place < 0.6),
            calibrate=train.where((place >= 0.6) & (place < 0.8)),
            report=train.where(place >= 0.8),
            how="one cutoff: users are split 60/20/20 by hash into training (a quarter of it for "
            "tuning), calibration and report",
        )
    if "calibrate" not in tables:
        return Parts(
            fit=train.where(place < 0.6),
            check=train.where((place >= 0.6) & (place < 0.8)),
            train=train.where(place < 0.8),
            calibrate=train.where(place >= 0.8),
            report=report,
            how="two cutoffs: at the earlier one users are split 60/20/20 by hash into training, "
            "tuning and calibration; the later one is reported",
        )
    if "tune" not in tables:
        return Parts(
            fit=train.where(place < 0.75),
            check=train.where(place >= 0.75),
            train=train,
            calibrate=tables["calibrate"],
            report=report,
            how="three cutoffs: training (a quarter of its users, by hash, tune), calibration, report",
        )
    tune = tables["tune"]
    tuned = placed(tune)
    return Parts(
        fit=tune.where(tuned < 0.75),
        check=tune.where(tuned >= 0.75),
        train=train,
        calibrate=tables["calibrate"],
        report=report,
        how="four cutoffs, one each for tuning, training, calibration and report",
    )


def check_classes(parts: Parts) -> None:
    """Raise `InputError` where a part has no users, or users of one class only."""
    for name, table in parts.named():
        if len(table) == 0:
            raise InputError(
                f"no users are left for {name} ({parts.how}). "
                "Use a longer log, or a larger --sample."
            )
        churned = int(table.labels.sum())
        if churned in (0, len(table)):
            what = "churned" if churned else "stayed"
            raise InputError(
                f"all {len(table)} users at hand for {name} {what}; both classes are needed. "
                "Use other windows (--feature-days, --label-days), other --activity, or more users."
            )


def recency_columns(spec: FeatureSpec, activity: tuple[str, ...]) -> tuple[str, ...]:
    """The features that say how long a user has been silent: by any event, or by those that count."""
    if not activity:
        return (RECENCY_FEATURE,)
    codes = dict(zip(spec.kinds, kind_codes(spec.kinds), strict=True))
    return tuple(f"last_{codes[kind]}_time_from_cutoff" for kind in activity if kind in codes)


def silent_days(rows: pl.DataFrame, columns: tuple[str, ...]) -> Vector:
    """Days since the last activity (n,); a user without any counts as silent for longest of all."""
    days = matrix(rows, columns)
    never = np.isnan(days).all(axis=1)
    found = np.min(np.where(np.isnan(days), np.inf, days), axis=1)
    longest = float(np.max(found[~never], initial=0))
    return np.asarray(np.where(never, longest + 1, found), dtype=np.float64)


class Recency:
    """The trivial baseline: the longer since the last activity, the likelier gone."""

    def __init__(self, columns: tuple[str, ...] = (RECENCY_FEATURE,)) -> None:
        self.columns_ = columns

    def fit(self, rows: pl.DataFrame, labels: Vector, *, seed: int, threads: int) -> Self:
        """Learn nothing."""
        return self

    def score(self, rows: pl.DataFrame) -> Vector:
        """Days since the last activity (n,)."""
        return silent_days(rows, self.columns_)

    def save(self, folder: Path) -> None:
        """Write `recency.json`."""
        write_atomically(folder / "recency.json", json.dumps({"columns": self.columns_}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the names of the columns."""
        return cls(tuple(json.loads((folder / "recency.json").read_text())["columns"]))


Model = Recency | Logistic | Forest | Boosting
CLASSES: dict[str, type[Recency] | type[Logistic] | type[Forest] | type[Boosting]] = {
    "recency": Recency,
    "logistic": Logistic,
    "forest": Forest,
    "boosting": Boosting,
}


def fit_models(
    parts: Parts, spec: FeatureSpec, config: ChurnConfig, context: Context
) -> dict[str, Model]:
    """Tune and fit every model, saving each as soon as it is done; found ones are loaded instead."""
    folder = context.folder / "model"
    folder.mkdir(exist_ok=True)
    models: dict[str, Model] = {}
    for name, cls in CLASSES.items():
        # The settings are written last, so a model with settings is whole.
        if (folder / f"{name}.json").exists():
            models[name] = cls.load(folder)
            continue
        model: Model
        if name == "forest":
            model = Forest(_tuned_forest(parts, config, context))
        elif name == "boosting":
            model = Boosting(_tuned_boosting(parts, config, context))
        else:
            columns = recency_columns(spec, config.activity)
            model = Logistic(config.logistic) if name == "logistic" else Recency(columns)
        with context.step(f"fit {name}"):
            model.fit(
                parts.train.rows, parts.train.labels, seed=context.seed, threads=context.threads
            )
            model.save(folder)
        models[name] = model
    return models


def _tuned_forest(parts: Parts, config: ChurnConfig, context: Context) -> ForestConfig:
    start = config.forest

    def suggest(trial: Any) -> ForestConfig:
        return start.model_copy(
            update={
                "min_samples_leaf": trial.suggest_int("min_samples_leaf", 2, 100, log=True),
                "max_features": trial.suggest_categorical("max_features", ["sqrt", 0.2, 0.5]),
                "max_depth": trial.suggest_categorical("max_depth", [None, 6, 10, 16]),
            }
        )

    def loss(settings: ForestConfig) -> tuple[float, ForestConfig]:
        quick = settings.model_copy(update={"trees": min(settings.trees, 60)})
        model = Forest(quick).fit(
            parts.fit.rows, parts.fit.labels, seed=context.seed, threads=context.threads
        )
        value = binary.log_loss(parts.check.labels, model.score(parts.check.rows))
        return value, settings

    return _search("forest", start, suggest, loss, config, context)


def _tuned_boosting(parts: Parts, config: ChurnConfig, context: Context) -> BoostingConfig:
    start = config.boosting

    def suggest(trial: Any) -> BoostingConfig:
        return start.model_copy(
            update={
                "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
                "num_leaves": trial.suggest_int("num_leaves", 4, 63, log=True),
                "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 10, 200, log=True),
                "feature_fraction": trial.suggest_float("feature_fraction", 0.4, 1.0),
                "lambda_l2": trial.suggest_float("lambda_l2", 0.01, 20.0, log=True),
            }
        )

    def loss(settings: BoostingConfig) -> tuple[float, BoostingConfig]:
        return Boosting(settings).stopped_early(
            (parts.fit.rows, parts.fit.labels),
            (parts.check.rows, parts.check.labels),
            max_rounds=MAX_ROUNDS,
            patience=PATIENCE,
            seed=context.seed,
            threads=context.threads,
        )

    return _search("boosting", start, suggest, loss, config, context)


C = TypeVar("C", ForestConfig, BoostingConfig)


def _search(
    name: str,
    start: C,
    suggest: Callable[[Any], C],
    loss: Callable[[C], tuple[float, C]],
    config: ChurnConfig,
    context: Context,
) -> C:
    """The settings with the least log-loss on the tuning rows; the starting ones are tried first."""
    if config.search == "none":
        return start
    path = context.work / f"tuned-{name}.json"
    if path.exists():
        return type(start).model_validate_json(path.read_text())
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tried: list[tuple[float, C]] = []
    grid = GRIDS[name]

    def objective(trial: Any) -> float:
        if config.search == "grid":
            choice = {key: trial.suggest_categorical(key, values) for key, values in grid.items()}
            settings = start.model_copy(update=choice)
        else:
            settings = start if not tried else suggest(trial)
        value, found = loss(settings)
        tried.append((value, found))
        context.progress.advance(len(tried))
        return value

    sampler: Any
    if config.search == "grid":
        sampler = optuna.samplers.GridSampler(grid, seed=context.seed)
        trials = int(np.prod([len(values) for values in grid.values()]))
    else:
        sampler = optuna.samplers.TPESampler(seed=context.seed)
        trials = config.trials
    with context.step(f"tune {name}", total=trials):
        study = optuna.create_study(direction="minimize", sampler=sampler)
        study.optimize(objective, n_trials=trials, catch=())
    best = min(tried, key=lambda pair: pair[0])[1]
    write_atomically(path, best.model_dump_json())
    return best
