"""A study's conditions: judged by the same events, all paired, or each by events of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.errors import InputError
from linkwise.metrics.binary import auc, auc_draws, cumulate, order_rows
from linkwise.metrics.bootstrap import (
    MetricRow,
    bootstrap_weights,
    evaluate_binary,
    percentile_interval,
)
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.ranker import Ranker
from linkwise.rank.study import (
    RANKER,
    Asked,
    Judged,
    asked_of,
    best_other,
    both_kinds,
    ranker_scores,
)
from linkwise.rank.surface import Bools, Surface

FEWEST = 10  # events of each kind below which a part of them is not judged


@dataclass(frozen=True)
class Found:
    """What a study found: rows of metrics.json, what was judged, and how its report reads.

    `axis` names what the conditions differ in; `conditions` are their names, `positions` where they stand
    on the axis, if it is one of numbers, by doublings where `log` says so. `paired` tells whether all were
    judged by the same events. `marks` are words that the report puts behind a condition's name; `reference`
    is the condition that AUC is also given relative to, if there is one.
    """

    title: str
    axis: str
    conditions: tuple[str, ...]
    positions: tuple[float, ...] | None
    log: bool
    paired: bool
    metrics: list[dict[str, Any]]
    judged: list[Judged]
    notes: tuple[str, ...]
    marks: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True)
class Trained:
    """A trained ranker with its run's own config, when its training ended, and the tasks to be studied."""

    ranker: Ranker
    config: RankStudyConfig
    until: int
    test: int
    surfaces: list[Surface]
    every: list[Surface]
    context: Context

    def asked(self) -> list[Asked]:
        """The test events of the studied tasks."""
        found = [
            asked_of(surface, self.test, self.config, self.context) for surface in self.surfaces
        ]
        some = [asked for asked in found if asked is not None and both_kinds(asked.label)]
        if not some:
            raise InputError(
                "none of the tasks has test events of both kinds, acted on and not; nothing to study."
            )
        return some

    def trained_on(self, surface: Surface) -> bool:
        """Whether the ranker learned from a task."""
        learned = {
            (known.task.folder.resolve(), known.task.name)
            for known in self.every
            if known.task.name in self.ranker.prior_
        }
        return (surface.task.folder.resolve(), surface.task.name) in learned


def scores_of(
    ranker: Ranker,
    every: Sequence[Asked],
    condition: str,
    context: Context,
    surfaces: Sequence[Surface | None] | None = None,
) -> list[Any]:
    """A ranker's scores of all tasks' events, under a condition."""
    said = [None] * len(every) if surfaces is None else surfaces
    words = f"judge {{}}, {condition}"
    return [
        ranker_scores(ranker, asked, context, words.format(asked.surface.task.name), surface)[0]
        for asked, surface in zip(every, said, strict=True)
    ]


def paired(
    trained: Trained,
    title: str,
    axis: str,
    conditions: Sequence[str],
    positions: Sequence[float] | None,
    scores: Callable[[str, Sequence[Asked]], list[Any]],
    reference: str,
    notes: tuple[str, ...] = (),
    *,
    relative: bool = False,
    marks: Mapping[str, str] | None = None,
) -> Found:
    """Every condition's AUC on the same events, its difference to `reference`, the slope per doubling.

    `scores` gives the scores of all tasks' events by a condition; what it needed for them may then go.
    `relative`: also each AUC as a share of that of `reference`.
    """
    metrics: list[dict[str, Any]] = []
    judged = []
    every = trained.asked()
    found = {condition: scores(condition, every) for condition in conditions}
    for number, asked in enumerate(every):
        name = asked.surface.task.name
        by = {condition: found[condition][number] for condition in conditions}
        units = np.unique(asked.member, return_inverse=True)[1]
        split = "test" if trained.trained_on(asked.surface) else "held out"
        metrics += _rows(asked.label, by, reference, split, name, units, trained)
        parts = [(asked.label, by[condition], units) for condition in conditions]
        if relative:
            metrics += _relative(conditions, reference, name, split, parts, trained)
        if positions is not None and len(positions) > 1:
            x = np.log2(positions).tolist()
            metrics.append(_slope(RANKER, name, split, x, parts, trained))
        past = np.zeros(len(asked.item), dtype=np.int64)
        judged.append(
            Judged(
                asked.surface,
                split == "test",
                asked.member,
                asked.item,
                asked.time,
                past,
                asked.label,
                {RANKER: by[reference], **by},
                0,
            )
        )
    place = None if positions is None else tuple(float(x) for x in positions)
    return Found(
        title,
        axis,
        tuple(conditions),
        place,
        True,
        True,
        metrics,
        judged,
        notes,
        marks or {},
        reference if relative else None,
    )


