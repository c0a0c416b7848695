"""How far predicted ratings are from the given ones: RMSE and MAE, held out and in-sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linkwise.data.interactions import Histories, Interactions, Longs, chunks
from linkwise.data.queries import Queries
from linkwise.metrics.bootstrap import bootstrap_weights, percentile_interval
from linkwise.metrics.ranking import Floats
from linkwise.recommend.base import Recommender

MEAN = "item mean"  # the baseline: each item's mean rating in the training log


@dataclass(frozen=True)
class Errors:
    """Errors of one model on some cells, summed by user (n,)."""

    squares: Floats
    absolutes: Floats
    counts: Floats

    def values(self) -> dict[str, float]:
        """RMSE and MAE."""
        n = max(1.0, float(self.counts.sum()))
        return {
            "rmse": float(np.sqrt(self.squares.sum() / n)),
            "mae": float(self.absolutes.sum() / n),
        }

    def draws(self, samples: int, seed: int) -> dict[str, Floats]:
        """The same in bootstrap resamples of the users (samples,)."""
        rmse, mae = [], []
        rng = np.random.default_rng(seed)
        for weights in bootstrap_weights(rng, len(self.counts), samples):
            n = np.maximum(weights @ self.counts, 1)
            rmse.append(np.sqrt(weights @ self.squares / n))
            mae.append(weights @ self.absolutes / n)
        return {"rmse": np.concatenate(rmse), "mae": np.concatenate(mae)}


def item_means(log: Interactions) -> Floats:
    """The mean rating of each item in a log, that of all where it has none (n_items,)."""
    items, scores = log.histories.items, log.histories.scores.astype(np.float64)
    counts = np.bincount(items, minlength=log.n_items)
    found: Floats = np.full(log.n_items, scores.mean())
    np.divide(np.bincount(items, scores, log.n_items), counts, out=found, where=counts > 0)
    return found


def held_out(model: Recommender | Floats, queries: Queries) -> Errors:
    """Errors at the targets that are in the catalogue; a model, or the mean rating of each item.

    The queries must be ones with a personal list: others are answered by counts, which are no ratings.
    """
    targets = queries.targets
    n_items = len(model) if isinstance(model, np.ndarray) else len(model.catalogue_)
    predicted = np.zeros(len(targets.items))
    for start, part in chunks(queries.histories, n_items):
        at = slice(targets.offsets[start], targets.offsets[start + len(part)])
        rows, items = targets.rows[at] - start, np.minimum(targets.items[at], n_items - 1)
        if isinstance(model, np.ndarray):
            predicted[at] = model[items]
        else:
            predicted[at] = model.scores(part)[rows, items]
    known = targets.items < n_items
    apart = (predicted - targets.scores.astype(np.float64))[known]
    return _by_user(apart, targets.rows[known], len(targets))


def in_sample(model: Recommender, histories: Histories, *, unknown: bool) -> Errors:
    """Errors on the histories that the model was fitted on: on what was chosen, or on every cell.

    With `unknown`, an item that the user has not chosen counts as rated 0, as in the Music Box report. Users
    with too few items to be learned from are left out.
    """
    histories = histories.take(np.flatnonzero(model.personal(histories)))
    n_items = len(model.catalogue_)
    squares, absolutes, counts = (np.zeros(len(histories)) for _ in range(3))
    for start, part in chunks(histories, n_items):
        ratings = part.matrix(n_items, "rating")
        at = slice(start, start + len(part))
        predicted = model.scores(part).astype(np.float64)  # (n, n_items)
        rows = np.repeat(np.arange(len(part)), np.diff(ratings.indptr))
        if unknown:
            predicted[rows, ratings.indices] -= ratings.data
            squares[at], absolutes[at] = (predicted**2).sum(1), np.abs(predicted).sum(1)
            counts[at] = n_items
        else:
            found = _by_user(predicted[rows, ratings.indices] - ratings.data, rows, len(part))
            squares[at], absolutes[at], counts[at] = found.squares, found.absolutes, found.counts
    return Errors(squares, absolutes, counts)


def compared(
    model: Errors, base: Errors, samples: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """RMSE and MAE of a model with intervals, beside a baseline's on the same cells and resamples."""
    mine, theirs = model.values(), base.values()
    draws, others = model.draws(samples, seed), base.draws(samples, seed)
    rows: dict[str, dict[str, float | None]] = {}
    for metric in ("rmse", "mae"):
        low, high = percentile_interval(draws[metric])
        d_low, d_high = percentile_interval(draws[metric] - others[metric])
        rows[metric] = {
            "value": mine[metric],
            "low": low,
            "high": high,
            "baseline": theirs[metric],
            "difference": mine[metric] - theirs[metric],
            "difference_low": d_low,
            "difference_high": d_high,
        }
    return rows


def _by_user(apart: Floats, rows: Longs, n: int) -> Errors:
    return Errors(
        np.bincount(rows, weights=apart**2, minlength=n).astype(np.float64),
        np.bincount(rows, weights=np.abs(apart), minlength=n).astype(np.float64),
        np.bincount(rows, minlength=n).astype(np.float64),
    )
