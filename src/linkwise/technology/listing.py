"""The list of a forecast: the first pairs by one model, and what speaks for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from linkwise.data.documents import Documents
from linkwise.errors import UsageError
from linkwise.technology.anchors import Singles, cosines
from linkwise.technology.config import LEARNED, ForecastConfig
from linkwise.technology.corpus import Bools, Longs
from linkwise.technology.embedding import Vectors
from linkwise.technology.forecast import Pairs
from linkwise.technology.plan import Plan
from linkwise.technology.words import SCORES

if TYPE_CHECKING:
    from linkwise.technology.judging import Judged

NEAREST = 3  # patents of a code that are named
PARTNERS = 5  # common partners that are named
ORDER = (LEARNED, "hidden tokens", "text", "PPMI vectors")  # of models to list by


def chosen_model(
    scores: Mapping[str, Singles], wanted: str | None, undated: Collection[str] = ()
) -> str:
    """The model whose list is shown: the one asked for, where it is there, else the first there of `ORDER`.

    What it is goes before all judging: the best of several on the judged years would look better than it is.
    `undated` are scores by models that were tuned until nobody knows when: none of them, unless asked for.
    """
    for kind in ORDER if wanted is None else (wanted, *ORDER):
        for name in scores:
            if name in undated and kind != wanted:
                continue
            if name == kind or name.startswith(f"{kind}: "):
                return name
    return next(iter(scores))


def check_listed(judged: Judged, wanted: str | None) -> None:
    """Raise `UsageError` where the model asked for (--list-by) has no scores."""
    if wanted is None or judged.chosen.partition(": ")[0] == wanted or judged.chosen == wanted:
        return
    there = [name for name in judged.scores if name.partition(": ")[0] in SCORES]
    raise UsageError(
        f'--list-by is "{wanted}", which has no scores here; expected one of {", ".join(there)}.'
        + " ".join(["", *judged.notes])
    )


def ranks_of(scores: Singles, label: Bools | None) -> Longs:
    """Ranks of pairs (n,), from 1; among equal scores those that came true stand last."""
    worse = np.zeros(len(scores)) if label is None else label
    order = np.lexsort((worse, -scores.astype(np.float64)))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank


def ranking_of(judged: Judged) -> pl.DataFrame:
    """The first pairs by every model: the contract's table, a pair being a query with its item."""
    tables = []
    names = np.array(judged.corpus.names)
    for model, scores in judged.scores.items():
        rank = ranks_of(scores, None)
        rows = np.flatnonzero(rank <= 1000)
        rows = rows[np.argsort(rank[rows])]
        tables.append(
            pl.DataFrame(
                {
                    "model": [model] * len(rows),
                    "query": names[judged.pairs.first[rows]],
                    "item": names[judged.pairs.second[rows]],
                    "score": scores[rows].astype(np.float64),
                    "rank": rank[rows],
                }
            )
        )
    return pl.concat(tables)


def list_pairs(
    judged: Judged,
    chosen: str,
    documents: Documents,
    titles: dict[str, str],
    vectors: Vectors,
    plan: Plan,
    config: ForecastConfig,
) -> pl.DataFrame:
    """The first pairs by the chosen model, with what speaks for them, a row each.

    `rank` among all pairs, `model`, `a`, `b`, `title_a`, `title_b`, `score`; `n_patents_a` and `n_patents_b`
    in the embedding years; `n_common`, the codes that both have been together with then, and `common`, those
    they are most often with. With a language model `cosine` by the first of them (`cosine_of`), the same of
    earlier windows (`past`), and `patents_a`, `patents_b`, of each code those nearest to the other. Looked up
    afterwards: `first_combined_by`, the first patent after the embedding years with both; `p_value`
    (unadjusted), `above_chance` and `combined` in the forecast years, null where there is no patent of these;
    `above_chance` also where chance alone would make as many pairs with p < .05.
    """
    corpus, pairs = judged.corpus, judged.pairs
    degree = corpus.degrees(corpus.within(plan.embed))
    enough = np.minimum(degree[pairs.first], degree[pairs.second]) >= config.min_patents
    rank = ranks_of(judged.scores[chosen], None)
    rows = np.argsort(rank)
    rows = rows[enough[rows]][: config.top]
    some = pairs.some(rows)
    names = np.array(corpus.names)
    n_common, common = _common(judged, some, plan)
    columns: dict[str, Any] = {
        "rank": rank[rows],
        "model": pl.Series([chosen] * len(rows), dtype=pl.String),
        "a": names[some.first],
        "b": names[some.second],
        "title_a": pl.Series([titles.get(n, "") for n in names[some.first]], dtype=pl.String),
        "title_b": pl.Series([titles.get(n, "") for n in names[some.second]], dtype=pl.String),
        "score": judged.scores[chosen][rows].astype(np.float64),
        "n_patents_a": degree[some.first],
        "n_patents_b": degree[some.second],
        "n_common": n_common,
        "common": pl.Series(common, dtype=pl.List(pl.String)),
    }
    if shown := next(iter(vectors.yearly), None):
        columns["cosine"] = judged.scores[shown][rows].astype(np.float64)
        columns["cosine_of"] = pl.Series([shown] * len(rows), dtype=pl.String)
        window = pl.Struct({"years": pl.String, "cosine": pl.Float64})
        columns["past"] = pl.Series(_past(some, vectors, shown, plan), dtype=pl.List(window))
        near = _nearest_patents(judged, some, documents, vectors, plan)
        for name, ids in zip(("patents_a", "patents_b"), near, strict=True):
            columns[name] = pl.Series(ids, dtype=pl.List(pl.String))
    found = _first_combined(judged, some, documents, plan)
    columns["first_combined_by"] = pl.Series(found, dtype=pl.String)
    labels = judged.labels
    nothing = [None] * len(rows)
    columns["p_value"] = pl.Series(
        nothing if labels is None else labels.p[rows].tolist(), dtype=pl.Float64
    )
    columns["above_chance"] = pl.Series(
        labels.positive[rows].tolist() if labels is not None and labels.above_chance else nothing,
        dtype=pl.Boolean,
    )
    columns["combined"] = pl.Series(
        nothing if labels is None else labels.combined[rows].tolist(), dtype=pl.Boolean
    )
    return pl.DataFrame(columns)