def parted(
    trained: Trained,
    title: str,
    axis: str,
    judged: Sequence[Judged],
    conditions: Sequence[str],
    positions: Sequence[float] | None,
    part_of: Callable[[Judged], Any],
    notes: tuple[str, ...],
    log: bool = False,
) -> Found:
    """AUC of every model in each part of the events, its difference to the best other model, and slopes.

    `part_of` gives the number of each event's condition (n,), -1 for one of none. Where no condition holds
    all events of a task, they are one more, without a place on the axis.
    """
    metrics: list[dict[str, Any]] = []
    for found in judged:
        part = part_of(found)
        units = np.unique(found.member, return_inverse=True)[1]
        best = best_other(found)
        split = "test" if found.trained else "held out"
        kept = []
        parts_of = [(condition, part == number) for number, condition in enumerate(conditions)]
        if not any(rows.all() for _, rows in parts_of):
            parts_of = [("all", np.ones(len(part), dtype=np.bool_)), *parts_of]
        for condition, rows in parts_of:
            acted = int(found.label[rows].sum())
            if min(acted, int(rows.sum()) - acted) < FEWEST:
                continue
            if condition in conditions:
                kept.append(conditions.index(condition))
            mine = {model: scores[rows] for model, scores in found.scores.items()}
            name = f"{found.name}, {condition}"
            metrics += _rows(found.label[rows], mine, best, split, name, units[rows], trained)
        if positions is not None and len(kept) > 1:
            x = [np.log2(positions[n]) if log else positions[n] for n in kept]
            for model, scores in found.scores.items():
                parts = [
                    (found.label[part == n], scores[part == n], units[part == n]) for n in kept
                ]
                metrics.append(_slope(model, found.name, split, x, parts, trained))
    place = None if positions is None else tuple(float(x) for x in positions)
    return Found(title, axis, tuple(conditions), place, log, False, metrics, list(judged), notes)


def _rows(
    label: Bools,
    scores: dict[str, Any],
    baseline: str,
    split: str,
    part: str,
    units: Any,
    trained: Trained,
) -> list[dict[str, Any]]:
    return [
        asdict(row)
        for row in evaluate_binary(
            label,
            scores,
            {},
            baseline=baseline,
            split=split,
            slice=part,
            shares=(0.1,),
            samples=trained.config.bootstrap,
            units=np.unique(units, return_inverse=True)[1],
            seed=trained.context.seed,
        )
    ]


def _slope(
    model: str,
    name: str,
    split: str,
    positions: Sequence[float],
    parts: Sequence[tuple[Bools, Any, Any]],
    trained: Trained,
) -> dict[str, Any]:
    """The least-squares slope of AUC over the positions, with an interval over members."""
    point, draws = _aucs(parts, trained)
    x = np.asarray(positions, dtype=np.float64)
    x = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    n = sum(len(label) for label, _, _ in parts)
    return _row(model, split, name, "auc_slope", float(point @ x), draws @ x, n)


def _relative(
    conditions: Sequence[str],
    reference: str,
    name: str,
    split: str,
    parts: Sequence[tuple[Bools, Any, Any]],
    trained: Trained,
) -> list[dict[str, Any]]:
    """Each condition's AUC divided by that of `reference`, within each resample of the members."""
    point, draws = _aucs(parts, trained)
    place = conditions.index(reference)
    if not point[place]:
        return []
    whole = draws[:, place]
    shares = np.full(draws.shape, np.nan)
    np.divide(draws, whole[:, None], out=shares, where=whole[:, None] > 0)
    return [
        _row(
            condition,
            split,
            name,
            "auc_relative",
            float(point[number] / point[place]),
            shares[:, number],
            len(parts[number][0]),
        )
        for number, condition in enumerate(conditions)
    ]


def _aucs(parts: Sequence[tuple[Bools, Any, Any]], trained: Trained) -> tuple[Any, Any]:
    """The AUC of each condition (n_conditions,), and that in each resample (samples, n_conditions).

    `parts` are labels, scores and members (each (n,), members numbered alike in all) of each condition. The
    resamples are the same for all conditions, and those of `_rows` where all have the same members.
    """
    n_units = 1 + max(int(units.max()) for _, _, units in parts)
    ordered = [
        (order_rows(label, np.asarray(scores, dtype=np.float64)), units)
        for label, scores, units in parts
    ]
    rng = np.random.default_rng(trained.context.seed)
    draws = np.concatenate(
        [
            np.stack(
                [
                    auc_draws(rows, cumulate(rows, counts[:, units].astype(np.float64)))
                    for rows, units in ordered
                ],
                axis=1,
            )
            for counts in bootstrap_weights(rng, n_units, trained.config.bootstrap, chunk=1 << 14)
        ]
    )
    return np.array([auc(label, scores) for label, scores, _ in parts]), draws


def _row(
    model: str, split: str, part: str, metric: str, value: float, draws: Any, n: int
) -> dict[str, Any]:
    """A row of `metrics.json` of a value with its resamples."""
    low, high = percentile_interval(draws)
    return asdict(
        MetricRow(
            model=model,
            split=split,
            slice=part,
            metric=metric,
            k=None,
            value=value,
            low=low,
            high=high,
            n=n,
            baseline=None,
            difference=None,
            difference_low=None,
            difference_high=None,
        )
    )
