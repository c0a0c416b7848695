"""Stable splits: the same user falls in the same part on every engine, machine and version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def user_hash(users: Iterable[Any], salt: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A number in [0, 1) for each user id, from the md5 of the salted id as text (n,).

    Different salts give independent numbers, so that a sample by one is not skewed in a split by another.
    """
    digests = (hashlib.md5(f"{salt}:{user}".encode()).digest()[:8] for user in users)
    return np.array([int.from_bytes(d, "big") / 2**64 for d in digests], dtype=np.float64)


def sample_limit(share: float) -> str:
    """The md5 hex digits below which the ids of a share of the users fall; compared as text."""
    return f"{min(int(share * 2**128), 2**128 - 1):032x}"
