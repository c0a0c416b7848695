"""Loops compiled by numba, once for all processes where they can be kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from linkwise.errors import optional


@lru_cache(maxsize=64)
def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The loop as machine code, compiled at its first call and kept on disk for the next process.

    Raises `ResourceError` naming the extra where numba is missing.
    """
    numba = optional("numba", "anomaly", "this detector")
    try:
        found = numba.njit(loop, cache=True)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        found = numba.njit(loop)
    return found  # type: ignore[no-any-return]
