"""`compare`: two finished runs on what both were judged on, with intervals of the paired differences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.errors import InputError, UsageError
from linkwise.metrics.binary import Floats
from linkwise.metrics.bootstrap import evaluate_binary
from linkwise.metrics.ranking import MISSING, paired_tests, per_query
from linkwise.run import Run


@dataclass(frozen=True)
class Comparison:
    """What two runs differ by.

    `rows` has one row for each pair of models, metric and list length: `first_model, second_model, metric,
    k, first, second, difference, low, high, p, n`; the difference is first - second, its 95 % interval by
    bootstrap over the shared queries, `p` of the paired t test after Holm's correction over the pairs of
    models (None for churn). `left_out` counts the first's and the second's queries that the other has not,
    or with other targets.
    """

    rows: pl.DataFrame
    shared: int
    left_out: tuple[int, int]
    unit: str


def compare(
    first: Run | str | Path,
    second: Run | str | Path,
    *,
    models: tuple[str, str] | None = None,
    k: Sequence[int] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two runs of one verb; by default every model that both have, and the two that they chose.

    `models` names one of the first and one of the second (a run may be compared with itself); `k` the
    lengths of the lists, by default those that both runs were judged by.

    Raises `UsageError` where the runs are of different verbs or lack a model, `InputError` where they share
    no query.
    """
    runs = [run if isinstance(run, Run) else Run.open(run) for run in (first, second)]
    verbs = [run.config.verb for run in runs]
    if verbs[0] != verbs[1]:
        raise UsageError(
            f"{runs[0].folder} is a {verbs[0]} run and {runs[1].folder} a {verbs[1]} run; "
            "compare two of one verb."
        )
    if verbs[0] not in ("churn", "recommend"):
        raise UsageError(
            f"{runs[0].folder} is a {verbs[0]} run; runs of churn and recommend can be compared. "
            "The models of "
            f"one {verbs[0]} run are compared in pairs in its own report."
        )
    tables = [_evaluation(run) for run in runs]
    pairs = _pairs(runs, tables, models)
    if verbs[0] == "churn":
        return _compare_labels(runs, tables, pairs, samples, seed)
    return _compare_lists(runs, tables, pairs, k, samples, seed)


def _evaluation(run: Run) -> pl.DataFrame:
    try:
        table = pl.read_parquet(run.folder / "evaluation.parquet")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{run.folder}: evaluation.parquet cannot be read ({error}).") from error
    return table.filter(pl.col("slice") == "all")


def _pairs(
    runs: list[Run], tables: list[pl.DataFrame], models: tuple[str, str] | None
) -> list[tuple[str, str]]:
    names = [table["model"].unique(maintain_order=True).to_list() for table in tables]
    if models is not None:
        for run, known, wanted in zip(runs, names, models, strict=True):
            if wanted not in known:
                raise UsageError(
                    f'{run.folder}: the run has no model "{wanted}"; it has {", ".join(known)}.'
                )
        return [models]
    same = [(name, name) for name in names[0] if name in names[1]]
    chosen = _chosen(runs[0], names[0]), _chosen(runs[1], names[1])
    return same if chosen in same else [chosen, *same]


def _chosen(run: Run, names: list[str]) -> str:
    """The model that a run's list is made by."""
    about = run.folder / "model" / "chosen.json"
    if about.is_file():
        return str(json.loads(about.read_text())["chosen"])
    return "boosting" if "boosting" in names else names[-1]


