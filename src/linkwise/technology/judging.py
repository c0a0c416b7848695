"""One level of codes judged: the scores of its pairs, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.data.codes import Level, roll_up
from linkwise.errors import InputError, UsageError
from linkwise.metrics.pairs import PairMetrics, evaluate_pairs
from linkwise.technology.anchors import RULES, Singles, cosines
from linkwise.technology.config import LEARNED, LOOSE, ForecastConfig
from linkwise.technology.corpus import Bools, Corpus, Years
from linkwise.technology.embedding import Vectors
from linkwise.technology.forecast import Labels, Pairs, Sources, came_true, never_combined
from linkwise.technology.listing import (
    chosen_model,
    ranks_of,
)
from linkwise.technology.plan import Plan
from linkwise.technology.vectors import YearlySums
from linkwise.technology.words import counted

if TYPE_CHECKING:
    from linkwise.estimators.tabular import Boosting

BASELINE = "common neighbours"
TRIVIAL = ("random", *RULES)
TRUTH = "best possible"  # of simulated patents: how near two codes really are in the forecast years
MANY = 1_000_000  # pairs from which on fewer resamples are drawn
FEWER = 200
MOST_ROWS = 5_000_000  # of the evaluation, over all models
KEPT = 100_000  # pairs of each model that the evaluation keeps beyond it
LEAST_LEARNED = 20  # pairs with p < .05 in an earlier window, below which nothing is learned
LEAST_JUDGED = (
    10  # pairs of a label, and others, below which a figure would hang on one code or two
)
COMBINED = "combined at all"  # the second label
POSSIBLE = (
    "both codes occur"  # the slice of pairs whose codes both are on patents of the forecast years
)


@dataclass(frozen=True)
class Judged:
    """One level of codes: its pairs, what each model says of them, and what became of them."""

    level: str
    plan: Plan
    corpus: Corpus
    pairs: Pairs
    scores: dict[str, Singles]
    chosen: str
    """The model whose list is shown."""
    labels: Labels | None
    metrics: PairMetrics | None
    """Of the label; None where nothing can be told of it."""
    possible: PairMetrics | None
    """Of the label, over the pairs alone whose codes both are on patents of the forecast years; None where
    these are all."""
    combined: PairMetrics | None
    """Of the pairs combined at all."""
    unscorable: dict[str, list[str]]
    """Codes that no score can be given to, by the reason."""
    learned: Boosting | None
    notes: tuple[str, ...] = ()
    undated: frozenset[str] = frozenset()
    """Scores by models that were tuned until nobody knows when."""
    unjudged: str = ""
    """Why there are no metrics, where there are none."""


def parents_of(corpus: Corpus, level: Level) -> list[str]:
    """Every code rolled up to a level; raises `UsageError` where one is not as deep."""
    found = []
    for name in corpus.names:
        parent = roll_up(name, level)
        if parent is None:
            raise UsageError(
                f'--also-level {level}: the code "{name}" is no symbol as deep as that. '
                "Roll the codes up with --level first, or name a coarser level."
            )
        found.append(parent)
    return found


def at_level(
    corpus: Corpus, vectors: Vectors, level: Level | None, seed: int
) -> tuple[Corpus, Sources]:
    """The corpus with its codes rolled up, and the vectors' sums with them."""
    if level is None:
        return corpus, Sources(corpus, vectors.yearly, vectors.rows, seed)
    names, number = np.unique(np.array(parents_of(corpus, level)), return_inverse=True)
    links = np.unique(np.stack([corpus.patent, number[corpus.code]]), axis=1)
    coarse = Corpus(corpus.year, links[0], links[1].astype(np.int64), tuple(str(n) for n in names))
    yearly = {}
    for name, sums in vectors.yearly.items():
        total = np.zeros((len(sums.total), len(names), sums.total.shape[2]), dtype=np.float32)
        count = np.zeros((len(sums.count), len(names)), dtype=np.int64)
        for child, parent in enumerate(number):
            total[:, parent] += sums.total[:, child]
            count[:, parent] += sums.count[:, child]
        yearly[name] = YearlySums(sums.first_year, total, count)
    return coarse, Sources(coarse, yearly, {}, seed)


def scorable(
    corpus: Corpus, vectors: Vectors, level: Level | None, embed: Years
) -> tuple[Bools, dict[str, list[str]]]:
    """Codes that every model has a vector for in a window (n_codes,), and the others by the reason."""
    there = corpus.degrees(corpus.within(embed)) > 0
    seen = corpus.degrees(corpus.until(embed.last)) > 0
    reasons = {
        f"first on a patent after {embed.last}": [
            n for n, s in zip(corpus.names, seen, strict=True) if not s
        ],
        f"on no patent of {embed}": [
            n for n, s, t in zip(corpus.names, seen, there, strict=True) if s and not t
        ],
    }
    if level is None:
        for name, known in vectors.known.items():
            lost = there & ~known
            if lost.any():
                reasons[f"without a technology token ({name})"] = [
                    n for n, x in zip(corpus.names, lost, strict=True) if x
                ]
        for known in vectors.known.values():
            there = there & known
    return there, {reason: codes for reason, codes in reasons.items() if codes}


