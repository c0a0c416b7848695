"""Metrics of scored binary outcomes, weighted by counts, so that a bootstrap is a reweighting.

Each public function takes labels (n,), scores or probabilities (n,) and, if wanted, `weights` (n,):
how often each row was drawn. A row of weight 3 counts as three rows that tie with each other, a row
of weight 0 as absent: the value equals that of the unweighted metric on the resampled rows.

Underneath, what costs time is done once: rows are sorted by score and their tie groups found
(`order_rows`), and a whole matrix of weights (b, n), b resamples at a time, runs through the
`..._draws` functions, which return one value per resample, NaN where a metric is undefined. Counts
are summed in float64, exact below 2**53, so that neither the order of tied rows nor the size of a
chunk can change a ranking metric by a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linkwise.errors import InputError, UsageError

Ties = Literal["pessimistic", "expected"]
Floats = NDArray[np.float64]

LOG_LOSS_EPS = 1e-15
"""Probabilities are clipped to [eps, 1 - eps] before the log: a row costs at most 34.5 nats."""


# ---------------------------------------------------------------------------------- ranking metrics


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve: P(a positive scores above a negative), a tie counting one half.

    The Mann-Whitney statistic over (positives x negatives). Raises `InputError` where only one
    class is present.
    """
    rows, drawn = _ranked(labels, scores, weights)
    return _defined(auc_draws(rows, cumulate(rows, drawn)), "auc needs positives and negatives")


