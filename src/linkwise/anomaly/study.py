"""Which graphs do not belong: detectors of a family, judged, calibrated, and explained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.anomaly.audit import Twins, twins
from linkwise.anomaly.calibrated import Calibrated, Verdicts, verdicts_of
from linkwise.anomaly.choose import Choice, choose
from linkwise.anomaly.describe import wl_keys
from linkwise.anomaly.evaluate import Fold, evaluate_folds
from linkwise.anomaly.registry import AUTO, BASELINE, REFERENCES, make
from linkwise.anomaly.split import Part, Task, exchanged, tasks_of
from linkwise.anomaly.study_config import LEARN_ANOMALIES, DetectConfig
from linkwise.context import Context
from linkwise.data.graphs import Graphs, put_together
from linkwise.errors import InputError, UsageError
from linkwise.metrics.bootstrap import proportion_interval
from linkwise.report.outcome import Outcome

Floats = np.ndarray[Any, np.dtype[np.float64]]

LARGE = 2_000  # nodes of a graph from which on NetLSD is no cheap reference


@dataclass(frozen=True)
class Said:
    """What one detector says of the judged graphs of one part.

    `score` (n,) is in deviations of the held-out normal graphs', `train` (n_train,) that of the graphs
    learned from, `normal` (m,) of those held out, in the same unit.
    """

    score: Floats
    verdicts: Verdicts
    train: Floats
    normal: Floats


@dataclass(frozen=True)
class Judged:
    """One question answered: its parts, and by detector what was said of the graphs of each part."""

    task: Task
    said: dict[str, list[Said]]
    metrics: list[dict[str, Any]]
    choices: list[Choice] = field(default_factory=list)
    twins: Twins | None = None

    @property
    def rows(self) -> Any:
        """Row numbers of the judged graphs (n,), part by part."""
        return np.concatenate([part.test for part in self.task.parts])

    @property
    def fold(self) -> Any:
        """The part of each (n,)."""
        return np.repeat(np.arange(len(self.task.parts)), [len(p.test) for p in self.task.parts])

    @property
    def strange(self) -> Any:
        """Which of them are strange (n,); None where nobody knows."""
        if not self.task.labelled:
            return None
        return np.concatenate([np.asarray(part.strange) for part in self.task.parts])

    def score(self, name: str) -> Floats:
        """A detector's scores (n,)."""
        return np.concatenate([one.score for one in self.said[name]])

    def verdict(self, name: str, what: str) -> Any:
        """A field of its verdicts (n,)."""
        return np.concatenate([getattr(one.verdicts, what) for one in self.said[name]])


def study(paths: Sequence[str], config: DetectConfig, context: Context) -> Outcome:
    """Carry out the detection into `context.folder`.

    Raises `InputError` where graphs cannot be read or used, `UsageError` where options do not fit them.
    """
    from linkwise.anomaly.page import build_report
    from linkwise.anomaly.reasons import reasons_of
    from linkwise.data.files import is_simulated

    with context.step("read the graphs"):
        graphs, n_against = read_all(paths, config)
        tasks = tasks_of(graphs, n_against, config, context.seed)
        known = None
        left_out = 0
        if config.known_anomalies:
            known = read_known(config)
            before = tasks
            tasks = without_known(graphs, tasks, known)
            left_out = sum(
                len(old.test) - len(new.test)
                for old, new in zip(before[0].parts, tasks[0].parts, strict=True)
            )
        _check_names(config)
    asked = config.detector[0]
    answered = [_answer(graphs, task, config, context, known) for task in tasks]
    turned = None  # each class in turn is each direction already
    if len(answered) == 1 and answered[0].task.labelled:
        turned = _turned(graphs, answered[0], config, context)
    with context.step("reasons"):
        first = tasks[0]
        reasons = reasons_of(
            graphs,
            answered[0],
            lambda fold: Calibrated.load(_place(context, first, fold, asked)),
            config,
        )
        more: tuple[Any, ...] = ()
        if first.labelled:
            part = first.parts[0]
            shown = [graphs.select(part.test[part.strange == kind]) for kind in (False, True)]
            more = Calibrated.load(_place(context, first, 0, asked)).detector.sections(*shown)
    with context.step("the detector for later use"):
        _final(graphs, first, config, context, known).save(context.folder / "model")
    files = [Path(path) for path in (*paths, *config.against, *config.known_anomalies)]
    simulated = is_simulated([path / "x" if path.is_dir() else path for path in files])
    page = build_report(graphs, answered, turned, reasons, more, simulated, config, left_out)
    metrics = [row for judged in answered for row in judged.metrics]
    metrics += [] if turned is None else turned.metrics
    ranking = pl.concat(
        [_ranking(graphs, j, config, reasons.words if j is answered[0] else {}) for j in answered]
    )
    return Outcome(metrics, ranking, pl.concat([_evaluation(graphs, j) for j in answered]), page)