def judge(
    name: str,
    corpus: Corpus,
    sources: Sources,
    vectors: Vectors,
    level: Level | None,
    plan: Plan,
    config: ForecastConfig,
    context: Context,
    paths: Sequence[str],
) -> Judged:
    """Score all pairs of one level that were never combined, and compare with what came true."""
    codes, unscorable = scorable(corpus, vectors, level, plan.embed)
    pairs = never_combined(corpus, codes, plan.embed.last)
    if not len(pairs):
        raise InputError(
            f"{name}: {counted(int(codes.sum()), 'code', 'codes')} of {plan.embed}, of which every pair was "
            "combined before: nothing is left to forecast. Use a deeper --level."
        )
    scores: dict[str, Singles] = {
        "random": context.rng(f"random {name}").random(len(pairs)).astype(np.float32)
    }
    scores |= sources.scores(pairs, plan.embed)
    notes: list[str] = []
    model = None
    if config.learned:
        # What a model was tuned on it knows by heart: years to learn from, and not those to forecast.
        late = vectors.tuned_past(plan.learn_embed.last)
        fair = sources.without(late)
        model, why = learn(corpus, fair, vectors, level, plan, config, context)
        if model is None:
            notes.append(f"Nothing was learned: {why}.")
        else:
            notes += _left_out(late, vectors, plan)
            known = _without(scores, "random", *late)
            learned = np.empty(len(pairs), dtype=np.float32)
            for start in range(0, len(pairs), MANY):
                part = slice(start, start + MANY)
                some = {name: of[part] for name, of in known.items()}
                learned[part] = model.score(fair.signals(pairs.some(part), plan.embed, some))
            scores[LEARNED] = learned
    truth = true_nearness(paths, corpus, pairs, plan.forecast) if level is None else None
    if truth is not None:
        scores[TRUTH] = truth
    chosen = chosen_model(scores, config.list_by, vectors.undated)
    if not plan.judged:
        return Judged(
            name, plan, corpus, pairs, scores, chosen, None, None, None, None, unscorable, model,
            tuple(notes), vectors.undated, f"No patent is of {plan.forecast} yet.",
        )  # fmt: skip
    labels = came_true(corpus, pairs, plan.forecast, config, check=True, seed=context.seed)

    def measured(label: Bools, rows: Bools | None = None) -> PairMetrics | None:
        some, of = pairs, scores
        if rows is not None:
            some, of = pairs.some(rows), {name: own[rows] for name, own in scores.items()}
            label = label[rows]
        if min(int(label.sum()), int((~label).sum())) < LEAST_JUDGED:
            return None
        samples = config.bootstrap if len(pairs) < MANY else min(FEWER, config.bootstrap)
        return evaluate_pairs(
            label,
            of,
            some.first,
            some.second,
            trivial=TRIVIAL,
            samples=samples,
            seed=context.seed,
        )

    n = int(labels.positive.sum())
    metrics = measured(labels.positive)
    possible = None if labels.there.all() else measured(labels.positive, labels.there)
    unjudged = (
        ""
        if metrics is not None
        else f"Too few to judge by: {n:,} of {len(pairs):,} pairs {labels.do(n)} ({labels.name}); a verdict "
        f"takes {LEAST_JUDGED}, and as many others."
    )
    return Judged(
        name, plan, corpus, pairs, scores, chosen, labels, metrics,
        possible, measured(labels.combined), unscorable, model, tuple(notes), vectors.undated, unjudged,
    )  # fmt: skip


def _left_out(late: frozenset[str], vectors: Vectors, plan: Plan) -> list[str]:
    """Which language models the learned scorer does not hear, and why."""
    found = []
    for name in dict.fromkeys(
        vectors.model_of[score] for score in vectors.model_of if score in late
    ):
        until = vectors.tuned[name]
        found.append(
            f"learned weighs no signal of {name}, which was tuned on patents up to "
            f"{'an unknown year' if until is None else until}: it learns from what became of pairs after "
            f"{plan.learn_embed.last}, and of those years the model has read."
        )
    return found


def _without(scores: dict[str, Singles], *names: str) -> dict[str, Singles]:
    return {name: of for name, of in scores.items() if name not in names}


