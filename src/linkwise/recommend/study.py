"""The recommend study: read, split, fit all models on the same events, judge them on the same queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.data.engine import EngineConfig
from linkwise.data.events import Events, read_events
from linkwise.data.files import is_simulated
from linkwise.data.interactions import Histories, Interactions, read_interactions
from linkwise.data.items import find_titles, read_titles
from linkwise.data.queries import Split, some_queries, split
from linkwise.data.schema import InputConfig
from linkwise.errors import InputError, UsageError
from linkwise.metrics.ranking import evaluate_ranked, of_lists, per_query
from linkwise.recommend.base import ModelConfig, Recommender, distinct_items
from linkwise.recommend.config import RecommendConfig
from linkwise.recommend.daytime import ByDayTime, DayTime
from linkwise.recommend.evaluate import Judged, judge
from linkwise.recommend.fitting import Fitted, fit_model
from linkwise.recommend.lists import recommendations
from linkwise.recommend.page import build_report
from linkwise.recommend.rating_error import MEAN, compared, held_out, in_sample, item_means
from linkwise.recommend.registry import model_class
from linkwise.recommend.title_bias import audit, audit_rows, bias_section
from linkwise.recommend.title_calibration import EXAMPLES
from linkwise.recommend.title_lm import TitleLM
from linkwise.report.outcome import Outcome

MUSIC_BOX_MIN_ITEMS = 5
COLD_STARTS = (1, 2, 5, 10, 20, 50, 100)  # events of a history that are seen
COLD_USERS = 2000  # queries behind the cold-start curve
DELAYS = (0, 1, 7, 14, 28, 56, 112, 365, 100_000)  # days from the cutoff to the target, edges
SLICE_SAMPLES = 200
MICROSECONDS = 86_400_000_000  # a day


@dataclass(frozen=True)
class Compared:
    """The models of a run, judged on the same queries."""

    events: Events
    log: Interactions
    split: Split
    fitted: dict[str, Fitted]
    judged: dict[str, Judged]
    chosen: str
    """The model with the best validation; it makes the recommendations."""
    by_daytime: ByDayTime | None
    """The chosen model re-ranked by the time of day, where that was asked for."""

    @property
    def models(self) -> dict[str, Recommender]:
        """The models by name."""
        return {name: fitted.model for name, fitted in self.fitted.items()}


def study(
    paths: Sequence[str],
    input_config: InputConfig,
    engine: EngineConfig,
    config: RecommendConfig,
    context: Context,
) -> Outcome:
    """Carry out the whole study into `context.folder`.

    Raises `InputError` where the log is unreadable, names no items, or leaves no query.
    """
    if engine.engine == "spark":
        als = config.als.model_copy(update={"spark_master": engine.spark_master})
        config = config.model_copy(update={"als": als})
    with context.step("read the log"):
        events = read_events(paths, input_config, engine=engine, folder=context.work)
        table = Path(config.titles) if config.titles else find_titles(events.files)
        titles = read_titles(table) if table is not None else None
        log = read_interactions(events, config.interactions, titles)
    if config.daytime and log.clock != "time":
        DayTime().fit(log)  # which says what is wrong
    parts = _parts(log, titles, config, context)
    least = _min_items(config, input_config)
    if not (distinct_items(parts.test.histories) > least).any():
        raise InputError(
            f"no history of --split {config.split} has more than {least} different items, so that every "
            "model would give the most popular; use a smaller --min-items, or another split."
        )
    found = _compare(events, log, parts, least, config, context)
    with context.step("metrics"):
        metrics = _metrics(found, config, context.seed) + _trials(found, config)
    if log.rated:
        with context.step("rating errors"):
            metrics += _rating_errors(found, config, context)
    with context.step("cold start"):
        metrics += _cold_start(found, config, context)
    metrics += _decay(found, config, context.seed)
    audits = []
    for name, model in found.models.items():
        if isinstance(model, TitleLM):
            with context.step(f"bias of {name}"):
                audited = audit(model, found.split.test, context.seed)
            rows = audit_rows(name, audited, config.bootstrap, context.seed)
            metrics += rows
            audits.append(bias_section(audited, rows))
    about = {"chosen": found.chosen, "models": list(found.models)}
    (context.folder / "model" / "chosen.json").write_text(json.dumps(about, indent=1))
    with context.step("recommendations"):
        model = found.models[found.chosen]
        chosen, turned_down = _known(log, model)
        users = log.users
        if config.slow(found.chosen):  # those who were judged, not all who are known
            asked = parts.test.users
            users, chosen = users.gather(asked), chosen.take(asked)
            turned_down = None if turned_down is None else turned_down.take(asked)
        lists = recommendations(model, chosen, users, config.repeats, dislikes=turned_down)
        lists.write_parquet(context.folder / "recommendations.parquet")
    page = build_report(found, metrics, lists, is_simulated(events.files), config, audits)
    return Outcome(metrics, _ranking(found, config.listed), _evaluation(found), page)


def _parts(
    log: Interactions, titles: pl.DataFrame | None, config: RecommendConfig, context: Context
) -> Split:
    """The split, over the catalogue that was asked for, with as many queries as were asked for."""
    always = None
    if config.catalogue == "titles":
        if titles is None:
            raise UsageError("--catalogue titles needs a table of them; name it with --titles.")
        log = log.with_titled(titles)
        always = log.catalogue.ids.cast(pl.String).is_in(titles["id"].implode()).to_numpy()
    parts = split(
        log,
        config.split,
        repeats=config.repeats,
        min_item_users=config.interactions.min_item_users,
        always=always,
    )
    if config.users is None:
        return _calibration_apart(parts, config, context)
    n = len(parts.test)
    test = some_queries(parts.test, config.users, context.rng("test users"))
    validation = parts.validation
    others = np.flatnonzero(~np.isin(validation.users, test.users))
    if len(others) >= min(config.users, len(validation) // 2):  # users who are not reported
        validation = validation.take(others)
    validation = some_queries(validation, config.users, context.rng("validation users"))
    words = parts.words
    if len(test) < n:
        words += f". Judged on {len(test):,} of {n:,} queries, drawn at random"
    return replace(parts, test=test, validation=validation, words=words)


def _calibration_apart(parts: Split, config: RecommendConfig, context: Context) -> Split:
    """The split with its validation on users who are not reported, where a calibration is fitted on it."""
    fitted = "title-lm" in config.fitted and config.title_lm.fits_weight
    if not fitted or not len(parts.validation):
        return parts
    apart = ~np.isin(parts.validation.users, parts.test.users)
    if apart.sum() >= EXAMPLES:
        return replace(parts, validation=parts.validation.take(np.flatnonzero(apart)))
    users = np.unique(parts.validation.users)
    if len(users) < 2:
        return parts  # nobody could be judged
    chosen = context.rng("calibration users").permutation(users)[: min(EXAMPLES, len(users) // 2)]
    return replace(
        parts,
        validation=parts.validation.take(np.flatnonzero(np.isin(parts.validation.users, chosen))),
        test=parts.test.take(np.flatnonzero(~np.isin(parts.test.users, chosen))),
        words=f"{parts.words}. {len(chosen)} users, drawn at random, fit the calibration and are not judged",
    )


def _min_items(config: RecommendConfig, input_config: InputConfig) -> int:
    if config.min_items is not None:
        return config.min_items
    return MUSIC_BOX_MIN_ITEMS if input_config.log_schema == "music-box" else 0


def _compare(
    events: Events,
    log: Interactions,
    parts: Split,
    min_items: int,
    config: RecommendConfig,
    context: Context,
) -> Compared:
    fitted: dict[str, Fitted] = {}
    judged: dict[str, Judged] = {}
    tuned: dict[str, ModelConfig] = {}
    for name in config.compared:
        folder, note = context.folder / "model" / name, context.work / f"{name}.json"
        if note.exists():
            about = json.loads(note.read_text())
            about["trials"] = tuple((words, value) for words, value in about["trials"])
            about["setting"] = model_class(name).Config(**about["setting"])
            fitted[name] = Fitted(model_class(name).load(folder), **about)
        else:
            fitted[name] = fit_model(name, parts, min_items, config, tuned, context)
            fitted[name].model.save(folder)
            kept = ("validated", "trials", "daytime", "queries", "trials_k")
            about = {key: getattr(fitted[name], key) for key in kept}
            about["setting"] = fitted[name].setting.model_dump(mode="json")
            note.write_text(json.dumps(about))
        tuned[name] = fitted[name].setting
        with context.step(f"judge {name}", len(parts.test)):
            judged[name] = judge(
                fitted[name].model,
                parts.test,
                advance=context.progress.advance,
            )
    chosen = max(fitted, key=lambda name: fitted[name].validated)
    by_daytime = None
    if config.daytime:
        with context.step("time of day"):
            by_daytime = _by_daytime(chosen, fitted[chosen], parts, context)
    return Compared(events, log, parts, fitted, judged, chosen, by_daytime)


def _by_daytime(chosen: str, fitted: Fitted, parts: Split, context: Context) -> ByDayTime:
    daytime = DayTime().fit(parts.refit)
    daytime.save(context.folder / "model", fitted.daytime)
    (ranks,) = daytime.ranks(fitted.model, parts.test, (fitted.daytime,))
    return ByDayTime(f"{chosen} by time of day", fitted.daytime, ranks, daytime)


def _known(log: Interactions, model: Recommender) -> tuple[Histories, Histories | None]:
    """What all users chose, and what they turned down, in the rows of the model's catalogue.

    What a user turned down is not in the history, whenever it was chosen.
    """
    rows = model.catalogue_.rows
    row_of = np.array([rows.get(item, -1) for item in log.catalogue.ids], dtype=np.int32)
    items = row_of[log.histories.items]
    keep = items >= 0
    if not len(log.dislikes):
        return replace(log.histories, items=items).where(keep), None
    cells = log.histories.rows * log.n_items + log.histories.items
    keep &= ~np.isin(cells, log.dislikes[:, 0] * log.n_items + log.dislikes[:, 1])
    disliked = log.turned_down
    turned_down = replace(disliked, items=row_of[disliked.items])
    return (
        replace(log.histories, items=items).where(keep),
        turned_down.where(turned_down.items >= 0),
    )


def _metrics(found: Compared, config: RecommendConfig, seed: int) -> list[dict[str, Any]]:
    offsets = found.split.test.targets.offsets
    values: dict[str, dict[tuple[str, int], np.ndarray[Any, Any]]] = {}
    rows: list[dict[str, Any]] = []
    for name, result in found.judged.items():
        counts = found.models[name].popularity_
        values[name] = {}
        for k in config.k:
            for metric, per in per_query(result.ranks, offsets, k).items():
                values[name][metric, k] = per
            about = of_lists(result.lists[:, :k], counts, len(counts))
            values[name]["novelty", k] = about["novelty"]
            values[name]["popularity_percentile", k] = about["popularity_percentile"]
            rows.append(_plain(name, "test", "coverage", k, about["coverage"], len(result.lists)))
    if found.by_daytime is not None:
        values[found.by_daytime.name] = {
            (metric, k): per
            for k in config.k
            for metric, per in per_query(found.by_daytime.ranks, offsets, k).items()
        }
    found_rows = evaluate_ranked(values, baseline="popularity", samples=config.bootstrap, seed=seed)
    for name, fitted in found.fitted.items():
        rows.append(
            _plain(name, "validation", "ndcg", config.k[0], fitted.validated, fitted.queries)
        )
    return [asdict(row) for row in found_rows] + rows


def _trials(found: Compared, config: RecommendConfig) -> list[dict[str, Any]]:
    """What was tried for each model, on the validation."""
    return [
        _plain(name, "validation", "ndcg", fitted.trials_k, value, fitted.queries)
        | {"slice": f"trial: {words}"}
        for name, fitted in found.fitted.items()
        for words, value in fitted.trials
    ]


def _rating_models(
    found: Compared, learned: Interactions, context: Context
) -> Iterator[tuple[str, Recommender]]:
    """The models that predict ratings; one that does better on ones is fitted to ratings as well."""
    for name, model in found.models.items():
        values = {**dict(model.config), "values": "rating"}
        if model.rates:
            yield name, model
        elif "values" in type(model.config).model_fields:
            twin = type(model)(type(model.config)(**values), min_items=model.min_items)
            if twin.rates:
                yield f"{name} on ratings", twin.fit(learned, context=context)


def _rating_errors(
    found: Compared, config: RecommendConfig, context: Context
) -> list[dict[str, Any]]:
    """RMSE and MAE of the models that predict ratings: held out, and in-sample as reports give them."""
    learned = found.split.refit if config.refits else found.split.train
    test = found.split.test
    # Where there are too few items for a personal list, counts are answered, which are no ratings.
    queries = test.take(np.flatnonzero(found.models[found.chosen].personal(test.histories)))
    if not len(queries):
        return []
    means = item_means(learned)
    base = held_out(means, queries)
    n = int(base.counts.sum())
    if n == 0:
        return []
    apart = dict.fromkeys(("baseline", "difference", "difference_low", "difference_high"))
    rows = [
        _plain(MEAN, "test", metric, None, 0, n) | numbers | apart
        for metric, numbers in compared(base, base, config.bootstrap, context.seed).items()
    ]
    for name, model in _rating_models(found, learned, context):
        errors = held_out(model, queries)
        for metric, numbers in compared(errors, base, config.bootstrap, context.seed).items():
            rows.append(_plain(name, "test", metric, None, 0, n) | numbers)
        for unknown, slice_name in (
            (False, "in-sample, chosen"),
            (True, "in-sample, unknown as 0"),
        ):
            inside = in_sample(model, learned.histories, unknown=unknown)
            for metric, value in inside.values().items():
                cells = int(inside.counts.sum())
                row = _plain(name, "train", metric, None, value, cells)
                rows.append(row | {"slice": slice_name})
    return rows


def _plain(
    model: str, part: str, metric: str, k: int | None, value: float, n: int
) -> dict[str, Any]:
    """A row of metrics without an interval."""
    empty = dict.fromkeys(
        ("low", "high", "baseline", "difference", "difference_low", "difference_high")
    )
    row = {"model": model, "split": part, "slice": "all", "metric": metric, "k": k, "value": value}
    return row | {"n": n} | empty


def _sliced(
    values: dict[str, dict[str, np.ndarray[Any, Any]]], k: int, name: str, seed: int
) -> list[dict[str, Any]]:
    """The metrics of all models on a slice, from each query's values: model -> metric -> (n,)."""
    rows = evaluate_ranked(
        {model: {(m, k): found for m, found in per.items()} for model, per in values.items()},
        baseline="popularity",
        slice_name=name,
        samples=SLICE_SAMPLES,
        seed=seed,
    )
    return [asdict(row) for row in rows]


