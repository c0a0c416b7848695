"""Studies of one ranker: what more data, size, history, time and each part of the prompt change.

A study judges under several conditions. Where all are judged by the same events, their differences are
taken within each resample of the members; where each has events of its own (weeks, lengths of the past),
each model is compared with the best of those that are not the ranker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.rank.conditions import FEWEST, Found, Trained
from linkwise.rank.config import RankStudyConfig
from linkwise.rank.page_studies import build_report
from linkwise.rank.prompts import history, parts
from linkwise.rank.ranker import Ranker
from linkwise.rank.scaling import data, may_train_anew, models
from linkwise.rank.slices import cold_start, decay, in_domain, zero_shot
from linkwise.rank.study import evaluation_of, ranking_of, simulated
from linkwise.rank.surface import read_surface, task_files
from linkwise.rank.task import read_task
from linkwise.report.outcome import Outcome


def study(paths: Sequence[str], config: RankStudyConfig, context: Context) -> Outcome:
    """Carry out the study that `config.study` names, of the ranker of the run `config.run`.

    Raises `UsageError` where there is no such study or run, `InputError` where the tasks do not fit it.
    """
    if config.study not in STUDIES:
        raise UsageError(
            f'there is no study "{config.study}"; the studies are {", ".join(STUDIES)}.'
        )
    assert config.run is not None
    may_train_anew(config)
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


STUDIES: dict[str, Callable[[Trained], Found]] = {
    "in-domain": in_domain,
    "zero-shot": zero_shot,
    "data": data,
    "models": models,
    "history": history,
    "cold-start": cold_start,
    "decay": decay,
    "parts": parts,
}
"""The studies by their names."""
