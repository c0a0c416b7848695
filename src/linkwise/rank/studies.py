"""Studies of one ranker: what more data, size, history, time and each part of the prompt change.

A study judges under several conditions. Where all are judged by the same events, their differences are
taken within each resample of the members; where each has events of its own (weeks, lengths of the past),
each model is compared with the best of those that are not the ranker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.metrics.binary import auc, auc_draws, cumulate, order_rows
from linkwise.metrics.bootstrap import (
    MetricRow,
    bootstrap_weights,
    evaluate_binary,
    percentile_interval,
)
from linkwise.rank.baselines import DAY
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.page_studies import build_report
from linkwise.rank.ranker import Ranker
from linkwise.rank.study import (
    RANKER,
    TRUTH,
    Asked,
    Judged,
    asked_of,
    evaluation_of,
    judge,
    ranker_scores,
    ranking_of,
    simulated,
)
from linkwise.rank.surface import Surface, read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.report.outcome import Outcome

Bools = np.ndarray[Any, np.dtype[np.bool_]]
BUDGETS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)  # tokens of history
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the members
SIZES = ("tiny", "small", "medium")
WEEKS = 8
PASTS = (0, 5, 10, 20, 50, 100)  # past events, up to which a condition of the cold-start study goes
FEWEST = 10  # events of each kind below which a part of them is not judged


@dataclass(frozen=True)
class Found:
    """What a study found: rows of metrics.json, what was judged, and how its report reads.

    `axis` names what the conditions differ in; `conditions` are their names, `positions` where they stand
    on the axis, if it is one of numbers, by doublings where `log` says so. `paired` tells whether all were
    judged by the same events.
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
        some = [asked for asked in found if asked is not None and _both(asked.label)]
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


def study(paths: Sequence[str], config: RankStudyConfig, context: Context) -> Outcome:
    """Carry out the study that `config.study` names, of the ranker of the run `config.run`.

    Raises `UsageError` where there is no such study or run, `InputError` where the tasks do not fit it.
    """
    if config.study not in STUDIES:
        raise UsageError(
            f'there is no study "{config.study}"; the studies are {", ".join(STUDIES)}.'
        )
    assert config.run is not None
    folder = Path(config.run) / "model"
    about = json.loads((folder / "study.json").read_text())
    with context.step("read the tasks"):
        every = [read_surface(read_task(path)) for path in about["tasks"]]
        surfaces = [read_surface(read_task(path)) for path in task_files(paths)]
    trained = Trained(
        Ranker.load(folder), config, about["until"], about["test_from"], surfaces, every, context
    )
    found = STUDIES[config.study](trained)
    if not any(row["metric"] == "auc" for row in found.metrics):
        raise InputError(
            f"the study {config.study}: no part of the events has {FEWEST} of each kind, acted on and not; "
            "study tasks with more of them, or judge more members (--judged)."
        )
    evaluation = evaluation_of(found.judged)
    page = build_report(found, simulated(surfaces), config)
    return Outcome(found.metrics, ranking_of(evaluation, found.judged), evaluation, page)


# ------------------------------------------------------------------------------- the same events for all