def read_all(paths: Sequence[str], config: DetectConfig) -> tuple[Graphs, int]:
    """The graphs of all files as one set, and how many of the last come from --against."""
    from linkwise.data.graph_files import read_graphs

    names = [*paths, *config.against]
    several = [read_graphs(path) for path in names]
    for path, graphs in zip(names, several, strict=True):
        if not len(graphs):
            raise InputError(f"{path}: there is no graph in it.")
    found = put_together(several, [Path(name).stem for name in names])
    return found, sum(len(graphs) for graphs in several[len(paths) :])


def read_known(config: DetectConfig) -> Graphs:
    """The graphs of --known-anomalies; raises `InputError` where they are fewer than two."""
    from linkwise.data.graph_files import read_graphs

    files = config.known_anomalies
    found = put_together([read_graphs(path) for path in files], [Path(path).stem for path in files])
    if len(found) < 2:
        raise InputError(
            f"{', '.join(files)}: {len(found)} known anomalies; expected two or more. Leave "
            "--known-anomalies out to learn from normal graphs alone."
        )
    return found


def without_known(graphs: Graphs, tasks: Sequence[Task], known: Graphs) -> list[Task]:
    """The question without judged strange graphs that equal a known one (by WL refinement).

    Where only one of both has labels of nodes, or of edges, graphs are compared without them: rather too many
    are left out than one that was taught.

    Raises `UsageError` where each class is strange in turn, `InputError` where no strange graph is left.
    """
    if len(tasks) > 1:
        raise UsageError(
            "each class is taken as strange in turn, and --known-anomalies would teach one of them only; "
            "name it by --anomalous-class."
        )
    (task,) = tasks
    if not task.labelled:
        return [task]
    keys = wl_keys(put_together([graphs, known], ["judged", "known"]))
    taught = np.isin(keys[: len(graphs)], keys[len(graphs) :])
    parts = []
    for part in task.parts:
        strange = np.asarray(part.strange)
        stays = ~(strange & taught[part.test])
        if not (strange & stays).any():
            raise InputError(
                f"{task.slice}: all {int(strange.sum())} strange graphs are among the known anomalies; "
                "keep some apart to judge by."
            )
        parts.append(replace(part, test=part.test[stays], strange=strange[stays]))
    return [replace(task, parts=tuple(parts))]


def _check_names(config: DetectConfig) -> None:
    """Refuse an unknown detector before any work."""
    for name in (*config.detector, *config.auto_from):
        if name != AUTO:
            make(name, config)


def judged_names(graphs: Graphs, config: DetectConfig) -> list[str]:
    """The detectors of a study: what was asked for, the baseline, and the cheap references."""
    found = [*config.detector, BASELINE]
    if not config.without_references:
        found += [
            name
            for name in REFERENCES
            if not (name == "labels" and graphs.node_label is None)
            and not (name == "netlsd" and int(graphs.n_nodes.max(initial=0)) > LARGE)
        ]
    return list(dict.fromkeys(found))