def _cold_start(found: Compared, config: RecommendConfig, context: Context) -> list[dict[str, Any]]:
    """Quality after the last 1 to 100 events of each history: the same users and targets throughout.

    Models that take seconds for a list are left out.
    """
    test = found.split.test
    rows = np.arange(len(test))
    if len(rows) > COLD_USERS:
        rows = np.sort(context.rng("cold start").choice(rows, COLD_USERS, replace=False))
    queries = test.take(rows)
    metrics: list[dict[str, Any]] = []
    for seen in COLD_STARTS:
        cut = replace(queries, histories=queries.histories.last(seen))
        values = {}
        for name, model in found.models.items():
            if config.slow(name):
                continue
            result = judge(model, cut, seen=queries.histories)
            values[name] = per_query(result.ranks, cut.targets.offsets, config.k[0])
        metrics += _sliced(values, config.k[0], f"history {seen}", context.seed)
    return metrics


def _decay(found: Compared, config: RecommendConfig, seed: int) -> list[dict[str, Any]]:
    """Quality by the days from the cutoff to the target; nothing on a log without times."""
    if found.log.clock == "position" or not config.split.startswith("global-time"):
        return []
    test = found.split.test
    unit = MICROSECONDS if found.log.clock == "time" else 1
    days = (test.targets.times - test.cutoffs[test.targets.rows]) // unit
    metrics: list[dict[str, Any]] = []
    for first, last in pairwise(DELAYS):
        keep = (days >= first) & (days < last)
        part = test.targets.where(keep)
        some = np.flatnonzero(part.lengths > 0)
        if len(some) < 2:
            continue
        offsets = part.take(some).offsets
        values = {}
        for name, result in found.judged.items():
            values[name] = per_query(result.ranks[keep], offsets, config.k[0])
        metrics += _sliced(values, config.k[0], f"delay {first} days", seed)
    return metrics


