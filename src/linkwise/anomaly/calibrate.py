"""From scores to p-values that hold: conformal, from normal graphs that the detector has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from linkwise.errors import InputError

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

FEWEST = 40  # held-out normals of like size by which a p-value conditional on size is taken


def conformal_p_values(scores: Floats, normal: Floats) -> Floats:
    """The p-value (n,) of each score: how many held-out normals are as strange or stranger, itself counted.

    (1 + number of `normal` >= score) / (1 + number of `normal`) (Vovk et al. 2005). Of a graph that is
    exchangeable with the held-out normals it is at most a with probability a or less, for any a and any
    detector.

    Raises `InputError` where there are no held-out normals.
    """
    if not len(normal):
        raise InputError(
            "no normal graph was held out; p-values need some that were not learned from."
        )
    ordered = np.sort(normal)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1 + at_least) / (1 + len(ordered)))


def p_values_by_size(
    scores: Floats, size: Floats, normal: Floats, normal_size: Floats, fewest: int = FEWEST
) -> Floats:
    """The same among held-out normals of like size (n,): how strange a graph is for one of its size.

    The sizes of the held-out normals and of the graph itself, from the smallest up, make bins of `fewest` or
    more, none of which parts equal sizes, and the graph is compared with its own (Mondrian conformal
    prediction, Vovk et al. 2005). The graph's size counts among those that the bins are made of, so that the
    bins do not depend on which of all these graphs it is, and p-values hold as they do without bins.
    """
    if len(normal) != len(normal_size) or len(scores) != len(size):
        raise InputError("expected a size for each score.")
    found = np.empty(len(scores))
    for own in np.unique(size):
        low, high = _bin_of(own, np.append(normal_size, own), fewest)
        inside = normal[(normal_size >= low) & (normal_size <= high)]
        here = size == own
        at_least = (inside >= scores[here, None]).sum(axis=1)
        found[here] = (1 + at_least) / (1 + len(inside))
    return found


def _bin_of(own: float, sizes: Floats, fewest: int) -> tuple[float, float]:
    """The smallest and the largest size of the bin of a size; too few at the end join the bin before."""
    values, counts = np.unique(sizes, return_counts=True)
    first, inside = [0], 0
    for number, count in enumerate(counts):
        if inside >= fewest:
            first.append(number)
            inside = 0
        inside += count
    if inside < fewest and len(first) > 1:
        first.pop()
    number = int(np.searchsorted(values[first], own, side="right")) - 1
    last = first[number + 1] if number + 1 < len(first) else len(values)
    return float(values[first[number]]), float(values[last - 1])


def fisher(p_values: Floats) -> Floats:
    """-2 times the sum of the logarithms of several detectors' p-values (n_detectors, n) -> (n,).

    Fisher's statistic (1932). The detectors' p-values hang together, so that it is no chi-squared: it is a
    score, higher is stranger, to be calibrated itself.
    """
    return np.asarray(-2 * np.log(p_values).sum(axis=0))