def _answer(
    graphs: Graphs,
    task: Task,
    config: DetectConfig,
    context: Context,
    known: Graphs | None = None,
) -> Judged:
    names = judged_names(graphs, config)
    said: dict[str, list[Said]] = {name: [] for name in names}
    choices = []
    with context.step(f"judge, {task.slice}", len(task.parts) * len(names)):
        for number, part in enumerate(task.parts):
            for name in names:
                place = _place(context, task, number, name)
                if not (place / "said.npz").is_file():
                    fitted, choice = fit_part(graphs, part, name, config, context, known)
                    fitted.save(place)
                    _keep(place, fitted, choice, graphs, part)
                found, choice = _kept(place, graphs, part, config)
                said[name].append(found)
                if choice is not None:
                    choices.append(choice)
                context.progress.advance(sum(map(len, said.values())))
    judged = Judged(task, said, [], choices)
    if not task.labelled:
        return judged
    judged.metrics.extend(_metrics(judged, config, context.seed))
    return Judged(
        task, said, judged.metrics, choices, twins(graphs.select(judged.rows), judged.strange)
    )


def fit_part(
    graphs: Graphs,
    part: Part,
    name: str,
    config: DetectConfig,
    context: Context,
    known: Graphs | None = None,
) -> tuple[Calibrated, Choice | None]:
    """A detector fitted and calibrated on a part's normal graphs; of `auto` also what it was chosen by.

    `known` anomalies reach the detectors that can learn from them (`LEARN_ANOMALIES`) and no other.
    """
    train, held_out = graphs.select(part.train), graphs.select(part.calibrate)
    choice = None
    kind = name
    if name == AUTO:
        # By the training graphs alone: the graphs that calibrate must not choose what they calibrate.
        choice = choose(train, config, context)
        kind = choice.name
    taught = known if name in LEARN_ANOMALIES else None
    return Calibrated.fit(name, make(kind, config), train, held_out, context, taught), choice


def _keep(
    place: Path, fitted: Calibrated, choice: Choice | None, graphs: Graphs, part: Part
) -> None:
    """Leave what a part's detector says where a resumed run finds it."""
    place.mkdir(parents=True, exist_ok=True)
    if choice is not None:
        (place / "choice.json").write_text(json.dumps(asdict(choice)))
    partial = place / "partial.npz"
    np.savez(
        partial,
        score=fitted.detector.decision_function(graphs.select(part.test)),
        train=fitted.detector.decision_scores_,
        normal=fitted.normal,
    )
    partial.rename(place / "said.npz")


def _kept(
    place: Path, graphs: Graphs, part: Part, config: DetectConfig
) -> tuple[Said, Choice | None]:
    with np.load(place / "said.npz", allow_pickle=False) as file:
        score, train, normal = file["score"], file["train"], file["normal"]
    size = graphs.n_nodes.astype(np.float64)
    verdicts = verdicts_of(
        score, size[part.test], normal, size[part.calibrate], config.false_alarms
    )
    centre, spread = float(normal.mean()), float(normal.std()) or 1.0
    choice = None
    if (place / "choice.json").is_file():
        choice = Choice(**json.loads((place / "choice.json").read_text()))
    found = Said(
        (score - centre) / spread, verdicts, (train - centre) / spread, (normal - centre) / spread
    )
    return found, choice


def _place(context: Context, task: Task, number: int, name: str) -> Path:
    """Where a part's detector and what it says are kept while the run lasts."""
    import hashlib

    text = f"{task.slice}\n{number}\n{name}"
    return context.work / hashlib.sha256(text.encode()).hexdigest()[:16]


def _metrics(judged: Judged, config: DetectConfig, seed: int) -> list[dict[str, Any]]:
    """AUC and average precision with intervals, and what the flags bring."""
    split = config.protocol
    folds = [
        Fold(part.strange, {name: some[number].score for name, some in judged.said.items()})
        for number, part in enumerate(judged.task.parts)
    ]
    rows = [
        asdict(row)
        for row in evaluate_folds(
            folds, baseline=BASELINE, split=split, slice=judged.task.slice, samples=config.bootstrap,
            seed=seed,
        )
    ]  # fmt: skip
    template = dict.fromkeys(rows[0])
    strange = judged.strange
    for name in judged.said:
        flagged = judged.verdict(name, "flagged")
        counts = {
            "flagged_strange": (int(flagged[strange].sum()), int(strange.sum())),
            "flagged_normal": (int(flagged[~strange].sum()), int((~strange).sum())),
            "false_discoveries": (int((flagged & ~strange).sum()), int(flagged.sum())),
        }
        for metric, (hits, n) in counts.items():
            low, high = proportion_interval(hits, n) if n else (None, None)
            rows.append(
                template
                | {
                    "model": name, "split": split, "slice": judged.task.slice, "metric": metric,
                    "k": config.false_alarms, "value": hits / n if n else None, "low": low, "high": high,
                    "n": n,
                }
            )  # fmt: skip
    return rows


