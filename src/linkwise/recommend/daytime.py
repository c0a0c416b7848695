"""Lists by the time of day: what is chosen in working hours, in the evening, and at other times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from linkwise.data.interactions import Interactions, Longs, Singles, chunks
from linkwise.data.queries import Queries
from linkwise.errors import InputError
from linkwise.metrics.ranking import full_ranks, per_query
from linkwise.recommend.base import Recommender

BANDS = ("working hours", "evening", "night and weekend")
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8)  # tried on the validation; 0 leaves the lists as they are
PRIOR = 20.0  # events that an item is thought to have had at the times of all items
DAY, HOUR = 86_400_000_000, 3_600_000_000  # microseconds


def bands_of(times: Longs) -> Longs:
    """The band of each time, microseconds since 1970-01-01 by the log's own clock (n,).

    0: Monday to Friday, 8 to 18 hours; 1: from 18 hours to midnight, on any day; 2: all else.
    """
    weekday = (times // DAY + 3) % 7  # 1970-01-01 was a Thursday
    hour = times % DAY // HOUR
    found = np.full(len(times), 2, dtype=np.int64)
    found[(weekday < 5) & (hour >= 8) & (hour < 18)] = 0
    found[hour >= 18] = 1
    return found


def band_at(time: datetime) -> int:
    """The band of a moment."""
    clock = np.datetime64(time.replace(tzinfo=None), "us").astype(np.int64)
    return int(bands_of(np.array([clock]))[0])


class DayTime:
    """How much more an item is chosen in a band than at all times.

    lift(b, i) = log((n_bi + PRIOR p_b) / ((n_i + PRIOR) p_b)), n being training events and p_b the band's
    share of all of them. A score, standardised over the catalogue, gets weight x lift added.
    """

    lifts_: Singles  # (bands, n_items)

    def fit(self, log: Interactions) -> Self:
        """Learn from a log with clock times; raises `InputError` for days or positions."""
        if log.clock != "time":
            raise InputError(
                "--daytime needs the times of the events, and this log has only their "
                f"{'days' if log.clock == 'day' else 'positions'}."
            )
        bands = bands_of(log.histories.times)
        counts = np.zeros((len(BANDS), log.n_items))
        np.add.at(counts, (bands, log.histories.items), 1)
        share = np.maximum(counts.sum(axis=1, keepdims=True), 1) / max(1, len(bands))
        expected = (counts.sum(axis=0) + PRIOR) * share
        self.lifts_ = np.log((counts + PRIOR * share) / expected).astype(np.float32)
        return self

    def adjust(self, scores: Singles, band: int, weight: float) -> Singles:
        """The scores (n, n_items) for a band."""
        spread = scores.std(axis=1, keepdims=True)
        level = scores.mean(axis=1, keepdims=True)
        found: Singles = (scores - level) / np.where(spread > 0, spread, 1)
        found += weight * self.lifts_[band]
        return found

    def ranks(
        self,
        model: Recommender,
        queries: Queries,
        weights: Sequence[float],
    ) -> Longs:
        """The rank of each target in the list for the band it was chosen in (weights, t)."""
        n_items = len(model.catalogue_)
        targets = queries.targets
        bands = bands_of(targets.times)
        found = np.empty((len(weights), len(targets.items)), dtype=np.int64)
        for start, part in chunks(queries.histories, n_items):
            scores = np.nan_to_num(model.scores(part), nan=0, posinf=0, neginf=0)
            at = slice(targets.offsets[start], targets.offsets[start + len(part)])
            rows, items = targets.rows[at] - start, targets.items[at].astype(np.int64)
            for number, weight in enumerate(weights):
                for band in range(len(BANDS)):
                    mine = np.flatnonzero(bands[at] == band)
                    if not len(mine):
                        continue
                    adjusted = self.adjust(scores, band, weight)
                    if not queries.repeats:
                        adjusted[part.rows, part.items] = -np.inf
                    found[number, at.start + mine] = full_ranks(adjusted, rows[mine], items[mine])
        return found

    def best_weight(
        self,
        model: Recommender,
        queries: Queries,
        weights: Sequence[float],
        k: int,
    ) -> float:
        """The weight with the best NDCG@k on some queries."""
        ranks = self.ranks(model, queries, weights)
        ndcg = [per_query(found, queries.targets.offsets, k)["ndcg"].mean() for found in ranks]
        return float(weights[int(np.argmax(ndcg))])

    def save(self, folder: Path, weight: float) -> None:
        """Write the lifts, and the weight to use them with."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "lifts": self.lifts_,
            "weight": np.array([weight], dtype=np.float64),
        }
        save_file(arrays, folder / "daytime.safetensors")

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, float]:
        """What `save` wrote; raises `InputError` where the run was made without --daytime."""
        from safetensors.numpy import load_file

        path = folder / "daytime.safetensors"
        if not path.is_file():
            raise InputError(
                f"{folder.parent}: the run knows nothing of the time of day; make it with --daytime."
            )
        arrays: dict[str, Any] = load_file(path)
        self = cls()
        self.lifts_ = arrays["lifts"]
        return self, float(arrays["weight"][0])


@dataclass(frozen=True)
class ByDayTime:
    """The chosen model with the time of day: the ranks of the test's targets, and what it learned."""

    name: str
    weight: float
    ranks: Longs
    daytime: DayTime
