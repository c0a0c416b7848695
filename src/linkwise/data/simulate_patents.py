"""Simulated patents: codes and words in one space of technologies, which moves over the years.

Codes belong to fields, and a field moves on an arc from where it begins to where it will be. A patent is
about a place near one of its codes: its words are those near that place today, and its further codes those
that were near it some years ago, for offices classify by what is established. So fields that approach
each other share words first and patents later, which is what a forecast is to see.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, Field, model_validator
from scipy.special import softmax

from linkwise.data.patent_words import CLAIMS, CLOSINGS, HEADS, MODIFIERS, OPENINGS, SENTENCES
from linkwise.errors import UsageError
from linkwise.folders import prepare_partial, whole_or_not

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]

DIMENSIONS = 8
FIELD_CODES = 10  # codes of a field, about
WITHIN = 0.5  # how far a code lies from the middle of its field
TERMS = 1500  # pairs of words that things are called by
PLACE = 0.35  # how far a patent lies from its first code
CODES_NEAR = 12.0  # how much nearer codes are preferred
WORDS_NEAR = 7.0  # the same of words
SPREAD = 0.8  # of the logarithm of how often codes are given
GOES_ON = 0.58  # chance that a patent has one more code: 2.3 in the mean
MOST_CODES = 8
LAG = 3  # years by which codes come after words
APPLICANTS = 60
FAMILIES = 0.03  # share of patents that are filed a second time
CHUNK = 4096  # patents drawn at once


class PatentsSimulation(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What to simulate."""

    patents: int = Field(10_000, ge=200, le=5_000_000)
    """Patents, families counted once."""
    codes: int = Field(300, ge=20, le=9_000)
    """Technology codes: IPC main groups."""
    first_year: int = Field(1996, ge=1800, le=2200)
    """Year of the first patents."""
    last_year: int = Field(2015, ge=1800, le=2200)
    """Year of the last patents."""
    seed: int = Field(0, ge=0)
    """Seed of all randomness: the same seed gives the same patents."""

    @model_validator(mode="after")
    def _years(self) -> PatentsSimulation:
        if self.last_year <= self.first_year:
            raise UsageError(
                f"--last-year is {self.last_year}, not after --first-year {self.first_year}."
            )
        return self


def simulate_patents(config: PatentsSimulation, out: Path) -> Path:
    """Write `patents.parquet`, `codes.tsv` (titles) and the truth into the folder `out`.

    `truth.parquet` has the place of every code in each year, as the codes of that year's patents were drawn
    by (`code, year, position`): the cosine of two of them is how near two technologies are.

    Raises `UsageError` where `out` exists.
    """
    out = Path(out).absolute()
    if out.exists():
        raise UsageError(f"{out}: it exists already; choose another --out, or remove it yourself.")
    partial = out.parent / f".{out.name}.partial"
    prepare_partial(partial, out, resume=False)
    with whole_or_not(partial, out):
        _write(config, partial)
    return out