def learn(
    corpus: Corpus,
    sources: Sources,
    vectors: Vectors,
    level: Level | None,
    plan: Plan,
    config: ForecastConfig,
    context: Context,
) -> tuple[Boosting | None, str]:
    """Boosting on all signals, of an earlier window whose outcome was known; or None and why there is none.

    `sources` must hold no language model that was tuned on patents after that window."""
    from linkwise.estimators.tabular import Boosting, BoostingConfig

    embed, outcome = plan.learn_embed, plan.learn_forecast
    if embed.first < int(corpus.year.min()):
        return None, f"the patents do not reach back to {embed.first}"
    codes, _ = scorable(corpus, vectors, level, embed)
    pairs = never_combined(corpus, codes, embed.last)
    if not len(pairs) or not corpus.within(outcome).any():
        return None, f"there is no pair to learn from in {embed} and {outcome}"
    labels = came_true(corpus, pairs, outcome, config)
    positive = np.asarray(labels.p < LOOSE)
    if positive.sum() < LEAST_LEARNED:
        return None, (
            f"{int(positive.sum())} pairs had p < .05 in {outcome}, fewer than {LEAST_LEARNED}"
        )
    if len(pairs) > MANY:  # all that came true, and others by lot
        others = context.rng("pairs to learn from").random(len(pairs)) < MANY / len(pairs)
        pairs, positive = pairs.some(positive | others), positive[positive | others]
    frame = sources.signals(pairs, embed, sources.scores(pairs, embed))
    boosting = Boosting(BoostingConfig(rounds=150, learning_rate=0.03, num_leaves=7))
    model = boosting.fit(
        frame, positive.astype(np.float64), seed=context.seed, threads=context.threads
    )
    return model, ""


def true_nearness(
    paths: Sequence[str], corpus: Corpus, pairs: Pairs, forecast: Years
) -> Singles | None:
    """Of simulated patents: how near two codes really are, the mean over the forecast years (n,)."""
    folder = _simulation(paths)
    if folder is None:
        return None
    truth = pl.read_parquet(folder / "truth.parquet").filter(
        pl.col("year").is_between(forecast.first, forecast.last)
    )
    if not set(corpus.names) <= set(truth["code"]):
        return None
    total = np.zeros(len(pairs), dtype=np.float32)
    for _, of_year in truth.group_by("year", maintain_order=True):
        places = dict(zip(of_year["code"], of_year["position"].to_list(), strict=True))
        table = np.array([places[name] for name in corpus.names])
        total += cosines(table, pairs.first, pairs.second)
    return total


def _simulation(paths: Sequence[str]) -> Path | None:
    """The folder of a simulation that the patents are from."""
    for path in paths:
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        note = folder / "truth.json"
        if note.is_file() and json.loads(note.read_text()).get("simulated"):
            return folder if (folder / "truth.parquet").is_file() else None
    return None


def is_simulated(paths: Sequence[str]) -> bool:
    """Whether the patents are simulated."""
    return _simulation(paths) is not None


def rows_of(judged: Judged) -> list[dict[str, Any]]:
    """The rows of `metrics.json` of one level: of the label, over all pairs and those that could come true,
    and of pairs combined at all."""
    split = str(judged.plan.forecast)
    found: list[dict[str, Any]] = []
    for slice, of in (
        (judged.level, judged.metrics),
        (f"{judged.level}, {POSSIBLE}", judged.possible),
        (f"{judged.level}, {COMBINED}", judged.combined),
    ):
        if of is not None:
            found += [asdict(row) for row in of.rows(BASELINE, split=split, slice=slice)]
    return found


def evaluation_of(judged: Judged) -> pl.DataFrame:
    """Every judged pair with its rank, score and label; of very many those that came true and the first."""
    schema = {
        "model": pl.String, "slice": pl.String, "query": pl.String, "item": pl.String,
        "rank": pl.Int64, "score": pl.Float64, "label": pl.Boolean,
    }  # fmt: skip
    if judged.labels is None:
        return pl.DataFrame(schema=schema)
    label = judged.labels.positive
    names = np.array(judged.corpus.names)
    every = len(judged.pairs) * len(judged.scores) <= MOST_ROWS
    tables = []
    for model, scores in judged.scores.items():
        rank = ranks_of(scores, label)
        rows = np.arange(len(rank)) if every else np.flatnonzero((rank <= KEPT) | label)
        tables.append(
            pl.DataFrame(
                {
                    "model": [model] * len(rows),
                    "slice": [judged.level] * len(rows),
                    "query": names[judged.pairs.first[rows]],
                    "item": names[judged.pairs.second[rows]],
                    "rank": rank[rows],
                    "score": scores[rows].astype(np.float64),
                    "label": label[rows],
                },
                schema=schema,
            )
        )
    return pl.concat(tables)
