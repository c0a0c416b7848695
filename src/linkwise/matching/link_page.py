"""The report of a graph: what was linked, how it agrees with what was given, and the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from linkwise.matching.link_given import PAIRS, Pair
from linkwise.matching.link_pollutants import BOTH, JUDGE, LARGEST, NAMES, WORDS
from linkwise.matching.page import NO_INTERVAL
from linkwise.report import Bullets, Column, Fact, Figure, Report, Section, Table, interval_columns

if TYPE_CHECKING:
    from linkwise.matching.link_config import LinkConfig
    from linkwise.matching.link_pollutants import Judged
    from linkwise.matching.link_read import Read
    from linkwise.matching.link_study import Found

SHOWN = 15  # links of each kind on the page
LONGEST = 200  # characters of a sentence


def build_report(
    read: Read,
    nodes: pl.DataFrame,
    links: pl.DataFrame,
    found: Found,
    config: LinkConfig,
    figure: Figure | None,
    simulated: bool,
) -> Report:
    """The page: the verdict, agreement by kind and pollutant, disagreements, and links with evidence."""
    made = links.filter(pl.col("origin") == "model")
    facts = tuple(
        Fact(label=name, value=f"{int((nodes['kind'] == kind).sum()):,}")
        for kind, name in (
            ("patent", "Patents"), ("technique", "Techniques"), ("pollutant", "Pollutants"),
            ("goal", "Goals"),
        )
    )  # fmt: skip
    verdict, beats = _verdict(found, made, config)
    sections = [_counts_section(links)]
    for pair in PAIRS:
        sections += _agreement_sections(found, pair, config)
    linked = set(made.select("source_kind", "target_kind").iter_rows())
    sections += [_evidence_section(pair, made, nodes) for pair in PAIRS if pair in linked]
    if figure is not None:
        sections.append(Section(title="Map of the patents", blocks=(figure,)))
    if found.failures:
        sections.append(_failures_section(found))
    return Report(
        title="Patents, techniques, pollutants and goals",
        lead=(*verdict, *found.notes, *read.notes),
        simulated=simulated,
        beats_baseline=beats,
        facts=(*facts, Fact(label="Encoder", value=config.lm)),
        sections=(*sections, _method_section(read, found, config)),
    )


def _rows(found: Found, slice: str, metric: str) -> list[dict[str, Any]]:
    return [row for row in found.metrics if (row["slice"], row["metric"]) == (slice, metric)]


def _verdict(
    found: Found, made: pl.DataFrame, config: LinkConfig
) -> tuple[tuple[str, ...], bool | None]:
    counts = made.group_by("source_kind", "target_kind").len()
    of = {(a, b): n for a, b, n in counts.iter_rows()}
    said = ", ".join(f"{of.get(pair, 0):,} of {pair[0]} and {pair[1]}" for pair in PAIRS)
    first = f"{len(made):,} links were found: {said}."
    beats: list[bool] = []
    lines = []
    for pair, judged in found.judged.items():
        slice = "-".join(pair)
        used = judged.used
        row, precision, recall = (
            next(r for r in _rows(found, slice, metric) if r["model"] == used)
            for metric in ("auc", "precision", "recall")
        )
        beats.append((row["difference_low"] or 0) > 0)
        lines.append(
            f"{pair[0].capitalize()}s and pollutants: "
            f"{_expected(pair, made, config, judged.origin)}. On pollutants not seen such links "
            f"had precision {_interval(precision)} and recall {_interval(recall)}; AUC "
            f"{_interval(row)}, of {WORDS} {row['baseline']:.3f} (difference {row['difference']:+.3f}"
            f"{_ends(row)})."
        )
    if not lines:
        return (
            first,
            "No pairs to judge pollutants by were given: their links are not judged, and how many of them "
            "are right is not known.",
        ), None
    for a, b in PAIRS:
        own = made.filter(source_kind=a, target_kind=b, by=BOTH)
        if b == "pollutant" and len(own):
            lines.append(
                f"{a.capitalize()}s and pollutants: {len(own):,} links by {BOTH}, of which nothing given "
                "tells how many are right."
            )
    some = next(iter(found.judged.values()))
    whose = "people's" if some.origin == "person" else "the published"
    judge = "the judge of pollutants" if some.used == JUDGE else some.used
    better = (
        f"agrees with {whose} pairs better than {WORDS}, intervals apart"
        if all(beats)
        else f"does not agree with {whose} pairs better than {WORDS}"
        + (" in every kind, intervals apart" if any(beats) else ", intervals apart")
    )
    return (f"{first} On pollutants of which it had seen no pair, {judge} {better}.", *lines), all(
        beats
    )


def _expected(pair: Pair, made: pl.DataFrame, config: LinkConfig, origin: str) -> str:
    """How many links of a kind were made, from which probability on, and how many of them should be right."""
    whose = "people" if origin == "person" else "the published pairs"
    own = made.filter(pl.col("source_kind") == pair[0], pl.col("target_kind") == pair[1])
    told = f"{len(own):,} links, all from a probability of {config.link_from:g} on"
    if own.is_empty():
        return told
    p = own["score"].to_numpy()
    return f"{told}; by these {p.sum():,.0f} ({p.mean():.0%}) of them should agree with {whose}"


def _ends(row: dict[str, Any]) -> str:
    if row["difference_low"] is None:
        return ""
    return f" [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"


def _interval(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _counts_section(links: pl.DataFrame) -> Section:
    keys = ("source_kind", "target_kind", "origin", "by")
    counts = links.group_by(*keys, maintain_order=True).agg(
        pl.len(), pl.col("source").n_unique(), pl.col("target").n_unique(), pl.col("score").median()
    )
    return Section(
        title="Links",
        blocks=(
            Table(
                caption="Links by what they join and where they come from",
                columns=(
                    Column(name="from"),
                    Column(name="to"),
                    Column(name="origin"),
                    Column(name="by"),
                    Column(name="links", format="int"),
                    Column(name="sources", format="int"),
                    Column(name="targets", format="int"),
                    Column(name="score", format="float2"),
                ),
                rows=tuple(counts.iter_rows()),
                note="How many links, of how many sources and targets, and the median of their scores: a "
                f"probability where links are by {JUDGE} or a server, else a similarity or what was given. "
                "Published scores are taken as they are; they are no person's judgement.",
            ),
        ),
    )


def _agreement_sections(found: Found, pair: Pair, config: LinkConfig) -> list[Section]:
    """How the models agree with the given pairs, over all and by pollutant."""
    a, b = pair
    slice = f"{a}-{b}"
    title = f"Agreement: {a}s and {b}s"
    correlated = [row for row in found.metrics if row["metric"] == "rank_correlation"]
    correlated = [row for row in correlated if row["slice"].split(":")[0] == slice]
    if correlated:
        table = Table(
            caption="Rank correlation of our scores with the published ones",
            columns=(
                Column(name="within"),
                Column(name="model"),
                *interval_columns("rank correlation", "float3"),
                *interval_columns(f"over {WORDS}", "difference"),
                Column(name="groups", format="int"),
            ),
            rows=tuple(
                (
                    row["slice"].partition(": ")[2] or f"the {b}s of a {a}", row["model"],
                    row["value"], row["low"], row["high"],
                    row["difference"], row["difference_low"], row["difference_high"], row["n"],
                )
                for row in correlated
            ),
            note="Spearman's, the mean over groups; intervals: 95 %, bootstrap over groups.",
        )  # fmt: skip
        return [Section(title=title, blocks=(table,))]
    judged = found.judged.get(pair)
    if judged is None:
        return []
    models = list(dict.fromkeys(row["model"] for row in _rows(found, slice, "auc")))
    rows = []
    for model in (*models, LARGEST):
        cells: list[Any] = [model]
        for metric in ("auc", "f1", "precision", "recall"):
            row = next((r for r in _rows(found, slice, metric) if r["model"] == model), None)
            cells += [None] * 3 if row is None else [row["value"], row["low"], row["high"]]
        rows.append(tuple(cells))
    n = _rows(found, slice, "auc")[0]["n"]
    over_all = Table(
        caption=f"{n:,} pairs, each pollutant judged without what was said of it",
        columns=(
            Column(name="model"),
            *interval_columns("AUC", "float3"),
            *interval_columns("F1", "float3"),
            *interval_columns("precision", "float3"),
            *interval_columns("recall", "float3"),
        ),
        rows=tuple(rows),
        note=f"The first stage kept {judged.kept:.1%} of the yes pairs, and {judged.looked:.1%} of all; what "
        f"it let fall counts as no for {NAMES}, {BOTH} and {judged.used}. Links, and F1, precision and "
        f"recall of {judged.used} and {BOTH}, are from {config.link_from:g} on (--link-from); of {WORDS} and "
        f"text vectors, and in the last line of {JUDGE}, from the score of the largest F1 on the other "
        "pollutants. Intervals: 95 %, bootstrap over pollutants.",
    )
    blocks: list[Table] = [
        over_all,
        _by_pollutant(found, slice, judged),
        _disagreements(found.wrong[pair], a),
    ]
    return [Section(title=title, blocks=tuple(blocks))]


def _by_pollutant(found: Found, slice: str, judged: Judged) -> Table:
    used = judged.used
    said = judged.evaluation.filter(model=used).group_by("item").agg(pl.col("label").sum())
    yes = dict(said.iter_rows())
    auc = {}
    for row in found.metrics:
        if row["slice"].startswith(f"{slice}: ") and row["metric"] in ("auc", "f1"):
            auc[row["slice"].partition(": ")[2], row["model"], row["metric"]] = row
    rows = []
    for name in dict.fromkeys(key[0] for key in auc):
        mine = auc[name, used, "auc"]
        f1 = auc[name, used, "f1"]
        rows.append(
            (
                name, mine["n"], yes[name], mine["value"], mine["low"], mine["high"], f1["value"], f1["low"],
                f1["high"], auc[name, WORDS, "auc"]["value"],
            )
        )  # fmt: skip
    return Table(
        caption="By pollutant, each judged without what was said of it",
        columns=(
            Column(name="pollutant"),
            Column(name="pairs", format="int"),
            Column(name="yes", format="int"),
            *interval_columns("AUC", "float3"),
            *interval_columns("F1", "float3"),
            Column(name="AUC of words alone", format="float3"),
        ),
        rows=tuple(sorted(rows, key=lambda row: -row[2])),
        note="Those with the most yes first: of a handful of yes an AUC tells little. Pollutants whose pairs "
        f"are all yes or all no are left out. {NO_INTERVAL}",
    )


def _disagreements(rows: list[tuple[str, str, bool, float, str, str]], kind: str) -> Table:
    return Table(
        caption="Where they disagree most, and what speaks for the pair",
        columns=(
            Column(name=f"{kind}, pollutant"),
            Column(name="given"),
            Column(name="judge", format="float2"),
            Column(name=f"of the {kind}"),
            Column(name="of the pollutant"),
        ),
        rows=tuple(
            (f"{text}, {pollutant}", "yes" if yes else "no", p, _short(mine), _short(theirs))
            for text, pollutant, yes, p, mine, theirs in rows
        ),
    )


def _evidence_section(pair: tuple[str, str], made: pl.DataFrame, nodes: pl.DataFrame) -> Section:
    titles = {
        (kind, name): title for kind, name, title in nodes.select("kind", "id", "title").iter_rows()
    }
    own = made.filter(pl.col("source_kind") == pair[0], pl.col("target_kind") == pair[1])
    # The best link of each source, so that not one source fills the table.
    best = own.sort("score", descending=True, maintain_order=True).unique(
        "source", keep="first", maintain_order=True
    )
    judged = own["by"].str.contains(r"^(?:weighed|server:)").all()
    what = ("relevance" if pair[1] == "goal" else "probability") if judged else "similarity"
    note = ""
    if not judged:
        note = (
            " The similarity is the mean of eight in deviations about those of the other candidates, brought "
            "to 0 to 1: it is no probability, and orders the candidates of one source alone."
        )
    rows = [
        (
            f"{_named(pair[0], row['source'], titles)} -> {_named(pair[1], row['target'], titles)}",
            row["score"], _short(row["source_part"]), _why(row),
        )
        for row in best.head(SHOWN).iter_rows(named=True)
    ]  # fmt: skip
    return Section(
        title=f"From {pair[0]}s to {pair[1]}s",
        blocks=(
            Table(
                caption="The best links, one of each source, and what speaks for them",
                columns=(
                    Column(name=f"{pair[0]} -> {pair[1]}"),
                    Column(name=what, format="float2"),
                    Column(name=f"of the {pair[0]}"),
                    Column(name=f"of the {pair[1]}, and why"),
                ),
                rows=tuple(rows),
                note=f"All {len(own):,} stand in links.parquet.{note}",
            ),
        ),
    )


def _why(row: dict[str, str]) -> str:
    """A link's reason and what is of the target; all techniques have one reason, which is left out."""
    part = _short(row["target_part"])
    if row["target_kind"] == "technique":
        return part
    if row["target_kind"] == "goal":  # whose reason quotes the goal's text
        return _short(row["reason"])
    return f"{row['reason']}: {part}"


