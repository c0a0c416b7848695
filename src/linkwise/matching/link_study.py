"""The graph patent - technique - pollutant - goal, as one run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.context import Context
from linkwise.data.documents import DocumentsConfig
from linkwise.data.files import is_simulated
from linkwise.errors import InputError
from linkwise.estimators.map import check_installed, draw_map
from linkwise.lm.server import Server
from linkwise.matching.link_agreement import (
    EVALUATION,
    Agreement,
    goal_agreement,
    technique_agreement,
    truth_of,
)
from linkwise.matching.link_config import LinkConfig
from linkwise.matching.link_given import Origin, Pair
from linkwise.matching.link_goals import Relevance, relevance_by_server, relevance_by_text
from linkwise.matching.link_graph import links_of, write_graphml
from linkwise.matching.link_pollutants import (
    BOTH,
    FEWEST,
    FOLDS,
    JUDGE,
    TEXT,
    WORDS,
    Judged,
    Screened,
    evidence,
    judge_pairs,
    names_and_vectors,
    screen,
)
from linkwise.matching.link_read import Read, Texts, given_links, nodes_of, read_all, texts_of
from linkwise.matching.link_server import Served, served_pairs, server_of
from linkwise.matching.link_techniques import patent_technique_links
from linkwise.matching.similar import Collection, Embed, Similar, collect, parts_of
from linkwise.report import Figure
from linkwise.report.outcome import Outcome

Floats = np.ndarray[Any, np.dtype[np.float64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]

MIDDLE = 0.5  # from which on a pollutant is linked to a goal
ORIGINS: dict[Origin, str] = {"person": "judged by people", "published": "published"}
TOP = 100  # targets of each source in ranking.parquet
RANKING = {
    "model": pl.String, "query": pl.String, "item": pl.String, "score": pl.Float64, "rank": pl.Int64,
    "query_kind": pl.String, "item_kind": pl.String, "reason": pl.String,
}  # fmt: skip


@dataclass
class Found:
    """What is found, step after step: links, ranked rows, metrics, evaluation, and what the page tells."""

    links: list[pl.DataFrame] = field(default_factory=list)
    ranking: list[pl.DataFrame] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    evaluation: list[pl.DataFrame] = field(default_factory=list)
    judged: dict[Pair, Judged] = field(default_factory=dict)
    wrong: dict[Pair, list[tuple[str, str, bool, float, str, str]]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    relevance: Relevance | None = None

    def compare(self, agreement: Agreement) -> None:
        """Keep how scores agree with given ones."""
        self.metrics += agreement[0]
        self.evaluation += agreement[1]


def study(
    paths: Sequence[str], documents: DocumentsConfig, config: LinkConfig, context: Context
) -> Outcome:
    """Make the graph into `context.folder`.

    Raises `InputError` where files or pairs cannot be used, `UsageError` where some are missing, and what a
    server raises that cannot be reached.
    """
    from linkwise.lm.keep import text_encoder
    from linkwise.matching.link_page import build_report

    if config.map:
        check_installed()
    with context.step("read"):
        read = read_all(paths, documents, config)
    encoder = text_encoder(config.lm, config.vectors, context.threads)

    def embed(what: str) -> Embed:
        """Makes vectors, of equal texts once; kept for a run that is resumed."""

        def of(texts: Sequence[str]) -> Singles:
            distinct = list(dict.fromkeys(texts))
            name = hashlib.sha256("\0".join([config.lm, *distinct]).encode()).hexdigest()[:24]
            path = context.work / f"vectors-{name}.npy"
            if path.exists():
                vectors: Singles = np.load(path, allow_pickle=False)
            else:
                with context.step(f"embed {what}", len(distinct)):
                    vectors = encoder.embed(
                        distinct, max_tokens=config.max_tokens, advance=context.progress.advance
                    )
                partial = path.with_suffix(".partial.npy")
                np.save(partial, vectors)
                partial.replace(path)
            place = {text: k for k, text in enumerate(distinct)}
            return vectors[[place[text] for text in texts]]

        return of

    server = None
    if config.server is not None:
        server = server_of(config, context)
    patent_texts, technique_texts = texts_of(read)
    patents = _collected(patent_texts, embed("the patents"))
    techniques = _collected(technique_texts, embed("the techniques"))
    names = [pollutant.id for pollutant in read.pollutants]
    parts = [pollutant.parts for pollutant in read.pollutants]
    pollutants = collect(names, names, embed("the pollutants"), parts)
    goals = collect(read.goals.ids, read.goals.names, embed("the goals"), read.goals.about)
    found = Found()
    with context.step("patents and techniques", len(patents)):
        link_techniques(patents, techniques, read, config, context, found)
    for kind, texts in (("patent", patents), ("technique", techniques)):
        with context.step(f"{kind}s and pollutants", len(texts)):
            link_pollutants(kind, texts, pollutants, read, config, context, server, found)
    with context.step("pollutants and goals", len(pollutants)):
        link_goals(pollutants, goals, read, config, context, server, found)
    with context.step("write the graph"):
        links = pl.concat([*found.links, *(given_links(given) for given in read.given)])
        nodes = nodes_of(read)
        (context.folder / "model").mkdir(exist_ok=True)
        about = {
            "format_version": 1,
            "judges": {
                "-".join(pair): {"judge": j.judge.as_dict(), "threshold": config.link_from}
                for pair, j in found.judged.items()
            },
        }
        (context.folder / "model" / "judges.json").write_text(json.dumps(about, indent=1))
        if server is not None:
            (context.folder / "failures.json").write_text(json.dumps(found.failures, indent=1))
        nodes.write_parquet(context.folder / "nodes.parquet")
        links.write_parquet(context.folder / "links.parquet")
        write_graphml(nodes, links, context.folder / "graph.graphml")
    ranking = pl.concat(found.ranking)
    evaluation = pl.concat([pl.DataFrame(schema=EVALUATION), *found.evaluation])
    figure = drawn_map(read, patents, links, context) if config.map else None
    simulated = is_simulated([Path(path) for path in (*paths, *config.sections)])
    page = build_report(read, nodes, links, found, config, figure, simulated)
    return Outcome(found.metrics, ranking, evaluation, page)


def drawn_map(read: Read, patents: Collection, links: pl.DataFrame, context: Context) -> Figure:
    """The map of the patents that have a text, with the pollutants that they are linked with."""
    rows = np.flatnonzero(np.any(patents.whole != 0, axis=1))
    some = read.documents.table[rows]
    linked = links.filter(source_kind="patent", target_kind="pollutant")
    of: dict[str, set[str]] = {}
    for patent, pollutant in linked.select("source", "target").iter_rows():
        of.setdefault(patent, set()).add(pollutant)
    return draw_map(
        patents.whole[rows],
        some,
        [read.texts[row] for row in rows.tolist()],
        [of.get(patent, set()) for patent in some["id"].to_list()],
        context,
        kind="pollutant",
    )


def _collected(texts: Texts, embed: Embed) -> Collection:
    """A text as its sentences: however long it is, none of it is cut off."""
    return collect(*texts, embed, [parts_of(text) for text in texts[1]])


# ------------------------------------------------------------------------------------------ the links


def link_techniques(
    patents: Collection,
    techniques: Collection,
    read: Read,
    config: LinkConfig,
    context: Context,
    found: Found,
) -> None:
    """Patents to techniques, and how the scores agree with published ones."""
    table = patent_technique_links(
        patents, techniques, retrieve=config.retrieve, advance=context.progress.advance
    )
    near = table.filter(pl.col("rank") <= config.techniques)
    found.links.append(
        near.select(
            pl.lit("patent").alias("source_kind"),
            "source",
            pl.lit("technique").alias("target_kind"),
            "target",
            "score",
            pl.lit("model").alias("origin"),
            "by",
            pl.lit("their texts go well together").alias("reason"),
            "source_part",
            "target_part",
        )
    )
    found.ranking.append(_ranked(table, ("patent", "technique"), pl.lit(None, pl.String)))
    given = read.of(("patent", "technique"), "published")
    if given:
        found.compare(
            technique_agreement(
                patents, techniques, given, samples=config.bootstrap, seed=context.seed
            )
        )


def link_pollutants(
    kind: str,
    texts: Collection,
    items: Collection,
    read: Read,
    config: LinkConfig,
    context: Context,
    server: Server | None,
    found: Found,
) -> None:
    """Patents, or techniques, to pollutants: screened, then judged by the strongest judge at hand."""
    pair: Pair = (kind, "pollutant")  # type: ignore[assignment]
    similar = Similar(texts, items)
    screened = screen(texts, read.pollutants, items, similar, config.near, context.progress.advance)
    served = None
    if server is not None:
        served = served_pairs(kind, screened, texts, read.pollutants, context, server)
        found.failures += served.failures
    judged = _judged(
        pair, screened, texts, items, similar, read, config, context, served, found.notes
    )
    score, by = names_and_vectors(screened), BOTH
    if judged is not None:
        found.judged[pair] = judged
        found.wrong[pair] = [
            (
                texts.ids[screened.text[row]], items.ids[screened.pollutant[row]], yes, p,
                *evidence(screened, row, texts, similar)[1:],
            )
            for row, yes, p in judged.wrong
        ]  # fmt: skip
        found.metrics += judged.metrics
        found.evaluation.append(
            judged.evaluation.select(pl.col(n).cast(t) for n, t in EVALUATION.items())
        )
        score = judged.judge.probability(screened.features)
        by = f"{JUDGE}, learned from {judged.origin} pairs"
    if served is not None:
        score, by = served.probability, served.by
    rows = []
    for row in np.flatnonzero(np.nan_to_num(score) >= config.link_from).tolist():
        reason, mine, theirs = evidence(screened, row, texts, similar)
        rows.append(
            (
                kind, texts.ids[screened.text[row]], "pollutant", items.ids[screened.pollutant[row]],
                float(score[row]), "model", by, reason, mine, theirs,
            )
        )  # fmt: skip
    links = links_of(rows)
    found.links.append(links)
    there = np.isfinite(score)
    table = pl.DataFrame(
        {
            "source": pl.Series(texts.ids)[screened.text[there]],
            "target": pl.Series(items.ids)[screened.pollutant[there]],
            "score": score[there],
        },
        schema={"source": pl.String, "target": pl.String, "score": pl.Float64},
    )
    table = table.with_columns(
        (-pl.col("score")).rank("ordinal").over("source").cast(pl.Int64).alias("rank"),
        pl.lit(by).alias("by"),
    ).join(links.select("source", "target", "reason"), on=["source", "target"], how="left")
    found.ranking.append(_ranked(table, pair, pl.col("reason")))


def _judged(
    pair: Pair,
    screened: Screened,
    texts: Collection,
    items: Collection,
    similar: Similar,
    read: Read,
    config: LinkConfig,
    context: Context,
    served: Served | None,
    notes: list[str],
) -> Judged | None:
    """What is learned of people's pairs where there are enough, else of published ones; None without any.

    Adds to `notes` why nothing is learned of given pairs.
    """
    for origin in ORIGINS:
        given = read.of(pair, origin)
        if not given:
            continue
        label, known = truth_of(given, texts.ids, items.ids)
        inside = known[screened.text, screened.pollutant]
        said = label[screened.text, screened.pollutant][inside]
        groups = len(np.unique(screened.pollutant[inside]))
        if min(said.sum(), len(said) - said.sum()) < FEWEST or groups < FOLDS:
            notes.append(
                f"{pair[0].capitalize()}s and pollutants: what is {ORIGINS[origin]} is too little to learn "
                f"from ({int(said.sum())} yes and {int(len(said) - said.sum())} no among the pairs looked "
                f"at, of {groups} pollutants; {FEWEST} of each and {FOLDS} pollutants are needed)."
            )
            continue
        words = np.vstack([similar.words(row, np.arange(len(items))) for row in range(len(texts))])
        told = None if served is None else (served.by, served.probability)
        full = {WORDS: words, TEXT: (texts.whole @ items.whole.T).astype(np.float64)}
        nearness = (similar.queries_beside @ similar.items_beside.T).astype(np.float64)
        try:
            return judge_pairs(
                screened, label, known, full, nearness, texts.ids, items.ids,
                slice="-".join(pair), origin=origin, served=told, link_from=config.link_from,
                samples=config.bootstrap, seed=context.seed,
            )  # fmt: skip
        except InputError as error:  # the yes, or the no, are those of too few pollutants
            notes.append(
                f"{pair[0].capitalize()}s and pollutants: nothing is learned of what is "
                f"{ORIGINS[origin]}: {error}"
            )
    return None


def link_goals(
    pollutants: Collection,
    goals: Collection,
    read: Read,
    config: LinkConfig,
    context: Context,
    server: Server | None,
    found: Found,
) -> None:
    """Pollutants to goals, with explanations, and how the relevance agrees with a published one."""
    similar = Similar(pollutants, goals)
    told = relevance_by_text(similar)
    models = {told.by: told.score}
    if server is not None:
        told = relevance_by_server(
            server,
            read.pollutants,
            read.goals,
            advance=context.progress.advance,
            cancelled=context.cancelled,
        )
        models[told.by] = told.score
        found.failures += [
            {
                "source_kind": "pollutant", "source": read.pollutants[row].id, "target_kind": "goal",
                "target": "", "error": error,
            }
            for row, error in told.failed.items()
        ]  # fmt: skip
    found.relevance = told
    rows = []
    ranked = []
    for row, pollutant in enumerate(read.pollutants):
        order = [
            k
            for k in np.argsort(-told.score[row], kind="stable").tolist()
            if told.score[row, k] >= 0
        ]
        for rank, goal in enumerate(order, 1):
            score, why = float(told.score[row, goal]), told.why.get((row, goal))
            mark = f"relevance {told.relevance()[row, goal]:.0f} of 10"
            reason = mark if why is None else f"{mark}: {why}"
            ranked.append((pollutant.id, goals.ids[goal], score, rank, told.by, reason))
            if score >= MIDDLE or rank <= 3:
                mine, theirs = similar.best_parts(row, goal)
                rows.append(
                    (
                        "pollutant", pollutant.id, "goal", goals.ids[goal], score, "model", told.by,
                        reason, mine, theirs,
                    )
                )  # fmt: skip
    found.links.append(links_of(rows))
    names = ("source", "target", "score", "rank", "by", "reason")
    types = (pl.String, pl.String, pl.Float64, pl.Int64, pl.String, pl.String)
    table = pl.DataFrame(ranked, schema=dict(zip(names, types, strict=True)), orient="row")
    found.ranking.append(_ranked(table, ("pollutant", "goal"), pl.col("reason")))
    given = read.of(("pollutant", "goal"), "published")
    if given:
        words = np.vstack(
            [similar.words(row, np.arange(len(goals))) for row in range(len(pollutants))]
        )
        found.compare(
            goal_agreement(
                {WORDS: words, **models}, given, pollutants.ids, goals.ids,
                samples=config.bootstrap, seed=context.seed,
            )
        )  # fmt: skip


def _ranked(table: pl.DataFrame, pair: Pair, reason: pl.Expr) -> pl.DataFrame:
    """Rows of ranking.parquet, the best of each source."""
    return (
        table.filter(pl.col("rank") <= TOP)
        .sort("source", "rank")
        .select(
            pl.col("by").alias("model"),
            pl.col("source").alias("query"),
            pl.col("target").alias("item"),
            "score",
            "rank",
            pl.lit(pair[0]).alias("query_kind"),
            pl.lit(pair[1]).alias("item_kind"),
            reason.alias("reason"),
        )
        .select(pl.col(name).cast(kind) for name, kind in RANKING.items())
    )