def _turned(
    graphs: Graphs, judged: Judged, config: DetectConfig, context: Context
) -> Judged | None:
    """The other direction of the class choice, by the cheap references and `auto` alone."""
    task = exchanged(judged.task, graphs, config, context.seed)
    if task is None:
        return None
    cheap = config.model_copy(
        update={"detector": tuple(n for n in config.detector if n == AUTO) or (BASELINE,)}
    )
    return _answer(graphs, task, cheap, context)


def _final(
    graphs: Graphs, task: Task, config: DetectConfig, context: Context, known: Graphs | None
) -> Calibrated:
    """The first detector asked for, fitted on the normal graphs: with a holdout as judged, else on all."""
    if config.protocol == "holdout" and task.labelled:
        return Calibrated.load(_place(context, task, 0, config.detector[0]))
    rows = np.concatenate([np.concatenate([p.train, p.calibrate]) for p in task.parts])
    normal = context.rng("final").permutation(np.unique(rows))
    kept = max(1, round(config.calibration * len(normal)))
    part = Part(np.sort(normal[kept:]), np.sort(normal[:kept]), normal[:0], None)
    return fit_part(graphs, part, config.detector[0], config, context, known)[0]


def _ranking(
    graphs: Graphs, judged: Judged, config: DetectConfig, words: dict[int, str]
) -> pl.DataFrame:
    """Every judged graph by each detector that was asked for, the strangest first."""
    rows = judged.rows
    parts = []
    for name in config.detector:
        parts.append(
            pl.DataFrame(
                {
                    "model": name,
                    "query": judged.task.slice,
                    "item": [graphs.ids[row] for row in rows],
                    "score": judged.score(name),
                    "p_value": judged.verdict(name, "p_value"),
                    "p_value_by_size": judged.verdict(name, "by_size"),
                    "flagged": judged.verdict(name, "flagged"),
                    "class": pl.Series(
                        [None if graphs.label is None else graphs.label[row] for row in rows],
                        dtype=pl.String,
                    ),
                    "strange": pl.Series(
                        [None] * len(rows) if judged.strange is None else judged.strange.tolist(),
                        dtype=pl.Boolean,
                    ),
                    "nodes": graphs.n_nodes[rows],
                    "edges": graphs.n_edges[rows],
                    "reason": pl.Series(
                        [
                            words.get(int(row)) if name == config.detector[0] else None
                            for row in rows
                        ],
                        dtype=pl.String,
                    ),
                }
            )
            .sort(["p_value", "score", "item"], descending=[False, True, False])
            .with_columns(pl.int_range(1, len(rows) + 1, dtype=pl.Int64).alias("rank"))
        )
    order = ["model", "query", "item", "score", "rank", "p_value", "p_value_by_size", "flagged"]
    frame = pl.concat(parts)
    return frame.select([*order, *(name for name in frame.columns if name not in order)])


def _evaluation(graphs: Graphs, judged: Judged) -> pl.DataFrame:
    """Every judged graph by every detector: `model, slice, query, item, rank, score, label`."""
    schema = {
        "model": pl.String, "slice": pl.String, "query": pl.String, "item": pl.String,
        "rank": pl.Int64, "score": pl.Float64, "label": pl.Int8,
    }  # fmt: skip
    if judged.strange is None:
        return pl.DataFrame(schema=schema)
    parts = []
    for name in judged.said:
        frame = pl.DataFrame(
            {
                "model": name,
                "slice": judged.task.slice,
                "query": [f"fold {number + 1}" for number in judged.fold],
                "item": [graphs.ids[row] for row in judged.rows],
                "score": judged.score(name),
                "label": judged.strange.astype(np.int8),
            }
        )
        rank = (-pl.col("score")).rank("max").over("query").cast(pl.Int64).alias("rank")
        parts.append(frame.with_columns(rank))
    return pl.concat(parts).select(list(schema)).cast(schema)  # type: ignore[arg-type]
