"""The page of a match of patents with sections: who is right, where people and judge part, what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.estimators.calibrate import reliability_bins
from linkwise.matching.judge import threshold_words
from linkwise.matching.judges import WORDS, FeatureJudge, Fitted
from linkwise.matching.labels import confounded
from linkwise.matching.page import NO_INTERVAL, SENTENCE, begin
from linkwise.matching.similar import FEATURES
from linkwise.report.document import Bullets, Column, Fact, Report, Section, Table, interval_columns

if TYPE_CHECKING:
    from linkwise.matching.config import PairsConfig
    from linkwise.matching.pairs import Compared, Judged
    from linkwise.matching.sides import Side

SHOWN = 15  # patents with what was found, on the page
BEST = 3  # sections of each of them
TITLE = 60  # characters of a title
WRONG = 12  # disagreements on the page
UNSEEN = {
    "by-document": "documents that the judge had not seen",
    "by-patent": "patents that the judge had not seen",
    "random": "pairs that the judge had not seen, of patents and documents that it may have",
}


def build_report(
    compared: Compared,
    config: PairsConfig,
    ranking: pl.LazyFrame,
    judged: Judged | None,
    use: Fitted | None,
    simulated: bool,
) -> Report:
    """The page: the verdict, each model, each document, calibration, disagreements, and what was found."""
    queries, items = compared.queries, compared.items
    facts = [
        Fact(label="Patents", value=f"{len(queries):,}"),
        Fact(label="Sections", value=f"{len(items):,}"),
        Fact(
            label=f"{'Listed' if use is None else 'Judged'} for each patent",
            value=f"{compared.candidates.shape[1]:,}",
        ),
        Fact(label="Judge", value="none" if use is None else config.judge),
    ]
    lead: tuple[str, ...] = (_unjudged(use, config),)
    sections = [_found_section(ranking, compared)]
    beats = None
    notes = (*queries.notes, *items.notes)
    if judged is not None:
        facts.insert(2, Fact(label="Labelled pairs", value=f"{len(judged.labelled):,}"))
        lead, beats = _verdict(judged, config)
        if said := confounded(judged.labelled, queries.ids):
            beats = None
            lead = (*lead, _warning(said, config))
        sections = [
            _models_section(judged, config),
            _documents_section(judged),
            _recall_section(judged),
            _calibration_section(judged),
            _wrong_section(judged, compared),
            *sections,
        ]
        notes = (*notes, *judged.labelled.notes)
        if use is not None and isinstance(use.judge, FeatureJudge):
            sections.append(_weights_section(use.judge))
    return Report(
        title="Patents and techniques",
        lead=(*lead, *notes),
        simulated=simulated,
        beats_baseline=beats,
        facts=tuple(facts),
        sections=(*sections, _method_section(config, judged, use)),
    )


def _warning(said: list[str], config: PairsConfig) -> str:
    """What confounded labels mean for the figures, and what to do."""
    mend = (
        "label more pairs of the patents that have one kind alone"
        if config.split == "by-patent"
        else "--split by-patent tells how pairs of other patents are judged"
    )
    return (
        f"Beware: {'; '.join(said)}. A judge may tell patents apart rather than pairs, and the figures above "
        f"flatter it; {mend}."
    )


def _unjudged(use: Fitted | None, config: PairsConfig) -> str:
    if use is None:
        return (
            "No labels were given: sections are listed by how well their text vectors go with a patent's, "
            "and nothing is judged."
        )
    if use.known:
        return (
            f"Judged by what {config.judge} learned; no labels were given here, so that nothing tells how "
            "well it does on these texts."
        )
    return (
        f"Judged by {config.judge} as it is: the probabilities are the model's own, and without labels "
        "nothing tells how right they are."
    )


def _row(judged: Judged, metric: str, model: str, slice: str = "all") -> dict[str, Any]:
    return next(
        row
        for row in judged.metrics
        if (row["metric"], row["model"], row["slice"]) == (metric, model, slice)
    )


def _verdict(judged: Judged, config: PairsConfig) -> tuple[tuple[str, ...], bool]:
    from linkwise.matching.pairs import END_TO_END

    f1, auc = (_row(judged, metric, judged.chosen) for metric in ("f1", "auc"))
    whole, recall = (
        _row(judged, metric, judged.chosen, END_TO_END) for metric in ("auc", "recall")
    )
    lost = int(((judged.place < 0) & (judged.labelled.label == 1)).sum())
    apart = auc["difference_low"] is not None and auc["difference_low"] > 0
    yes = int(judged.labelled.label.sum())
    return (
        f"{judged.chosen}: AUC {_interval(auc)} and F1 {_interval(f1)} on {auc['n']:,} labelled pairs "
        f"({yes:,} yes) of {UNSEEN[config.split]}. Both stages together, with the {lost:,} yes that were not "
        f"retrieved: AUC {_interval(whole)}, recall {_interval(recall)}.",
        f"{WORDS} has AUC {_number(auc['baseline'])} and F1 {_number(f1['baseline'])}: the judge is "
        f"{'better' if apart else 'not better'} by AUC, intervals {'apart' if apart else 'not apart'} "
        f"(difference {_interval(auc, 'difference')}).",
    ), apart


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(row: dict[str, Any], name: str = "value") -> str:
    sign = "+" if name == "difference" else ""
    low, high = ("low", "high") if name == "value" else ("difference_low", "difference_high")
    if row[name] is None:
        return "undefined"
    if row[low] is None:
        return f"{row[name]:{sign}.3f}"
    return f"{row[name]:{sign}.3f} [{row[low]:{sign}.3f}, {row[high]:{sign}.3f}]"


def _models_section(judged: Judged, config: PairsConfig) -> Section:
    from linkwise.matching.pairs import END_TO_END

    threshold = float(judged.tried[judged.chosen].threshold[0])
    told = threshold_words(threshold, config.cost_wrong_yes, config.cost_wrong_no)
    tables = []
    for slice, caption, note in (
        (
            "all",
            "All labelled pairs",
            f"Of {UNSEEN[config.split]}. {told} Intervals: 95 %, bootstrap over patents.",
        ),
        (
            END_TO_END,
            "Both stages together: what was not retrieved counts as no",
            f"{int((judged.place < 0).sum()):,} labelled pairs are not among the {config.retrieve} sections "
            f"retrieved for their patent, {int(((judged.place < 0) & (judged.labelled.label == 1)).sum()):,} "
            "of them a yes.",
        ),
    ):
        rows = []
        for model in judged.tried:
            cells: list[Any] = [model]
            for metric in ("auc", "average_precision", "f1"):
                row = _row(judged, metric, model, slice)
                cells += [row["value"], row["low"], row["high"]]
            cells += [
                _row(judged, metric, model, slice)["value"] for metric in ("precision", "recall")
            ]
            brier = _row(judged, "brier", model, slice)["value"]
            rows.append((*cells, brier if slice == "all" else None))
        tables.append(
            Table(
                caption=caption,
                columns=(
                    Column(name="model"),
                    *interval_columns("AUC", "float3"),
                    *interval_columns("average precision", "float3"),
                    *interval_columns("F1", "float3"),
                    Column(name="precision", format="float3"),
                    Column(name="recall", format="float3"),
                    Column(name="Brier", format="float3"),
                ),
                rows=tuple(rows),
                note=note,
            )
        )
    return Section(title="How well pairs are judged", blocks=tuple(tables))


def _documents_section(judged: Judged) -> Section:
    names = [
        row["slice"]
        for row in judged.metrics
        if row["slice"].startswith("document ") and row["metric"] == "auc"
    ]
    rows = []
    for slice in dict.fromkeys(names):
        auc, f1 = (_row(judged, metric, judged.chosen, slice) for metric in ("auc", "f1"))
        rows.append(
            (
                slice.removeprefix("document "), auc["n"], auc["value"], auc["low"], auc["high"],
                auc["baseline"], f1["value"], f1["low"], f1["high"],
            )
        )  # fmt: skip
    if not rows:
        text = "No document has 20 labelled pairs of both kinds; none is shown by itself."
        return Section(title="Document by document", blocks=(Bullets(items=(text,)),))
    return Section(
        title="Document by document",
        blocks=(
            Table(
                caption=f"{judged.chosen}, by the section's document",
                columns=(
                    Column(name="document"),
                    Column(name="pairs", format="int"),
                    *interval_columns("AUC", "float3"),
                    Column(name="AUC of words alone", format="float3"),
                    *interval_columns("F1", "float3"),
                ),
                rows=tuple(rows),
                note=NO_INTERVAL,
            ),
        ),
    )


def _recall_section(judged: Judged) -> Section:
    found = [row for row in judged.metrics if row["metric"] == "recall_at"]
    rows = [
        (int(row["k"]), row["value"], row["low"], row["high"], row["baseline"])
        for row in found
        if row["model"] == "retrieved by text vectors"
    ]
    return Section(
        title="What retrieval finds",
        blocks=(
            Table(
                caption="Share of the pairs with yes whose section is among the first k",
                columns=(
                    Column(name="k", format="int"),
                    *interval_columns("by text vectors", "float3"),
                    Column(name="by words (TF-IDF)", format="float3"),
                ),
                rows=tuple(rows),
                note="What people were not asked about may be a yes as well: this is a share of theirs.",
            ),
        ),
    )


def _calibration_section(judged: Judged) -> Section:
    tried = judged.tried[judged.chosen]
    p = np.clip(tried.probability, 1e-12, 1 - 1e-12)
    rows = tuple(
        (one.n, one.mean_predicted, one.observed_rate, one.low, one.high)
        for one in reliability_bins(judged.labelled.label, p, 10)
    )
    return Section(
        title="Whether probabilities hold",
        blocks=(
            Table(
                caption=f"{judged.chosen}: said and found, by rising probability",
                columns=(
                    Column(name="pairs", format="int"),
                    Column(name="probability said", format="float3"),
                    *interval_columns("share of yes", "float3"),
                ),
                rows=rows,
            ),
        ),
    )


def _wrong_section(judged: Judged, compared: Compared) -> Section:
    labelled, tried = judged.labelled, judged.tried[judged.chosen]
    off = np.abs(tried.probability - labelled.label)
    wrong = np.flatnonzero(tried.yes != (labelled.label == 1))
    wrong = wrong[np.argsort(-off[wrong], kind="stable")][:WRONG]
    queries = np.unique(labelled.query[wrong])
    similar = compared.similar(queries.tolist()) if len(queries) else None
    rows = []
    for place in wrong.tolist():
        query, item = int(labelled.query[place]), int(labelled.item[place])
        assert similar is not None
        mine, theirs = similar.best_parts(int(np.searchsorted(queries, query)), item)
        rows.append(
            (
                f"{_named(compared.queries, query)} -> {_named(compared.items, item)}",
                "yes" if labelled.label[place] else "no",
                float(tried.probability[place]),
                begin(mine, SENTENCE),
                begin(theirs, SENTENCE),
            )
        )
    if not rows:
        none = Bullets(items=("There is no labelled pair about which they do.",))
        return Section(title="Where people and judge disagree most", blocks=(none,))
    return Section(
        title="Where people and judge disagree most",
        blocks=(
            Table(
                caption="Disagreements, with the sentences of both that go best with each other",
                columns=(
                    Column(name="patent -> section"),
                    Column(name="people"),
                    Column(name="p of yes", format="float2"),
                    Column(name="of the patent"),
                    Column(name="of the section"),
                ),
                rows=tuple(rows),
                note=f"{int((tried.yes != (labelled.label == 1)).sum()):,} pairs in all.",
            ),
        ),
    )


def _named(side: Side, row: int) -> str:
    """The id of a text, which tells its document, and its own title."""
    return f"{side.ids[row]} {begin(side.titles[row].rpartition(' > ')[2], TITLE)}"


def _found_section(ranking: pl.LazyFrame, compared: Compared) -> Section:
    """The best sections of the surest patents."""
    first = ranking.filter(pl.col("rank") == 1).select("query", "score", "probability").collect()
    judged = first["probability"].null_count() < len(first)
    surest = first.sort("score", descending=True, maintain_order=True).head(SHOWN)["query"]
    wanted = pl.col("query").is_in(surest.to_list()), pl.col("rank") <= BEST
    shown = ranking.filter(*wanted).collect()
    place = dict(zip(surest, range(len(surest)), strict=True))
    shown = shown.sort(pl.col("query").replace_strict(place), "rank")
    at = compared.queries.rows(), compared.items.rows()
    rows = tuple(
        (
            f"{_named(compared.queries, at[0][row['query']])} -> "
            f"{_named(compared.items, at[1][row['item']])}",
            row["probability"] if judged else row["score"],
            begin(row["query_part"], SENTENCE),
            begin(row["item_part"], SENTENCE),
        )
        for row in shown.iter_rows(named=True)
    )
    return Section(
        title="Found",
        blocks=(
            Table(
                caption=f"The surest patents, each with its best {BEST} sections, and why",
                columns=(
                    Column(name="patent -> section"),
                    Column(name="probability" if judged else "cosine", format="float2"),
                    Column(name="of the patent"),
                    Column(name="of the section"),
                ),
                rows=rows,
                limit=SHOWN,
                note="All retrieved sections of all patents stand in ranking.parquet.",
            ),
        ),
    )


def _weights_section(judge: FeatureJudge) -> Section:
    if judge.judge_ is None:
        return Section(title="What the judge weighs", blocks=())
    weights = np.array(judge.judge_.weights)
    order = np.argsort(-np.abs(weights)).tolist()
    return Section(
        title="What the judge weighs",
        blocks=(
            Table(
                caption="Log-odds of yes for each standard deviation more",
                columns=(Column(name="similarity"), Column(name="weight", format="difference")),
                rows=tuple((FEATURES[k], float(weights[k])) for k in order),
                limit=10,
                note="Similarities lean on each other: single weights say less than all together. The query "
                "is the patent, the item the section; an item's pool are the patents that retrieved it.",
            ),
        ),
    )


def _method_section(config: PairsConfig, judged: Judged | None, use: Fitted | None) -> Section:
    items = [
        f"First the {config.retrieve} sections of which any piece goes best with any piece of the patent "
        f"({config.lm}, exact search), then the judge.",
    ]
    if judged is not None:
        items += [
            f"Labelled pairs are parted into {config.folds} folds ({config.split}). Each is judged by a "
            "judge that learned from the others; probabilities come from pairs of these that it was not "
            "trained on.",
            "Pairs of equal texts count once, and stand in one fold.",
        ]
    if use is not None:
        items.append(threshold_words(use.threshold, config.cost_wrong_yes, config.cost_wrong_no))
    return Section(title="How it was done", blocks=(Bullets(items=tuple(items)),))