def _paired(
    trained: Trained,
    title: str,
    axis: str,
    conditions: Sequence[str],
    positions: Sequence[float] | None,
    scores: Callable[[str, Asked], Any],
    reference: str,
    notes: tuple[str, ...] = (),
) -> Found:
    """Every condition's AUC on the same events, its difference to `reference`, the slope per doubling."""
    metrics: list[dict[str, Any]] = []
    judged = []
    for asked in trained.asked():
        name = asked.surface.task.name
        by = {condition: scores(condition, asked) for condition in conditions}
        units = np.unique(asked.member, return_inverse=True)[1]
        split = "test" if trained.trained_on(asked.surface) else "held out"
        metrics += _rows(asked.label, by, reference, split, name, units, trained)
        if positions is not None and len(positions) > 1:
            parts = [(asked.label, by[condition], units) for condition in conditions]
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
    return Found(title, axis, tuple(conditions), place, True, True, metrics, judged, notes)


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
    """The least-squares slope of AUC over the positions, with an interval over members.

    `parts` are labels, scores and members (each (n,), members numbered alike in all) of each condition.
    """
    n_units = 1 + max(int(units.max()) for _, _, units in parts)
    ordered = [
        (order_rows(label, np.asarray(scores, dtype=np.float64)), units)
        for label, scores, units in parts
    ]
    point = np.array([auc(label, scores) for label, scores, _ in parts])
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
    x = np.asarray(positions, dtype=np.float64)
    x = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    low, high = percentile_interval(draws @ x)
    return asdict(
        MetricRow(
            model=model,
            split=split,
            slice=name,
            metric="auc_slope",
            k=None,
            value=float(point @ x),
            low=low,
            high=high,
            n=sum(len(label) for label, _, _ in parts),
            baseline=None,
            difference=None,
            difference_low=None,
            difference_high=None,
        )
    )


def _history(trained: Trained) -> Found:
    """AUC by the tokens that the history may take, up to those that all of it fits in."""
    longest = 0
    for asked in trained.asked():
        verbaliser = trained.ranker.verbaliser(
            _with_history(asked.surface, budget_tokens=BUDGETS[-1])
        )
        pairs = {(int(m), int(t)) for m, t in zip(asked.member, asked.time, strict=True)}
        lengths = [len(verbaliser.prompt(m, t).parts["history"]) for m, t in pairs]
        longest = max(longest, *lengths)
    fits = [budget for budget in BUDGETS if budget < longest]
    budgets = BUDGETS[: len(fits) + 1]
    names = [f"{budget} tokens" for budget in budgets]

    def scores(condition: str, asked: Asked) -> Any:
        budget = budgets[names.index(condition)]
        surface = _with_history(asked.surface, budget_tokens=budget)
        words = f"judge {asked.surface.task.name}, {condition}"
        return ranker_scores(trained.ranker, asked, trained.context, words, surface)[0]

    return _paired(
        trained,
        "What a longer history is worth",
        "tokens of history",
        names,
        [float(budget) for budget in budgets],
        scores,
        names[-1],
        (
            "The same model, the same events; the history takes so many tokens at most. The longest history "
            f"of those judged has {longest:,} tokens. The slope is of AUC per doubling.",
        ),
    )


def _with_history(surface: Surface, **changes: Any) -> Surface:
    history = surface.task.history.model_copy(update=changes)
    return replace(surface, task=surface.task.model_copy(update={"history": history}))


def _parts(trained: Trained) -> Found:
    """What the member's text, the notes and the history, and its order, add."""
    conditions = ["all", "no member text", "no history", "newest first"]
    if any(surface.task.notes for surface in trained.surfaces):
        conditions.insert(2, "no notes")

    def scores(condition: str, asked: Asked) -> Any:
        surface = asked.surface
        if condition == "no member text":
            member = surface.task.member.model_copy(update={"template": ""})
            surface = replace(surface, task=surface.task.model_copy(update={"member": member}))
        elif condition == "no notes":
            surface = replace(surface, task=surface.task.model_copy(update={"notes": ()}))
        elif condition == "no history":
            surface = _with_history(surface, budget_tokens=0)
        elif condition == "newest first":
            surface = _with_history(surface, order="newest-first")
        words = f"judge {asked.surface.task.name}, {condition}"
        return ranker_scores(trained.ranker, asked, trained.context, words, surface)[0]

    return _paired(
        trained,
        "What each part of the prompt adds",
        "prompt",
        conditions,
        None,
        scores,
        "all",
        (
            "The same model, not trained anew, asked by prompts that lack a part, or have it otherwise.",
        ),
    )


