"""The report of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.data.documents import Documents
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
from linkwise.technology.anchors import RULES

if TYPE_CHECKING:
    from linkwise.technology.study import Judged, Plan, Vectors

SHOWN = 40  # pairs of the list on the page
CURVE = 200  # points of a ROC curve
BINS = 10  # of cosines

# Patent Embedders 2024 and TechTokenBERT, as published; on European patents, another set than any here.
PUBLISHED = (
    ("TechTokenBERT, technology tokens: new combinations, AUC", 0.936),
    ("TechTokenBERT as classifier of IPC codes, macro-F1", 0.488),
    ("a decoder of 8 billion parameters, the same, macro-F1", 0.343),
    ("TechTokenBERT, title to abstract, AUC", 0.994),
)
# Models of the literature that a laptop cannot run, and what would fill their rows.
TO_FILL = (
    (
        "BERT for Patents, technology tokens",
        "linkwise lm adapt --model anferico/bert-for-patents --texts PATENTS --objective "
        "technology-tokens --until YEAR --out models/bp; linkwise forecast PATENTS --lm models/bp",
    ),
    (
        "BERT, technology tokens",
        "linkwise lm adapt --model google-bert/bert-base-uncased --texts PATENTS --objective "
        "technology-tokens --until YEAR --out models/bert; linkwise forecast PATENTS --lm models/bert",
    ),
    (
        "Llama 3 8B, tuned for embedding (mntp, then contrastive)",
        "linkwise lm adapt --model meta-llama/Meta-Llama-3-8B --texts PATENTS --column abstract "
        "--objective mntp --train lora --four-bit --until YEAR --out models/l1; the same with "
        "--model models/l1 --objective contrastive --out models/l2; linkwise forecast PATENTS --lm models/l2",
    ),
)


def build_report(
    judged: Sequence[Judged],
    metrics: Sequence[dict[str, Any]],
    listed: pl.DataFrame,
    chosen: str,
    plan: Plan,
    documents: Documents,
    vectors: Vectors,
    drawn: Figure | None,
    simulated: bool,
) -> Report:
    """The page: the verdict, the models, the list with its reasons, how sure it is, and how it was done."""
    first = judged[0]
    lead, beats = _verdict(first, chosen, plan)
    labels = first.labels
    facts = [
        Fact(label="Patents", value=f"{len(documents.table):,}"),
        Fact(label="Codes", value=f"{len(first.corpus.names):,}", note=first.level),
        Fact(
            label="Pairs never combined",
            value=f"{len(first.pairs):,}",
            note=f"up to {plan.embed.last}",
        ),
    ]
    if labels is not None:
        facts.append(
            Fact(label="Came true", value=f"{int(labels.positive.sum()):,}", note=labels.name)
        )
    return Report(
        title="Which technologies will be combined",
        lead=lead,
        simulated=simulated,
        beats_baseline=beats,
        facts=tuple(facts),
        sections=(
            *(_models_section(of, metrics, plan) for of in judged if of.metrics is not None),
            _list_section(listed, chosen, first, plan),
            *_sure_section(first),
            *([] if drawn is None else [Section(title="The map", blocks=(drawn,))]),
            _null_section(judged, plan),
            _codes_section(first, documents),
            _published_section(),
            _method_section(judged, plan, vectors),
        ),
    )


def _verdict(first: Judged, chosen: str, plan: Plan) -> tuple[tuple[str, ...], bool | None]:
    if first.metrics is None:
        yet = () if plan.judged else (f"No patent is of {plan.forecast} yet.",)
        why = " ".join([*yet, *first.notes])
        return (
            f"{len(first.pairs):,} pairs of codes were never combined up to {plan.embed.last}; they "
            "are ranked "
            f"by {chosen}. {why}",
        ), None
    found = first.metrics
    value, low, high = found.value(chosen, "auc")
    best = max(RULES, key=lambda rule: found.points[rule]["auc", None])
    gap = found.difference(chosen, best, "auc")
    apart = gap[1] is not None and gap[1] > 0
    words = "beats" if apart else "does not beat"
    assert first.labels is not None
    lead = [
        f"The list ({chosen}) {words} the best rule on the graph of codes ({best}), intervals apart: AUC "
        f"{_spoken(value, low, high)} in {plan.forecast}, difference {_spoken(*gap, sign=True)}."
        if apart
        else f"The list ({chosen}) {words} the best rule on the graph of codes ({best}): AUC "
        f"{_spoken(value, low, high)} in {plan.forecast}, difference {_spoken(*gap, sign=True)}."
    ]
    if not first.labels.strict:
        n = int(first.labels.validated.sum())
        lead.append(
            f"{f'Only {n} pairs stand' if n else 'No pair stands'} above the null model after "
            f"Benjamini-Hochberg{', too few to be measured by' if n else ''}: here a pair came true where "
            "its unadjusted p is below .05, which chance alone reaches now and then. The strict label is not "
            "measurable on these patents."
        )
    return tuple(lead), apart


def _spoken(
    value: float | None, low: float | None, high: float | None, *, sign: bool = False
) -> str:
    if value is None or low is None or high is None:
        return "not defined"
    form = "+.3f" if sign else ".3f"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _models_section(of: Judged, metrics: Sequence[dict[str, Any]], plan: Plan) -> Section:
    assert of.metrics is not None
    assert of.labels is not None
    found = of.metrics
    order = sorted(found.points, key=lambda model: -found.points[model]["auc", None])
    places = sorted(k for metric, k in found.points[order[0]] if metric == "precision_at" and k)
    rows = []
    for model in order:
        gap = found.difference(model, "common neighbours", "auc")
        rows.append(
            (
                model,
                *found.value(model, "auc"),
                *((None, None, None) if model == "common neighbours" else gap),
                *found.value(model, "partial_auc", 10),
                *found.value(model, "average_precision"),
                *(found.points[model]["precision_at", k] for k in places),
            )
        )
    share = float(of.labels.positive.mean())
    table = Table(
        caption=f"Pairs of codes, {of.level}, that came true in {plan.forecast}, by what foretold them",
        columns=(
            Column(name="model"),
            *interval_columns("AUC", "float3"),
            *interval_columns("over common neighbours", "difference"),
            *interval_columns("AUC of the first tenth", "float3"),
            *interval_columns("average precision", "float3"),
            *(Column(name=f"precision at {int(k):,}", format="float3") for k in places),
        ),
        rows=tuple(rows),
        limit=40,
        note=f"{found.n:,} pairs, of which {int(of.labels.positive.sum()):,} ({share:.2%}) came true "
        f"({of.labels.name}). Intervals: 95 %, bootstrap over codes. AUC of the first tenth: up to a "
        "false-positive rate of .1, standardised so that chance is .5."
        + (
            " text: the mean of the patents' text vectors; hidden tokens: of the states where a hidden "
            "technology token stands before their texts; tokens: of the states of the code's own token "
            "there; token rows: the token's own row."
            if any(":" in model for model in order)
            else ""
        ),
    )
    pairs = [
        (model, other, *found.difference(model, other, "auc"))
        for model in order
        if model.startswith(("hidden tokens: ", "learned"))
        for other in order
        if other != model and other not in ("random", "best possible")
    ]
    blocks: list[Any] = [table, _roc(of)]
    if pairs:
        blocks.append(
            Table(
                caption="Differences in AUC, paired",
                columns=(
                    Column(name="model"),
                    Column(name="against"),
                    *interval_columns("difference", "difference"),
                ),
                rows=tuple(pairs),
                limit=12,
            )
        )
    return Section(title=f"How well it was foretold: {of.level}", blocks=tuple(blocks))


def _roc(of: Judged) -> Figure:
    assert of.metrics is not None
    assert of.labels is not None
    label = of.labels.positive
    order = sorted(of.metrics.points, key=lambda model: -of.metrics.points[model]["auc", None])  # type: ignore[union-attr]
    drawn = [m for m in order if m not in ("random",)][:6]
    drawn += [m for m in ("common neighbours", "degree product") if m in order and m not in drawn]
    at = np.linspace(0, 1, CURVE)
    series = []
    for model in drawn:
        score = of.scores[model]
        down = np.argsort(-score, kind="stable")
        hits = label[down]
        last = np.append(np.flatnonzero(np.diff(score[down])), len(down) - 1)
        right = np.concatenate([[0], np.cumsum(hits)[last] / hits.sum()])
        wrong = np.concatenate([[0], np.cumsum(~hits)[last] / (~hits).sum()])
        series.append(
            LineSeries(
                name=model,
                x=[round(float(x), 4) for x in at],
                y=[round(float(y), 4) for y in np.interp(at, wrong, right)],
                baseline=model in RULES,
            )
        )
    return Figure(
        caption="ROC curves",
        alt="The share of pairs that came true against the share of others, from the top of each model's "
        "list; the areas under the curves are in the table.",
        chart=LineChart(
            x_label="share of the other pairs",
            y_label="share of pairs that came true",
            series=tuple(series),
        ),
    )


def _list_section(listed: pl.DataFrame, chosen: str, first: Judged, plan: Plan) -> Section:
    rows = []
    for row in listed.head(SHOWN).iter_rows(named=True):
        past = ", ".join(f"{w['years']}: {w['cosine']:.2f}" for w in row["past"])
        rows.append(
            (
                row["rank"],
                _named(row["a"], row["title_a"]),
                _named(row["b"], row["title_b"]),
                row["cosine"],
                past,
                ", ".join(row["patents_a"]),
                ", ".join(row["patents_b"]),
                row["first_combined_by"] or "",
                *(() if first.labels is None else ("yes" if row["came_true"] else "",)),
            )
        )
    cosine_of = listed["cosine_of"][0] if len(listed) else ""
    return Section(
        title=f"The forecast for {plan.forecast}",
        blocks=(
            Table(
                caption=f"The first pairs by {chosen}, never combined up to {plan.embed.last}",
                columns=(
                    Column(name="rank", format="int"),
                    Column(name="code"),
                    Column(name="with"),
                    Column(name="cosine", format="float3"),
                    Column(name="cosine in earlier years"),
                    Column(name="patents of the first, nearest to the second"),
                    Column(name="patents of the second, nearest to the first"),
                    Column(name="first combined by"),
                    *(() if first.labels is None else (Column(name="above chance"),)),
                ),
                rows=tuple(rows),
                limit=20,
                note=f"Cosines of {cosine_of}, about their mean over all codes. First combined by: the first "
                "patent after the embedding years that carries both codes, looked up afterwards.",
                source="pairs.parquet",
            ),
        ),
    )


def _named(code: str, title: str) -> str:
    short = title if len(title) <= 60 else f"{title[:57]}..."
    return f"{code} ({short})" if title else code


def _sure_section(first: Judged) -> list[Section]:
    """How often pairs of a cosine were combined, by tenths of the pairs."""
    if first.labels is None:
        return []
    names = [n for n in first.scores if n.startswith(("text: ", "hidden tokens: "))] or [
        "PPMI vectors"
    ]
    label = first.labels.positive
    figures = []
    for name in names[:4]:
        score = first.scores[name].astype(np.float64)
        cuts = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)))
        if len(cuts) < 3:
            continue
        part = np.clip(np.searchsorted(cuts, score, side="right") - 1, 0, len(cuts) - 2)
        n = np.bincount(part, minlength=len(cuts) - 1)
        mean = np.bincount(part, score, len(cuts) - 1) / np.maximum(n, 1)
        rate = np.bincount(part, label, len(cuts) - 1) / np.maximum(n, 1)
        figures.append(
            LineSeries(
                name=name,
                x=[round(float(x), 4) for x in mean[n > 0]],
                y=[round(float(y), 6) for y in rate[n > 0]],
            )
        )
    if not figures:
        return []
    return [
        Section(
            title="From cosine to frequency",
            blocks=(
                Figure(
                    caption="How many pairs came true, by cosine (tenths of all pairs)",
                    alt="A line for each model: the share of pairs that came true, by the mean cosine of a "
                    "tenth of the pairs.",
                    chart=LineChart(
                        x_label="cosine",
                        y_label="share that came true",
                        y_format="percent",
                        series=tuple(figures),
                    ),
                ),
            ),
        )
    ]


def _null_section(judged: Sequence[Judged], plan: Plan) -> Section:
    rows = [
        (
            of.level,
            of.labels.totals.observed,
            round(of.labels.totals.expected),
            int(of.labels.validated.sum()),
            int((of.labels.p < 0.05).sum()),
            int((of.labels.observed > 0).sum()),
        )
        for of in judged
        if of.labels is not None
    ]
    if not rows:
        return Section(
            title="Chance",
            blocks=(Text(paragraphs=(f"No patent is of {plan.forecast}; nothing is judged.",)),),
        )
    return Section(
        title="Chance",
        blocks=(
            Table(
                caption=f"Combinations in {plan.forecast} and what chance would make of them",
                columns=(
                    Column(name="codes"),
                    Column(name="combinations observed", format="int"),
                    Column(name="expected by chance", format="int"),
                    Column(name="new pairs after Benjamini-Hochberg", format="int"),
                    Column(name="new pairs with p < .05", format="int"),
                    Column(name="new pairs seen at all", format="int"),
                ),
                rows=tuple(rows),
                note="Chance is the bipartite configuration model of patents and codes: every patent keeps "
                "its number of codes and every code its number of patents, in the mean. Patents of one "
                "code combine "
                "nothing, and may in the model: where more is expected than observed, its p-values are too "
                "large, and the label is the stricter for it.",
            ),
            *_dealt_table(judged),
        ),
    )


def _dealt_table(judged: Sequence[Judged]) -> list[Table]:
    """The null model beside random sets in which every number of links is kept exactly."""
    rows = [
        (of.level, *(int(n) for n in of.labels.dealt))
        for of in judged
        if of.labels is not None and of.labels.dealt is not None
    ]
    if not rows:
        return []
    return [
        Table(
            caption="A check: the patents' codes dealt anew (curveball, 200 times)",
            columns=(
                Column(name="codes"),
                Column(name="pairs with p < .05 by the model", format="int"),
                Column(name="by dealing", format="int"),
                Column(name="by both", format="int"),
            ),
            rows=tuple(rows),
            note="Of all pairs seen together in these years, new ones or not. Dealing keeps every number of "
            "codes of a patent and of patents of a code exactly, the model in the mean: where dealing has "
            "more, the model is the stricter.",
        )
    ]


def _codes_section(first: Judged, documents: Documents) -> Section:
    blocks: list[Any] = []
    if first.unscorable:
        blocks.append(
            Table(
                caption="Codes that no score can be given to",
                columns=(
                    Column(name="why"),
                    Column(name="codes", format="int"),
                    Column(name="which"),
                ),
                rows=tuple(
                    (why, len(codes), ", ".join(codes[:12]) + (", ..." if len(codes) > 12 else ""))
                    for why, codes in first.unscorable.items()
                ),
            )
        )
    if documents.opaque:
        n = len(documents.opaque)
        blocks.append(
            Text(
                paragraphs=(
                    f"{n:,} codes are no IPC or CPC symbols and were kept as labels: "
                    + ", ".join(documents.opaque[:10])
                    + ("..." if n > 10 else "."),
                ),
                tone="warning",
            )
        )
    left = [(reason, n) for reason, n in documents.ledger.items() if n]
    blocks.append(
        Table(
            caption="What reading left out",
            columns=(Column(name="what"), Column(name="how many", format="int")),
            rows=tuple(left) or (("nothing", 0),),
        )
    )
    return Section(title="Codes and patents left out", blocks=tuple(blocks))


def _published_section() -> Section:
    return Section(
        title="Beside it: what is published",
        blocks=(
            Table(
                caption="Figures of the literature, on other patents",
                columns=(Column(name="what"), Column(name="value", format="float3")),
                rows=PUBLISHED,
                external=True,
                note="They cannot be compared row by row with those above: other patents, codes and years.",
            ),
            Table(
                caption="Models that this run did not use",
                columns=(Column(name="model"), Column(name="command that fills its row")),
                rows=TO_FILL,
                external=True,
            ),
        ),
    )


def _method_section(judged: Sequence[Judged], plan: Plan, vectors: Vectors) -> Section:
    first = judged[0]
    learned = (
        "learned: gradient boosting on all other scores, their trends and both degrees, trained on "
        "pairs never "
        f"combined up to {plan.learn_embed.last} and what became of them in {plan.learn_forecast}."
    )
    points = [
        f"Vectors are made of patents of {plan.embed}; pairs are those of codes with a vector that "
        "no patent up to "
        f"{plan.embed.last} carries together; they came true where they stand above the null model in "
        f"{plan.forecast}.",
        *([learned] if first.learned is not None else []),
        "PPMI vectors, word2vec and random walks are made of the codes on patents of the same "
        "years alone; the "
        "rules are computed on the graph of codes that are together on a patent of these years.",
        *(f"{of.level}: {note}" for of in judged for note in of.notes),
        *vectors.notes,
    ]
    return Section(title="How it was done", blocks=(Bullets(items=tuple(points)),))