def _named(kind: str, name: str, titles: dict[tuple[str, str], str]) -> str:
    title = titles.get((kind, name)) or ""
    return name if not title or title == name else f"{name} {_short(title, 80)}"


def _short(text: str | None, longest: int = LONGEST) -> str:
    text = " ".join((text or "").split())
    return text if len(text) <= longest else f"{text[:longest].rsplit(' ', 1)[0]} ..."


def _failures_section(found: Found) -> Section:
    rows = tuple(
        (f["source_kind"], f["source"], f["target"], _short(f["error"])) for f in found.failures
    )
    return Section(
        title="Questions without an answer",
        blocks=(
            Table(
                caption="What the server was asked in vain",
                columns=(
                    Column(name="kind"),
                    Column(name="of"),
                    Column(name="and"),
                    Column(name="what was wrong"),
                ),
                rows=rows,
            ),
        ),
    )


def _method_section(read: Read, found: Found, config: LinkConfig) -> Section:
    second = (
        f"Second: {BOTH}, half from names, half from similarities; links from {config.link_from:g} on "
        "(from .5 on both are needed). The score is no probability."
    )
    if found.judged:
        second = (
            "Second: a logistic regression on similarities and names, learned from the given pairs, which "
            "judges each pollutant without what was said of it, a fifth of them at a time. Links "
            f"from a probability of {config.link_from:g} on (--link-from); the largest F1 would be had "
            f"from {_best_f1(found)} on."
        )
    if config.server is not None:
        asked = (
            f"the server's {config.model}, asked to say yes or no, whose links are from "
            f"{config.link_from:g} on."
        )
        second = f"{second} Above these: {asked}" if found.judged else f"Second: {asked}"
    items = [
        "Pollutants are looked for in two stages. First: what a text names, by synonyms, CAS numbers and "
        f"chemical symbols, or by a group, and the {config.near} pollutants nearest by text vectors.",
        second,
        f"Techniques: the {config.retrieve} whose best piece is nearest to a patent by exact search, scored "
        f"by the mean of eight similarities in deviations; the best {config.techniques} are linked.",
        f"Goals: {read.goals.source}.",
    ]
    if found.relevance is not None:
        items.append(f"How much a pollutant matters for a goal: {found.relevance.by}, 1 to 10.")
    return Section(title="How it was done", blocks=(Bullets(items=tuple(items)),))


def _best_f1(found: Found) -> str:
    """The probability of the largest F1, of each kind of text."""
    several = [f"{judged.best_f1:.2f} ({pair[0]}s)" for pair, judged in found.judged.items()]
    return " and ".join(several)
