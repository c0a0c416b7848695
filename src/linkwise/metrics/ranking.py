"""Metrics of ranked lists over a whole catalogue: from the ranks of what was chosen, and of the lists.

Ranks begin at 1. An item that ties with others stands behind them all (pessimistic), and one that is not in
the catalogue has no rank: `MISSING`, worse than any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkwise.errors import InputError
from linkwise.metrics.bootstrap import MetricRow, bootstrap_weights, percentile_interval

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
MISSING = np.iinfo(np.int64).max  # the rank of an item outside the catalogue


def full_ranks(scores: NDArray[np.float32], rows: Longs, items: Longs) -> Longs:
    """The rank of item `items[i]` among all items of row `rows[i]` (t,); ties and NaN against it.

    `scores` is (n, n_items), with minus infinity for items that are left out; an item number of n_items or
    more, or below 0, is outside the catalogue.
    """
    n_items = scores.shape[1]
    ranks = np.full(len(items), MISSING, dtype=np.int64)
    known = np.flatnonzero((items >= 0) & (items < n_items))
    for start in range(0, len(known), max(1, 2**24 // n_items)):
        at = known[start : start + max(1, 2**24 // n_items)]
        theirs = scores[rows[at]]  # (b, n_items)
        mine = theirs[np.arange(len(at)), items[at]][:, None]
        ranks[at] = n_items - (theirs < mine).sum(axis=1)
    return ranks


def per_query(ranks: Longs, offsets: Longs, k: int) -> dict[str, Floats]:
    """Recall, NDCG, MRR and hit rate at k of each query (n,).

    Query q has the targets `ranks[offsets[q]:offsets[q + 1]]`, at least one. Recall is the share of the
    targets in the first k; NDCG has gains of 1 and discounts log2(1 + rank), its ideal has all targets, at
    most k, on top; MRR is 1 / rank of the best target if that is in the first k, else 0; the hit rate is 1
    if any is.
    """
    lengths = np.diff(offsets)
    if (lengths < 1).any():
        raise InputError("a query without targets has no metric.")
    inside = ranks <= k
    gains = np.where(inside, 1 / np.log2(1 + np.minimum(ranks, k + 1).astype(np.float64)), 0)
    ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    best = np.minimum.reduceat(ranks, offsets[:-1])
    return {
        "recall": np.add.reduceat(inside.astype(np.float64), offsets[:-1]) / lengths,
        "ndcg": np.add.reduceat(gains, offsets[:-1]) / ideal[np.minimum(lengths, k)],
        "mrr": np.where(best <= k, 1 / np.minimum(best, k + 1), 0),
        "hit_rate": (best <= k).astype(np.float64),
    }


def of_lists(lists: NDArray[np.integer[Any]], counts: Longs, n_items: int) -> dict[str, Any]:
    """What lists of items are like (n, k), -1 where a list has ended: values of all, or of each list (n,).

    `coverage` is the share of the catalogue that stands in any list; `novelty` the mean of -log2 of an item's
    share of the training events, in bits (an item without events counts as one with half an event);
    `popularity_percentile` the mean share of the catalogue with fewer events.
    """
    there = lists >= 0
    shares = np.maximum(counts, 0.5) / max(1, counts.sum())
    order = np.sort(counts)
    below = np.searchsorted(order, counts, side="left") / max(1, n_items)
    n = np.maximum(there.sum(axis=1), 1)
    safe = np.where(there, lists, 0)
    return {
        "coverage": len(np.unique(lists[there])) / max(1, n_items),
        "novelty": np.where(there, -np.log2(shares[safe]), 0).sum(axis=1) / n,
        "popularity_percentile": np.where(there, below[safe], 0).sum(axis=1) / n,
    }


def evaluate_ranked(
    values: Mapping[str, Mapping[tuple[str, int], Floats]],
    *,
    baseline: str,
    split: str = "test",
    slice_name: str = "all",
    samples: int = 1000,
    seed: int = 0,
) -> list[MetricRow]:
    """Means over queries with their bootstrap intervals, and paired differences to the baseline's.

    `values` maps model -> (metric, k) -> a value for each query (n,): the same queries for every model, and
    the same resamples.
    """
    n = len(next(iter(next(iter(values.values())).values())))
    keys = [(model, metric, k) for model in values for metric, k in values[model]]
    table = np.stack([values[model][metric, k] for model, metric, k in keys])  # (m, n)
    rng = np.random.default_rng(seed)
    draws = np.concatenate(
        [weights @ table.T / n for weights in bootstrap_weights(rng, n, samples)]
    )  # (samples, m)
    place = {key: i for i, key in enumerate(keys)}
    rows = []
    for i, (model, metric, k) in enumerate(keys):
        low, high = percentile_interval(draws[:, i])
        other = place.get((baseline, metric, k))
        against: tuple[float | None, ...] = (None, None, None, None)
        if other is not None and model != baseline:
            d_low, d_high = percentile_interval(draws[:, i] - draws[:, other])
            base = float(table[other].mean())
            against = (base, float(table[i].mean()) - base, d_low, d_high)
        rows.append(
            MetricRow(
                model, split, slice_name, metric, k, float(table[i].mean()), low, high, n, *against
            )
        )
    return rows


@dataclass(frozen=True)
class PairedTest:
    """What two models differ by on the same queries: the mean of first - second.

    `low`, `high`: its 95 % bootstrap interval over queries; `p`: of the paired t test, two-sided, after
    Holm's correction for all pairs that were tested together; None with fewer than two queries.
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float | None


def paired_tests(
    values: Mapping[str, Floats],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> list[PairedTest]:
    """Compare models by one metric's value for each query, model -> (n,); all pairs unless given."""
    from scipy.stats import ttest_rel

    names = list(values)
    pairs = list(combinations(names, 2)) if pairs is None else pairs
    table = np.stack([np.asarray(values[name], dtype=np.float64) for name in names])  # (m, n)
    n = table.shape[1]
    place = {name: i for i, name in enumerate(names)}
    draws = np.concatenate(
        [w @ table.T / n for w in bootstrap_weights(np.random.default_rng(seed), n, samples)]
    )  # (samples, m)
    found, raw = [], []
    for first, second in pairs:
        a, b = place[first], place[second]
        apart = table[a] - table[b]
        p = None
        if n > 1:
            # Models that never differ give no t; nothing speaks for a difference.
            p = float(ttest_rel(table[a], table[b]).pvalue) if np.ptp(apart) > 0 else 1.0
            if np.ptp(apart) == 0 and apart[0] != 0:
                p = 0.0
        raw.append(p)
        low, high = percentile_interval(draws[:, a] - draws[:, b])
        found.append(PairedTest(first, second, float(apart.mean()), low, high, None))
    return [replace(test, p=p) for test, p in zip(found, _holm(raw), strict=True)]


def _holm(raw: Sequence[float | None]) -> list[float | None]:
    """Probabilities after Holm's step-down correction (1979)."""
    known = sorted((p, i) for i, p in enumerate(raw) if p is not None)
    adjusted: list[float | None] = [None] * len(raw)
    largest = 0.0
    for step, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - step)))
        adjusted[i] = largest
    return adjusted