def _data(trained: Trained) -> Found:
    """AUC by the share of the members that were learned from."""
    taught = [surface for surface in trained.every if trained.trained_on(surface)]
    ids = sorted({name for surface in taught for name in surface.members["id"]})
    order = trained.context.rng("members learned from").permutation(len(ids))
    rankers: dict[str, Ranker] = {}
    names = [f"{share:.1%} of the members" for share in SHARES]
    for name, share in zip(names, SHARES, strict=True):
        some = {ids[place] for place in order[: round(share * len(ids))]}
        fewer = [_of_members(surface, some) for surface in taught]
        ranker = Ranker(trained.config.ranker(trained.context.seed))
        rankers[name] = ranker.fit(fewer, trained.until, trained.context)

    def scores(condition: str, asked: Asked) -> Any:
        words = f"judge {asked.surface.task.name}, {condition}"
        return ranker_scores(rankers[condition], asked, trained.context, words)[0]

    return _paired(
        trained,
        "What more data is worth",
        "share of the members, %",
        names,
        [100 * share for share in SHARES],
        scores,
        names[0],
        ("Trained anew on each share, all else as in the run. The slope is of AUC per doubling.",),
    )


def _of_members(surface: Surface, ids: set[str]) -> Surface:
    """A surface with the events of some members only."""
    wanted = surface.members["id"].is_in(list(ids)).to_numpy()
    return surface.only(wanted[surface.member])


def _models(trained: Trained) -> Found:
    """AUC by the size of the model."""
    taught = [surface for surface in trained.every if trained.trained_on(surface)]
    rankers: dict[str, Ranker] = {}
    sizes = []
    for size in SIZES:
        changed = trained.config.model_copy(update={"base": size})
        ranker = Ranker(changed.ranker(trained.context.seed))
        rankers[size] = ranker.fit(taught, trained.until, trained.context)
        weights = dict(ranker.model.network.named_parameters())
        words = ranker.model.network.get_input_embeddings().weight.numel()
        sizes.append(sum(p.numel() for p in weights.values()) - words)

    def scores(condition: str, asked: Asked) -> Any:
        words = f"judge {asked.surface.task.name}, {condition}"
        return ranker_scores(rankers[condition], asked, trained.context, words)[0]

    said = ", ".join(f"{name} {n:,}" for name, n in zip(SIZES, sizes, strict=True))
    return _paired(
        trained,
        "What a larger model is worth",
        "weights beside the words' vectors",
        SIZES,
        [float(size) for size in sizes],
        scores,
        SIZES[0],
        (
            f"Trained anew in each size, all else as in the run. Weights beside the words' vectors: {said}. "
            "The slope is of AUC per doubling of the weights.",
        ),
    )


# ---------------------------------------------------------------------------- events of each one's own


