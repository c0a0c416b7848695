"""Studies of one ranker: what more data, size, history, time and each part of the prompt change.

A study judges under several conditions. Where all are judged by the same events, their differences are
taken within each resample of the members; where each has events of its own (weeks, lengths of the past),
each model is compared with the best of those that are not the ranker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from linkwise.rank.surface import Bools, Surface, read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.report.outcome import Outcome

BUDGETS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)  # tokens of history
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the members
SIZES = ("tiny", "small", "medium")
BEYOND = "beyond training"
WEEKS = 8
PASTS = (0, 5, 10, 20, 50, 100)  # past events, up to which a condition of the cold-start study goes
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
    _may_train_anew(config)
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


def _may_train_anew(config: RankStudyConfig) -> None:
    """Raise `UsageError` where a study would train another kind of ranker than that of the run."""
    if config.study not in ("data", "models"):
        return
    where = f"the study {config.study} of {config.run}"
    if config.teacher is not None:
        raise UsageError(
            f"{where}: this run learned from a teacher, {config.teacher}, which knows all members "
            "whatever the share or the size; study a run of linkwise rank train."
        )
    if config.study == "models" and (config.base not in SIZES or config.train != "full"):
        raise UsageError(
            f"{where}: this run began from {config.base}, with --train {config.train}, and the sizes are of "
            f"models that begin untrained; study a run with --base {', '.join(SIZES)} and --train full."
        )
    if (Path(config.base) / "model" / "ranker.json").is_file():
        raise UsageError(
            f"{where}: this run began from another, {config.base}, which knows more members than a share of "
            "them; study that one, or a run with another --base."
        )


# ------------------------------------------------------------------------------- the same events for all


def _paired(
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


def _history(trained: Trained) -> Found:
    """AUC by the tokens that the history may take, up to those that all of it fits in."""
    sizes: list[tuple[int, int]] = []  # of each prompt: tokens of the history, and of the rest
    for asked in trained.asked():
        verbaliser = trained.ranker.verbaliser(
            _with_history(asked.surface, budget_tokens=BUDGETS[-1])
        )
        pairs = {(int(m), int(t)) for m, t in zip(asked.member, asked.time, strict=True)}
        for m, t in pairs:
            prompt = verbaliser.prompt(m, t)
            history = len(prompt.parts["history"])
            sizes.append((history, len(prompt.tokens) - history))
    longest = max(history for history, _ in sizes)
    fits = [budget for budget in BUDGETS if budget < longest]
    budgets = BUDGETS[: len(fits) + 1]
    names = [f"{budget} tokens" for budget in budgets]
    # Of a sequence of training the history is a part, as it is of a prompt.
    most = trained.ranker.config.max_tokens
    marks = {
        name: BEYOND
        for name, budget in zip(names, budgets, strict=True)
        if max(min(history, budget) + rest for history, rest in sizes) > most
    }
    beyond = (
        f"{', '.join(marks)}: beyond training, whose sequences had {most:,} tokens at most (--max-tokens), "
        "prompts included; the longest prompts here have more."
    )

    def surface_of(condition: str, surface: Surface) -> Surface:
        return _with_history(surface, budget_tokens=budgets[names.index(condition)])

    return _paired(
        trained,
        "What a longer history is worth",
        "tokens of history",
        names,
        [float(budget) for budget in budgets],
        _asked_as(trained, surface_of),
        names[-1],
        (
            "The same model, the same events; the history takes so many tokens at most. The longest history "
            f"of those judged has {longest:,} tokens. The slope is of AUC per doubling.",
            *([beyond] if marks else []),
            *_unheard(
                trained,
                "a larger budget changes no more than which past items these are, and they may stand in any "
                "order",
            ),
        ),
        relative=True,
        marks=marks,
    )


def _asked_as(
    trained: Trained, surface_of: Callable[[str, Surface], Surface]
) -> Callable[[str, Sequence[Asked]], list[Any]]:
    """What scores all tasks' events by the same ranker, their surfaces said as a condition says them."""

    def scores(condition: str, every: Sequence[Asked]) -> list[Any]:
        said = [surface_of(condition, asked.surface) for asked in every]
        return _scores_of(trained.ranker, every, condition, trained.context, said)

    return scores


