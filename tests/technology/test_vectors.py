"""Vectors of codes, by year: any window is the mean over its patents, made the slow way."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from linkwise.lm.encode import TextEncoder
from linkwise.technology.corpus import Years, corpus_of
from linkwise.technology.vectors import YearlySums, patent_vectors, sums_of, unit

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