def _ranking(found: Compared, listed: int) -> pl.DataFrame:
    """The lists of all models: the rows of `ranking.parquet`."""
    test, users = found.split.test, found.log.users
    frames = []
    for name, result in found.judged.items():
        lists = result.lists[:, :listed]
        n, k = lists.shape
        frame = pl.DataFrame(
            {
                "query": users.gather(np.repeat(test.users, k)).cast(pl.String),
                "row": lists.ravel(),
                "score": result.list_scores[:, :k].ravel(),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
            }
        ).filter(pl.col("row") >= 0)
        items = found.models[name].catalogue_.ids.gather(frame["row"]).cast(pl.String)
        frame = frame.with_columns(item=items, model=pl.lit(name))
        frames.append(frame.select("model", "query", "item", "score", "rank"))
    return pl.concat(frames)


def _evaluation(found: Compared) -> pl.DataFrame:
    """Per model, query and target: the rows of `evaluation.parquet`."""
    test, users = found.split.test, found.log.users
    ids = found.split.refit.catalogue.ids.cast(pl.String)
    inside = test.targets.items < len(ids)
    items = ids.gather(np.where(inside, test.targets.items, 0))
    frames = []
    ranked = {name: (result.ranks, result.scores) for name, result in found.judged.items()}
    if found.by_daytime is not None:
        empty = np.full(len(inside), np.nan, dtype=np.float32)
        ranked[found.by_daytime.name] = found.by_daytime.ranks, empty
    for name, (ranks, scores) in ranked.items():
        frame = pl.DataFrame(
            {
                "model": [name] * len(test.targets.items),
                "slice": ["all"] * len(test.targets.items),
                "query": users.gather(test.users[test.targets.rows]).cast(pl.String),
                "item": items,
                "rank": ranks,
                "score": pl.Series(scores, nan_to_null=True),
                "label": np.ones(len(test.targets.items)),
            }
        )
        # What is not in the catalogue has no rank and no score.
        there = pl.Series(inside)
        frames.append(
            frame.with_columns(
                rank=pl.when(there).then(pl.col("rank")),
                score=pl.when(there).then(pl.col("score")),
                item=pl.when(there).then(pl.col("item")),
            )
        )
    return pl.concat(frames)
