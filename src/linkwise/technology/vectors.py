"""Vectors of codes from the texts of their patents, year by year, so that any window of years is a sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linkwise.technology.corpus import Bools, Corpus, Longs, Years

if TYPE_CHECKING:
    from linkwise.technology.tokens import TokenReader

Singles = np.ndarray[Any, np.dtype[np.float32]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


def unit(vectors: Floats) -> Floats:
    """Vectors of length one; a vector of zeros stays so."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, np.finfo(np.float64).tiny))


@dataclass
class YearlySums:
    """What is summed for each year and code: `total` (n_years, n_codes, size), `count` (n_years, n_codes)."""

    first_year: int
    total: Singles
    count: Longs

    @classmethod
    def empty(cls, years: Years, n_codes: int, size: int) -> YearlySums:
        """Nothing summed yet."""
        return cls(
            years.first,
            np.zeros((years.length, n_codes, size), dtype=np.float32),
            np.zeros((years.length, n_codes), dtype=np.int64),
        )

    def add(self, year: Longs, code: Longs, vectors: Floats | Singles) -> None:
        """Count vectors (n, size) in for their years and codes."""
        key = (year - self.first_year) * self.count.shape[1] + code
        np.add.at(self.total.reshape(-1, self.total.shape[2]), key, vectors.astype(np.float32))
        np.add.at(self.count.reshape(-1), key, 1)

    def mean(self, window: Years) -> tuple[Floats, Bools]:
        """Vectors of length one of the codes in a window (n_codes, size), and which have any (n_codes,).

        About their mean: what all patents share is what two codes are never told apart by.
        """
        first = max(0, window.first - self.first_year)
        part = slice(first, max(first, window.last - self.first_year + 1))
        there = self.count[part].sum(axis=0) > 0
        found = self.total[part].sum(axis=0, dtype=np.float64)
        found[there] /= self.count[part].sum(axis=0)[there, None]
        if there.any():
            found[there] -= found[there].mean(axis=0)
        return unit(found), there


CHUNK = 4096  # texts embedded at once


def patent_vectors(
    embed: Callable[[list[str]], Singles],
    texts: list[str],
    corpus: Corpus,
    years: Years,
    advance: Callable[[int], None] = lambda done: None,
    keep: Path | None = None,
) -> Singles:
    """Vectors of the patents of some years (n_patents, size); zeros for those of others.

    In the folder `keep` each chunk is left when it is done, and taken from there by a resumed run.
    """
    rows = np.flatnonzero(corpus.within(years))
    vectors: Singles | None = None
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        make = partial(_embedded, embed, texts, some)
        found = _kept(keep and keep / f"{start}.npz", make)["vectors"]
        if vectors is None:
            vectors = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
        vectors[some] = found
        advance(start + len(some))
    assert vectors is not None, "a window without patents was refused before"
    return vectors


def _embedded(
    embed: Callable[[list[str]], Singles], texts: list[str], rows: Longs
) -> dict[str, Any]:
    return {"vectors": embed([texts[row] for row in rows])}


def _kept(path: Path | None, make: Callable[[], dict[str, Any]]) -> Mapping[str, Any]:
    """Arrays by name, from a file where an interrupted run left them, else made and left there."""
    if path is None:
        return make()
    if path.is_file():
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    with unfinished.open("wb") as stream:
        np.savez(stream, **made)
    unfinished.replace(path)  # a file that is there is whole
    return made


def sums_of(vectors: Singles, corpus: Corpus, years: Years) -> YearlySums:
    """The vectors (n_patents, size) of the patents that carry a code, summed, of the years asked for."""
    sums = YearlySums.empty(years, len(corpus.names), vectors.shape[1])
    kept = corpus.within(years)[corpus.patent]
    for start in range(0, int(kept.sum()), 1 << 16):
        links = np.flatnonzero(kept)[start : start + (1 << 16)]
        patent = corpus.patent[links]
        sums.add(corpus.year[patent], corpus.code[links], vectors[patent])
    return sums


def token_sums(
    reader: TokenReader,
    texts: list[str],
    corpus: Corpus,
    years: Years,
    max_tokens: int,
    advance: Callable[[int], None] = lambda done: None,
    keep: Path | None = None,
) -> YearlySums:
    """The last states of technology tokens in their patents, summed, of the years asked for.

    In the file `keep` they are left when all is done, and taken from there by a resumed run.
    """
    rows = np.flatnonzero(corpus.within(years))
    own = {name: place for place, name in enumerate(reader.codes)}
    to_own = np.array([own.get(name, -1) for name in corpus.names], dtype=np.int64)
    back = np.full(len(reader.codes), -1, dtype=np.int64)
    back[to_own[to_own >= 0]] = np.flatnonzero(to_own >= 0)
    bounds = np.searchsorted(corpus.patent, np.arange(len(corpus.year) + 1))
    codes = [to_own[corpus.code[bounds[row] : bounds[row + 1]]] for row in rows]
    codes = [some[some >= 0] for some in codes]
    size = int(reader.model.network.config.hidden_size)
    sums = YearlySums.empty(years, len(corpus.names), size)

    def take(patent: Longs, code: Longs, states: Floats) -> None:
        sums.add(corpus.year[rows[patent]], back[code], states)

    def make() -> dict[str, Any]:
        reader.each([texts[row] for row in rows], codes, max_tokens, take, advance=advance)
        return {"total": sums.total, "count": sums.count}

    found = _kept(keep, make)
    return YearlySums(years.first, found["total"], found["count"])