def _scores_of(
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


def _unheard(trained: Trained, words: str) -> tuple[str, ...]:
    """A note for where the ranker's answers weigh nothing, so that much of a prompt cannot count."""
    evidence = trained.ranker.evidence_
    names = [s.task.name for s in trained.surfaces if s.task.output == "yes-no"]
    if evidence is None or evidence.hears or not names:
        return ()
    return (
        f"In {', '.join(names)} the ranker's answers weigh nothing: its vectors of the member's text and of "
        f"the past items alone tell, and {words}.",
    )


def _with_history(surface: Surface, **changes: Any) -> Surface:
    history = surface.task.history.model_copy(update=changes)
    return replace(surface, task=surface.task.model_copy(update={"history": history}))


def _parts(trained: Trained) -> Found:
    """What the member's text, the notes and the history, and its order, add."""
    conditions = ["all", "no member text", "no history", "newest first"]
    if any(surface.task.notes for surface in trained.surfaces):
        conditions.insert(2, "no notes")

    def surface_of(condition: str, surface: Surface) -> Surface:
        if condition == "no member text":
            member = surface.task.member.model_copy(update={"template": ""})
            return replace(surface, task=surface.task.model_copy(update={"member": member}))
        if condition == "no notes":
            return replace(surface, task=surface.task.model_copy(update={"notes": ()}))
        if condition == "no history":
            return _with_history(surface, budget_tokens=0)
        if condition == "newest first":
            return _with_history(surface, order="newest-first")
        return surface

    return _paired(
        trained,
        "What each part of the prompt adds",
        "prompt",
        conditions,
        None,
        _asked_as(trained, surface_of),
        "all",
        (
            "The same model, not trained anew, asked by prompts that lack a part, or have it otherwise.",
            *_unheard(
                trained,
                "without the notes, or with the newest first, nothing can differ: no difference there says "
                "nothing of what they are worth",
            ),
        ),
    )


def _data(trained: Trained) -> Found:
    """AUC by the share of the members that were learned from."""
    from linkwise.rank.training import held_out_members

    taught = [surface for surface in trained.every if trained.trained_on(surface)]
    # The same members judge each training, and weigh answers and vectors, whatever the share.
    judging = held_out_members(
        [trained.ranker.verbaliser(surface) for surface in taught],
        trained.until,
        trained.context.seed,
    )
    ids = sorted({name for surface in taught for name in surface.members["id"]} - judging)
    order = trained.context.rng("members learned from").permutation(len(ids))
    names = [f"{share:.1%} of the members" for share in SHARES]

    def scores(condition: str, every: Sequence[Asked]) -> list[Any]:
        n = round(SHARES[names.index(condition)] * len(ids))
        told = judging | {ids[place] for place in order[:n]}
        fewer = [_events_of(surface, told) for surface in taught]
        ranker = _trained_anew(trained, fewer, judging)
        return _scores_of(ranker, every, condition, trained.context)

    most = trained.config.sequences
    return _paired(
        trained,
        "What more data is worth",
        "share of the members, %",
        names,
        [100 * share for share in SHARES],
        scores,
        names[0],
        (
            f"Trained anew on what each share of {len(ids):,} members did, all else as in the run: the "
            f"{len(judging):,} members held out, who judge the training, are the same. Nothing is learned "
            "of the others, nor of items that they alone met. The slope is of AUC per doubling.",
            *([f"No training learns from more than {most:,} sequences."] if most else []),
        ),
    )


def _events_of(surface: Surface, ids: Collection[str]) -> Surface:
    """A surface with the events of some members only; the others stay members of it."""
    wanted = surface.members["id"].is_in(list(ids)).to_numpy()
    return surface.only(wanted[surface.member])


def _trained_anew(
    trained: Trained,
    surfaces: Sequence[Surface],
    held_out: frozenset[str] | None = None,
    **changes: Any,
) -> Ranker:
    """Another ranker of the run's own parameters, but for changes, learned from some surfaces."""
    config = trained.config.model_copy(update=changes)
    ranker = Ranker(config.ranker(trained.context.seed))
    return ranker.fit(surfaces, trained.until, trained.context, held_out=held_out)


def _models(trained: Trained) -> Found:
    """AUC by the size of the model."""
    from linkwise.lm.small import small_model

    taught = [surface for surface in trained.every if trained.trained_on(surface)]
    sizes = []
    for size in SIZES:
        network = small_model(size, device="cpu").network
        words = network.get_input_embeddings().weight.numel()
        sizes.append(sum(p.numel() for p in network.parameters()) - words)

    def scores(condition: str, every: Sequence[Asked]) -> list[Any]:
        ranker = _trained_anew(trained, taught, base=condition)
        return _scores_of(ranker, every, condition, trained.context)

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

    `part_of` gives the number of each event's condition (n,), -1 for one of none. Where no condition holds
    all events of a task, they are one more, without a place on the axis.
    """
    metrics: list[dict[str, Any]] = []
    for found in judged:
        part = part_of(found)
        units = np.unique(found.member, return_inverse=True)[1]
        best = _best_other(found)
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
            "Past events of a member on the task's own surface, that the task has an answer to. Slopes are "
            "of AUC per doubling of the past, one event added.",
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
