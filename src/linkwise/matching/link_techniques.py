"""Patents and techniques: the nearest by their best pieces, scored without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from linkwise.matching.search import top_k
from linkwise.matching.similar import SIMILARITIES, Collection, Similar, with_rivals

Longs = np.ndarray[Any, np.dtype[np.int64]]
Singles = np.ndarray[Any, np.dtype[np.float32]]

BY = "text vectors"
SCHEMA = {
    "source": pl.String, "target": pl.String, "score": pl.Float64, "rank": pl.Int64, "by": pl.String,
    "source_part": pl.String, "target_part": pl.String,
}  # fmt: skip


def patent_technique_links(
    patents: Collection,
    sections: Collection,
    *,
    retrieve: int,
    advance: Callable[[int], None] = lambda done: None,
) -> pl.DataFrame:
    """Techniques of each patent, the best first: `source, target, score, rank, by, source_part, target_part`.

    Exact search for the `retrieve` sections whose best piece is nearest to the patent; the score is the mean
    of the similarities in deviations about those of the other retrieved ones, through the normal
    distribution (0 to 1). A patent without a text has none.
    """
    from scipy.special import ndtr

    usable = np.array(
        [row for row, text in enumerate(patents.texts) if text.strip()], dtype=np.int64
    )
    nearest = nearest_by_part(patents.whole[usable], sections, retrieve)
    similar = Similar(patents, sections)
    rows: list[tuple[object, ...]] = []
    for done, (patent, candidates) in enumerate(zip(usable.tolist(), nearest, strict=True), 1):
        alike = with_rivals(similar(patent, candidates))
        start = 2 * len(SIMILARITIES)
        score = ndtr(alike[:, start : start + len(SIMILARITIES)].mean(axis=1))
        for rank, k in enumerate(np.argsort(-score, kind="stable").tolist(), 1):
            section = int(candidates[k])
            rows.append(
                (
                    patents.ids[patent], sections.ids[section], float(score[k]), rank, BY,
                    *similar.best_parts(patent, section),
                )
            )  # fmt: skip
        advance(done)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def nearest_by_part(queries: Singles, items: Collection, k: int) -> Longs:
    """The k items of which any part has the largest product with each query: rows (n, k), the best first.

    The nearest parts hold the nearest items. So as many parts are searched for as it takes.
    """
    k = min(k, len(items))
    of = np.repeat(np.arange(len(items)), np.diff(items.start))
    found = np.zeros((len(queries), k), dtype=np.int64)
    open_rows, parts = np.arange(len(queries)), 4 * k
    while len(open_rows):
        rows, _ = top_k(queries[open_rows], items.part_vectors, parts)
        missing = []
        for query, own in zip(open_rows.tolist(), of[rows], strict=True):
            distinct = own[np.sort(np.unique(own, return_index=True)[1])]
            if len(distinct) < k:
                missing.append(query)
            else:
                found[query] = distinct[:k]
        open_rows, parts = np.array(missing, dtype=np.int64), 4 * parts
    return found
