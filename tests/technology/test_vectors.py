"""Vectors of codes, by year: any window is the mean over its patents, made the slow way."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from linkwise.lm.encode import TextEncoder
from linkwise.technology.corpus import Years, corpus_of
from linkwise.technology.vectors import YearlySums, patent_vectors, sums_of, token_sums, unit

TEXTS = ["toys that live", "a user watched a movie", "star wars", "the dog says woof", ""]
YEARS = [2000, 2001, 2001, 2003, 2004]
CODES = [["A", "B"], ["A"], ["B", "C"], ["C"], ["A"]]


def test_a_window_is_the_mean_over_its_patents(bert: Path) -> None:
    corpus = corpus_of(YEARS, pl.Series(CODES))
    encoder = TextEncoder(str(bert))
    each = patent_vectors(partial(encoder.embed, max_tokens=40), TEXTS, corpus, Years(2000, 2003))
    sums = sums_of(each, corpus, Years(2000, 2003))
    vectors = encoder.embed(TEXTS, max_tokens=40)
    np.testing.assert_allclose(each[:4], vectors[:4], atol=1e-6)
    assert not each[4].any()  # of a year that was not asked for
    for window in (Years(2000, 2001), Years(2001, 2003), Years(2000, 2000)):
        found, there = sums.mean(window)
        slow = np.zeros((3, encoder.size))
        for row, name in enumerate("ABC"):
            own = [
                k for k in range(4)
                if name in CODES[k] and window.first <= YEARS[k] <= window.last
            ]  # fmt: skip
            assert there[row] == bool(own)
            if own:
                slow[row] = vectors[own].mean(axis=0)
        slow[there] -= slow[there].mean(axis=0)
        np.testing.assert_allclose(found, unit(slow), atol=1e-4)


def test_a_window_outside_the_years_is_empty() -> None:
    sums = YearlySums.empty(Years(2000, 2003), 2, 3)
    sums.add(np.array([2001, 2001]), np.array([0, 1]), np.eye(3)[:2])
    for window in (Years(1990, 1995), Years(2010, 2012), Years(2002, 2003)):
        found, there = sums.mean(window)
        assert not there.any()
        assert not found.any()
    assert sums.mean(Years(1990, 2012))[1].all()


def test_what_was_made_of_texts_is_taken_from_where_it_was_kept(tmp_path: Path) -> None:
    corpus = corpus_of([2000, 2001, 2002], pl.Series([["A", "B"], ["B"], ["A"]]))
    years = Years(2000, 2001)
    calls: list[int] = []

    def embed(texts: list[str]) -> Any:
        calls.append(len(texts))
        return np.arange(2 * len(texts), dtype=np.float32).reshape(-1, 2)

    class Reader:
        codes = ("A", "B")
        model = SimpleNamespace(network=SimpleNamespace(config=SimpleNamespace(hidden_size=2)))

        def each(self, texts: list[str], codes: Any, _: int, take: Any, advance: Any) -> None:
            calls.append(-len(texts))
            take(np.array([0, 0, 1]), np.array([0, 1, 1]), np.eye(3, 2))

    texts = ["one", "two", "three"]
    made = [patent_vectors(embed, texts, corpus, years, keep=tmp_path / "t") for _ in range(2)]
    reader: Any = Reader()
    sums = [token_sums(reader, texts, corpus, years, 9, keep=tmp_path / "s.npz") for _ in range(2)]
    assert calls == [2, -2]
    np.testing.assert_array_equal(made[0], [[0, 1], [2, 3], [0, 0]])
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(sums[0].total, sums[1].total)
    np.testing.assert_array_equal(sums[1].count, [[1, 1], [0, 1]])
    # A file that was not finished is made again.
    (tmp_path / "t" / "0.npz").rename(tmp_path / "t" / "0.partial")
    patent_vectors(embed, texts, corpus, years, keep=tmp_path / "t")
    assert calls == [2, -2, 2]
