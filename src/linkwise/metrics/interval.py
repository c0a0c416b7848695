"""Wilson's interval of a rate."""

from __future__ import annotations

from math import sqrt

from linkwise.errors import InputError

Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def proportion_interval(successes: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of a rate: sensible for 0 successes and for small n.

    Raises `InputError` unless 0 <= successes <= n and n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise InputError(f"{successes} successes of {n}: no rate has such counts.")
    rate = successes / n
    center = rate + Z_95**2 / (2 * n)
    half = Z_95 * sqrt(rate * (1 - rate) / n + Z_95**2 / (4 * n**2))
    scale = 1 + Z_95**2 / n
    # At 0 and n successes the ends are 0 and 1; rounding must not push them past.
    return max(0.0, (center - half) / scale), min(1.0, (center + half) / scale)