def flat(listed: pl.DataFrame) -> pl.DataFrame:
    """The list for a spreadsheet: lists within a cell as one text."""
    texts = []
    for name, kind in listed.schema.items():
        if name == "past":
            each = pl.element().struct
            window = pl.format("{}: {}", each.field("years"), each.field("cosine").round(3))
            texts.append(pl.col(name).list.eval(window).list.join("; "))
        elif isinstance(kind, pl.List):
            texts.append(pl.col(name).list.join("; "))
    return listed.with_columns(texts)


def _common(judged: Judged, pairs: Pairs, plan: Plan) -> tuple[list[int], list[list[str]]]:
    """How many codes both of a pair have been together with, and those they are most often with."""
    corpus = judged.corpus
    together = corpus.together(corpus.within(plan.embed))

    def partners(code: int) -> dict[int, int]:
        part = slice(together.indptr[code], together.indptr[code + 1])
        found = zip(together.indices[part].tolist(), together.data[part].tolist(), strict=True)
        return dict(found)

    numbers, named = [], []
    for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        one, other = partners(a), partners(b)
        both = sorted(one.keys() & other.keys(), key=lambda c: (-min(one[c], other[c]), c))
        numbers.append(len(both))
        named.append([corpus.names[c] for c in both[:PARTNERS]])
    return numbers, named


def _past(pairs: Pairs, vectors: Vectors, shown: str, plan: Plan) -> list[list[dict[str, Any]]]:
    """The cosine of pairs in each window of as many years, back to the first that was read."""
    sums = vectors.yearly[shown]
    found: list[list[dict[str, Any]]] = [[] for _ in range(len(pairs))]
    years = plan.embed
    while years.first >= sums.first_year:
        mean, there = sums.mean(years)
        values = cosines(mean, pairs.first, pairs.second)
        for k, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True)):
            if there[a] and there[b]:
                found[k].insert(0, {"years": str(years), "cosine": round(float(values[k]), 4)})
        years = years.before(plan.embed.length)
    return found


def _nearest_patents(
    judged: Judged, pairs: Pairs, documents: Documents, vectors: Vectors, plan: Plan
) -> tuple[list[list[str]], list[list[str]]]:
    """Of each code of a pair the ids of the patents, of the window, whose texts are nearest to the other."""
    name = next(iter(vectors.patents))
    corpus = judged.corpus
    mean, _ = vectors.yearly[name].mean(plan.embed)
    each = vectors.patents[name]
    within = corpus.within(plan.embed)
    kept = within[corpus.patent]
    order = np.argsort(corpus.code[kept], kind="stable")
    code, patent = corpus.code[kept][order], corpus.patent[kept][order]
    starts = np.searchsorted(code, np.arange(len(corpus.names) + 1))
    middle = each[within].mean(axis=0)
    ids = documents.table["id"]

    def near(own: int, other: int) -> list[str]:
        rows = patent[starts[own] : starts[own + 1]]
        alike = (each[rows] - middle) @ mean[other]
        return [str(ids[int(row)]) for row in rows[np.argsort(-alike)[:NEAREST]]]

    both = [(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)]
    return [near(a, b) for a, b in both], [near(b, a) for a, b in both]


def _first_combined(
    judged: Judged, pairs: Pairs, documents: Documents, plan: Plan
) -> list[str | None]:
    """The first patent after the embedding years that carries both codes, with its year; None without one."""
    corpus = judged.corpus
    later = ~corpus.until(plan.embed.last)[corpus.patent]
    carriers: dict[int, set[int]] = {}
    wanted = {int(c) for c in np.concatenate([pairs.first, pairs.second])}
    for patent, code in zip(
        corpus.patent[later].tolist(), corpus.code[later].tolist(), strict=True
    ):
        if code in wanted:
            carriers.setdefault(code, set()).add(patent)
    ids = documents.table["id"]
    found: list[str | None] = []
    for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        both = carriers.get(a, set()) & carriers.get(b, set())
        if not both:
            found.append(None)
            continue
        first = min(both, key=lambda row: (int(corpus.year[row]), row))
        found.append(f"{ids[first]} ({int(corpus.year[first])})")
    return found
