"""Counts as of a time against a slow loop, and baselines that see nothing of the future."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.rank.network import write_surface

from linkwise.rank.baselines import DAY, Counts, features, fitted_scores, popularity
from linkwise.rank.surface import Surface, read_surface
from linkwise.rank.task import read_task


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    key, acted = rng.integers(0, 5, 80), rng.integers(0, 2, 80)
    time = rng.integers(0, 40 * DAY, 80) // (DAY // 4) * (DAY // 4)  # many equal times
    asked, when = rng.integers(0, 6, 50), rng.integers(-DAY, 45 * DAY, 50)
    when[:20] = time[:20]
    counts = Counts(key, time, acted)
    for days in (1, 7, 30, None):
        shown, taken = counts.before(asked, when, days)
        for row in range(50):
            inside = (key == asked[row]) & (time < when[row])
            if days is not None:
                inside &= time >= when[row] - days * DAY
            assert (shown[row], taken[row]) == (inside.sum(), acted[inside].sum())


def test_counts_of_many_keys_over_many_years() -> None:
    """Numbers of key and time together that do not fit into 64 bits."""
    rng = np.random.default_rng(0)
    key, time = rng.integers(0, 40_000, 3000), rng.integers(0, 3650 * DAY, 3000)
    acted = rng.integers(0, 2, 3000)
    counts = Counts(key, time, acted)
    asked, when = key[:200], time[:200] + rng.integers(0, 400 * DAY, 200)
    for days in (30, None):
        shown, taken = counts.before(asked, when, days)
        for row in range(200):
            inside = (key == asked[row]) & (time < when[row])
            inside &= days is None or time >= when[row] - (days or 0) * DAY
            assert (shown[row], taken[row]) == (inside.sum(), acted[inside].sum())


def surface_of(folder: Path, flipped_from: int | None = None) -> Surface:
    rng = np.random.default_rng(0)
    events = []
    for number in range(120):
        member, item = f"u{rng.integers(1, 4)}", ("toy", "alien", "heat", "ran")[rng.integers(4)]
        action = ("play", "ignore")[int(rng.random() < 0.5)]
        if flipped_from is not None and number >= flipped_from:
            action = "ignore" if action == "play" else "play"
        events.append((member, item, action, f"2026-01-01T{number // 6:02d}:{number % 6 * 10:02d}"))
    return read_surface(read_task(write_surface(folder, events)))


def test_nothing_of_the_future_moves_a_score(tmp_path: Path) -> None:
    """Mutation: every event from the 60th on acted on where it was not; earlier questions get the same."""
    plain, changed = surface_of(tmp_path / "a"), surface_of(tmp_path / "b", 60)
    cut = int(np.sort(plain.time)[60])
    rows = np.flatnonzero(plain.time <= cut)
    asked = (plain.member[rows], plain.item[rows], plain.time[rows])
    for found in zip(
        *(
            fitted_scores(surface, cut, asked, lambda time: time, 0, 1).items()
            for surface in (plain, changed)
        ),
        strict=True,
    ):
        (name, one), (_, two) = found
        np.testing.assert_array_equal(one, two, err_msg=name)
    later = (asked[0], asked[1], np.full(len(rows), cut + 30 * DAY))
    acted = [(s.labels() == s.yes).astype(np.int64) for s in (plain, changed)]
    assert not features(plain, acted[0], *later).equals(features(changed, acted[1], *later))


def test_popularity_by_hand(tmp_path: Path) -> None:
    surface = surface_of(tmp_path)
    acted = (surface.labels() == surface.yes).astype(np.int64)
    when = int(np.sort(surface.time)[80])
    found = popularity(surface, acted, np.arange(4), np.full(4, when))
    early = surface.time < when
    for item in range(4):
        mine = early & (surface.item == item)
        mean = acted[early].mean()
        assert found[item] == pytest.approx((acted[mine].sum() + 20 * mean) / (mine.sum() + 20))
