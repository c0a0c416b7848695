"""What a language model's ranking owes to the words of the titles, and not to the history (LMRecSys, 4)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from linkwise.data.interactions import Histories
from linkwise.data.queries import Queries
from linkwise.lm.titles import read_titles
from linkwise.metrics.bootstrap import bootstrap_weights, percentile_interval
from linkwise.recommend.base import top_k
from linkwise.recommend.title_lm import TitleLM
from linkwise.recommend.title_prompt import context, merged
from linkwise.report import Column as Col
from linkwise.report import Section, Table, Text, interval_columns

QUERIES = 20  # histories that the audit looks at
ENDS = 20  # titles at the top and at the bottom
PAPERS_CASE = (
    "Raiders of the Lost Ark",
    "Star Wars: Episode VI",
    "Ran",
    "Ghostbusters II",
    "Gandhi",
)
"""The history that LMRecSys shows: user 2 of MovieLens-1M, who then chose Indochine."""
WORDS = {
    "length": "tokens of the title",
    "unconditional": "log-probability without a history",
    "popularity": "events of the item",
    "rare_top": f"rare-token titles in the top {ENDS}",
    "rare_bottom": f"rare-token titles in the bottom {ENDS}",
    "rare_all": "rare-token titles in the catalogue",
}


@dataclass(frozen=True)
class Audit:
    """`values`: of each property, one for each query (n,); the ends of one user's ranking, by name."""

    values: dict[str, Any]
    counts: dict[str, int]
    """Titles that were cut, that would merge with the prompt, and old titles left out for want of room."""
    history: tuple[str, ...]
    top: tuple[tuple[str, float], ...]
    bottom: tuple[tuple[str, float], ...]


def audit(model: TitleLM, queries: Queries, seed: int) -> Audit:
    """Spearman's correlation of the scores with what should not matter, and who stands at the ends.

    Over at most 20 of the queries and the whole catalogue, seen items included. Rare-token titles have at
    least two tokens a word, or letters outside ASCII: names, and titles in other languages.
    """
    rng = np.random.default_rng([seed, 11])
    rows = np.sort(rng.permutation(len(queries))[:QUERIES])
    whole = _whole(model)
    case = _case(model)
    histories = queries.histories.take(rows)
    asked = case if case is not None else histories.slice(0, 1)
    scores = whole._scores(
        histories
    )  # the model's own, also for histories that get the most popular
    titles = whole.titles
    named = titles.named
    prior = whole.without_history()
    properties = {
        "length": titles.lengths.astype(np.float64),
        "unconditional": prior,
        "popularity": whole.popularity_.astype(np.float64),
    }
    uncut = read_titles(whole.model, whole.names, most=10**6)
    rare = rare_titles(whole.names, uncut.lengths)[named]
    values: dict[str, list[float]] = {name: [] for name in WORDS}
    for row in scores:
        mine = row[named].astype(np.float64)
        ranked = rankdata(mine)
        for name, other in properties.items():
            values[name].append(_correlation(ranked, rankdata(other[named])))
        order = np.argsort(-mine, kind="stable")
        values["rare_top"].append(float(rare[order[:ENDS]].mean()))
        values["rare_bottom"].append(float(rare[order[-ENDS:]].mean()))
        values["rare_all"].append(float(rare.mean()))
    one = whole._scores(asked)[0]
    one[titles.lengths == 0] = -np.inf
    best, best_scores = top_k(one[None, :], 3)
    worst, worst_scores = top_k(np.where(np.isfinite(one), -one, -np.inf)[None, :], 3)
    names = whole.names
    return Audit(
        {name: np.array(found) for name, found in values.items()},
        _counts(whole, queries.histories),
        tuple(names[item] for item in asked.last(whole.config.recent)[0]),
        tuple((names[i], float(s)) for i, s in zip(best[0], best_scores[0], strict=True)),
        tuple((names[i], -float(s)) for i, s in zip(worst[0], worst_scores[0], strict=True)),
    )


def _counts(model: TitleLM, histories: Histories) -> dict[str, int]:
    names = model.names
    left_out = 0
    for row in range(len(histories)):
        history = [names[item] for item in histories[row][-model.config.recent :] if names[item]]
        left_out += context(model.model, model.prompt, history, model.room())[1]
    titled = [names[row] for row in model.titles.named]
    return {
        "titles_cut": model.titles.cut,
        "titles_merging": merged(model.model, model.prompt, titled),
        "titles_left_out": left_out,
    }


