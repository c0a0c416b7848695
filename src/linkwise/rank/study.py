"""A ranker trained on some surfaces and judged on all: on what was really shown, a month after training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.metrics.bootstrap import evaluate_binary
from linkwise.rank.baselines import DAY, fitted_scores
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.page import build_report
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import Longs, Surface, moment, read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.report.outcome import Outcome

RANKER = "ranker"
FEW_EVENTS = 10  # of the past, up to which a member is cold


@dataclass(frozen=True)
class Judged:
    """One task's test events, and what each model made of them.

    `member`, `item`, `time` (up to which the past is known), `past` (events of the member before it) and
    `label` are (n,), as are the `scores` by model; `trained` tells whether the task was in the mixture.
    """

    surface: Surface
    trained: bool
    member: Longs
    item: Longs
    time: Longs
    past: Longs
    label: np.ndarray[Any, np.dtype[np.bool_]]
    scores: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    left_out: int
    """Events of the past that the prompts had no room for, over all prompts."""

    @property
    def name(self) -> str:
        """The task's name."""
        return self.surface.task.name


def study(paths: Sequence[str], config: RankStudyConfig, context: Context) -> Outcome:
    """Carry out the whole study into `context.folder`.

    Raises `InputError` where a task or its tables cannot be used, or nothing is left to learn from or to
    judge, `UsageError` where --held-out names no task.
    """
    with context.step("read the tasks"):
        surfaces = [read_surface(read_task(path)) for path in task_files(paths)]
    trained = learned_from(surfaces, config)
    until, test = times(surfaces, config)
    if not any(((s.time >= test) & (s.labels() >= 0)).any() for s in surfaces):
        raise InputError(
            "no task has an answered event after the training time and the gap of "
            f"{config.gap_days} days, so that there is nothing to judge; use a smaller --gap-days or an "
            "earlier --train-until."
        )
    folder = context.folder / "model"
    if (folder / "ranker.json").is_file():  # of a run that is resumed
        ranker = Ranker.load(folder)
    else:
        ranker = Ranker(config.ranker(context.seed)).fit(trained, until, context)
        ranker.save(folder)
    judged = []
    for surface in sorted(surfaces, key=lambda s: s.task.name in config.held_out):
        found = judge(ranker, surface, surface in trained, until, test, config, context)
        if found is not None:
            judged.append(found)
    if not judged:
        raise InputError(
            "no task has an event after the training time and the gap; nothing to judge."
        )
    with context.step("metrics"):
        metrics = metrics_of(judged, config, context.seed)
    simulated = _simulated(surfaces)
    about = {
        "until": until,
        "test_from": test,
        "tasks": [str(path.absolute()) for path in task_files(paths)],
    }
    (folder / "study.json").write_text(json.dumps(about, indent=1))
    page = build_report(judged, metrics, ranker, config, simulated)
    evaluation = _evaluation(judged)
    return Outcome(metrics, _ranking(evaluation, judged), evaluation, page)


def learned_from(surfaces: Sequence[Surface], config: RankStudyConfig) -> list[Surface]:
    """The surfaces that are not held out; raises `UsageError` where --held-out leaves none, or names none."""
    unknown = set(config.held_out) - {surface.task.name for surface in surfaces}
    if unknown:
        raise UsageError(
            f"--held-out has {', '.join(sorted(unknown))}; the tasks are "
            f"{', '.join(surface.task.name for surface in surfaces)}."
        )
    trained = [surface for surface in surfaces if surface.task.name not in config.held_out]
    if not trained:
        raise UsageError("--held-out names every task; at least one is to be learned from.")
    return trained


def times(surfaces: Sequence[Surface], config: RankStudyConfig) -> tuple[int, int]:
    """When the training ends and the test begins, as `Surface.time`.

    By default training ends in the middle of the events. Raises `InputError` where surfaces with and
    without a clock are mixed, or --train-until is no time.
    """
    clocks = {surface.clock for surface in surfaces}
    if len(clocks) > 1:
        raise InputError(
            "some tasks have events with clock times, others without; study them apart."
        )
    every = np.concatenate([surface.time for surface in surfaces])
    if not len(every):
        raise InputError("the tasks have no events.")
    gap = config.gap_days * DAY if clocks == {True} else 0
    if config.train_until is None:
        until = int(np.median(every))
    else:
        until = moment(config.train_until, clocks == {True}, "--train-until")
    return until, until + gap


