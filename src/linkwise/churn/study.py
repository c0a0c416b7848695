"""The churn study, from log to list: read, plan, clean, describe, fit, calibrate, judge, explain."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from linkwise.churn.clean import CleaningRules, bot_rules, cleaned, find_bots, fit_rules
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import FeatureSpec, feature_names, fit_spec, user_features
from linkwise.churn.fitted import LISTED_MODEL, Fitted, Judged, judge
from linkwise.churn.insight import find_insight
from linkwise.churn.ledger import ledger_frame, make_ledger
from linkwise.churn.models import Model, Parts, Table, check_classes, fit_models, split
from linkwise.churn.page import build_report
from linkwise.churn.shortlist import ItemsOf, make_list, ranking_of
from linkwise.churn.windows import Role, Window, in_features, labels, plan
from linkwise.context import Context
from linkwise.data.engine import EngineConfig, Frame, collect
from linkwise.data.events import Events, read_events
from linkwise.data.files import is_simulated
from linkwise.data.schema import InputConfig
from linkwise.data.spreadsheet import write_csv
from linkwise.errors import InputError
from linkwise.estimators.calibrate import IsotonicCalibrator
from linkwise.estimators.tabular import Boosting, write_atomically
from linkwise.metrics import evaluate_binary, proportion_interval
from linkwise.report.outcome import Outcome

FEW_TOP_USERS = 50
FEW_SAMPLES_FROM = 100_000  # users, above which fewer bootstrap resamples serve as well


def study(
    paths: Sequence[str],
    input_config: InputConfig,
    engine: EngineConfig,
    config: ChurnConfig,
    context: Context,
    items_of: ItemsOf | None = None,
) -> Outcome:
    """Carry out the whole study into `context.folder`.

    Raises `InputError` where the log is unreadable or too short, or one class is missing.
    """
    with context.step("read the log"):
        events = read_events(paths, input_config, engine=engine, folder=context.work)
    check_days(events)
    _check_activity(events, config)
    if items_of is not None:
        items_of.check(collect(events.frame.select("user").unique())["user"])
    config = with_bots(config, events)
    cutoffs = plan(events, config.feature_days, config.gap_days, config.label_days)
    with context.step("fit the cleaning rules"):
        spec = fit_spec(events, cutoffs.train, config.activity)
        if not spec.kinds:
            raise InputError(
                f"the log has no event in the training feature window "
                f"({cutoffs.train.describe()['features']}). Use other windows, or a log without gaps."
            )
        rules = fit_rules(events.frame, spec, cutoffs.train, config)
    tables: dict[Role, Table] = {}
    for role, window in cutoffs.windows.items():
        shared = next((r for r in tables if cutoffs.windows[r] == window), None)
        if shared is not None:
            tables[role] = tables[shared]
            continue
        with context.step(f"describe users ({role})"):
            tables[role] = labelled_table(events, spec, rules, window, config, context.work)
    parts = split(cutoffs, tables)
    check_classes(parts)
    models = fit_models(parts, spec, config, context)
    with context.step("calibrate"):
        calibrators = _calibrators(models, parts, context)
    _save_preparation(context.folder / "model", spec, rules)
    with context.step("judge"):
        fitted = Fitted(
            events,
            spec,
            rules,
            cutoffs,
            parts,
            models,
            calibrators,
            judge(models, calibrators, parts.report),
        )
        metrics = _metrics(fitted, config, context.seed)
    return _explain(fitted, metrics, config, context, items_of)


def labelled_table(
    events: Events,
    spec: FeatureSpec,
    rules: CleaningRules,
    window: Window,
    config: ChurnConfig,
    work: Path | None = None,
) -> Table:
    """The labelled users of a cutoff. With `work`, kept there for a resumed run."""
    path = work / f"table-{window.cutoff}.parquet" if work is not None else None
    if path is not None and path.exists():
        return _as_table(pl.read_parquet(path), spec, config)
    clean = cleaned(events.frame, spec, rules)
    features = collect(user_features(clean, spec, window))
    bots = find_bots(clean, spec, rules, window)
    labelled = collect(labels(events.frame, window, config.activity))
    frame = features.join(labelled, on="user", how="inner").sort("user")
    frame = frame.with_columns(bot=pl.col("user").is_in(bots["user"].implode()))
    if path is not None:
        partial = path.with_suffix(".partial")
        frame.write_parquet(partial)
        partial.replace(path)
    return _as_table(frame, spec, config)


def unlabelled_table(
    events: Events, spec: FeatureSpec, rules: CleaningRules, window: Window, config: ChurnConfig
) -> Table:
    """The users who are active up to the log's end; their labels are not known yet (NaN)."""
    described = describe(events.frame, spec, rules, window, config.activity)
    return unlabelled([collect(frame) for frame in described], spec, config)


