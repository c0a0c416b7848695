"""Which goal a text is about: every text with every goal, judged by what people said of some."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.data.files import is_simulated
from linkwise.errors import InputError
from linkwise.matching.config import MatchConfig
from linkwise.matching.goals import Goals, Texts, read_goals, read_labelled
from linkwise.matching.judge import WeighedJudge, fit_judge, threshold_of
from linkwise.matching.similar import (
    FEATURES,
    SIMILARITIES,
    Collection,
    Pools,
    Similar,
    collect,
    with_rivals,
)
from linkwise.metrics.bootstrap import evaluate_binary
from linkwise.report.outcome import Outcome

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

WORDS, TEXT, JUDGE = "words (TF-IDF)", "text vectors", "weighed"
FEWEST = 20  # labelled pairs of each kind, below which nothing is judged


@dataclass(frozen=True)
class Judged:
    """What each model says of the labelled pairs, each by a judge that saw no pair of the same goal.

    `scores` and `probabilities` are by model (m,); `threshold` is the probability from which on it is a yes.
    """

    scores: dict[str, Floats]
    probabilities: dict[str, Floats]
    threshold: float
    judge: WeighedJudge
    metrics: list[dict[str, Any]]


def study(paths: Sequence[str], config: MatchConfig, context: Context) -> Outcome:
    """Carry out the match into `context.folder`.

    Raises `InputError` where texts, goals or labels cannot be used.
    """
    from linkwise.lm.keep import text_encoder
    from linkwise.matching.page import build_report

    with context.step("read the texts"):
        goals = read_goals(config.goals)
        texts = read_labelled(paths, goals, config)
        _check_labels(texts, paths[0])
    simulated = is_simulated([Path(path) for path in paths])
    encoder = text_encoder(config.lm, config.vectors, context.threads)

    def embed(some: Sequence[str]) -> Any:
        context.progress.start(f"embed {len(some):,} texts", len(some))
        return encoder.embed(
            list(some), max_tokens=config.max_tokens, advance=context.progress.advance
        )

    with context.step("embed the goals"):
        items = collect(goals.ids, goals.names, embed, goals.about)
    with context.step("embed the texts"):
        queries = collect(texts.ids, texts.texts, embed)
    with context.step("compare", len(queries)):
        similar = Similar(queries, items)
        pools = Pools(queries.whole, items.whole, pools_of(texts, len(items)))
        features = features_of(similar, pools, context.progress.advance)
    judged = None
    if len(texts.label):
        with context.step("judge"):
            judged = judge(features, texts, goals, config, context.seed)
        (context.folder / "model").mkdir(exist_ok=True)
        about = {
            "format_version": 1,
            "judge": judged.judge.as_dict(),
            "threshold": judged.threshold,
        }
        (context.folder / "model" / "judge.json").write_text(json.dumps(about, indent=1))
    with context.step("list the goals"):
        ranking = ranking_of(features, queries, items, similar, judged)
    evaluation = evaluation_of(texts, goals, judged)
    page = build_report(texts, goals, queries, items, similar, ranking, judged, config, simulated)
    return Outcome([] if judged is None else judged.metrics, ranking, evaluation, page)


def features_of(
    similar: Similar, pools: Pools, advance: Callable[[int], None] = lambda done: None
) -> Floats:
    """What a judge is told of every text with every goal (n, n_goals, n_features)."""
    n, every = len(similar.queries), np.arange(len(similar.items))
    found = np.empty((n, len(every), len(FEATURES)))
    for row in range(n):
        found[row] = np.hstack([with_rivals(similar(row, every)), pools(row, every)])
        advance(row + 1)
    return found


def pools_of(texts: Texts, n_goals: int) -> list[Longs]:
    """Which texts are weighed for each goal: those that people judged for it, and without any label all."""
    if not len(texts.label):
        return [np.arange(len(texts.ids))] * n_goals
    return [np.unique(texts.row[texts.goal == goal]) for goal in range(n_goals)]


def _check_labels(texts: Texts, path: str) -> None:
    """Raise `InputError` where there are labels, and too few of a kind to judge by."""
    yes, n = int(texts.label.sum()), len(texts.label)
    if n and min(yes, n - yes) < FEWEST:
        raise InputError(
            f"{path}: {yes} labels are yes and {n - yes} no; a judge needs {FEWEST} of each. Leave the "
            "columns of goals and labels out to match without one."
        )
    if n and len(np.unique(texts.goal)) < 2:
        raise InputError(
            f"{path}: all labels are of one goal; a judge is tried on goals that it has not seen."
        )


def judge(features: Floats, texts: Texts, goals: Goals, config: MatchConfig, seed: int) -> Judged:
    """Judges of the labelled pairs, leaving each goal out in turn, and one of all for use.

    The strength of each judge's ridge comes from the other goals alone; the threshold from the costs.
    """
    own = features[texts.row, texts.goal]  # (m, n_features)
    columns = {
        WORDS: [SIMILARITIES.index("words")],
        TEXT: [SIMILARITIES.index("whole")],
        JUDGE: list(range(len(FEATURES))),
    }
    probabilities = {name: np.empty(len(own)) for name in columns}
    threshold = threshold_of(config.cost_wrong_yes, config.cost_wrong_no)
    for goal in np.unique(texts.goal):
        there = texts.goal == goal
        label, of = texts.label[~there], texts.goal[~there]
        for name, some in columns.items():
            names = tuple(FEATURES[k] for k in some)
            fitted, _ = fit_judge(own[~there][:, some], label, of, names)
            probabilities[name][there] = fitted.probability(own[there][:, some])
    yes = probabilities[JUDGE] >= threshold
    fitted, _ = fit_judge(own, texts.label, texts.goal, FEATURES)
    scores = {
        WORDS: own[:, columns[WORDS][0]],
        TEXT: own[:, columns[TEXT][0]],
        JUDGE: probabilities[JUDGE],
    }
    units = np.unique(texts.row, return_inverse=True)[1]
    rows = evaluate_binary(
        texts.label,
        scores,
        probabilities,
        baseline=WORDS,
        split="goal left out",
        threshold=threshold,
        shares=(),
        samples=config.bootstrap,
        units=units,
        seed=seed,
    )
    for goal in np.unique(texts.goal):
        there = texts.goal == goal
        rows += [
            row
            for row in evaluate_binary(
                texts.label[there],
                {name: values[there] for name, values in scores.items()},
                {name: values[there] for name, values in probabilities.items()},
                baseline=WORDS,
                split="goal left out",
                slice=f"goal {goals.ids[goal]}",
                threshold=threshold,
                shares=(),
                samples=config.bootstrap,
                units=np.unique(texts.row[there], return_inverse=True)[1],
                seed=seed,
            )
            if row.metric in ("accuracy", "auc")
        ]
    metrics = [asdict(row) for row in rows]
    cost = config.cost_wrong_yes * (yes * (1 - texts.label)) + config.cost_wrong_no * (
        ~yes * texts.label
    )
    template = dict.fromkeys(metrics[0])
    metrics.append(
        template
        | {
            "model": JUDGE, "split": "goal left out", "slice": "all", "metric": "cost",
            "value": float(cost.mean()), "n": len(cost),
        }
    )  # fmt: skip
    return Judged(scores, probabilities, threshold, fitted, metrics)


def ranking_of(
    features: Floats,
    queries: Collection,
    items: Collection,
    similar: Similar,
    judged: Judged | None,
) -> pl.DataFrame:
    """All goals of every text, the best first, with the parts of both that go best with each other.

    Scores are the judge's log-odds, or, without a judge, the mean of the similarities in deviations.
    """
    n, k = features.shape[:2]
    if judged is None:
        start = 2 * len(SIMILARITIES)
        scores = features[:, :, start : start + len(SIMILARITIES)].mean(axis=2)
        probability = np.full((n, k), np.nan)
    else:
        flat = features.reshape(n * k, -1)
        scores = judged.judge.log_odds(flat).reshape(n, k)
        probability = judged.judge.probability(flat).reshape(n, k)
    order = np.argsort(-scores, axis=1, kind="stable")
    rows = []
    for query in range(n):
        for place, item in enumerate(order[query].tolist(), 1):
            mine, theirs = similar.best_parts(query, item)
            rows.append(
                (
                    JUDGE if judged is not None else TEXT,
                    queries.ids[query],
                    items.ids[item],
                    items.texts[item],
                    float(scores[query, item]),
                    place,
                    None if judged is None else float(probability[query, item]),
                    None if judged is None else bool(probability[query, item] >= judged.threshold),
                    mine,
                    theirs,
                )
            )
    schema = {
        "model": pl.String, "query": pl.String, "item": pl.String, "title": pl.String,
        "score": pl.Float64, "rank": pl.Int64, "probability": pl.Float64, "yes": pl.Boolean,
        "query_part": pl.String, "item_part": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def evaluation_of(texts: Texts, goals: Goals, judged: Judged | None) -> pl.DataFrame:
    """Every labelled pair by every model: `model, slice, query, item, rank, score, label`."""
    schema = {
        "model": pl.String, "slice": pl.String, "query": pl.String, "item": pl.String,
        "rank": pl.Int64, "score": pl.Float64, "label": pl.Int8,
    }  # fmt: skip
    if judged is None:
        return pl.DataFrame(schema=schema)
    parts = []
    for model, scores in judged.scores.items():
        frame = pl.DataFrame(
            {
                "model": model,
                "slice": "all",
                "query": [texts.ids[row] for row in texts.row],
                "item": [goals.ids[goal] for goal in texts.goal],
                "score": scores,
                "label": texts.label.astype(np.int8),
            }
        )
        # Among the texts of a goal; ties against the model.
        rank = (-pl.col("score")).rank("max").over("item").cast(pl.Int64).alias("rank")
        parts.append(frame.with_columns(rank))
    return pl.concat(parts).select(list(schema))
