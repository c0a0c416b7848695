"""Which codes stand together on patents more often than chance puts them there.

Chance is the bipartite configuration model (BiCM; Saracco et al. 2015, 2017): of all ways to give codes to
patents in which every patent keeps, on average, its number of codes and every code its number of patents,
the one of greatest entropy. A patent and a code are then linked with p = x y / (1 + x y), independently.
Patents of one size have one x, codes of one degree one y, so that the model has as many unknowns as there
are different numbers, whatever the number of patents.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from linkwise.errors import InputError, UsageError
from linkwise.metrics.multiple import benjamini_hochberg

Floats = np.ndarray[Any, np.dtype[np.float64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Method = Literal["poisson", "poisson-binomial", "curveball"]
ROUNDS = 2000  # of the fixed point, before Newton's method takes over
EXACT = 1e-9  # largest relative error of a degree
SAMPLES = 200  # random sets of patents that curveball draws
TRADES = 5  # per patent, between two samples


@dataclass(frozen=True)
class Membership:
    """Which patents carry which codes: `patent` and `code` (n_links,) are numbers, each pair once.

    Patents without a code are left out; `names` (n_codes,) are the codes.
    """

    patent: Longs
    code: Longs
    names: tuple[str, ...]

    @property
    def sizes(self) -> Longs:
        """Codes of each patent (n_patents,)."""
        return np.bincount(self.patent).astype(np.int64)

    @property
    def degrees(self) -> Longs:
        """Patents of each code (n_codes,)."""
        return np.bincount(self.code, minlength=len(self.names)).astype(np.int64)


@dataclass(frozen=True)
class Chance:
    """The configuration model by classes of patents and codes that have the same number of links.

    `probability` (k, d) links a patent of a class to a code of a class; `n_patents` (k,) are the patents of
    each class; `patent_class` (n_patents,) and `code_class` (n_codes,) tell which class is whose.
    """

    probability: Floats
    n_patents: Longs
    patent_class: Longs
    code_class: Longs

    def expected(self) -> Floats:
        """Patents that carry both of two codes of two classes, in the mean (d, d)."""
        return np.asarray(self.probability.T @ (self.n_patents[:, None] * self.probability))


def membership(code_sets: Sequence[Collection[str]]) -> Membership:
    """Number the codes of patents; a code that a patent names twice counts once.

    Raises `InputError` where no patent has a code.
    """
    names = sorted({code for codes in code_sets for code in codes})
    if not names:
        raise InputError("none of the patents has a code; there is nothing to combine.")
    number = {name: place for place, name in enumerate(names)}
    some = [sorted({number[code] for code in codes}) for codes in code_sets if len(codes)]
    lengths = np.array([len(codes) for codes in some])
    code = np.array([place for codes in some for place in codes], dtype=np.int64)
    return Membership(np.repeat(np.arange(len(some)), lengths), code, tuple(names))


def configuration_model(sizes: Longs, degrees: Longs) -> Chance:
    """Solve the bipartite configuration model for the sizes of patents and the degrees of codes.

    Numbers of links are reproduced to a relative error of 1e-9. Raises `InputError` where both do not add
    up to the same, or no solution is found.
    """
    if sizes.sum() != degrees.sum():
        raise InputError(
            f"patents have {sizes.sum():,} codes and codes {degrees.sum():,} patents; both count the same "
            "links."
        )
    size, patent_class, n_patents = np.unique(sizes, return_inverse=True, return_counts=True)
    degree, code_class, n_codes = np.unique(degrees, return_inverse=True, return_counts=True)
    probability = np.zeros((len(size), len(degree)))
    # Whoever is linked to all of what is left is so for certain; whoever to nothing that is left, never.
    left, open_degree = size.astype(np.float64), degree.astype(np.float64)
    rows, columns = np.ones(len(size), dtype=np.bool_), np.ones(len(degree), dtype=np.bool_)
    while rows.any() and columns.any():
        full = rows & (left >= n_codes[columns].sum())
        if full.any():
            probability[np.ix_(full, columns)] = 1.0
            open_degree[columns] -= n_patents[full].sum()
            rows &= ~full
            continue
        full = columns & (open_degree >= n_patents[rows].sum())
        if full.any():
            probability[np.ix_(rows, full)] = 1.0
            left[rows] -= n_codes[full].sum()
            columns &= ~full
            continue
        nothing_left, nothing_open = rows & (left <= 0), columns & (open_degree <= 0)
        if not (nothing_left.any() or nothing_open.any()):
            break
        rows &= ~nothing_left
        columns &= ~nothing_open
    if rows.any() and columns.any():
        inner = _solve(left[rows], n_patents[rows], open_degree[columns], n_codes[columns])
        probability[np.ix_(rows, columns)] = inner
    return Chance(probability, n_patents, patent_class, code_class)


def _solve(size: Floats, n_patents: Longs, degree: Floats, n_codes: Longs) -> Floats:
    """The probabilities of classes (k, d) whose sums are their sizes and degrees."""
    links = float(n_patents @ size)
    x, y = size / np.sqrt(links), degree / np.sqrt(links)
    for _ in range(ROUNDS):
        x = size / ((n_codes * y) / (1 + np.outer(x, y))).sum(axis=1)
        y = degree / ((n_patents * x)[:, None] / (1 + np.outer(x, y))).sum(axis=0)
        if _error(x, y, size, n_patents, degree, n_codes) < EXACT:
            return _links(x, y)
    return _newton(np.log(x), np.log(y), size, n_patents, degree, n_codes)


def _links(x: Floats, y: Floats) -> Floats:
    product = np.outer(x, y)
    return np.asarray(product / (1 + product))


def _error(
    x: Floats, y: Floats, size: Floats, n_patents: Longs, degree: Floats, n_codes: Longs
) -> float:
    p = _links(x, y)
    return float(max(abs(p @ n_codes / size - 1).max(), abs(n_patents @ p / degree - 1).max()))


def _newton(
    a: Floats, b: Floats, size: Floats, n_patents: Longs, degree: Floats, n_codes: Longs
) -> Floats:
    """Newton's method on the concave log-likelihood of log x and log y, with steps halved until it rises."""
    k = len(a)

    def likelihood(z: Floats) -> float:
        odds = z[:k, None] + z[None, k:]
        pairs = np.outer(n_patents, n_codes) * np.logaddexp(0, odds)
        return float(n_patents * size @ z[:k] + n_codes * degree @ z[k:] - pairs.sum())

    z = np.concatenate([a, b])
    for _ in range(200):
        x, y = np.exp(z[:k]), np.exp(z[k:])
        if _error(x, y, size, n_patents, degree, n_codes) < EXACT:
            return _links(x, y)
        p = _links(x, y)
        weight = np.outer(n_patents, n_codes) * p * (1 - p)
        gradient = np.concatenate(
            [n_patents * (size - p @ n_codes), n_codes * (degree - n_patents @ p)]
        )
        curve = np.block(
            [[np.diag(weight.sum(axis=1)), weight], [weight.T, np.diag(weight.sum(axis=0))]]
        )
        # All x times a number and all y through it are the same model: least squares picks one.
        step = np.linalg.lstsq(curve, gradient, rcond=None)[0]
        now, length = likelihood(z), 1.0
        while likelihood(z + length * step) < now and length > 1e-6:
            length /= 2
        z = z + length * step
    raise InputError(
        "the configuration model of these codes was not found; codes that stand on nearly all patents, or "
        "patents with nearly all codes, may be left out."
    )