def _compare_lists(
    runs: list[Run],
    tables: list[pl.DataFrame],
    pairs: list[tuple[str, str]],
    k: Sequence[int] | None,
    samples: int,
    seed: int,
) -> Comparison:
    lengths = [run.config.recommend.k for run in runs]
    wanted = tuple(k) if k else tuple(sorted({*lengths[0]} & {*lengths[1]}))
    if not wanted or min(wanted) < 1:
        raise UsageError(
            f"the runs were judged by lists of {lengths[0]} and {lengths[1]} items; name --k."
        )
    targets = [_targets(table) for table in tables]
    both = targets[0].join(targets[1], on=["query", "targets"]).select("query").sort("query")
    counts = tuple(len(found) - len(both) for found in targets)
    if not len(both):
        raise InputError(
            f"{runs[0].folder} and {runs[1].folder} share no query with the same targets; were they made "
            "from the same log with the same --split?"
        )
    found: dict[tuple[int, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
    for side in (0, 1):
        for name in {pair[side] for pair in pairs}:
            own = tables[side].filter(pl.col("model") == name)
            own = both.join(own, on="query", how="left", maintain_order="left")
            counted = own.group_by("query", maintain_order=True).len()["len"].to_numpy()
            ranks = own["rank"].fill_null(MISSING).to_numpy()
            found[side, name] = ranks, np.concatenate([[0], np.cumsum(counted)]).astype(np.int64)
    rows: list[dict[str, Any]] = []
    for length in wanted:
        per = {key: per_query(*given, length) for key, given in found.items()}
        for metric in ("recall", "ndcg", "mrr", "hit_rate"):
            # Named by side, since both may have a model of one name.
            values: dict[str, Floats] = {
                f"{side} {name}": values[metric] for (side, name), values in per.items()
            }
            named = [(f"0 {a}", f"1 {b}") for a, b in pairs]
            for test in paired_tests(values, pairs=named, samples=samples, seed=seed):
                rows.append(
                    {
                        "first_model": test.first[2:],
                        "second_model": test.second[2:],
                        "metric": metric,
                        "k": length,
                        "first": float(values[test.first].mean()),
                        "second": float(values[test.second].mean()),
                        "difference": test.difference,
                        "low": test.low,
                        "high": test.high,
                        "p": test.p,
                        "n": len(both),
                    }
                )
    return Comparison(_frame(rows, pairs), len(both), (counts[0], counts[1]), "queries")


def _targets(table: pl.DataFrame) -> pl.DataFrame:
    """Each query with its targets as one text; those outside the catalogue have no id, and are counted."""
    one = table.filter(pl.col("model") == table["model"][0])
    ids = pl.col("item").fill_null("\x00").sort().str.join("\x1f")
    return one.group_by("query").agg(ids.alias("targets"))


def _compare_labels(
    runs: list[Run],
    tables: list[pl.DataFrame],
    pairs: list[tuple[str, str]],
    samples: int,
    seed: int,
) -> Comparison:
    keys = ["query", "item"]
    rows: list[dict[str, Any]] = []
    shared, left_out = 0, (0, 0)
    for a, b in pairs:
        sides = [
            table.filter(pl.col("model") == name).select(*keys, "score", "label")
            for table, name in zip(tables, (a, b), strict=True)
        ]
        both = sides[0].join(sides[1], on=[*keys, "label"], suffix="_second").sort(keys)
        shared, left_out = len(both), (len(sides[0]) - len(both), len(sides[1]) - len(both))
        if not shared:
            raise InputError(
                f"{runs[0].folder} and {runs[1].folder} share no user with the same label at the same "
                "cutoff; were they made from the same log with the same windows?"
            )
        scores = {"first": both["score"].to_numpy(), "second": both["score_second"].to_numpy()}
        found = evaluate_binary(
            both["label"].to_numpy(),
            scores,
            {},
            baseline="second",
            split="test",
            samples=samples,
            seed=seed,
        )
        for row in found:
            if row.model == "first" and row.metric in ("auc", "average_precision"):
                rows.append(
                    {
                        "first_model": a,
                        "second_model": b,
                        "metric": row.metric,
                        "k": None,
                        "first": row.value,
                        "second": row.baseline,
                        "difference": row.difference,
                        "low": row.difference_low,
                        "high": row.difference_high,
                        "p": None,
                        "n": shared,
                    }
                )
    return Comparison(_frame(rows, pairs), shared, left_out, "users")


def _frame(rows: list[dict[str, Any]], pairs: list[tuple[str, str]]) -> pl.DataFrame:
    """The rows, pair by pair."""
    order = {pair: place for place, pair in enumerate(pairs)}
    rows = sorted(rows, key=lambda row: order[row["first_model"], row["second_model"]])
    types: dict[str, Any] = {
        "k": pl.Int64,
        "p": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "difference": pl.Float64,
    }
    return pl.DataFrame(rows, schema_overrides=types)
