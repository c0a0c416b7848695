"""The report of a match with goals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.matching.judge import threshold_words
from linkwise.matching.similar import FEATURES, Collection, Similar
from linkwise.report import (
    Bullets,
    Column,
    Fact,
    Report,
    Section,
    Table,
    interval_columns,
)

if TYPE_CHECKING:
    from linkwise.matching.config import MatchConfig
    from linkwise.matching.goals import Goals, Texts
    from linkwise.matching.study import Judged

# Of the same benchmark (labels by people), as its authors and others published them; accuracy.
PUBLISHED = (
    ("AFD SDG Prospector", 0.88),
    ("GPT-4o", 0.87),
    ("JRC SDG Mapper", 0.77),
    ("OSDG", 0.70),
)
NO_INTERVAL = (
    "[–, –]: no interval is known, for too many resamples have one kind of label alone; where all or none "
    "are right (1.000, 0.000) it is that of the counts."
)
GOAL = 40  # characters of a goal's name beside a text
SENTENCE = 200  # characters of a sentence on the page
SHOWN = 20  # texts with the goals found, on the page
WRONG = 12  # disagreements on the page


def build_report(
    texts: Texts,
    goals: Goals,
    queries: Collection,
    items: Collection,
    similar: Similar,
    ranking: pl.DataFrame,
    judged: Judged | None,
    config: MatchConfig,
    simulated: bool,
) -> Report:
    """The page: the verdict, accuracy by goal, where people and judge disagree, and the goals found."""
    facts = (
        Fact(label="Texts", value=f"{len(queries):,}"),
        Fact(label="Goals", value=str(len(items)), note=goals.source),
        Fact(label="Encoder", value=config.lm),
    )
    sections = [_found_section(ranking, judged, queries)]
    lead: tuple[str, ...] = (
        "No labels were given: goals are listed by how well a text goes with each, and nothing is judged.",
    )
    beats = None
    if judged is not None:
        lead, beats = _verdict(judged, texts)
        sections = [
            _models_section(judged, config),
            _goals_section(judged, goals),
            _wrong_section(judged, texts, goals, similar),
            *sections,
            _weights_section(judged),
        ]
    return Report(
        title="Texts and goals",
        lead=(*lead, *texts.notes),
        simulated=simulated,
        beats_baseline=beats,
        facts=facts,
        sections=(*sections, _method_section(judged, goals, config)),
    )


def _row(judged: Judged, metric: str, model: str, slice: str = "all") -> dict[str, Any]:
    return next(
        row
        for row in judged.metrics
        if (row["metric"], row["model"], row["slice"]) == (metric, model, slice)
    )


def _verdict(judged: Judged, texts: Texts) -> tuple[tuple[str, ...], bool]:
    from linkwise.matching.study import JUDGE, WORDS

    row = _row(judged, "accuracy", JUDGE)
    apart = row["difference_low"] is not None and row["difference_low"] > 0
    n_goals = len(np.unique(texts.goal))
    return (
        f"The judge is right of {row['value']:.1%} [{row['low']:.1%}, {row['high']:.1%}] of "
        f"{row['n']:,} pairs of text and goal that people have judged, {WORDS} of {row['baseline']:.1%}: "
        f"{'more often, intervals apart' if apart else 'not apart'} (difference "
        f"{row['difference']:+.1%} [{row['difference_low']:+.1%}, {row['difference_high']:+.1%}]).",
        f"Each of the {n_goals} goals was judged by a judge that had seen no label of it.",
    ), apart


def _models_section(judged: Judged, config: MatchConfig) -> Section:
    told = threshold_words(judged.threshold, config.cost_wrong_yes, config.cost_wrong_no)
    rows = []
    for model in judged.scores:
        cells: list[Any] = [model]
        for metric in ("accuracy", "f1", "auc"):
            row = _row(judged, metric, model)
            cells += [row["value"], row["low"], row["high"]]
        alone = ("precision", "recall", "brier")  # more would be wider than the page
        rows.append((*cells, *(_row(judged, metric, model)["value"] for metric in alone)))
    published = Table(
        caption="Published, on the same benchmark of 17 goals",
        columns=(Column(name="system"), Column(name="accuracy", format="float2")),
        rows=PUBLISHED,
        note="Of 906 texts that people judged yes or no for one Sustainable Development Goal each. To be "
        "read beside this report only where it is of these texts.",
    )
    return Section(
        title="How well goals are recognised",
        blocks=(
            Table(
                caption="Pairs of text and goal, each judged without labels of its goal",
                columns=(
                    Column(name="model"),
                    *interval_columns("accuracy", "float3"),
                    *interval_columns("F1", "float3"),
                    *interval_columns("AUC", "float3"),
                    Column(name="precision", format="float3"),
                    Column(name="recall", format="float3"),
                    Column(name="Brier", format="float3"),
                ),
                rows=tuple(rows),
                note=f"{told} Intervals: 95 %, bootstrap over texts; the others, and average precision, "
                "stand in metrics.json.",
            ),
            published,
        ),
    )


def _goals_section(judged: Judged, goals: Goals) -> Section:
    from linkwise.matching.study import JUDGE, WORDS

    rows = []
    for name, title in zip(goals.ids, goals.names, strict=True):
        slice = f"goal {name}"
        if not any(row["slice"] == slice for row in judged.metrics):
            continue
        row = _row(judged, "accuracy", JUDGE, slice)
        auc = _row(judged, "auc", JUDGE, slice)
        rows.append(
            (
                f"{name} {title}", row["n"], row["value"], row["low"], row["high"],
                auc["value"], auc["low"], auc["high"],
                _row(judged, "accuracy", WORDS, slice)["value"],
            )
        )  # fmt: skip
    return Section(
        title="Goal by goal",
        blocks=(
            Table(
                caption="Accuracy by goal",
                columns=(
                    Column(name="goal"),
                    Column(name="pairs", format="int"),
                    *interval_columns("accuracy", "float3"),
                    *interval_columns("AUC", "float3"),
                    Column(name="words alone", format="float3"),
                ),
                rows=tuple(rows),
                note=NO_INTERVAL,
            ),
        ),
    )


def _wrong_section(judged: Judged, texts: Texts, goals: Goals, similar: Similar) -> Section:
    from linkwise.matching.study import JUDGE

    p = judged.probabilities[JUDGE]
    off = np.abs(p - texts.label)
    rows: list[tuple[Any, ...]] = []
    for place in np.argsort(-off, kind="stable").tolist():
        if (p[place] >= judged.threshold) == (texts.label[place] == 1):
            continue
        if len(rows) == WRONG:
            break
        row, goal = int(texts.row[place]), int(texts.goal[place])
        mine, theirs = similar.best_parts(row, goal)
        rows.append(
            (
                f"{texts.ids[row]} {begin(texts.texts[row])}, {goals.ids[goal]} "
                f"{begin(goals.names[goal], GOAL)}",
                "yes" if texts.label[place] else "no",
                float(p[place]),
                begin(mine, SENTENCE),
                begin(theirs, SENTENCE),
            )
        )
    return Section(
        title="Where people and judge disagree most",
        blocks=(
            Table(
                caption="Disagreements, with what speaks most for the pair",
                columns=(
                    Column(name="text, goal"),
                    Column(name="people"),
                    Column(name="p of yes", format="float2"),
                    Column(name="of the text"),
                    Column(name="of the goal"),
                ),
                rows=tuple(rows),
            ),
        ),
    )


def _found_section(ranking: pl.DataFrame, judged: Judged | None, queries: Collection) -> Section:
    first = ranking.filter(pl.col("rank") == 1).head(SHOWN)
    text_of = dict(zip(queries.ids, queries.texts, strict=True))
    measure, value = ("probability", "probability") if judged else ("similarity", "score")
    columns = [Column(name="text, goal"), Column(name=measure, format="float2")]
    columns += [Column(name="of the text"), Column(name="of the goal")]
    rows = []
    for row in first.iter_rows(named=True):
        shown = f"{row['query']} {begin(text_of[row['query']])}, {row['item']} {begin(row['title'], GOAL)}"
        parts = (begin(row[name], SENTENCE) for name in ("query_part", "item_part"))
        rows.append((shown, row[value], *parts))
    return Section(
        title="Goals found",
        blocks=(
            Table(
                caption="The goal that goes best with each of the first texts, and why",
                columns=tuple(columns),
                rows=tuple(rows),
                note="All goals of all texts stand in ranking.parquet."
                + (
                    ""
                    if judged
                    else " The similarity is in deviations about the text's other goals."
                ),
            ),
        ),
    )


def begin(text: str, most: int = 60) -> str:
    """The first words of a text."""
    words = " ".join(text.split())
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0] + " ..."


def _weights_section(judged: Judged) -> Section:
    order = np.argsort(-np.abs(judged.judge.weights))
    rows = tuple((FEATURES[k], judged.judge.weights[k]) for k in order.tolist())
    return Section(
        title="What the judge weighs",
        blocks=(
            Table(
                caption="Log-odds of yes for each standard deviation more",
                columns=(Column(name="similarity"), Column(name="weight", format="difference")),
                rows=rows,
                limit=10,
                note="Similarities lean on each other: single weights say less than all together. The query "
                "is the text, the item the goal; a goal's pool are the texts that were judged for it.",
            ),
        ),
    )


def _method_section(judged: Judged | None, goals: Goals, config: MatchConfig) -> Section:
    items = [
        f"Goals: {goals.source}. Each is its name and what it is about; a text is itself and its sentences.",
        "Similarities: cosines of text vectors, whole against whole, part against part, and of words "
        "(TF-IDF); each as it is and beside that of the text with the other goals.",
    ]
    if judged is not None:
        items += [
            "The judge is a logistic regression on these (ridge by cross-validation over goals).",
            threshold_words(judged.threshold, config.cost_wrong_yes, config.cost_wrong_no),
        ]
    return Section(title="How it was done", blocks=(Bullets(items=tuple(items)),))
