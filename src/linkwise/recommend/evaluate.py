"""Every model on the same queries: ranks of the targets in the whole catalogue, and the lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from linkwise.data.interactions import Histories, Ints, Longs, Singles, chunks
from linkwise.data.queries import Queries
from linkwise.metrics.ranking import full_ranks
from linkwise.recommend.base import Recommender, top_k

LISTED = 100  # items of a list that are kept


@dataclass(frozen=True)
class Judged:
    """One model on some queries.

    `ranks` and `scores` are of the targets, in the order of `queries.targets.items` (t,); `lists` and
    `list_scores` hold each query's best items (n, 100), -1 where the catalogue ended.
    """

    ranks: Longs
    scores: Singles
    lists: Ints
    list_scores: Singles


def judge(
    model: Recommender,
    queries: Queries,
    *,
    seen: Histories | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Judged:
    """Rank the whole catalogue after every history; what was seen before is left out, but for `repeats`.

    `seen` is what to leave out where the model is shown less than the whole histories.
    """
    n_items = len(model.catalogue_)
    targets = queries.targets
    ranks = np.empty(len(targets.items), dtype=np.int64)
    values = np.full(len(targets.items), -np.inf, dtype=np.float32)
    width = min(LISTED, n_items)
    lists = np.full((len(queries), width), -1, dtype=np.int32)
    best = np.full((len(queries), width), -np.inf, dtype=np.float32)
    for start, part in chunks(queries.histories, n_items, model.at_once):
        scores = np.nan_to_num(model.scores(part), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        stop = start + len(part)
        if not queries.repeats:
            old = part if seen is None else seen.slice(start, stop)
            scores[old.rows, old.items] = -np.inf
        at = slice(targets.offsets[start], targets.offsets[stop])
        rows, items = targets.rows[at] - start, targets.items[at].astype(np.int64)
        ranks[at] = full_ranks(scores, rows, items)
        known = items < n_items
        values[at][known] = scores[rows[known], items[known]]
        found, found_scores = top_k(scores, width)
        lists[start:stop] = np.where(np.isfinite(found_scores), found, -1)
        best[start:stop] = found_scores
        advance(stop)
    return Judged(ranks, values, lists, best)