def _write(config: PatentsSimulation, folder: Path) -> None:
    rng = np.random.default_rng([config.seed, 6])
    fields = -(-config.codes // FIELD_CODES)
    field = np.sort(np.arange(config.codes) % fields)
    begin, end = _unit(rng.normal(size=(2, fields, DIMENSIONS)))
    offset = WITHIN * rng.normal(size=(config.codes, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    years = np.arange(config.first_year, config.last_year + 1)

    def places(year: float) -> Floats:
        """Of all codes (codes, DIMENSIONS) in a year."""
        share = (year - config.first_year) / (config.last_year - config.first_year)
        return _unit(_between(begin, end, share)[field] + offset)

    words = _Words(rng)
    symbols = _symbols(field, rng)
    weight = SPREAD * rng.normal(size=config.codes)
    home = rng.integers(fields, size=APPLICANTS)
    year = np.sort(rng.choice(years, size=config.patents))
    tables = []
    for at in years:
        now, before = places(float(at)), places(float(at - LAG))
        numbers = np.flatnonzero(year == at)
        for start in range(0, len(numbers), CHUNK):
            some = numbers[start : start + CHUNK]
            tables.append(
                _patents(some, int(at), now, before, field, weight, home, words, symbols, rng)
            )
    patents = _families(pl.concat(tables), config.last_year, symbols, rng)
    patents.write_parquet(folder / "patents.parquet")
    titles = [words.title(place, rng) for place in places(config.first_year)]
    pl.DataFrame({"code": symbols, "title": titles}).write_csv(folder / "codes.tsv", separator="\t")
    pl.DataFrame(
        {
            "code": symbols * len(years),
            "year": np.repeat(years, config.codes).astype(np.int32),
            "position": np.concatenate([places(float(at - LAG)) for at in years]).tolist(),
        }
    ).write_parquet(folder / "truth.parquet")
    about = {
        "simulated": True,
        "config": config.model_dump(),
        "lag_years": LAG,
        "says": "truth.parquet: the cosine of two codes' positions in a year is how near they are.",
    }
    (folder / "truth.json").write_text(json.dumps(about, indent=1))


class _Words:
    """Terms, each of an adjective and a noun with places of their own, and the places of the terms."""

    def __init__(self, rng: np.random.Generator) -> None:
        modifiers = _unit(rng.normal(size=(len(MODIFIERS), DIMENSIONS)))
        heads = _unit(rng.normal(size=(len(HEADS), DIMENSIONS)))
        pair = rng.choice(len(MODIFIERS) * len(HEADS), size=TERMS, replace=False)
        first, second = pair // len(HEADS), pair % len(HEADS)
        self.place = _unit(modifiers[first] + heads[second])  # (TERMS, DIMENSIONS)
        self.names = [f"{MODIFIERS[a]} {HEADS[b]}" for a, b in zip(first, second, strict=True)]

    def near(self, places: Floats, n: int, rng: np.random.Generator) -> list[list[str]]:
        """`n` terms for each place (m, DIMENSIONS), drawn by nearness."""
        p = np.cumsum(softmax(WORDS_NEAR * places @ self.place.T, axis=1), axis=1)  # (m, TERMS)
        drawn = rng.random((len(places), n))
        return [
            [self.names[min(k, TERMS - 1)] for k in np.searchsorted(row, at)]
            for row, at in zip(p, drawn, strict=True)
        ]

    def title(self, place: Floats, rng: np.random.Generator) -> str:
        """The title of a code: three terms near it."""
        return "; ".join(dict.fromkeys(self.near(place[None], 3, rng)[0])).capitalize()


def _patents(
    numbers: Longs,
    year: int,
    now: Floats,
    before: Floats,
    field: Longs,
    weight: Floats,
    home: Longs,
    words: _Words,
    symbols: list[str],
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Patents of one year, with these numbers."""
    n = len(numbers)
    main = rng.choice(len(weight), size=n, p=softmax(weight))
    away = PLACE * rng.normal(size=(n, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    about, known = _unit(now[main] + away), _unit(before[main] + away)
    # The highest of these are draws without replacement, in proportion to their exponentials.
    drawn = weight + CODES_NEAR * known @ before.T + rng.gumbel(size=(n, len(weight)))
    drawn[np.arange(n), main] = np.inf
    more = np.minimum(rng.geometric(1 - GOES_ON, size=n), min(MOST_CODES, len(weight)))
    order = np.argsort(-drawn, axis=1)[:, :MOST_CODES]
    # Applicants work in their own field, four times in five.
    own = [np.flatnonzero(home == f) for f in range(int(field.max()) + 1)]
    applicant = rng.integers(len(home), size=n)
    for row in np.flatnonzero(rng.random(n) < 0.8):
        choice = own[field[main[row]]]
        if len(choice):
            applicant[row] = rng.choice(choice)
    terms = words.near(about, 24, rng)
    texts = [_text(t, int(a), rng) for t, a in zip(terms, applicant, strict=True)]
    return pl.DataFrame(
        {
            "id": [f"P{number + 1:07d}" for number in numbers],
            "family": [f"F{number + 1:07d}" for number in numbers],
            "title": [title for title, _, _ in texts],
            "abstract": [abstract for _, abstract, _ in texts],
            "claims": [claims for _, _, claims in texts],
            "year": np.full(n, year, dtype=np.int32),
            "applicant": [f"Applicant {a + 1}" for a in applicant],
            "codes": [[symbols[c] for c in row[:k]] for row, k in zip(order, more, strict=True)],
        }
    )


def _text(terms: list[str], applicant: int, rng: np.random.Generator) -> tuple[str, str, str]:
    """Title, abstract and claims in an applicant's way of writing."""
    opening = OPENINGS[applicant % len(OPENINGS)]
    closing = CLOSINGS[(applicant // 7) % len(CLOSINGS)]
    first = applicant % len(SENTENCES)
    said = [SENTENCES[(first + int(k)) % len(SENTENCES)] for k in rng.choice(4, 3, replace=False)]
    parts = [opening.format(*terms[:2])]
    parts += [s.format(*terms[2 + 3 * k : 5 + 3 * k]) for k, s in enumerate(said)]
    abstract = _with_articles(" ".join([*parts, closing]))
    claims = _with_articles(
        " ".join(
            (
                CLAIMS[0].format(*terms[11:14]),
                CLAIMS[1].format(*terms[14:16]),
                CLAIMS[2].format(*terms[16:18]),
                CLAIMS[3].format(terms[18]),
            )
        )
    )
    return f"{terms[19]} with {terms[20]}".capitalize(), abstract, claims


def _with_articles(text: str) -> str:
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def _families(
    patents: pl.DataFrame, last_year: int, symbols: list[str], rng: np.random.Generator
) -> pl.DataFrame:
    """Some patents are filed a second time in the year after, with a code more."""
    again = patents.filter(
        pl.Series(rng.random(len(patents)) < FAMILIES) & (pl.col("year") < last_year)
    )
    codes = [
        list(dict.fromkeys([*had, symbols[int(rng.integers(len(symbols)))]]))
        for had in again["codes"].to_list()
    ]
    again = again.with_columns(
        pl.col("id") + "B", pl.col("year") + 1, codes=pl.Series(codes, dtype=pl.List(pl.String))
    )
    return pl.concat([patents, again]).sort("year", "id")


def _symbols(field: Longs, rng: np.random.Generator) -> list[str]:
    """An IPC main group for each code: a field is a subclass."""
    sections = "ABCDEFGH"
    taken: list[str] = []
    for number in range(int(field.max()) + 1):
        letter = "BCDFGHJKLM"[int(rng.integers(10))]
        taken.append(f"{sections[number % 8]}{number // 8 + 1:02d}{letter}")
    place = np.arange(len(field)) - np.searchsorted(field, field)
    return [f"{taken[f]}{2 * p + 1}" for f, p in zip(field.tolist(), place.tolist(), strict=True)]


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _between(begin: Floats, end: Floats, share: float) -> Floats:
    """Places on the arcs from `begin` to `end` (n, DIMENSIONS); before 0 and after 1 they go on."""
    angle = np.arccos(np.clip((begin * end).sum(axis=1), -1, 1))[:, None]
    return np.asarray(
        (np.sin((1 - share) * angle) * begin + np.sin(share * angle) * end) / np.sin(angle)
    )
