"""Stable splits: even, independent, and the same for ever."""

from __future__ import annotations

import hashlib

import numpy as np

from linkwise.data.splits import sample_limit, user_hash


def test_hashes_are_those_of_md5() -> None:
    found = user_hash(["007", 7, "é"], "split")
    for user, value in zip(["007", "7", "é"], found, strict=True):
        digest = hashlib.md5(f"split:{user}".encode()).hexdigest()
        assert value == int(digest[:16], 16) / 2**64
    # Written down once: a split must not move from one version to the next.
    assert np.round(user_hash(["alice", "bob"], "report"), 6).tolist() == [0.637993, 0.167047]
    assert user_hash([], "x").shape == (0,)


def test_parts_are_even_and_salts_independent() -> None:
    users = range(20_000)
    one, other = user_hash(users, "a"), user_hash(users, "b")
    assert ((one >= 0) & (one < 1)).all()
    counts = np.histogram(one, bins=10, range=(0, 1))[0]
    assert abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.9)
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(20_000)


def test_the_limit_lets_a_share_of_the_digests_through() -> None:
    digests = [hashlib.md5(str(user).encode()).hexdigest() for user in range(20_000)]
    for share in (0.001, 0.1, 0.5, 0.999):
        below = [digest < sample_limit(share) for digest in digests]
        assert below == [int(digest, 16) < share * 2**128 for digest in digests]
        assert abs(np.mean(below) - share) < 5 * np.sqrt(share * (1 - share) / 20_000)
    assert sample_limit(1) == "f" * 32
    assert len(sample_limit(1e-30)) == 32
