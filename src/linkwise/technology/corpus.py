"""Patents as numbers: which carry which codes, when; and what was combined in which years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

Longs = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Years:
    """A window of whole years, both ends in it."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Years in it."""
        return self.last - self.first + 1

    def before(self, years: int) -> Years:
        """The window that lies so many years earlier."""
        return Years(self.first - years, self.last - years)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Corpus:
    """Patents and their codes: link k says that the patent in row `patent[k]` carries code `code[k]`.

    `year` (n_patents,); `names` (n_codes,) are the codes, sorted; links are sorted by patent.
    """

    year: Longs
    patent: Longs
    code: Longs
    names: tuple[str, ...]

    def within(self, window: Years) -> Bools:
        """Which patents are of a window (n_patents,)."""
        return np.asarray((self.year >= window.first) & (self.year <= window.last))

    def until(self, year: int) -> Bools:
        """Which patents are of a year or before (n_patents,)."""
        return np.asarray(self.year <= year)

    def degrees(self, patents: Bools) -> Longs:
        """Patents of each code, among some (n_codes,)."""
        return np.bincount(self.code[patents[self.patent]], minlength=len(self.names)).astype(
            np.int64
        )

    def code_sets(self, patents: Bools) -> list[list[str]]:
        """The codes of each of some patents that has any."""
        kept = patents[self.patent]
        patent, code = self.patent[kept], self.code[kept]
        bounds = np.flatnonzero(np.diff(patent)) + 1
        if not len(code):
            return []
        return [[self.names[c] for c in part] for part in np.split(code, bounds)]

    def together(self, patents: Bools) -> Any:
        """How many of some patents carry both of two codes: sparse (n_codes, n_codes), no diagonal."""
        from scipy.sparse import csr_array

        kept = patents[self.patent]
        shape = (len(self.year), len(self.names))
        ones = np.ones(int(kept.sum()), dtype=np.int64)
        table = csr_array((ones, (self.patent[kept], self.code[kept])), shape=shape)
        both = (table.T @ table).tocsr()
        both.setdiag(0)
        both.eliminate_zeros()
        both.sort_indices()
        return both


def corpus_of(year: Sequence[int] | pl.Series, codes: pl.Series) -> Corpus:
    """Number the codes of patents; `codes` is a list column, each code once in a list."""
    table = pl.DataFrame({"patent": np.arange(len(codes), dtype=np.int64), "code": codes})
    links = table.explode("code").drop_nulls("code")
    names = links["code"].unique().sort()
    number = pl.DataFrame({"code": names, "number": np.arange(len(names), dtype=np.int64)})
    links = links.join(number, on="code", maintain_order="left")
    return Corpus(
        np.array(year, dtype=np.int64),
        links["patent"].to_numpy(),
        links["number"].to_numpy(),
        tuple(names.to_list()),
    )
