"""The report of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from linkwise.data.documents import Documents
from linkwise.report import (
    Bullets,
    Column,
    Fact,
    Figure,
    Report,
    Section,
    Table,
    Text,
)
from linkwise.technology.config import LOOSE, WITHOUT_TEXT
from linkwise.technology.page_list import list_section
from linkwise.technology.page_models import best_without_text, models_section, sure_section
from linkwise.technology.words import counted, spoken

if TYPE_CHECKING:
    from linkwise.metrics.pairs import PairMetrics
    from linkwise.technology.embedding import Vectors
    from linkwise.technology.forecast import Labels
    from linkwise.technology.judging import Judged


def build_report(
    judged: Sequence[Judged],
    past: Judged | None,
    said_too: Sequence[str],
    listed: pl.DataFrame,
    documents: Documents,
    vectors: Vectors,
    drawn: Figure | None,
    simulated: bool,
    min_patents: int,
) -> Report:
    """The page: the verdict, the models, the list with its reasons, how sure it is, and how it was done.

    `past` is the same forecast at the last windows that could be judged, where these windows cannot;
    `said_too` are lines for the lead, of what could not be judged.
    """
    first = judged[0]
    plan, labels = first.plan, first.labels
    lead, beats = _lead(judged, past, said_too)
    n_without = sum(len(codes) for codes in first.unscorable.values())
    facts = [
        Fact(label="Patents", value=f"{len(documents.table):,}"),
        Fact(
            label="Codes with a score",
            value=f"{len(first.corpus.names) - n_without:,}",
            note=f"{n_without:,} without" if n_without else _of(first.level),
        ),
        Fact(
            label="Pairs never combined",
            value=f"{len(first.pairs):,}",
            note=f"up to {plan.embed.last}",
        ),
    ]
    if labels is not None:
        facts.append(
            Fact(
                label=f"{labels.kind.capitalize()} since",
                value=f"{int(labels.positive.sum()):,}",
                note=f"{labels.name}; "
                + ("" if labels.strict else f"by chance alone: {labels.by_chance or 0:,.0f}; ")
                + f"combined at all: {int(labels.combined.sum()):,}",
            )
        )
    told = [*judged, *([] if past is None else [past])]
    return Report(
        title="Which technologies will be combined",
        lead=lead,
        simulated=simulated,
        beats_baseline=beats,
        facts=tuple(facts),
        sections=(
            *(models_section(of) for of in told if of.metrics or of.combined),
            list_section(listed, first, min_patents),
            *sure_section(first if past is None else past),
            *([] if drawn is None else [Section(title="The map", blocks=(drawn,))]),
            *_null_section(told),
            _codes_section(first, documents),
            _method_section(told, vectors),
        ),
    )


def _of(level: str) -> str:
    """The level, where it says more than that codes are codes."""
    return "" if level == "codes" else level


def _lead(
    judged: Sequence[Judged], past: Judged | None, said_too: Sequence[str]
) -> tuple[tuple[str, ...], bool | None]:
    """The verdict and what must be said beside it, and whether the list beats all models without texts."""
    first = judged[0]
    plan = first.plan
    beats = None
    if first.labels is None:
        lead = [
            f"{len(first.pairs):,} pairs of codes were never combined up to {plan.embed.last}; they are "
            f"ranked by {first.chosen}. {first.unjudged}"
        ]
        if past is not None:
            said, _ = _verdict(past)
            lead += [
                f"As of {past.plan.embed.last}, for {past.plan.forecast}: {said[0]}",
                *said[1:],
            ]
    else:
        said, beats = _verdict(first)
        lead = [*said]
    end = int(first.corpus.year.max())
    if first.labels is not None and end < plan.forecast.last:
        lead.append(
            f"The patents end in {end}: what later years of {plan.forecast} bring is not known."
        )
    if plan.gap is not None:
        lead.append(_gap(first))
    lead += [
        f"{of.level}: {of.unjudged}" for of in judged[1:] if of.unjudged and of.labels is not None
    ]
    return (*lead, *said_too), beats


def _gap(first: Judged) -> str:
    """What becomes of pairs that were combined between the windows."""
    plan = first.plan
    corpus, pairs = first.corpus, first.pairs
    gap = plan.gap
    assert gap is not None
    together = corpus.together(corpus.within(gap))
    n = int((together[pairs.first, pairs.second] > 0).sum())
    years = str(gap.first) if gap.length == 1 else str(gap)
    return (
        f"Patents of {years}, between the windows, make no vector and tell nothing. Pairs first combined "
        f"there ({n:,}) are listed and judged like all others: they count where they are combined in "
        f"{plan.forecast} too."
    )


def _verdict(of: Judged) -> tuple[list[str], bool | None]:
    """Whether the list beats the best model without texts over all pairs and at its top, and does not lose by
    the second label; and what the label is."""
    lead: list[str] = []
    beats: bool | None = None
    if of.metrics is None:
        lead.append(f"No verdict. {of.unjudged}")
    elif of.chosen in of.undated:
        lead.append(
            f"No verdict. The list is by {of.chosen}, of a model that was tuned until an unknown year and "
            f"may know those of {of.plan.forecast}."
        )
    else:
        whole, over_all = _against(of.metrics, of.chosen, "auc", "AUC")
        top, at_top = _against(of.metrics, of.chosen, "average_precision", "average precision")
        if over_all is not None and at_top is not None:
            beats = over_all and at_top
        lead += [
            f"Over all pairs the list ({of.chosen}) {whole} in {of.plan.forecast}.",
            f"At its top it {top}.{_hits(of, of.metrics)}",
        ]
        if of.possible is not None:
            lead.append(
                f"Over the {of.possible.n:,} pairs alone whose codes both are on patents of "
                f"{of.plan.forecast}: AUC {spoken(*of.possible.value(of.chosen, 'auc'))}."
            )
    if of.combined is not None and of.chosen not in of.undated:
        assert of.labels is not None
        value = of.combined.value(of.chosen, "auc")
        other = best_without_text(of.combined, of.chosen, "auc")
        gap = of.combined.difference(of.chosen, other, "auc")
        loses = gap[2] is not None and gap[2] < 0
        if loses and beats:
            beats = False
        lead.append(
            f"Of pairs combined at all ({int(of.labels.combined.sum()):,}): AUC {spoken(*value)}, less that "
            f"of the best model without texts ({other}) {spoken(*gap, sign=True)}."
            + (" By this label the list loses: as a whole it does not beat them." if loses else "")
        )
    if of.metrics is not None and of.labels is not None and not of.labels.strict:
        lead.append(_loose_label(of.labels))
    return lead, beats


def _hits(of: Judged, found: PairMetrics) -> str:
    """Of the first 100 pairs how many the label is true of, in words."""
    assert of.labels is not None
    key = "precision_at", 100
    other = best_without_text(found, of.chosen, "average_precision")
    ours, theirs = found.points[of.chosen].get(key), found.points[other].get(key)
    if ours is None or theirs is None:
        return ""
    does = of.labels.do(100 * ours)
    return f" Of its first 100 pairs {100 * ours:.0f} {does}, of that model's {100 * theirs:.0f}."


def _loose_label(labels: Labels) -> str:
    """What the label is where too few pairs pass Benjamini-Hochberg, and what chance would make of it."""
    n, seen = int(labels.validated.sum()), int(labels.positive.sum())
    found = counted(n, "pair stands", "pairs stand") if n else "No pair stands"
    return (
        f"{found} above the null model after Benjamini-Hochberg{', too few to be measured by' if n else ''}: "
        "the strict label is not measurable on these patents. The label is an unadjusted p below .05, which "
        f"{seen:,} new pairs have, and {labels.by_chance or 0:,.0f} where codes are dealt anew by chance: it "
        + (
            "marks more than chance makes, though not every single pair."
            if labels.above_chance
            else "does not say that a pair stands above chance."
        )
    )


def _against(found: PairMetrics, chosen: str, metric: str, name: str) -> tuple[str, bool | None]:
    """In words how the list's model stands to the best model without texts by a metric, and whether it beats
    it."""
    other = best_without_text(found, chosen, metric)
    value, gap = found.value(chosen, metric), found.difference(chosen, other, metric)
    best = f"the best {'other ' if chosen in WITHOUT_TEXT else ''}model without texts ({other})"
    figures = f"{name} {spoken(*value)}, difference {spoken(*gap, sign=True)}"
    if gap[1] is None:
        return f"cannot be told from {best}: {figures}", None
    if gap[1] > 0:
        return f"beats {best}, the difference above 0: {figures}", True
    return f"does not beat {best}: {figures}", False


def _null_section(judged: Sequence[Judged]) -> list[Section]:
    rows = [
        (
            _of(of.level) or "as read",
            str(of.plan.forecast),
            of.labels.totals.observed,
            round(of.labels.totals.expected),
            int(of.labels.validated.sum()),
            int((of.labels.p < LOOSE).sum()),
            round(of.labels.by_chance or 0),
            int(of.labels.combined.sum()),
        )
        for of in judged
        if of.labels is not None
    ]
    return [_chance(rows, judged)] if rows else []


def _chance(rows: Sequence[tuple[Any, ...]], judged: Sequence[Judged]) -> Section:
    return Section(
        title="Chance",
        blocks=(
            Table(
                caption="Combinations and what chance would make of them",
                columns=(
                    Column(name="level"),
                    Column(name="years"),
                    Column(name="combinations observed", format="int"),
                    Column(name="expected by chance", format="int"),
                    Column(name="new pairs after Benjamini-Hochberg", format="int"),
                    Column(name="new pairs with p < .05", format="int"),
                    Column(name="such pairs by chance alone", format="int"),
                    Column(name="new pairs seen at all", format="int"),
                ),
                rows=tuple(rows),
                note="Chance is the bipartite configuration model of patents and codes: every patent keeps "
                "its number of codes and every code its number of patents, in the mean. Patents of one "
                "code combine nothing, and may in the model: where more is expected than observed, its "
                "p-values are too large, and the label is the stricter for it. Such pairs by chance alone: "
                "how many of the new pairs have a p-value below .05 where the codes are dealt anew "
                "(curveball; the mean of ten times).",
            ),
            *_dealt_table(judged),
        ),
    )


def _dealt_table(judged: Sequence[Judged]) -> list[Table]:
    """The null model beside random sets in which every number of links is kept exactly."""
    rows = [
        (_of(of.level) or "as read", *(int(n) for n in of.labels.dealt))
        for of in judged
        if of.labels is not None and of.labels.dealt is not None
    ]
    if not rows:
        return []
    return [
        Table(
            caption="A check: the patents' codes dealt anew (curveball, 200 times)",
            columns=(
                Column(name="level"),
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
        words = (
            "1 code is no IPC or CPC symbol and was kept as a label"
            if n == 1
            else f"{n:,} codes are no IPC or CPC symbols and were kept as labels"
        )
        blocks.append(
            Text(
                paragraphs=(
                    f"{words}: " + ", ".join(documents.opaque[:10]) + ("..." if n > 10 else "."),
                ),
                tone="warning",
            )
        )
    if said := documents.doubled():
        blocks.append(Text(paragraphs=(said,), tone="warning"))
    left = [(reason, n) for reason, n in documents.ledger.items() if n]
    blocks.append(
        Table(
            caption="What reading left out",
            columns=(Column(name="what"), Column(name="how many", format="int")),
            rows=tuple(left) or (("nothing", 0),),
        )
    )
    return Section(title="Codes and patents left out", blocks=tuple(blocks))


def _method_section(judged: Sequence[Judged], vectors: Vectors) -> Section:
    first = judged[0]
    plan = first.plan
    points = [
        f"Vectors are made of patents of {plan.embed}; pairs are those of codes with a vector that "
        f"no patent up to {plan.embed.last} carries together."
        + (
            ""
            if first.labels is None
            else f" What came of them is told by the null model of {plan.forecast}."
        ),
        "PPMI vectors, word2vec and random walks are made of the codes on patents of the same years "
        "alone; the rules are computed on the graph of codes that are together on a patent of these "
        "years.",
    ]
    if first.learned is not None:
        points.append(
            "learned: gradient boosting on all other scores, their trends and both degrees, trained on "
            f"pairs never combined up to {plan.learn_embed.last} and what became of them in "
            f"{plan.learn_forecast}."
        )
    points += [f"{of.level}: {note}" for of in judged for note in of.notes]
    return Section(title="How it was done", blocks=(Bullets(items=(*points, *vectors.notes)),))