def _parted(
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

    `part_of` gives the number of each event's condition (n,), -1 for one of none.
    """
    metrics: list[dict[str, Any]] = []
    for found in judged:
        part = part_of(found)
        units = np.unique(found.member, return_inverse=True)[1]
        best = _best_other(found)
        split = "test" if found.trained else "held out"
        kept = []
        for number, condition in enumerate(conditions):
            rows = part == number
            acted = int(found.label[rows].sum())
            if min(acted, int(rows.sum()) - acted) < FEWEST:
                continue
            kept.append(number)
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


def _best_other(found: Judged) -> str:
    """The model, neither the ranker nor the truth, of the highest AUC over all of a task's events."""
    others = [model for model in found.scores if model not in (RANKER, TRUTH)]
    return max(others, key=lambda model: auc(found.label, found.scores[model]))


def _both(label: Bools) -> bool:
    return bool(label.any() and not label.all())


def _judged(trained: Trained, surfaces: Sequence[Surface] | None = None) -> list[Judged]:
    wanted = [id(surface) for surface in surfaces or trained.surfaces]
    return [
        judge(
            trained.ranker,
            asked,
            trained.trained_on(asked.surface),
            trained.until,
            trained.context,
        )
        for asked in trained.asked()
        if id(asked.surface) in wanted
    ]


def _in_domain(trained: Trained) -> Found:
    """The tasks that the ranker was trained on, at least the gap after training."""
    mine = [surface for surface in trained.surfaces if trained.trained_on(surface)]
    if not mine:
        raise InputError("none of these tasks was trained on; name one that was.")
    return _parted(
        trained,
        "Tasks that it was trained on",
        "events",
        _judged(trained, mine),
        ["all"],
        None,
        lambda found: np.zeros(len(found.label), dtype=np.int64),
        (f"Events {trained.config.gap_days} days and more after the end of the training time.",),
    )


def _zero_shot(trained: Trained) -> Found:
    """Tasks that the ranker never saw: new ones on known surfaces, and new surfaces."""
    mine = [surface for surface in trained.surfaces if not trained.trained_on(surface)]
    if not mine:
        raise InputError(
            "all of these tasks were trained on; name some with --held-out when training, and study those."
        )
    known = {
        (surface.task.folder / surface.task.data.items).resolve()
        for surface in trained.every
        if trained.trained_on(surface)
    }
    names = ("new task on a known surface", "new surface")

    def part(found: Judged) -> Any:
        task = found.surface.task
        new = (task.folder / task.data.items).resolve() not in known
        return np.full(len(found.label), int(new), dtype=np.int64)

    return _parted(
        trained,
        "Tasks that it never saw",
        "kind of task",
        _judged(trained, mine),
        names,
        None,
        part,
        ("The ranker was not trained on these; every other model was, on each task itself.",),
    )


def _cold_start(trained: Trained) -> Found:
    """AUC by the number of past events that are known of a member."""
    names = ["0 past events"]
    names += [f"{low + 1} to {high}" for low, high in pairwise(PASTS)]
    names.append(f"more than {PASTS[-1]}")
    # In the middle of each, one added, so that there is a place for none.
    middle = [1.0, *(1 + (a + 1 + b) / 2 for a, b in pairwise(PASTS)), 1 + 2.0 * PASTS[-1]]
    return _parted(
        trained,
        "Members with a short past",
        "past events, plus one",
        _judged(trained),
        names,
        middle,
        lambda found: np.searchsorted(PASTS, found.past, side="left"),
        (
            "Past events of a member on the task's own surface. Slopes are of AUC per doubling of the past, "
            "one event added.",
        ),
        log=True,
    )


def _decay(trained: Trained) -> Found:
    """AUC by the weeks since the training ended, nothing being trained anew."""
    if not trained.surfaces[0].clock:
        raise InputError("these events have positions, not times; there are no weeks to study.")
    week = 7 * DAY
    config = trained.config.model_copy(update={"refresh_days": 7})
    found = []
    for surface in trained.surfaces:
        asked = asked_of(
            surface, trained.until, config, trained.context, trained.until + WEEKS * week
        )
        if asked is not None and _both(asked.label):
            known = trained.trained_on(surface)
            found.append(judge(trained.ranker, asked, known, trained.until, trained.context))
    if not found:
        raise InputError("no task has events of both kinds in the eight weeks after the training.")
    return _parted(
        trained,
        "How a model ages",
        "week after training",
        found,
        [f"week {number}" for number in range(1, WEEKS + 1)],
        list(range(1, WEEKS + 1)),
        lambda judged: (judged.time - trained.until) // week,
        (
            "No model is trained anew; the past of a member, and all counts, are known up to the beginning "
            "of an event's week. Slopes are of AUC per week.",
        ),
    )


STUDIES: dict[str, Callable[[Trained], Found]] = {
    "in-domain": _in_domain,
    "zero-shot": _zero_shot,
    "data": _data,
    "models": _models,
    "history": _history,
    "cold-start": _cold_start,
    "decay": _decay,
    "parts": _parts,
}
"""The studies by their names."""