def judge(
    ranker: Ranker,
    surface: Surface,
    trained: bool,
    until: int,
    test: int,
    config: RankStudyConfig,
    context: Context,
) -> Judged | None:
    """Score a task's test events by the ranker and the baselines; None where there is none.

    The past is known up to the beginning of the period of `refresh_days` that an event falls into.
    """
    name = surface.task.name
    labels = surface.labels()
    rows = np.flatnonzero((surface.time >= test) & (labels >= 0))
    members = np.unique(surface.member[rows])
    if config.judged is not None and len(members) > config.judged:
        members = np.sort(
            context.rng(f"judged {name}").choice(members, config.judged, replace=False)
        )
        rows = rows[np.isin(surface.member[rows], members)]
    if not len(rows):
        return None
    span = config.refresh_days * DAY if surface.clock else 1

    def snapshot(time: Longs) -> Longs:
        return test + (time - test) // span * span

    member, item, time = surface.member[rows], surface.item[rows], snapshot(surface.time[rows])
    scores = np.zeros(len(rows))
    past = np.zeros(len(rows), dtype=np.int64)
    left_out = 0
    verbaliser = ranker.verbaliser(surface)
    # One prompt for a member and period: rows are in the order of members and times already.
    breaks = np.flatnonzero(np.diff(member) | np.diff(time)) + 1
    parts = np.split(np.arange(len(rows)), breaks)
    with context.step(f"judge {name}", len(parts)):
        for number, part in enumerate(parts):
            m, t = int(member[part[0]]), int(time[part[0]])
            prompt = verbaliser.prompt(m, t)
            past[part] = prompt.shown + prompt.left_out
            left_out += prompt.left_out
            scores[part] = ranker.scores(verbaliser, m, item[part].tolist(), t)
            context.progress.advance(number + 1)
    with context.step(f"baselines of {name}"):
        found = fitted_scores(
            surface, until, (member, item, time), snapshot, context.seed, context.threads
        )
    label = labels[rows] == surface.yes
    return Judged(
        surface, trained, member, item, time, past, label, {RANKER: scores, **found}, left_out
    )


def metrics_of(
    judged: Sequence[Judged], config: RankStudyConfig, seed: int
) -> list[dict[str, Any]]:
    """AUC and its like of all models, by task, and of members with a short past; intervals over members."""
    rows: list[dict[str, Any]] = []
    for found in judged:
        few = found.past <= FEW_EVENTS
        slices = {found.name: np.ones(len(few), dtype=np.bool_)}
        if few.any() and not few.all():
            slices[f"{found.name}, at most {FEW_EVENTS} past events"] = few
        for name, keep in slices.items():
            label = found.label[keep]
            if label.all() or not label.any():
                continue
            rows += [
                asdict(row)
                for row in evaluate_binary(
                    label,
                    {model: scores[keep] for model, scores in found.scores.items()},
                    {RANKER: np.clip(found.scores[RANKER][keep], 0, 1)}
                    if found.surface.task.output in ("yes-no", "action")
                    else {},
                    baseline="popularity",
                    split="test" if found.trained else "held out",
                    slice=name,
                    shares=(0.1,),
                    samples=config.bootstrap,
                    units=np.unique(found.member[keep], return_inverse=True)[1],
                    seed=seed,
                )
            ]
        rows.append(
            {
                **dict.fromkeys(rows[0] if rows else ("value",)),
                "model": RANKER,
                "split": "test" if found.trained else "held out",
                "slice": found.name,
                "metric": "events_left_out",
                "value": float(found.left_out),
                "n": len(found.label),
            }
        )
    return rows


def _evaluation(judged: Sequence[Judged]) -> pl.DataFrame:
    """Every judged event by every model: `model, slice, query, item, rank, score, label`."""
    parts = []
    for found in judged:
        surface = found.surface
        members = surface.members["id"].gather(found.member)
        items = surface.items["id"].gather(found.item)
        for model, scores in found.scores.items():
            frame = pl.DataFrame(
                {
                    "model": model,
                    "slice": found.name,
                    "query": members,
                    "item": items,
                    "score": scores,
                    "label": found.label.astype(np.int8),
                }
            )
            # Ties against the model.
            parts.append(
                frame.with_columns(
                    (-pl.col("score")).rank("max").over("query").cast(pl.Int64).alias("rank")
                )
            )
    return pl.concat(parts).select("model", "slice", "query", "item", "rank", "score", "label")


def _ranking(evaluation: pl.DataFrame, judged: Sequence[Judged]) -> pl.DataFrame:
    """The ranker's lists: of each member and task, what was shown, the likeliest first."""
    table = evaluation.filter(pl.col("model") == RANKER)
    likely = [f.name for f in judged if f.surface.task.output in ("yes-no", "action")]
    return (
        table.with_columns(pl.format("{}: {}", "slice", "query").alias("query"))
        .with_columns((-pl.col("score")).rank("ordinal").over("query").cast(pl.Int64).alias("rank"))
        .with_columns(
            pl.when(pl.col("slice").is_in(likely)).then(pl.col("score")).alias("probability")
        )
        .select("model", "query", "item", "score", "rank", "probability")
        .sort("query", "rank")
    )


def _simulated(surfaces: Sequence[Surface]) -> bool:
    """Whether a task's tables lie in a folder that says they are simulated."""
    for surface in surfaces:
        note = (surface.task.folder / surface.task.data.events).parent / "truth.json"
        if note.is_file() and json.loads(note.read_text()).get("simulated"):
            return True
    return False