def describe(
    frame: Frame,
    spec: FeatureSpec,
    rules: CleaningRules,
    window: Window,
    activity: tuple[str, ...],
) -> list[Frame]:
    """What `unlabelled` takes, not yet collected: features, who acted, and the bots by each rule."""
    clean = cleaned(frame, spec, rules)
    acted = in_features(frame, window)
    if activity:
        acted = acted.filter(nw.col("event").is_in(activity))
    bots = bot_rules(clean, spec, rules, window).values()
    return [user_features(clean, spec, window), acted.select("user").unique(), *bots]


def unlabelled(collected: Sequence[pl.DataFrame], spec: FeatureSpec, config: ChurnConfig) -> Table:
    """The users of collected frames as `describe` has them; their labels are not known (NaN)."""
    features, acted, *rules = collected
    bots = pl.concat([acted.head(0), *rules])["user"]
    frame = features.join(acted, on="user", how="semi").sort("user")
    frame = frame.with_columns(
        churned=pl.lit(None, pl.Float64), bot=pl.col("user").is_in(bots.implode())
    )
    return _as_table(frame, spec, config)


def _as_table(frame: pl.DataFrame, spec: FeatureSpec, config: ChurnConfig) -> Table:
    if config.bots == "drop":
        frame = frame.filter(~pl.col("bot"))
    target = frame["churned"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return Table(frame["user"], frame.select(feature_names(spec)), target, frame["bot"])


def check_days(events: Events) -> None:
    """Raise `InputError` on a log that has positions and no dates: windows are days."""
    if not events.has_days:
        raise InputError(
            "the log says the order of a user's events but not their days, and churn is a matter of days. "
            "Name the column with the time with --time."
        )


def with_bots(config: ChurnConfig, events: Events) -> ChurnConfig:
    """The configuration with `bots` decided for the log."""
    if config.bots != "auto":
        return config
    return config.model_copy(update={"bots": "flag" if "value" in events.columns else "drop"})


def _check_activity(events: Events, config: ChurnConfig) -> None:
    for kind in config.activity:
        if kind not in events.kinds:
            raise InputError(
                f'--activity names the kind of event "{kind}", which the log does not have; '
                f"it has {', '.join(events.kinds)}."
            )


def _calibrators(
    models: dict[str, Model], parts: Parts, context: Context
) -> dict[str, IsotonicCalibrator]:
    found = {}
    for name, model in models.items():
        folder = context.folder / "model" / "calibrators" / name
        folder.mkdir(parents=True, exist_ok=True)
        calibrator = IsotonicCalibrator().fit(
            model.score(parts.calibrate.rows), parts.calibrate.labels, seed=context.seed
        )
        calibrator.save(folder)
        found[name] = calibrator
    return found


def _metrics(fitted: Fitted, config: ChurnConfig, seed: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    train = fitted.parts.train
    trained = judge(fitted.models, fitted.calibrators, train)
    for name, table, found in (
        ("test", fitted.parts.report, fitted.judged),
        ("train", train, trained),
    ):
        samples = config.bootstrap if len(table) < FEW_SAMPLES_FROM else min(config.bootstrap, 200)
        found_rows = evaluate_binary(
            table.labels,
            found.scores,
            found.probabilities,
            baseline="recency",
            split=name,
            samples=samples,
            seed=seed,
        )
        rate = float(table.labels.mean())
        rows += [_with_wide_enough_interval(asdict(row), rate) for row in found_rows]
    return rows


def _with_wide_enough_interval(row: dict[str, Any], rate: float) -> dict[str, Any]:
    """Wilson's interval for precision and lift among few users, where the bootstrap knows no other outcome.

    Lift is precision over `rate`, the churn rate of all users.
    """
    if row["metric"] not in ("precision_at", "lift_at") or row["value"] is None:
        return row
    users = math.ceil(row["n"] * row["k"] / 100)
    if users >= FEW_TOP_USERS and row["low"] != row["high"]:
        return row
    scale = 1.0 if row["metric"] == "precision_at" else rate
    low, high = proportion_interval(min(1.0, row["value"] * scale) * users, users)
    return row | {"low": low / scale, "high": high / scale}


def _explain(
    fitted: Fitted,
    metrics: list[dict[str, Any]],
    config: ChurnConfig,
    context: Context,
    items_of: ItemsOf | None,
) -> Outcome:
    """Everything after the judging: ledger, insight, list, evaluation rows and report."""
    events, spec, table = fitted.events, fitted.spec, fitted.parts.report
    with context.step("ledger"):
        entries = make_ledger(fitted, config, context)
        ledger_frame(entries).write_parquet(context.folder / "cleaning.parquet")
    with context.step("insight"):
        found = find_insight(fitted, config, context)
    with context.step("rank the users"):
        stage = found.stage.name if config.stage == "auto" else config.stage
        final = unlabelled_table(events, spec, fitted.rules, fitted.plan.final, config)
        stage_file = context.folder / "model" / "stage.json"
        write_atomically(stage_file, json.dumps({"stage": stage}))
        shortlist = make_list(final, *fitted.listed, spec, stage, config, context, items_of)
        write_csv(shortlist, context.folder / "churn.csv")
    features = table.rows.with_columns(table.users.alias("user"), bot=table.bot)
    features = features.with_columns(churned=pl.Series(table.labels).cast(pl.Int8))
    columns = ["user", *feature_names(spec), "bot", "churned"]
    features.select(columns).write_parquet(context.folder / "features.parquet")
    page = build_report(
        fitted,
        metrics=metrics,
        entries=entries,
        insight=found,
        shortlist=shortlist,
        simulated=is_simulated(events.files),
        config=config,
    )
    evaluation = _evaluation(table, fitted.judged, fitted.plan.report)
    ranking = ranking_of(shortlist, LISTED_MODEL, fitted.plan.final)
    return Outcome(metrics, ranking, evaluation, page)


def _evaluation(table: Table, judged: Judged, window: Window) -> pl.DataFrame:
    """Per model and user of the report: the rows of `evaluation.parquet`."""
    frames = []
    for name, scores in judged.scores.items():
        frames.append(
            pl.DataFrame(
                {
                    "model": name,
                    "slice": "all",
                    "query": window.describe()["cutoff"],
                    "item": table.users.cast(pl.String),
                    "rank": pl.Series(-scores).rank("max").cast(pl.Int64),
                    "score": scores,
                    "label": table.labels,
                }
            ).sort("rank", "item")
        )
    return pl.concat(frames)


def _save_preparation(
    folder: Path,
    spec: FeatureSpec,
    rules: CleaningRules,
) -> None:
    """What scoring another log needs besides the models."""
    values = {"spec": spec.to_json(), "rules": rules.to_json()}
    write_atomically(folder / "preparation.json", json.dumps(values, indent=1))


def load_fitted(
    folder: Path,
) -> tuple[FeatureSpec, CleaningRules, Boosting, IsotonicCalibrator]:
    """The listed model of a run folder with all that it needs to score a log."""
    values = json.loads((folder / "preparation.json").read_text())
    return (
        FeatureSpec.from_json(values["spec"]),
        CleaningRules.from_json(values["rules"]),
        Boosting.load(folder),
        IsotonicCalibrator.load(folder / "calibrators" / LISTED_MODEL),
    )


def score_log(
    folder: Path,
    paths: Sequence[str],
    input_config: InputConfig,
    engine: EngineConfig,
    config: ChurnConfig,
    context: Context,
    items_of: ItemsOf | None = None,
) -> pl.DataFrame:
    """Rank the users of a newer log with a fitted run: the same list, cut at the newer log's end.

    Raises `InputError` where the log is shorter than the feature window or lacks a column.
    """
    spec, rules, model, calibrator = load_fitted(folder)
    stage = json.loads((folder / "stage.json").read_text())["stage"]
    with context.step("read the log"):
        events = read_events(paths, input_config, engine=engine, folder=context.work)
    check_days(events)
    config = with_bots(config, events)
    window = Window(events.end_day, spec.feature_days, config.gap_days, config.label_days)
    if window.start < events.first_day:
        raise InputError(
            f"the log is {events.end_day - events.first_day} days long, shorter than the run's "
            f"feature window of {spec.feature_days} days; give a longer log."
        )
    if spec.clock and not events.has_clock:
        raise InputError(
            "the run was fitted on a log with clock times, and this log has dates only; "
            "give a log with times."
        )
    for name in ("item", "duration", "length", "value", "paid"):
        if getattr(spec, name) and name not in events.columns:
            raise InputError(
                f"the run was fitted on a log with {name}s, and this log has none; name the column "
                f"with --{name}."
            )
    if config.activity and not set(config.activity) & set(events.kinds):
        raise InputError(
            f"the run counts {', '.join(config.activity)} as activity, and this log has none of "
            f"them; it has {', '.join(events.kinds)}. Give a log with the run's kinds of event."
        )
    with context.step("describe users"):
        table = unlabelled_table(events, spec, rules, window, config)
    if len(table) == 0:
        raise InputError("no user is active in the feature window at the log's end.")
    with context.step("rank the users"):
        return make_list(table, model, calibrator, spec, stage, config, context, items_of)