def rare_titles(names: Sequence[str], lengths: Any) -> Any:
    """Which titles have two or more tokens a word, or letters outside ASCII (n,)."""
    words = np.array([max(1, len(name.split())) for name in names])
    foreign = np.array([not name.isascii() for name in names], dtype=np.bool_)
    return foreign | (np.asarray(lengths) >= 2 * words)


def _whole(model: TitleLM) -> TitleLM:
    """The model, scoring every title also where its lists are found by a walk."""
    if model.config.top is None:
        return model
    twin = copy(model)
    twin.config = model.config.model_copy(update={"top": None})
    return twin


def _case(model: TitleLM) -> Histories | None:
    """The paper's history, where the catalogue has its films."""
    names = model.names
    found = []
    for film in PAPERS_CASE:
        rows = [
            row for row, name in enumerate(names) if name == film or name.startswith(f"{film} -")
        ]
        if not rows:
            return None
        found.append(rows[0])
    return Histories.of([found])


def _correlation(a: Any, b: Any) -> float:
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def audit_rows(name: str, found: Audit, samples: int, seed: int) -> list[dict[str, Any]]:
    """Rows of metrics.json: the mean over the queries with its bootstrap interval, slice `bias`."""
    empty = dict.fromkeys(("baseline", "difference", "difference_low", "difference_high"))
    rows = []
    for metric, values in found.values.items():
        defined = values[~np.isnan(values)]
        if not len(defined):
            continue
        rng = np.random.default_rng([seed, 13])
        draws = np.concatenate(
            [w @ defined / len(defined) for w in bootstrap_weights(rng, len(defined), samples)]
        )
        # The share in the catalogue is no mean over queries, and has no interval over them.
        low, high = (None, None) if metric == "rare_all" else percentile_interval(draws)
        row = {"model": name, "split": "test", "slice": "bias", "metric": metric, "k": None}
        about = {"value": float(defined.mean()), "low": low, "high": high, "n": len(defined)}
        rows.append(row | about | empty)
    for metric, count in found.counts.items():
        row = {"model": name, "split": "test", "slice": "bias", "metric": metric, "k": None}
        rows.append(row | {"value": float(count), "low": None, "high": None, "n": 1} | empty)
    return rows


def bias_section(found: Audit, rows: Sequence[dict[str, Any]]) -> Section:
    """The audit as a section of the report."""
    by = {row["metric"]: row for row in rows}
    correlations = tuple(
        (WORDS[name], by[name]["value"], by[name]["low"], by[name]["high"])
        for name in ("length", "unconditional", "popularity")
        if name in by
    )
    shares = tuple(
        (WORDS[name], by[name]["value"], by[name]["low"], by[name]["high"])
        for name in ("rare_top", "rare_bottom", "rare_all")
    )
    ends = (
        *((place, title, score) for place, (title, score) in enumerate(found.top, 1)),
        *((-place, title, score) for place, (title, score) in enumerate(found.bottom, 1)),
    )
    return Section(
        title="What the language model's ranking owes to words",
        blocks=(
            Table(
                caption="Spearman's correlation of a title's score with what should not matter",
                columns=(Col(name="with"), *interval_columns("correlation", "float3")),
                rows=correlations,
                note=f"Means over {next(iter(by.values()))['n']} histories with 95 % bootstrap intervals, "
                "the whole catalogue each, seen titles included. A ranking that follows the history alone "
                "would be near 0 in the first two rows.",
                source="metrics.json",
            ),
            Table(
                caption="Where titles of rare tokens stand",
                columns=(Col(name="share of"), *interval_columns("share", "percent")),
                rows=shares,
                note="At least two tokens a word, or letters outside ASCII.",
                source="metrics.json",
            ),
            Text(
                paragraphs=(
                    f"Titles that are cut: {found.counts['titles_cut']:,}. Titles that would become other "
                    "tokens if written together with the prompt, and are scored as they are by themselves: "
                    f"{found.counts['titles_merging']:,}. Old titles of the histories that found no room: "
                    f"{found.counts['titles_left_out']:,}.",
                    f"After {', '.join(found.history)}:",
                )
            ),
            Table(
                caption="The first three and the last three titles of one ranking",
                columns=(
                    Col(name="place", format="int"),
                    Col(name="title"),
                    Col(name="score", format="float3"),
                ),
                rows=ends,
                note="Places from the end are negative.",
                source="metrics.json",
            ),
        ),
    )
