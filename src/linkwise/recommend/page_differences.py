"""What the models of a run differ by: pairs, segments, the time of day, errors of ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.metrics.ranking import PairedTest, paired_tests, per_query
from linkwise.recommend.config import RecommendConfig
from linkwise.recommend.daytime import BANDS
from linkwise.report import Column, Section, Table, Text, interval_columns

if TYPE_CHECKING:
    from linkwise.recommend.study import Compared

Metrics = list[dict[str, Any]]


def pairs_section(found: Compared, config: RecommendConfig) -> Section:
    """Every model against every other on the same queries."""
    k = config.k[0]
    offsets = found.split.test.targets.offsets
    values = {name: per_query(j.ranks, offsets, k)["ndcg"] for name, j in found.judged.items()}
    tests = paired_tests(values, samples=config.bootstrap, seed=0)
    return Section(
        title="Which differences are real",
        blocks=(
            Table(
                caption=f"Pairs of models on the same queries, NDCG@{k}",
                columns=(
                    Column(name="first"),
                    Column(name="second"),
                    *interval_columns("first - second", "difference", "from", "to"),
                    Column(name="p", align="right"),
                ),
                rows=tuple(
                    (t.first, t.second, t.difference, t.low, t.high, _probability(t.p))
                    for t in tests
                ),
                limit=30,
                note="Brackets are 95 % bootstrap intervals of the paired difference, each for its pair "
                "alone: the verdict above is one of them. p is of the paired t test after Holm's correction "
                f"for all {len(tests)} pairs: with so many looks a bracket apart from 0 may still be chance.",
            ),
        ),
    )


def _probability(p: float | None) -> str:
    """A p value as text."""
    return "" if p is None else "< .0001" if p < 0.0001 else f"{p:.4f}"[1 if p < 1 else 0 :]


def segments_section(found: Compared, config: RecommendConfig) -> list[Section]:
    """Whether one model for each group of users beat one for all."""
    if "segments" not in found.fitted:
        return []
    k, one = config.k[0], config.segments.model
    offsets = found.split.test.targets.offsets
    values = {
        name: per_query(found.judged[name].ranks, offsets, k)["ndcg"] for name in ("segments", one)
    }
    (test,) = paired_tests(values, samples=config.bootstrap, seed=0)
    verdict = "did not beat"
    if test.low is not None and test.low > 0:
        verdict = "beat"
    setting = found.fitted["segments"].model.config
    count = getattr(setting, "segments", 0)
    words = f"One {one} model for each of {count} groups of users {verdict} one for all: {_gap(test, k)}."
    return [Section(title="One model for each segment", blocks=(Text(paragraphs=(words,)),))]


def daytime_section(found: Compared, config: RecommendConfig) -> list[Section]:
    """Whether the time of day helped, and what is chosen when."""
    if found.by_daytime is None:
        return []
    k, by = config.k[0], found.by_daytime
    offsets = found.split.test.targets.offsets
    values = {
        by.name: per_query(by.ranks, offsets, k)["ndcg"],
        found.chosen: per_query(found.judged[found.chosen].ranks, offsets, k)["ndcg"],
    }
    (test,) = paired_tests(values, samples=config.bootstrap, seed=0)
    if by.weight == 0:
        words = "The validation gave the time of day no weight: the lists stay as they are."
    else:
        better = test.low is not None and test.low > 0
        words = (
            f"Re-ranking {found.chosen} by the time of day (weight {by.weight:g}, chosen on the validation) "
            f"{'made the lists better' if better else 'did not make the lists better'}: {_gap(test, k)}."
        )
    catalogue = found.split.refit.catalogue
    names = catalogue.titles.fill_null(catalogue.ids.cast(pl.String))
    best = np.argsort(-by.daytime.lifts_, axis=1, kind="stable")[:, :10]
    rows = tuple(
        (place + 1, *(names[int(best[band, place])] for band in range(len(BANDS))))
        for place in range(best.shape[1])
    )
    table = Table(
        caption="Chosen more often than at other times",
        columns=(Column(name="place", format="int"), *(Column(name=band) for band in BANDS)),
        rows=rows,
        note="Working hours are Monday to Friday, 8 to 18; the evening is 18 to 24 on any day; hours are "
        "those of the log's own clock.",
    )
    return [Section(title="By the time of day", blocks=(Text(paragraphs=(words,)), table))]


def errors_section(metrics: Metrics) -> list[Section]:
    """RMSE and MAE, held out and in-sample."""
    test = {
        (row["model"], row["metric"]): row
        for row in metrics
        if row["split"] == "test" and row["metric"] in ("rmse", "mae")
    }
    if not test:
        return []
    inside = {
        (row["model"], row["metric"], row["slice"]): row["value"]
        for row in metrics
        if row["split"] == "train" and row["metric"] in ("rmse", "mae")
    }
    if not inside:  # no model predicts ratings
        return []
    columns = [Column(name="model")]
    for name in ("RMSE", "MAE"):
        columns += interval_columns(name, "float3")
    rows = []
    for model in dict.fromkeys(name for name, _ in test):
        found = [test[model, metric] for metric in ("rmse", "mae")]
        cells = [row[end] for row in found for end in ("value", "low", "high")]
        rows.append((model, *cells))
    held_out = Table(
        caption="Errors of predicted ratings, at what was chosen in the test",
        columns=tuple(columns),
        rows=tuple(rows),
        note="The models rank, and predict ratings poorly: to them, what was not chosen is rated 0.",
        source="metrics.json",
    )
    parts = ("in-sample, chosen", "in-sample, unknown as 0")
    learned = Table(
        caption="The same on what the models learned from",
        columns=(
            Column(name="model"),
            *(
                Column(name=f"{name}, {part}", format="float3")
                for part in ("chosen", "all cells")
                for name in ("RMSE", "MAE")
            ),
        ),
        rows=tuple(
            (model, *(inside[model, metric, part] for part in parts for metric in ("rmse", "mae")))
            for model in dict.fromkeys(name for name, _, _ in inside)
        ),
        note="All cells: every user and item, what was not chosen being rated 0. These are no measure of "
        "how good a model is; some reports give them.",
        source="metrics.json",
    )
    return [Section(title="Ratings predicted", blocks=(held_out, learned))]


def _gap(test: PairedTest, k: int) -> str:
    """A difference with its interval, in words."""
    interval = "" if test.low is None else f" [{test.low:+.4f}, {test.high:+.4f}]"
    return f"NDCG@{k} {test.difference:+.4f}{interval}"
