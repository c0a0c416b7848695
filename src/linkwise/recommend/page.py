"""The report of a recommend run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.data.interactions import Ints, Longs
from linkwise.recommend.config import RecommendConfig
from linkwise.recommend.page_differences import (
    daytime_section,
    errors_section,
    pairs_section,
    segments_section,
)
from linkwise.report import (
    Bullets,
    Column,
    Fact,
    Figure,
    LineChart,
    LineSeries,
    Report,
    Section,
    Table,
    Text,
    interval_columns,
)

if TYPE_CHECKING:
    from linkwise.recommend.study import Compared

Metrics = list[dict[str, Any]]
SHOWN_USERS = 20
WORDS = {
    "recall": "recall",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "hit_rate": "hit rate",
    "coverage": "coverage",
    "novelty": "novelty, bits",
    "popularity_percentile": "popularity percentile",
}


def build_report(
    found: Compared,
    metrics: Metrics,
    lists: pl.DataFrame,
    simulated: bool,
    config: RecommendConfig,
    audits: Sequence[Section] = (),
) -> Report:
    """The page of a run; `audits` are sections about single models."""
    verdict, beats = lead(found, metrics, config)
    return Report(
        title="Recommenders compared",
        lead=(
            verdict,
            *_unused_value(found),
            f"Split {found.split.words}. {len(found.split.test):,} queries, the whole catalogue of "
            f"{found.split.refit.n_items:,} items ranked after each, ties against the model.",
            f"The recommendations of this run are {found.chosen}'s, which was best on the validation.",
        ),
        simulated=simulated,
        beats_baseline=beats,
        facts=_facts(found),
        sections=(
            _models_section(found, metrics, config),
            _lists_section(found, metrics, config),
            pairs_section(found, config),
            *segments_section(found, config),
            *daytime_section(found, config),
            *errors_section(metrics),
            *audits,
            *_curves_section(found, metrics, config),
            _overlap_section(found),
            _example_section(found),
            _recommendations_section(found, lists),
            _method_section(found, config),
        ),
    )


def _unused_value(found: Compared) -> tuple[str, ...]:
    if found.log.rated or "value" not in found.events.columns:
        return ()
    return ("The value column is not taken as a rating; --rating value does that.",)


def lead(found: Compared, metrics: Metrics, config: RecommendConfig) -> tuple[str, bool]:
    """The verdict, and whether the chosen model beats popularity, intervals apart."""
    k = config.k[0]
    best = max(
        (name for name in found.models if name != "popularity"),
        key=lambda name: found.fitted[name].validated,
        default="popularity",
    )
    if best == "popularity":
        return "Popularity alone was judged: name other --models to compare it with.", False
    mine, base = (_pick(metrics, name, "ndcg", k) for name in (best, "popularity"))
    numbers = f"NDCG@{k} {_interval(mine)} against {_interval(base)}"
    low, high = mine["difference_low"], mine["difference_high"]
    gap = f"difference {mine['difference']:+.4f}"
    if low is not None:
        gap += f" [{low:+.4f}, {high:+.4f}]"
    warning = "" if found.split.comparable else " (on a split unfit for comparison)"
    if low is not None and low > 0:
        return (
            f"{best}, chosen on the validation, beats popularity: {numbers}, {gap}{warning}.",
            True,
        )
    return (
        f"{best}, chosen on the validation, does not beat popularity: {numbers}, {gap}{warning}.",
        False,
    )


def _facts(found: Compared) -> tuple[Fact, ...]:
    log = found.log
    skipped = sum(bad.rows for bad in found.events.bad_rows)
    facts = [
        Fact(label="Events with items", value=f"{len(log.histories.items):,}"),
        Fact(label="Users", value=f"{len(log.users):,}"),
        Fact(label="Items", value=f"{log.n_items:,}"),
        Fact(label="Queries", value=f"{len(found.split.test):,}", note="in the test"),
    ]
    if found.split.newcomers:
        facts.append(
            Fact(
                label="Newcomers, not judged",
                value=f"{found.split.newcomers:,}",
                note="no history before the test: every model gives them the most popular",
            )
        )
    if skipped:
        facts.append(Fact(label="Malformed rows skipped", value=f"{skipped:,}"))
    return tuple(facts)


def _models_section(found: Compared, metrics: Metrics, config: RecommendConfig) -> Section:
    blocks: list[Any] = []
    for k in config.k:
        columns = [Column(name="model")]
        for metric in ("recall", "ndcg"):
            name = f"{WORDS[metric]}@{k}"
            columns += interval_columns(name, "float4")
        columns += [
            *interval_columns("NDCG over popularity", "difference", "from", "to"),
            Column(name=f"MRR@{k}", format="float4"),
            Column(name=f"hit rate@{k}", format="float4"),
        ]
        rows = []
        for model in found.models:
            cells: list[Any] = [model]
            for metric in ("recall", "ndcg"):
                row = _pick(metrics, model, metric, k)
                cells += [row["value"], row["low"], row["high"]]
            gap = _pick(metrics, model, "ndcg", k)
            cells += [gap["difference"], gap["difference_low"], gap["difference_high"]]
            cells += [_pick(metrics, model, name, k)["value"] for name in ("mrr", "hit_rate")]
            rows.append(tuple(cells))
        blocks.append(
            Table(
                caption=f"Models on the same {len(found.split.test):,} queries, lists of {k}",
                columns=tuple(columns),
                rows=tuple(rows),
                source="metrics.json",
            )
        )
    blocks.append(
        Text(
            paragraphs=(
                "Every number is over the whole catalogue, never over a sample of candidates. Brackets are "
                "95 % bootstrap intervals over users; differences are paired, on the same resamples.",
            ),
            tone="note",
        )
    )
    return Section(title="How good the lists are", blocks=tuple(blocks))


def _lists_section(found: Compared, metrics: Metrics, config: RecommendConfig) -> Section:
    k = config.k[0]
    names = ("coverage", "novelty", "popularity_percentile")
    return Section(
        title="What the lists are like",
        blocks=(
            Table(
                caption=f"Lists of {k}",
                columns=(
                    Column(name="model"),
                    Column(name="coverage", format="percent"),
                    Column(name="novelty, bits", format="float2"),
                    Column(name="popularity percentile", format="percent"),
                ),
                rows=tuple(
                    (model, *(_pick(metrics, model, name, k)["value"] for name in names))
                    for model in found.models
                ),
                note="Coverage: share of the catalogue that stands in any list. Novelty: mean of -log2 of "
                "an item's share of the training events. Popularity percentile: mean share of the "
                "catalogue with fewer events; a list of best-sellers has nearly 100 %.",
                source="metrics.json",
            ),
        ),
    )


def _curves_section(found: Compared, metrics: Metrics, config: RecommendConfig) -> list[Section]:
    k = config.k[0]
    figures: list[Any] = []
    for prefix, title, label in (
        (
            "history ",
            "Quality by the number of events that are known of a user",
            "Events of the history",
        ),
        ("delay ", "Quality by the days from training to what was chosen", "Days since the cutoff"),
    ):
        series = []
        for model in found.models:
            rows = [
                row
                for row in metrics
                if row["slice"].startswith(prefix)
                and (row["model"], row["metric"], row["k"]) == (model, "ndcg", k)
            ]
            if len(rows) < 2:
                continue
            series.append(
                LineSeries(
                    name=model,
                    x=[int(row["slice"].split()[1]) for row in rows],
                    y=[row["value"] for row in rows],
                    low=[row["low"] for row in rows],
                    high=[row["high"] for row in rows],
                    baseline=model == "popularity",
                )
            )
        if not series:
            continue
        ends = ", ".join(f"{s.name} {s.y[0]:.3f} to {s.y[-1]:.3f}" for s in series)
        figures.append(
            Figure(
                caption=title,
                alt=f"NDCG@{k} from the first to the last point: {ends}.",
                chart=LineChart(
                    x_label=label,
                    y_label=f"NDCG@{k}",
                    series=tuple(series),
                    log_x=prefix == "history ",
                ),
                note="The same users and targets at every point; only the last events of each history are "
                "shown to the models; all of it is left out of their lists. A shorter history is shown whole."
                + _too_few(found)
                + _left_out(found, config)
                if prefix == "history "
                else "A point stands for the targets from its day to the next point's.",
            )
        )
    return [Section(title="New users, and time", blocks=tuple(figures))] if figures else []


def _left_out(found: Compared, config: RecommendConfig) -> str:
    slow = [name for name in found.models if config.slow(name)]
    return f" {', '.join(slow)} is left out: its lists take seconds." if slow else ""


def _too_few(found: Compared) -> str:
    least = found.models["popularity"].min_items
    return f" Up to {least} different items every model gives the most popular." if least else ""


def overlap(first: Ints, second: Ints, k: int) -> Longs:
    """How many items the first k of two lists share, list by list (n,)."""
    a, b = first[:, :k], second[:, :k]
    width = int(max(a.max(initial=0), b.max(initial=0))) + 1
    row = np.arange(len(a))[:, None] * width
    inside = np.isin((a + row)[a >= 0], (b + row)[b >= 0])
    shared = np.zeros(len(a), dtype=np.int64)
    np.add.at(shared, np.nonzero(a >= 0)[0], inside.astype(np.int64))
    return shared


def _overlap_section(found: Compared) -> Section:
    rows = []
    for one, other in combinations(found.judged, 2):
        a, b = found.judged[one].lists, found.judged[other].lists
        top, long = overlap(a, b, 10), overlap(a, b, 100)
        user = 0
        rows.append(
            (f"{one} and {other}", top.mean(), long.mean(), int(top[user]), int(long[user]))
        )
    first = str(found.log.users[int(found.split.test.users[0])])
    return Section(
        title="How much the lists share",
        blocks=(
            Table(
                caption="Items in both lists of a user",
                columns=(
                    Column(name="models"),
                    Column(name="of 10, mean", format="float2"),
                    Column(name="of 100, mean", format="float1"),
                    Column(name=f"of 10, user {first}", format="int"),
                    Column(name=f"of 100, user {first}", format="int"),
                ),
                rows=tuple(rows),
                limit=30,
                note="The mean is over all queries.",
            ),
        ),
    )


def _example_section(found: Compared) -> Section:
    """One user's lists side by side."""
    test, query = found.split.test, 0
    catalogue = found.split.refit.catalogue
    names = catalogue.titles.fill_null(catalogue.ids.cast(pl.String))
    history = [names[int(item)] for item in test.histories[query][-10:]]
    targets = set(test.targets[query].tolist())
    rows = []
    for place in range(10):
        cells: list[Any] = [place + 1]
        for result in found.judged.values():
            item = int(result.lists[query, place]) if place < result.lists.shape[1] else -1
            mark = " (chosen)" if item in targets else ""
            cells.append(names[item] + mark if item >= 0 else "")
        rows.append(tuple(cells))
    return Section(
        title="One user's lists side by side",
        blocks=(
            Text(paragraphs=("The last ones chosen before: " + "; ".join(history) + ".",)),
            Table(
                caption=f"Lists for user {found.log.users[int(test.users[query])]}",
                columns=(
                    Column(name="rank", format="int"),
                    *(Column(name=m) for m in found.models),
                ),
                rows=tuple(rows),
                source="ranking.parquet",
            ),
        ),
    )