def co_occurrence(links: Membership) -> tuple[Longs, Longs, Longs]:
    """Pairs of codes that stand together on some patent: first and second (n,), and on how many (n,)."""
    from scipy.sparse import csr_array, triu

    shape = (int(links.patent[-1]) + 1, len(links.names))
    ones = np.ones(len(links.code), dtype=np.int64)
    table = csr_array((ones, (links.patent, links.code)), shape=shape)
    both = triu(table.T @ table, k=1).tocoo()
    order = np.lexsort((both.col, both.row))
    return tuple(part[order].astype(np.int64) for part in (both.row, both.col, both.data))


def validate(
    code_sets: Sequence[Collection[str]],
    alpha: float = 0.05,
    method: Method = "poisson",
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> pl.DataFrame:
    """Pairs of codes that stand together on more patents than chance would put them on.

    One set of codes for each patent. Columns `a`, `b`, `observed` (patents), `expected`, `p_value` (of as
    many or more by chance) and `validated` (Benjamini and Hochberg 1995 at `alpha`, over all pairs of codes,
    also those never together, whose p-value is 1 and which have no row); the least p-value first.

    Methods: `poisson` takes a sum of many rare links as Poisson (the BiCM's usual way); `poisson-binomial` is
    its exact law, by the Fourier transform, right to 1e-12; `curveball` draws `samples` random sets of
    patents in which every number of links is kept exactly (Strona et al. 2014), whose least p-value is
    1 / (samples + 1): a check of the others, not a test of many pairs.

    Raises `UsageError` for an alpha that is no share or a method that does not exist, `InputError` where no
    patent has a code.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}; expected a number between 0 and 1.")
    links = membership(code_sets)
    first, second, observed = co_occurrence(links)
    if method == "curveball":
        expected, p = _by_drawing(links, first, second, observed, samples, seed)
    elif method in ("poisson", "poisson-binomial"):
        chance = configuration_model(links.sizes, links.degrees)
        a, b = chance.code_class[first], chance.code_class[second]
        expected = chance.expected()[a, b]
        tail = _poisson_tail if method == "poisson" else _exact_tail
        p = tail(chance, a, b, observed, expected)
    else:
        raise UsageError(
            f'there is no method "{method}"; expected poisson, poisson-binomial or curveball.'
        )
    n = len(links.names)
    names = np.array(links.names)
    return pl.DataFrame(
        {
            "a": names[first],
            "b": names[second],
            "observed": observed,
            "expected": expected,
            "p_value": p,
            "validated": benjamini_hochberg(p, n * (n - 1) // 2, alpha),
        },
        schema_overrides={"a": pl.String, "b": pl.String},
    ).sort("p_value", "a", "b")


@dataclass(frozen=True)
class Totals:
    """Pairs of codes on one patent, over all patents: as observed, and as the configuration model expects.

    The model lets a patent's number of codes vary about its own; patents of one code, which can combine
    nothing, do so in it. Where `expected` is far above `observed`, the model's p-values are too large.
    """

    observed: int
    expected: float


def totals(code_sets: Sequence[Collection[str]]) -> Totals:
    """Observed against expected pairs of codes on one patent; raises `InputError` without any code."""
    links = membership(code_sets)
    chance = configuration_model(links.sizes, links.degrees)
    n_codes = np.bincount(chance.code_class)
    expected = chance.expected()
    # All pairs of two codes; of one class, each pair once and no code with itself.
    pairs = np.outer(n_codes, n_codes) - np.diag(n_codes)
    sizes = links.sizes
    return Totals(int((sizes * (sizes - 1) // 2).sum()), float((pairs * expected).sum() / 2))


def low_when_dealt(
    code_sets: Sequence[Collection[str]],
    names: Sequence[str],
    first: Longs,
    second: Longs,
    level: float,
    *,
    samples: int = 10,
    trades: int = TRADES,
    seed: int = 0,
) -> float:
    """How many of some pairs have a low p-value where the codes are dealt anew: the mean of `samples` deals.

    Pair i is of the codes `names[first[i]]` and `names[second[i]]`; a code that no set has makes no pair.
    Dealing keeps the number of codes of every set and of sets of every code exactly; p-values are those of
    the configuration model by Poisson's law, low those below `level`. `trades` of a set lie between two
    deals, five times as many before the first: a few sets of very many codes, which make most of the pairs,
    need 20.
    """
    from scipy.stats import poisson

    links = membership(code_sets)
    chance = configuration_model(links.sizes, links.degrees)
    expected = chance.expected()  # (d, d)
    number = {name: at for at, name in enumerate(links.names)}
    own = np.array([number.get(name, -1) for name in names])
    a, b = own[first], own[second]
    there = (a >= 0) & (b >= 0)
    n = len(links.names)
    wanted = np.sort(np.minimum(a[there], b[there]) * n + np.maximum(a[there], b[there]))
    if not len(wanted):
        return 0.0
    rng = np.random.default_rng(seed)
    sets, _ = curveball(links, 5 * trades * len(links.sizes), rng)
    total = 0
    for _ in range(samples):
        _trade(sets, trades * len(links.sizes), rng)
        code = np.array([c for codes in sets for c in sorted(codes)], dtype=np.int64)
        one, other, count = co_occurrence(Membership(links.patent, code, links.names))
        mean = expected[chance.code_class[one], chance.code_class[other]]
        key = (one * n + other)[poisson.sf(count - 1, mean) < level]
        place = np.minimum(np.searchsorted(wanted, key), len(wanted) - 1)
        total += int((wanted[place] == key).sum())
    return total / samples


def _poisson_tail(
    _chance: Chance, _a: Longs, _b: Longs, observed: Longs, expected: Floats
) -> Floats:
    from scipy.stats import poisson

    return np.asarray(poisson.sf(observed - 1, expected))


def _exact_tail(chance: Chance, a: Longs, b: Longs, observed: Longs, expected: Floats) -> Floats:
    """P(X >= observed) of a sum of independent links, one law for each pair of classes of codes."""
    found = np.ones(len(observed))
    d = chance.probability.shape[1]
    key = np.minimum(a, b) * d + np.maximum(a, b)
    order = np.argsort(key, kind="stable")
    bounds = np.flatnonzero(np.diff(key[order])) + 1
    for rows in np.split(order, bounds):
        if not len(rows):
            continue
        both = chance.probability[:, a[rows[0]]] * chance.probability[:, b[rows[0]]]
        law = _sum_of_links(both, chance.n_patents, int(observed[rows].max()))
        # From the far end, so that small numbers are summed before large ones.
        tail = np.concatenate([np.cumsum(law[::-1])[::-1], [0.0]])
        found[rows] = np.clip(tail[np.minimum(observed[rows], len(law))], 0, 1)
    return found


def _sum_of_links(p: Floats, n: Longs, most: int) -> Floats:
    """The law of a sum of n[k] links of probability p[k] each, over all k (length,).

    By its characteristic function, at so many points that what lies beyond is less than 1e-12 (Bernstein).
    """
    mean, variance = float(n @ p), float(n @ (p * (1 - p)))
    reach = mean + np.sqrt(2 * 30 * variance) + 2 * 30 / 3
    length = min(int(n.sum()), max(most, int(np.ceil(reach)))) + 1
    turn = np.exp(-2j * np.pi * np.arange(length) / length)
    log = (n[:, None] * np.log(1 - p[:, None] + p[:, None] * turn[None, :])).sum(axis=0)
    return np.asarray(np.maximum(np.fft.ifft(np.exp(log)).real, 0))


def curveball(
    links: Membership, trades: int, rng: np.random.Generator
) -> tuple[list[set[int]], np.random.Generator]:
    """Sets of codes after random trades: two patents pool what only one of them has, and deal it anew."""
    bounds = np.flatnonzero(np.diff(links.patent)) + 1
    sets = [set(codes.tolist()) for codes in np.split(links.code, bounds)]
    _trade(sets, trades, rng)
    return sets, rng


def _trade(sets: list[set[int]], trades: int, rng: np.random.Generator) -> None:
    if len(sets) < 2:
        return
    one, other = rng.integers(len(sets), size=trades), rng.integers(len(sets) - 1, size=trades)
    other += other >= one
    for i, j in zip(one.tolist(), other.tolist(), strict=True):
        mine, yours = sets[i] - sets[j], sets[j] - sets[i]
        if not mine or not yours:
            continue
        pool = [*mine, *yours]
        rng.shuffle(pool)
        shared = sets[i] & sets[j]
        sets[i] = shared.union(pool[: len(mine)])
        sets[j] = shared.union(pool[len(mine) :])


def _by_drawing(
    links: Membership, first: Longs, second: Longs, observed: Longs, samples: int, seed: int
) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    n, n_patents = len(links.names), int(links.patent[-1]) + 1
    sets, _ = curveball(links, 2 * TRADES * n_patents, rng)  # to be far from what was observed
    key = first * n + second
    total, as_many = np.zeros(len(key)), np.zeros(len(key), dtype=np.int64)
    for _ in range(samples):
        _trade(sets, TRADES * n_patents, rng)
        code = np.array([c for codes in sets for c in sorted(codes)], dtype=np.int64)
        a, b, count = co_occurrence(Membership(links.patent, code, links.names))
        drawn = a * n + b
        place = np.searchsorted(drawn, key)
        there = place < len(drawn)
        there[there] = drawn[place[there]] == key[there]
        found = np.zeros(len(key), dtype=np.int64)
        found[there] = count[place[there]]
        total += found
        as_many += found >= observed
    return total / samples, (1 + as_many) / (1 + samples)
