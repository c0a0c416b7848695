"""Studies of parts of the events: known tasks and new ones, short pasts, weeks after the training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from linkwise.errors import InputError
from linkwise.rank.baselines import DAY
from linkwise.rank.conditions import Found, Trained, parted
from linkwise.rank.study import Judged, asked_of, both_kinds, judge
from linkwise.rank.surface import Surface

WEEKS = 8
PASTS = (0, 5, 10, 20, 50, 100)  # past events, up to which a condition of the cold-start study goes


def in_domain(trained: Trained) -> Found:
    """The tasks that the ranker was trained on, at least the gap after training."""
    mine = [surface for surface in trained.surfaces if trained.trained_on(surface)]
    if not mine:
        raise InputError("none of these tasks was trained on; name one that was.")
    after = f"{trained.config.gap_days} days and more after" if mine[0].clock else "after"
    return parted(
        trained,
        "Tasks that it was trained on",
        "events",
        _judged(trained, mine),
        ["all"],
        None,
        lambda found: np.zeros(len(found.label), dtype=np.int64),
        (f"Events {after} the end of the training time.",),
    )


def zero_shot(trained: Trained) -> Found:
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

    return parted(
        trained,
        "Tasks that it never saw",
        "kind of task",
        _judged(trained, mine),
        names,
        None,
        part,
        ("The ranker was not trained on these; every other model was, on each task itself.",),
    )


def cold_start(trained: Trained) -> Found:
    """AUC by the number of past events that are known of a member."""
    names = ["0 past events"]
    names += [f"{low + 1} to {high}" for low, high in pairwise(PASTS)]
    names.append(f"more than {PASTS[-1]}")
    # In the middle of each, one added, so that there is a place for none.
    middle = [1.0, *(1 + (a + 1 + b) / 2 for a, b in pairwise(PASTS)), 1 + 2.0 * PASTS[-1]]
    return parted(
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


def decay(trained: Trained) -> Found:
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
        if asked is not None and both_kinds(asked.label):
            known = trained.trained_on(surface)
            found.append(judge(trained.ranker, asked, known, trained.until, trained.context))
    if not found:
        raise InputError("no task has events of both kinds in the eight weeks after the training.")
    return parted(
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