def _recommendations_section(found: Compared, lists: pl.DataFrame) -> Section:
    shown = lists.filter(pl.col("rank") <= 3).head(3 * SHOWN_USERS)
    return Section(
        title="The recommendations",
        blocks=(
            Table(
                caption=f"First three of each list, by {found.chosen}, from all that is known of the user",
                columns=(
                    Column(name="user"),
                    Column(name="rank", format="int"),
                    Column(name="item"),
                    Column(name="why"),
                ),
                rows=tuple(
                    (
                        # Numbers stay numbers: the page sorts them as such.
                        row["user"] if isinstance(row["user"], int) else str(row["user"]),
                        row["rank"],
                        row["title"] or str(row["item"]),
                        row["reason"],
                    )
                    for row in shown.iter_rows(named=True)
                ),
                limit=15,
                source="recommendations.parquet",
            ),
        ),
    )


def _method_section(found: Compared, config: RecommendConfig) -> Section:
    settings = []
    for name in found.models:
        values = ", ".join(
            f"{field} {_plainly(value)}"
            for field, value in found.fitted[name].setting
            if field != "tune"
        )
        tried = found.fitted[name].trials
        best = f", the best of {len(tried)} settings tried" if tried else ""
        settings.append(
            f"{name}: {values or 'nothing to set'}; validation NDCG@{config.k[0]} "
            f"{found.fitted[name].validated:.4f}{best}."
        )
    known = found.split.test.targets.items < found.split.refit.n_items
    return Section(
        title="How it was made",
        blocks=(
            Bullets(
                items=(
                    *settings,
                    f"{int((~known).sum()):,} of {len(known):,} targets were not in the catalogue before the "
                    "test; they count as missed by every model.",
                    "Items seen before are left out of the lists, and do not count as targets."
                    if not config.repeats
                    else "Items seen before may be recommended again, and count as targets.",
                )
            ),
        ),
    )


def _plainly(value: Any) -> str:
    """A setting as text: numbers short, weights one after the other."""
    if isinstance(value, dict):
        return " + ".join(f"{_plainly(weight)} {name}" for name, weight in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _pick(metrics: Metrics, model: str, metric: str, k: int) -> dict[str, Any]:
    return next(
        row
        for row in metrics
        if (row["model"], row["metric"], row["k"], row["slice"], row["split"])
        == (model, metric, k, "all", "test")
    )


def _interval(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.4f}"
    return f"{row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
