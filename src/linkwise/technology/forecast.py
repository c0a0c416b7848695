"""Pairs of codes never combined before: which there are, which came true, and what foretells them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from linkwise.technology.anchors import (
    RULES,
    Singles,
    cosines,
    ppmi_vectors,
    walk_vectors,
    word2vec_vectors,
)
from linkwise.technology.config import LOOSE, ForecastConfig
from linkwise.technology.corpus import Bools, Corpus, Longs, Years
from linkwise.technology.null_model import Totals, low_when_dealt, totals, validate
from linkwise.technology.vectors import Floats, YearlySums

FEW = 50  # pairs above the null, below which the label is the unadjusted p-value
DEALT = 20_000  # patents up to which their codes are dealt anew as a check: 50 seconds of one core


@dataclass(frozen=True)
class Pairs:
    """Pairs of codes (n,), by their numbers, the first the lesser."""

    first: Longs
    second: Longs

    def __len__(self) -> int:
        return len(self.first)

    def some(self, rows: Longs | Bools | slice) -> Pairs:
        """Those of some rows."""
        return Pairs(self.first[rows], self.second[rows])


def never_combined(corpus: Corpus, codes: Bools, until: int) -> Pairs:
    """All pairs of some codes that no patent up to a year carries together."""
    own = np.flatnonzero(codes)
    together = corpus.together(corpus.until(until))
    partners = [np.zeros(0, dtype=np.int64)]
    count = np.zeros(len(own), dtype=np.int64)
    for place, code in enumerate(
        own
    ):  # a code at a time: all pairs at once are several times as large
        seen = together.indices[together.indptr[code] : together.indptr[code + 1]]
        found = np.setdiff1d(own[place + 1 :], seen, assume_unique=True)
        partners.append(found)
        count[place] = len(found)
    return Pairs(np.repeat(own, count).astype(np.int64), np.concatenate(partners).astype(np.int64))


@dataclass(frozen=True)
class Labels:
    """What became of pairs in a window: `validated` (n,) after Benjamini-Hochberg, `p` (n,), and on how many
    patents they are together, `observed` (n,)."""

    validated: Bools
    p: Floats
    observed: Longs
    there: Bools
    """Pairs whose codes both are on patents of the window (n,): no others can come true."""
    totals: Totals
    by_chance: float | None = None
    """How many of the pairs have a p-value below .05 where the codes are dealt anew."""
    dealt: Longs | None = None
    """How many pairs have an unadjusted p below .05 by the model, by dealing codes anew, and by both."""

    @property
    def strict(self) -> bool:
        """Whether enough pairs pass Benjamini-Hochberg to be measured by."""
        return int(self.validated.sum()) >= FEW

    @property
    def positive(self) -> Bools:
        """The label: validated pairs, or, where these are few, those with an unadjusted p below .05."""
        return self.validated if self.strict else np.asarray(self.p < LOOSE)

    @property
    def combined(self) -> Bools:
        """The second label: pairs that are on a patent together at all."""
        return np.asarray(self.observed > 0)

    @property
    def name(self) -> str:
        """The label in words."""
        return "above the null model" if self.strict else "unadjusted p < .05"

    @property
    def above_chance(self) -> bool:
        """Whether the label says of pairs that they stand above chance: with unadjusted p-values not where
        chance alone would make as many."""
        more = self.by_chance is not None and int(self.positive.sum()) > self.by_chance
        return self.strict or more

    @property
    def kind(self) -> str:
        """What positive pairs are: pairs above chance, or pairs with p < .05."""
        return "above chance" if self.above_chance else "with p < .05"

    def do(self, n: float) -> str:
        """The verb: one pair is above chance, two are; or has and have a p below .05."""
        if self.above_chance:
            return "is above chance" if n == 1 else "are above chance"
        return "has p < .05" if n == 1 else "have p < .05"


def came_true(
    corpus: Corpus,
    pairs: Pairs,
    window: Years,
    config: ForecastConfig,
    *,
    check: bool = False,
    seed: int = 0,
) -> Labels:
    """How pairs stand to the null model in a window; a pair that is never together there has p = 1.

    With `check` the patents' codes are also dealt anew, every number of links kept exactly: how many of the
    pairs have a low p-value then, and, unless patents are so many that this would take minutes, which pairs
    stand out by that.
    """
    sets = corpus.code_sets(corpus.within(window))
    table = validate(sets, config.alpha, config.method)
    names = np.array(corpus.names)
    n = len(names)
    first = np.searchsorted(names, table["a"].to_numpy())
    second = np.searchsorted(names, table["b"].to_numpy())
    key = np.minimum(first, second) * n + np.maximum(first, second)
    order = np.argsort(key)
    key = key[order]
    wanted = pairs.first * n + pairs.second
    place = np.minimum(np.searchsorted(key, wanted), max(0, len(key) - 1))
    found = key[place] == wanted if len(key) else np.zeros(len(pairs), dtype=np.bool_)
    row = order[place] if len(key) else place

    def column(name: str, missing: float) -> Any:
        if not len(key):
            return np.full(len(pairs), missing)
        return np.where(found, table[name].to_numpy()[row], missing)

    by_chance, dealt = None, None
    if check:
        few = len(sets) <= DEALT
        by_chance = low_when_dealt(
            sets, corpus.names, pairs.first, pairs.second, LOOSE, trades=20 if few else 5, seed=seed
        )
    if check and len(sets) <= DEALT:
        by_dealing = validate(sets, method="curveball", seed=seed).select("a", "b", other="p_value")
        both = table.join(by_dealing, on=["a", "b"])
        ours, theirs = (both[name].to_numpy() < LOOSE for name in ("p_value", "other"))
        dealt = np.array([ours.sum(), theirs.sum(), (ours & theirs).sum()])
    in_window = corpus.degrees(corpus.within(window)) > 0
    return Labels(
        column("validated", 0).astype(np.bool_),
        column("p_value", 1.0).astype(np.float64),
        column("observed", 0).astype(np.int64),
        in_window[pairs.first] & in_window[pairs.second],
        totals(sets),
        by_chance,
        dealt,
    )


@dataclass(frozen=True)
class Sources:
    """What scores may be made of: patents' codes, and per language model the sums of vectors by year.

    `rows` are vectors of codes that have no year: the rows of technology tokens.
    """

    corpus: Corpus
    yearly: Mapping[str, YearlySums]
    rows: Mapping[str, Floats]
    seed: int

    def without(self, names: Collection[str]) -> Sources:
        """The same, less some of the scores that language models give."""
        return replace(
            self,
            yearly={name: of for name, of in self.yearly.items() if name not in names},
            rows={name: of for name, of in self.rows.items() if name not in names},
        )

    def scores(
        self, pairs: Pairs, embed: Years, done: Callable[[int], None] = lambda n: None
    ) -> dict[str, Singles]:
        """Every score of pairs (n,), of what is known up to the end of a window."""
        first, second = pairs.first, pairs.second
        found: dict[str, Singles] = {}
        for name, sums in self.yearly.items():
            found[name] = cosines(sums.mean(embed)[0], first, second)
            done(len(found))
        for name, vectors in self.rows.items():
            found[name] = cosines(vectors, first, second)
        patents = self.corpus.within(embed)
        together = self.corpus.together(patents)
        sets = self.corpus.code_sets(patents)
        names = self.corpus.names
        longest = max((len(codes) for codes in sets), default=1)
        found["PPMI vectors"] = cosines(ppmi_vectors(together), first, second)
        found["word2vec"] = cosines(
            word2vec_vectors(sets, names, self.seed, window=longest), first, second
        )
        found["random walks"] = cosines(walk_vectors(together, names, self.seed), first, second)
        for name, rule in RULES.items():
            found[name] = rule(together, first, second)
        done(len(found))
        return found

    def signals(self, pairs: Pairs, embed: Years, scores: Mapping[str, Singles]) -> pl.DataFrame:
        """What the learned scorer weighs: all scores, the trends of the vectors' cosines, both degrees."""
        columns: dict[str, Any] = dict(scores)
        earlier = embed.before(embed.length)
        for name, sums in self.yearly.items():
            vectors, there = sums.mean(earlier)
            was = cosines(vectors, pairs.first, pairs.second).astype(np.float64)
            was[~(there[pairs.first] & there[pairs.second])] = np.nan
            columns[f"trend of {name}"] = scores[name] - was
        degree = self.corpus.degrees(self.corpus.within(embed))
        a, b = degree[pairs.first], degree[pairs.second]
        columns["lesser degree"], columns["greater degree"] = np.minimum(a, b), np.maximum(a, b)
        return pl.DataFrame({k: np.asarray(v, dtype=np.float64) for k, v in columns.items()})