def average_precision(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Sum over score levels of (recall gained) x (precision there), as scikit-learn defines it.

    Rows with one score are one level; nothing is interpolated. Raises `InputError` without
    positives.
    """
    rows, drawn = _ranked(labels, scores, weights)
    draws = average_precision_draws(rows, cumulate(rows, drawn))
    return _defined(draws, "average_precision needs a positive")


def precision_at_share(
    labels: ArrayLike,
    scores: ArrayLike,
    share: float,
    weights: ArrayLike | None = None,
    *,
    ties: Ties = "pessimistic",
) -> float:
    """Share of positives among the ceil(share x n) rows with the highest scores; `share` in (0, 1].

    Rows tied at the cut: "pessimistic" fills the last places with negatives first (for models),
    "expected" is the exact mean over all orders of the tied rows (for baselines: a baseline with
    few distinct scores, such as days since the last event, must not lose to us only because of the
    tie rule).
    """
    rows, drawn = _ranked(labels, scores, weights)
    return _defined(top_share_draws(rows, cumulate(rows, drawn), share, ties)[0], "no rows")


def lift_at_share(
    labels: ArrayLike,
    scores: ArrayLike,
    share: float,
    weights: ArrayLike | None = None,
    *,
    ties: Ties = "pessimistic",
) -> float:
    """`precision_at_share` divided by the share of positives in all rows: 1 is chance.

    Raises `InputError` without positives.
    """
    rows, drawn = _ranked(labels, scores, weights)
    draws = top_share_draws(rows, cumulate(rows, drawn), share, ties)[1]
    return _defined(draws, "lift_at_share needs a positive")


# ------------------------------------------------------------------------------ probability metrics


def accuracy(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
) -> float:
    """Share of rows where (probability >= threshold) equals the label."""
    return _probability_metric("accuracy", labels, probabilities, weights, threshold)


def precision(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
) -> float:
    """Share of positives among rows with probability >= threshold; `InputError` without any."""
    return _probability_metric("precision", labels, probabilities, weights, threshold)


def recall(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
) -> float:
    """Share of positives that have probability >= threshold; `InputError` without positives."""
    return _probability_metric("recall", labels, probabilities, weights, threshold)


def f1(
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
) -> float:
    """2 TP / (predicted positives + positives); `InputError` where both are none."""
    return _probability_metric("f1", labels, probabilities, weights, threshold)


def brier(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean squared difference of probability and label (Brier, 1950); lower is better.

    Defined for one class too.
    """
    return _probability_metric("brier", labels, probabilities, weights)


def log_loss(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Mean negative log-likelihood in nats, probabilities clipped by `LOG_LOSS_EPS`.

    Lower is better; defined for one class too.
    """
    return _probability_metric("log_loss", labels, probabilities, weights)


# -------------------------------------------------------------------- sorted once, drawn many times


@dataclass(frozen=True)
class OrderedRows:
    """Rows sorted by falling score.

    A level is a set of rows with one score: G levels in all, H of them with a positive.
    """

    order: NDArray[np.intp]  # (n,) row numbers, highest score first
    level_starts: NDArray[np.intp]  # (G + 1,) first sorted place of each level; the last entry is n
    positives: NDArray[np.intp]  # (n_positive,) row numbers of the positives, highest score first
    positive_places: NDArray[np.intp]  # (n_positive,) their sorted places
    hit_starts: NDArray[np.intp]  # (H,) first place of each level that holds a positive
    hit_ends: NDArray[np.intp]  # (H,) one past its last place
    hit_positive_starts: NDArray[np.intp]  # (H,) positives above that level
    hit_positive_ends: NDArray[np.intp]  # (H,) positives in or above it


class Cumulated(NamedTuple):
    """Running weights of b resamples in score order, each beginning with a zero."""

    total: Floats  # (b, n + 1)
    positive: Floats  # (b, n_positive + 1)


def order_rows(labels: NDArray[np.bool_], scores: Floats) -> OrderedRows:
    """Sort rows by falling score and find the levels; labels (n,), scores (n,) without NaN."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    level_starts = np.concatenate(
        ([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(order)])
    ).astype(np.intp)
    places = np.flatnonzero(labels[order])
    # Between two consecutive level starts lie as many positives as places fall in between.
    above = np.searchsorted(places, level_starts)  # (G + 1,)
    hits = np.flatnonzero(above[1:] > above[:-1])  # (H,)
    return OrderedRows(
        order=order,
        level_starts=level_starts,
        positives=order[places],
        positive_places=places,
        hit_starts=level_starts[hits],
        hit_ends=level_starts[hits + 1],
        hit_positive_starts=above[hits],
        hit_positive_ends=above[hits + 1],
    )


def cumulate(rows: OrderedRows, weights: Floats) -> Cumulated:
    """Running sums of weights (b, n) in score order, of all rows and of the positives."""
    return Cumulated(_running(weights, rows.order), _running(weights, rows.positives))


def auc_draws(rows: OrderedRows, cumulated: Cumulated) -> Floats:
    """AUC of each resample (b,); NaN where it holds one class only."""
    total, positive = cumulated
    positive_before = positive[:, rows.hit_positive_starts]  # (b, H)
    positive_through = positive[:, rows.hit_positive_ends]
    negative_before = total[:, rows.hit_starts] - positive_before
    negative_through = total[:, rows.hit_ends] - positive_through
    n_positive = positive[:, -1]
    n_negative = total[:, -1] - n_positive
    # Negatives below the level are won, those in it half won.
    won = n_negative[:, None] - 0.5 * (negative_before + negative_through)
    wins = np.einsum("bh,bh->b", positive_through - positive_before, won)
    return _ratio(wins, n_positive * n_negative)


def average_precision_draws(rows: OrderedRows, cumulated: Cumulated) -> Floats:
    """Average precision of each resample (b,); NaN where it holds no positive."""
    total, positive = cumulated
    through = positive[:, rows.hit_positive_ends]  # (b, H)
    gained = through - positive[:, rows.hit_positive_starts]
    # Where nothing was drawn so far, nothing is gained either: 1 only avoids 0 / 0.
    level_precision = through / np.maximum(total[:, rows.hit_ends], 1.0)
    return _ratio(np.einsum("bh,bh->b", gained, level_precision), positive[:, -1])


def top_share_draws(
    rows: OrderedRows, cumulated: Cumulated, share: float, ties: Ties
) -> tuple[Floats, Floats]:
    """(precision, lift) of each resample, (b,) and (b,), in its top `share`.

    Lift is NaN without positives. Raises `UsageError` for a share outside (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise UsageError(
            f"share is {share}; expected a number in (0, 1], such as 0.05 for the top 5 %."
        )
    drawn = cumulated.total[:, -1]
    # 0.07 x 100 is 7.000000000000001 in binary: without the allowance its ceiling were 8.
    places = np.maximum(np.ceil(share * drawn - 1e-9), 1.0)  # (b,)
    found = top_draws(rows, cumulated, places, ties)
    return found / places, _ratio(found * drawn, places * cumulated.positive[:, -1])


def top_draws(rows: OrderedRows, cumulated: Cumulated, places: Floats, ties: Ties) -> Floats:
    """Positives among the first `places` (b,) of each resample (b,), which has at least as many.

    Raises `UsageError` for an unknown rule of ties.
    """
    if ties not in ("pessimistic", "expected"):
        raise UsageError(f'ties is "{ties}"; expected "pessimistic" or "expected".')
    total, positive = cumulated
    last = np.array(
        [np.searchsorted(row, count) for row, count in zip(total, places, strict=True)],
        dtype=np.intp,
    )
    level = np.searchsorted(rows.level_starts, last - 1, side="right") - 1  # the level that is cut
    start, end = rows.level_starts[level], rows.level_starts[level + 1]
    draw = np.arange(len(total))
    positive_above = positive[draw, np.searchsorted(rows.positive_places, start)]
    positive_tied = positive[draw, np.searchsorted(rows.positive_places, end)] - positive_above
    tied = total[draw, end] - total[draw, start]
    open_places = places - total[draw, start]  # 1 to `tied` of them
    if ties == "pessimistic":
        taken = np.maximum(open_places - (tied - positive_tied), 0.0)
    else:
        taken = open_places * positive_tied / tied
    return np.asarray(positive_above + taken)


def partial_auc_draws(rows: OrderedRows, cumulated: Cumulated, most: float) -> Floats:
    """Area under the ROC curve up to a false-positive rate of `most`, standardised (McClish 1989) (b,).

    0.5 is chance and 1 perfect, as for the whole. NaN where a resample holds one class only.
    """
    total, positive = cumulated
    before, through = positive[:, rows.hit_positive_starts], positive[:, rows.hit_positive_ends]
    n_positive = positive[:, -1]
    n_negative = (total[:, -1] - n_positive)[:, None]
    left = _ratio(total[:, rows.hit_starts] - before, n_negative + np.zeros_like(before))  # (b, H)
    right = _ratio(total[:, rows.hit_ends] - through, n_negative + np.zeros_like(before))
    # A level's positives rise along the level's width, and count fully from there on.
    rising = np.clip(most - left, 0, right - left)
    width = np.maximum(right - left, np.finfo(np.float64).tiny)
    area = rising**2 / (2 * width) + np.clip(most - right, 0, None)
    found = _ratio(np.einsum("bh,bh->b", through - before, area), n_positive)
    least, best = most**2 / 2, most
    return np.asarray(0.5 * (1 + (found - least) / (best - least)))


def probability_columns(
    labels: NDArray[np.bool_], probabilities: Floats, threshold: float
) -> Floats:
    """What the probability metrics sum, as (4, n).

    Predicted positive; predicted and positive; squared error; log loss in nats.
    """
    if not 0.0 <= threshold <= 1.0:
        raise UsageError(f"threshold is {threshold}; expected a probability between 0 and 1.")
    predicted = probabilities >= threshold
    of_truth = np.where(labels, probabilities, 1.0 - probabilities)
    columns = np.empty((4, len(labels)))
    columns[0] = predicted
    columns[1] = predicted & labels
    columns[2] = np.square(probabilities - labels)
    columns[3] = -np.log(np.clip(of_truth, LOG_LOSS_EPS, 1.0 - LOG_LOSS_EPS))
    return columns


def probability_draws(columns: Floats, weights: Floats, positive: Floats) -> dict[str, Floats]:
    """The six probability metrics of each resample, name -> (b,).

    From `probability_columns` (4, n), weights (b, n) and the weight of the positives (b,).
    """
    drawn = weights.sum(axis=1)
    # einsum and not BLAS: the last bit must not depend on the number of threads.
    predicted, true_positive, squared, log = np.einsum("bn,kn->kb", weights, columns)
    return {
        "accuracy": (drawn - predicted - positive + 2.0 * true_positive) / drawn,
        "precision": _ratio(true_positive, predicted),
        "recall": _ratio(true_positive, positive),
        "f1": _ratio(2.0 * true_positive, predicted + positive),
        "brier": squared / drawn,
        "log_loss": log / drawn,
    }


# ------------------------------------------------------------------------------------------- checks


def check_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Labels as booleans (n,); raises `InputError` where empty, not flat, or not 0 and 1."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise InputError(
            f"labels have shape {array.shape}; expected one label per row, at least one row."
        )
    if array.dtype == np.bool_:
        return array
    wrong = np.flatnonzero(~np.isin(array, (0, 1)))
    if wrong.size:
        raise InputError(
            f"labels, row {wrong[0]}: {array[wrong[0]]!r}; expected 0 or 1. "
            "Turn the outcome into 0 and 1 first."
        )
    return array.astype(np.bool_)


def check_scores(scores: ArrayLike, n: int, name: str = "scores") -> Floats:
    """Scores as float64 (n,); infinite ones may stand (they rank), NaN raises `InputError`."""
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (n,):
        raise InputError(f"{name} have shape {array.shape}; expected ({n},), one for each label.")
    wrong = np.flatnonzero(np.isnan(array))
    if wrong.size:
        raise InputError(
            f"{name}, row {wrong[0]}: NaN ({wrong.size} of {n} rows); expected a number. "
            "Give rows without a score the lowest one, or leave them out for all models."
        )
    return array


def check_probabilities(probabilities: ArrayLike, n: int, name: str = "probabilities") -> Floats:
    """Probabilities as float64 (n,); raises `InputError` outside [0, 1]."""
    array = check_scores(probabilities, n, name)
    wrong = np.flatnonzero((array < 0.0) | (array > 1.0))
    if wrong.size:
        raise InputError(
            f"{name}, row {wrong[0]}: {array[wrong[0]]}; expected a probability between 0 and 1. "
            "Calibrate raw scores first (linkwise.estimators.calibrate)."
        )
    return array


def check_weights(weights: ArrayLike | None, n: int) -> Floats:
    """Weights as float64 (1, n), ones where None; raises `InputError` unless counts, not all 0."""
    if weights is None:
        return np.ones((1, n))
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n,):
        raise InputError(f"weights have shape {array.shape}; expected ({n},), one for each label.")
    if not (np.isfinite(array).all() and (array >= 0).all() and (array == np.floor(array)).all()):
        raise InputError(
            "weights hold a negative or broken number; expected how often each row was drawn."
        )
    if not array.any():
        raise InputError("weights are all zero; expected at least one row drawn.")
    return array[None, :]


def _ranked(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None
) -> tuple[OrderedRows, Floats]:
    positive = check_labels(labels)
    rows = order_rows(positive, check_scores(scores, len(positive)))
    return rows, check_weights(weights, len(positive))


def _probability_metric(
    name: str,
    labels: ArrayLike,
    probabilities: ArrayLike,
    weights: ArrayLike | None,
    threshold: float = 0.5,
) -> float:
    positive = check_labels(labels)
    n = len(positive)
    columns = probability_columns(positive, check_probabilities(probabilities, n), threshold)
    drawn = check_weights(weights, n)
    draws = probability_draws(columns, drawn, drawn[:, positive].sum(axis=1))
    needs = {
        "precision": f"a row with probability >= {threshold}",
        "recall": "a positive",
        "f1": f"a positive or a row with probability >= {threshold}",
    }
    return _defined(draws[name], f"{name} needs {needs.get(name, 'rows')}")


def _defined(draws: Floats, needs: str) -> float:
    value = float(draws[0])
    if np.isnan(value):
        raise InputError(
            f"{needs}; the labels, as weighted, have none. "
            "Check the label column or widen the slice."
        )
    return value


def _running(weights: Floats, columns: NDArray[np.intp]) -> Floats:
    sums = np.zeros((len(weights), len(columns) + 1))
    np.cumsum(weights.take(columns, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Numerator / denominator, NaN where the denominator is 0."""
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out
