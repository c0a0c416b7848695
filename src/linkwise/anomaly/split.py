"""Which graphs are learned from, which calibrate, and which are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linkwise.anomaly.study_config import DetectConfig
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import InputError, UsageError

FEWEST = 20  # normal graphs in all


@dataclass(frozen=True)
class Part:
    """Row numbers of graphs: normal ones to learn from and to calibrate by, and those that are judged.

    `strange` (n_test,) tells which of the judged are strange; None where nobody knows.
    """

    train: Longs
    calibrate: Longs
    test: Longs
    strange: Any


@dataclass(frozen=True)
class Task:
    """One question: are the graphs of these classes strange among those? `slice` names it."""

    slice: str
    parts: tuple[Part, ...]

    @property
    def labelled(self) -> bool:
        """Is it known which of the judged graphs are strange?"""
        return self.parts[0].strange is not None


def tasks_of(graphs: Graphs, against: int, config: DetectConfig, seed: int) -> list[Task]:
    """What is asked of the graphs, of which the last `against` come from --against.

    Raises `UsageError` for classes or a protocol that do not fit the graphs, `InputError` where too few are
    normal.
    """
    n = len(graphs)
    strange = np.arange(n) >= n - against
    if against:
        _refuse_classes(config)
        return [_task("against the others", strange, graphs, config, seed)]
    if config.normal_class is None and config.anomalous_class is None:
        classes = _classes(graphs)
        if config.protocol == "folds" and len(classes) > 1:
            found = []
            for one in classes:
                marked = np.array([label == one for label in graphs.label or ()])
                if (~marked).sum() >= FEWEST and marked.sum() >= config.folds:
                    found.append(_task(f"class {one} strange", marked, graphs, config, seed))
            if found:
                return found
        if config.protocol == "folds" or len(classes) < 2:
            return [_unlabelled(n, config, seed)]
        raise UsageError(
            f"the graphs have the classes {', '.join(classes[:10])}. Say --normal-class or "
            "--anomalous-class, or --protocol folds to take each in turn."
        )
    label = np.array(_labels(graphs))
    for name in (config.normal_class, config.anomalous_class):
        if name is not None and name not in label:
            raise UsageError(
                f'no graph has the class "{name}"; the classes are {", ".join(_classes(graphs)[:10])}.'
            )
    if config.normal_class is not None and config.anomalous_class is not None:
        used = np.isin(label, (config.normal_class, config.anomalous_class))
        marked = label == config.anomalous_class
    elif config.normal_class is not None:
        used, marked = np.ones(n, dtype=np.bool_), label != config.normal_class
    else:
        used, marked = np.ones(n, dtype=np.bool_), label == config.anomalous_class
    if config.anomalous_class is not None:
        slice = f"class {config.anomalous_class} strange"
    else:
        slice = f"class {config.normal_class} normal"
    return [_task(slice, marked, graphs, config, seed, used)]


def exchanged(task: Task, graphs: Graphs, config: DetectConfig, seed: int) -> Task | None:
    """The same question the other way round, learned from what was strange; None where that is too little."""
    used = np.zeros(len(graphs), dtype=np.bool_)
    strange = np.zeros(len(graphs), dtype=np.bool_)
    for part in task.parts:
        for rows in (part.train, part.calibrate, part.test):
            used[rows] = True
        strange[part.test[np.asarray(part.strange)]] = True
    normal = used & ~strange
    if strange.sum() < FEWEST or (config.protocol == "folds" and normal.sum() < config.folds):
        return None
    return _task(f"{task.slice}, exchanged", normal, graphs, config, seed, used)


def _task(
    slice: str, strange: Any, graphs: Graphs, config: DetectConfig, seed: int, used: Any = None
) -> Task:
    used = np.ones(len(graphs), dtype=np.bool_) if used is None else used
    normal, odd = np.flatnonzero(used & ~strange), np.flatnonzero(used & strange)
    if len(normal) < FEWEST:
        raise InputError(
            f"{slice}: {len(normal)} normal graphs; expected {FEWEST} or more, to learn from, to calibrate "
            "by and to judge."
        )
    if not len(odd):
        raise InputError(
            f"{slice}: no graph is strange; there is nothing to judge a detector by. Leave the classes out "
            "to rank the graphs among themselves."
        )
    rng = np.random.default_rng([seed, 7])
    if config.protocol == "holdout":
        order = rng.permutation(normal)
        n_test = max(1, round(config.test_share * len(normal)))
        test = np.concatenate([np.sort(order[:n_test]), odd])
        return Task(slice, (_part(order[n_test:], test, strange[test], config),))
    if len(odd) < config.folds:
        raise InputError(
            f"{slice}: {len(odd)} strange graphs for {config.folds} folds; use fewer --folds or holdout."
        )
    normal, odd = rng.permutation(normal), rng.permutation(odd)
    parts = []
    for fold in range(config.folds):
        test = np.concatenate(
            [np.sort(normal[fold :: config.folds]), np.sort(odd[fold :: config.folds])]
        )
        rest = normal[np.arange(len(normal)) % config.folds != fold]
        parts.append(_part(rest, test, strange[test], config))
    return Task(slice, tuple(parts))


def _unlabelled(n: int, config: DetectConfig, seed: int) -> Task:
    """Every graph is judged once, by a detector of the others; nobody knows which are strange."""
    if n < FEWEST:
        raise InputError(f"{n} graphs; expected {FEWEST} or more to rank among themselves.")
    order = np.random.default_rng([seed, 7]).permutation(n)
    parts = []
    for fold in range(config.folds):
        rest = order[np.arange(n) % config.folds != fold]
        parts.append(_part(rest, np.sort(order[fold :: config.folds]), None, config))
    return Task("all", tuple(parts))


def _part(normal: Longs, test: Longs, strange: Any, config: DetectConfig) -> Part:
    """Normal graphs in random order, the first of them kept to calibrate by."""
    kept = max(1, round(config.calibration * len(normal)))
    return Part(np.sort(normal[kept:]), np.sort(normal[:kept]), test, strange)


def _labels(graphs: Graphs) -> Sequence[str]:
    if graphs.label is None:
        raise UsageError(
            "the graphs have no classes; leave --normal-class and --anomalous-class out."
        )
    return graphs.label


def _classes(graphs: Graphs) -> list[str]:
    from linkwise.data.graphs import numbered

    return [] if graphs.label is None else list(numbered(graphs.label)[1])


def _refuse_classes(config: DetectConfig) -> None:
    if config.normal_class is not None or config.anomalous_class is not None:
        raise UsageError(
            "--against names strange graphs, and a class does, too; expected one of both."
        )
    if config.protocol == "folds":
        raise UsageError(
            "--against goes with --protocol holdout; to take graphs of several files by folds, put them in "
            "one set with classes."
        )
