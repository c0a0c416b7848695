"""What the simulator planted is the ceiling, popularity the floor, and noise teaches nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkwise.context import Context
from linkwise.data.events import read_events
from linkwise.data.interactions import Catalogue, Histories, Interactions, read_interactions
from linkwise.data.music_catalogue import (
    ALBUM,
    FAVOURITES,
    OWN_TASTE,
    REPEAT,
    SEQUEL,
    TASTES,
    build_catalogue,
)
from linkwise.data.music_catalogue import Catalogue as Songs
from linkwise.data.music_population import draw_population
from linkwise.data.queries import Split, split
from linkwise.data.simulate_music import MusicSimulation, _stream
from linkwise.metrics.ranking import full_ranks, paired_tests, per_query
from linkwise.recommend.base import Recommender
from linkwise.recommend.evaluate import judge
from linkwise.recommend.registry import MODELS, model_class

QUICK = ("item-item", "nmf", "svd", "ease", "als", "bpr", "blend", "segments")
LONG = ("gru4rec", "sasrec", "knn-text")


def test_every_model_is_tested_here() -> None:
    # title-lm learns too slowly for this log; tests/recommend/test_title_lm.py has one of its size.
    assert {*QUICK, *LONG, "popularity", "random", "title-lm"} == set(MODELS)


def fitted(name: str, log: Interactions, parts: Split) -> Recommender:
    cls = model_class(name)
    config = cls.Config(epochs=5, patience=5, learning_rate=0.005) if name in LONG[:2] else None
    return cls(config).fit(log, validation=parts.validation, context=Context(folder=Path(), seed=1))


@cache
def played(folder: Path) -> Split:
    events = read_events(folder, schema="music-box", on_bad_row="skip")
    return split(read_interactions(events), "global-time:0.8")


@cache
def planted(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@10 of each query by the planted probabilities, and by popularity (n,)."""
    parts = played(folder)
    simulation = MusicSimulation(users=1500, days=86, seed=3)
    songs = build_catalogue(simulation.songs, _stream(simulation.seed, 0))
    people = draw_population(simulation.users, simulation.days, songs, _stream(simulation.seed, 1))
    chance = planted_chances(songs, people.taste, people.favourites)
    row_of_song = {int(song): row for row, song in enumerate(songs.song_id)}
    row_of_user = {int(user): row for row, user in enumerate(people.user_id)}
    columns = [row_of_song[int(item)] for item in parts.refit.catalogue.ids]
    asked = [row_of_user[int(user)] for user in parts.refit.users.gather(parts.test.users)]
    scores = chance[np.ix_(asked, columns)].astype(np.float32)
    scores[parts.test.histories.rows, parts.test.histories.items] = -np.inf
    targets = parts.test.targets
    ranks = full_ranks(scores, targets.rows, targets.items.astype(np.int64))
    best = per_query(ranks, targets.offsets, 10)["ndcg"]
    floor = judge(fitted("popularity", parts.refit, parts), parts.test)
    return best, per_query(floor.ranks, targets.offsets, 10)["ndcg"]


def planted_chances(songs: Songs, taste: np.ndarray, favourites: np.ndarray) -> np.ndarray:
    """The chance of each song in the long run for each user (users, songs), from the simulator's rules."""
    n_songs, n_groups = len(songs.song_id), len(TASTES)
    by_rank = np.zeros((n_groups, n_songs))
    for group in range(n_groups):
        start, end = songs.group_start[group], songs.group_start[group + 1]
        size = int(end - start)
        # A rank is floor(size u^2.5): the chance of rank r is the length of its stretch of u.
        edges = (np.arange(size + 1) / size) ** 0.4
        by_rank[group, songs.by_popularity[start:end]] = np.diff(edges)
    slots = np.diff(np.sqrt(np.arange(FAVOURITES + 1) / FAVOURITES))  # floor(6 u^2)
    chance = OWN_TASTE * by_rank[taste] + (1 - OWN_TASTE) * by_rank.mean(axis=0)
    chance *= 1 - REPEAT
    for slot in range(FAVOURITES):
        chance[np.arange(len(taste)), favourites[:, slot]] += REPEAT * slots[slot]
    # One play in five is the next track of the album of the one before.
    start = songs.group_start[songs.taste]
    track = np.arange(n_songs) - start
    first = track // ALBUM * ALBUM
    tracks = np.minimum(ALBUM, songs.group_start[songs.taste + 1] - start - first)
    before = start + first + (track - first - 1) % tracks
    found = chance
    for _ in range(30):
        found = (1 - SEQUEL) * chance + SEQUEL * found[:, before]
    return found


def assert_between(name: str, folder: Path) -> None:
    parts = played(folder)
    best, floor = planted(folder)
    result = judge(fitted(name, parts.refit, parts), parts.test)
    values = {
        "planted": best,
        name: per_query(result.ranks, parts.test.targets.offsets, 10)["ndcg"],
        "popularity": floor,
    }
    pairs = [(name, "popularity"), (name, "planted")]
    above, below = paired_tests(values, pairs=pairs, samples=500, seed=1)
    assert above.low is not None
    assert above.low > 0, f"{name} does not beat popularity: {above}"
    assert below.low is not None
    assert below.low <= 0, f"{name} beats what was planted: {below}"


@pytest.mark.parametrize("name", QUICK)
def test_between_popularity_and_what_was_planted(name: str, music: Path) -> None:
    assert_between(name, music)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_long_models_between_popularity_and_what_was_planted(name: str, music: Path) -> None:
    assert_between(name, music)


@cache
def noise() -> Split:
    """Users who all choose by the same popularity, whatever they chose before."""
    rng = np.random.default_rng(5)
    users, items, events = 500, 100, 20
    chance = 1 / np.arange(1, items + 1)
    n = users * events
    ids = pl.Series("id", [f"item-{row:03d}" for row in range(items)])
    titles = pl.Series("title", [f"Song {row}" for row in range(items)])
    histories = Histories(
        np.arange(0, n + 1, events),
        rng.choice(items, n, p=chance / chance.sum()).astype(np.int32),
        np.ones(n, dtype=np.float32),
        np.sort(rng.integers(0, 10_000, (users, events)), axis=1).ravel(),
        np.zeros(n, dtype=np.bool_),
    )
    log = Interactions(
        users=pl.Series("user", np.arange(users)),
        catalogue=Catalogue(ids, titles),
        histories=histories,
        clock="time",
        dislikes=np.empty((0, 2), dtype=np.int64),
        rated=False,
    )
    return split(log, "global-time:0.8")


@pytest.mark.parametrize("name", [*QUICK, *LONG])
def test_noise_teaches_nothing_but_popularity(name: str) -> None:
    parts = noise()
    offsets = parts.test.targets.offsets
    values = {}
    for each in ("popularity", name):
        result = judge(fitted(each, parts.refit, parts), parts.test)
        values[each] = per_query(result.ranks, offsets, 10)["ndcg"]
    (test,) = paired_tests(values, pairs=[(name, "popularity")], samples=500, seed=1)
    assert test.low is not None
    assert test.low <= 0, f"{name} beats popularity on noise: {test}"
