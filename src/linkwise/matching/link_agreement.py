"""How scores agree with given ones: the truth of given pairs, and rank correlations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from linkwise.matching.link_given import Given
from linkwise.matching.similar import SIMILARITIES, Collection, Similar, with_rivals
from linkwise.metrics.correlation import evaluate_correlation

Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

WORDS, TEXT, MEAN = "words (TF-IDF)", "text vectors", "mean similarity"
FEWEST = 5  # published techniques of a patent, below which there is no order to compare
EVALUATION = {
    "model": pl.String, "slice": pl.String, "query": pl.String, "item": pl.String,
    "rank": pl.Int64, "score": pl.Float64, "label": pl.Float64,
}  # fmt: skip
Agreement = tuple[list[dict[str, Any]], list[pl.DataFrame]]
"""Rows of metrics.json, and tables of evaluation.parquet."""


def truth_of(given: list[Given], texts: list[str], pollutants: list[str]) -> tuple[Floats, Bools]:
    """1 for yes and 0 for no (n_texts, n_pollutants), and where that is known.

    Of published pairs only the yes are listed: of texts and pollutants that stand in them, all others are no.
    """
    rows = {name: row for row, name in enumerate(texts)}
    columns = {name: row for row, name in enumerate(pollutants)}
    label = np.zeros((len(texts), len(pollutants)))
    known = np.zeros(label.shape, dtype=bool)
    for one in given:
        inside = one.table.filter(pl.col("source").is_in(list(rows)))
        a = np.array([rows[name] for name in inside["source"]], dtype=np.int64)
        b = np.array([columns[name] for name in inside["target"]], dtype=np.int64)
        said = inside["label"].to_numpy().astype(np.float64)
        label[a, b] = np.maximum(label[a, b], said)
        if one.origin == "published":
            known[np.ix_(np.unique(a), np.unique(b))] = True
        else:
            known[a, b] = True
    return label, known


def technique_agreement(
    patents: Collection, techniques: Collection, given: list[Given], *, samples: int, seed: int
) -> Agreement:
    """Rank correlation of scores with published ones, within each patent that has five or more.

    The mean similarity is that of `patent_technique_links`, in deviations about those of all techniques.
    """
    rows = {name: row for row, name in enumerate(patents.ids)}
    columns = {name: row for row, name in enumerate(techniques.ids)}
    pairs = (
        pl.concat([one.table for one in given])
        .group_by("source", "target")
        .agg(pl.col("score").max())
    )
    pairs = pairs.filter(pl.col("target").is_in(list(columns))).sort("source", "target")
    pairs = pairs.filter(pl.len().over("source") >= FEWEST)
    if not len(pairs):
        return [], []
    similar = Similar(patents, techniques)
    start = 2 * len(SIMILARITIES)
    every = np.arange(len(techniques))
    parts = []
    for (source,), own in pairs.group_by("source", maintain_order=True):
        alike = with_rivals(similar(rows[str(source)], every))
        some = np.array([columns[name] for name in own["target"]])
        parts.append(
            own.with_columns(
                pl.Series(WORDS, alike[some, SIMILARITIES.index("words")]),
                pl.Series(TEXT, alike[some, SIMILARITIES.index("whole")]),
                pl.Series(MEAN, alike[some, start : start + len(SIMILARITIES)].mean(axis=1)),
            )
        )
    table = pl.concat(parts)
    scores = {name: table[name].to_numpy() for name in (WORDS, TEXT, MEAN)}
    metrics = evaluate_correlation(
        table["score"].to_numpy(), scores, table["source"].to_numpy(),
        baseline=WORDS, split="agreement", slice="patent-technique", samples=samples,
        seed=seed,
    )  # fmt: skip
    return [asdict(row) for row in metrics], _evaluated(table, scores, "patent-technique")


def goal_agreement(
    models: dict[str, Floats],
    given: list[Given],
    pollutants: list[str],
    goals: list[str],
    *,
    samples: int,
    seed: int,
) -> Agreement:
    """Rank correlation with published relevance: over a pollutant's goals, over a goal's pollutants.

    What is not listed counts as 0: the published lists leave out what does not matter.
    """
    rows = {name: row for row, name in enumerate(pollutants)}
    columns = {name: row for row, name in enumerate(goals)}
    truth = np.zeros((len(rows), len(columns)))
    listed = np.zeros(truth.shape, dtype=bool)
    for one in given:
        for source, target, score in one.table.select("source", "target", "score").iter_rows():
            a, b = rows[source], columns[target]
            truth[a, b] = max(truth[a, b], score)
            listed[a, b] = True
    whole = [np.isfinite(values).all(axis=1) for values in models.values()]
    use: Bools = listed.any(axis=1) & np.all(whole, axis=0)
    if not use.any():
        return [], []
    pair_rows, pair_columns = np.nonzero(np.outer(use, listed.any(axis=0)))
    scores = {name: values[pair_rows, pair_columns] for name, values in models.items()}
    metrics_found: list[dict[str, Any]] = []
    for over, groups in (
        ("the goals of a pollutant", pair_rows),
        ("the pollutants of a goal", pair_columns),
    ):
        metrics = evaluate_correlation(
            truth[pair_rows, pair_columns], scores, groups, baseline=WORDS, split="agreement",
            slice=f"pollutant-goal: {over}", samples=samples, seed=seed,
        )  # fmt: skip
        metrics_found += [asdict(row) for row in metrics]
    table = pl.DataFrame(
        {
            "source": pl.Series(pollutants)[pair_rows],
            "target": pl.Series(goals)[pair_columns],
            "score": truth[pair_rows, pair_columns],
        }
    )
    return metrics_found, _evaluated(table, scores, "pollutant-goal")


def _evaluated(table: pl.DataFrame, scores: dict[str, Floats], slice: str) -> list[pl.DataFrame]:
    """Compared pairs by every model; the label is the published score, the rank is within the query."""
    parts = []
    for name, values in scores.items():
        frame = table.select(
            pl.lit(name).alias("model"),
            pl.lit(slice).alias("slice"),
            pl.col("source").alias("query"),
            pl.col("target").alias("item"),
            pl.Series("score", values).alias("score"),
            pl.col("score").alias("label"),
        )
        rank = (-pl.col("score")).rank("max").over("query").cast(pl.Int64).alias("rank")
        parts.append(
            frame.with_columns(rank).select(pl.col(n).cast(t) for n, t in EVALUATION.items())
        )
    return parts
