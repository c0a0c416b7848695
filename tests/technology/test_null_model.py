"""What chance combines: against enumeration, a slow solution, the library bicm, and draws."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.optimize import root
from scipy.stats import false_discovery_control, poisson, spearmanr

from linkwise.errors import InputError, UsageError
from linkwise.metrics.multiple import benjamini_hochberg
from linkwise.technology import null_model
from linkwise.technology.null_model import (
    TRADES,
    Membership,
    _trade,
    configuration_model,
    curveball,
    low_when_dealt,
    membership,
    totals,
    validate,
)

SMALL = [{"A", "B"}, {"A", "B", "C"}, {"C"}, {"A", "D"}, {"B", "C"}, {"D"}]


def random_sets(n: int, codes: int, seed: int) -> list[set[str]]:
    """Patents of one to six codes, some codes common and some rare."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, codes + 1)
    found = []
    for _ in range(n):
        size = 1 + min(5, int(rng.geometric(0.5)) - 1)
        some = rng.choice(codes, size, replace=False, p=share / share.sum())
        found.append({f"c{code:03d}" for code in some})
    return found


def test_every_number_of_links_is_reproduced_and_the_odds_are_products() -> None:
    for seed in range(3):
        links = membership(random_sets(400, 60, seed))
        chance = configuration_model(links.sizes, links.degrees)
        p = chance.probability[chance.patent_class][:, chance.code_class]  # all patents and codes
        np.testing.assert_allclose(p.sum(axis=1), links.sizes, rtol=1e-6)
        np.testing.assert_allclose(p.sum(axis=0), links.degrees, rtol=1e-6)
        odds = np.log(p / (1 - p))
        centred = odds - odds.mean(axis=0) - odds.mean(axis=1)[:, None] + odds.mean()
        np.testing.assert_allclose(centred, 0, atol=1e-8)


def test_low_p_values_of_dealt_sets_are_those_counted_slowly() -> None:
    """Of the same deals, by dictionaries; a pair whose code is on no patent never counts."""
    sets = random_sets(300, 40, 1)
    links = membership(sets)
    names = ("a code before all", *links.names, "on no patent")
    first, second = np.triu_indices(len(names), 1)
    some = np.random.default_rng(0).random(len(first)) < 0.3
    found = low_when_dealt(sets, names, first[some], second[some], 0.05, samples=4, seed=7)
    chance = configuration_model(links.sizes, links.degrees)
    p = chance.probability[chance.patent_class][:, chance.code_class]
    expected = p.T @ p
    wanted = {(names[a], names[b]) for a, b in zip(first[some], second[some], strict=True)}
    rng = np.random.default_rng(7)
    dealt, _ = curveball(links, 5 * TRADES * len(sets), rng)
    counts = []
    for _ in range(4):
        _trade(dealt, TRADES * len(sets), rng)
        together: dict[tuple[int, int], int] = {}
        for codes in dealt:
            for pair in combinations(sorted(codes), 2):
                together[pair] = together.get(pair, 0) + 1
        low = {pair for pair, n in together.items() if poisson.sf(n - 1, expected[pair]) < 0.05}
        counts.append(sum((links.names[a], links.names[b]) in wanted for a, b in low))
    assert found == np.mean(counts) > 0
    assert low_when_dealt(sets, names, np.array([0]), np.array([3]), 0.05) == 0


def test_classes_are_the_solution_without_classes() -> None:
    links = membership(SMALL)
    sizes, degrees = links.sizes, links.degrees

    def errors(z: Any) -> Any:
        p = 1 / (1 + np.exp(-(z[: len(sizes), None] + z[None, len(sizes) :])))
        both = [p.sum(axis=1) - sizes, p.sum(axis=0) - degrees]
        return np.append(np.concatenate(both)[:-1], z[0])  # one equation follows from the others

    slow = root(errors, np.zeros(len(sizes) + len(degrees)), tol=1e-12).x
    p = 1 / (1 + np.exp(-(slow[: len(sizes), None] + slow[None, len(sizes) :])))
    chance = configuration_model(sizes, degrees)
    found = chance.probability[chance.patent_class][:, chance.code_class]
    np.testing.assert_allclose(found, p, atol=1e-7)


def test_newton_finds_what_the_fixed_point_does(monkeypatch: pytest.MonkeyPatch) -> None:
    links = membership(random_sets(300, 40, 1))
    slow = configuration_model(links.sizes, links.degrees).probability
    monkeypatch.setattr(null_model, "ROUNDS", 3)
    found = configuration_model(links.sizes, links.degrees).probability
    np.testing.assert_allclose(found, slow, atol=1e-8)


def test_a_code_of_all_patents_and_a_patent_of_all_codes_are_certain() -> None:
    sets = [codes | {"all"} for codes in SMALL] + [{"A", "B", "C", "D", "all"}]
    links = membership(sets)
    chance = configuration_model(links.sizes, links.degrees)
    p = chance.probability[chance.patent_class][:, chance.code_class]
    assert np.all(p[:, links.names.index("all")] == 1)
    assert np.all(p[-1] == 1)
    np.testing.assert_allclose(p.sum(axis=1), links.sizes, rtol=1e-6)
    np.testing.assert_allclose(p.sum(axis=0), links.degrees, rtol=1e-6)
    every = validate([{"A", "B"}, {"A", "B"}])  # nothing is left to chance
    assert every.row(0) == ("A", "B", 2, 2.0, pytest.approx(1 - 3 * np.exp(-2)), False)


@pytest.mark.parametrize("method", ["poisson", "poisson-binomial"])
def test_p_values_are_those_of_all_outcomes(method: Any) -> None:
    """Each patent carries both codes or not: 64 outcomes, enumerated; Poisson by its own definition."""
    links = membership(SMALL)
    chance = configuration_model(links.sizes, links.degrees)
    p = chance.probability[chance.patent_class][:, chance.code_class]
    found = validate(SMALL, method=method)
    assert found.height == 4  # A with B, C and D, B with C; no row for a pair that never was
    for a, b, observed, expected, p_value, _ in found.iter_rows():
        both = p[:, links.names.index(a)] * p[:, links.names.index(b)]
        assert observed == sum(a in codes and b in codes for codes in SMALL)
        assert expected == pytest.approx(both.sum())
        slow = sum(
            float(np.prod(np.where(outcome, both, 1 - both)))
            for outcome in product([0, 1], repeat=6)
            if sum(outcome) >= observed
        )
        if method == "poisson":
            slow = poisson.sf(observed - 1, both.sum())
        assert p_value == pytest.approx(slow, abs=1e-12)


def test_the_exact_law_meets_poisson_where_links_are_rare() -> None:
    sets = random_sets(3000, 200, 4)
    a, b = (validate(sets, method=m).sort("a", "b") for m in ("poisson", "poisson-binomial"))
    rare = a["expected"] < 0.05
    np.testing.assert_allclose(
        a.filter(rare)["p_value"], b.filter(rare)["p_value"], rtol=0.05, atol=1e-10
    )
    # Poisson spreads more than a sum of links: it never makes a tail above the mean thinner.
    beyond = a["observed"] > a["expected"] + 1
    assert (a.filter(beyond)["p_value"] >= b.filter(beyond)["p_value"] - 1e-12).all()


def test_discoveries_are_benjamini_and_hochberg_s_over_all_pairs() -> None:
    sets = random_sets(400, 30, 0) + [{"c020", "c021"}] * 6 + [{"c025", "c028"}] * 3
    found = validate(sets, alpha=0.1)
    names = membership(sets).names
    every = dict.fromkeys(combinations(names, 2), 1.0)
    every |= {(a, b): p for a, b, _, _, p, _ in found.iter_rows()}
    adjusted = dict(zip(every, false_discovery_control(list(every.values())), strict=True))
    slow = {pair for pair, p in adjusted.items() if p <= 0.1}
    got = {(a, b) for a, b, _, _, _, validated in found.iter_rows() if validated}
    assert got == slow
    assert ("c020", "c021") in got
    assert not benjamini_hochberg(np.array([0.5, 0.9]), 10, 0.05).any()


def test_trades_keep_every_number_and_forget_the_rest() -> None:
    sets = random_sets(60, 12, 2)
    links = membership(sets)
    dealt, _ = curveball(links, 2000, np.random.default_rng(0))
    assert [len(codes) for codes in dealt] == links.sizes.tolist()
    count = np.bincount([code for codes in dealt for code in codes], minlength=len(links.names))
    np.testing.assert_array_equal(count, links.degrees)
    before = [set(codes.tolist()) for codes in np.split(links.code, np.cumsum(links.sizes)[:-1])]
    assert sum(a == b for a, b in zip(dealt, before, strict=True)) < 40


def test_draws_are_uniform_over_all_tables_of_the_same_numbers() -> None:
    """Two patents of two codes and one of one, four codes: each table of these numbers as often as any."""
    sets = [{"A", "B"}, {"C", "D"}, {"A"}]
    links = membership(sets)
    rng = np.random.default_rng(0)
    drawn, state = {}, links
    for _ in range(4000):
        dealt, _ = curveball(state, 6, rng)
        key = tuple(tuple(sorted(codes)) for codes in dealt)
        drawn[key] = drawn.get(key, 0) + 1
        code = np.array([c for codes in dealt for c in sorted(codes)])
        state = Membership(links.patent, code, links.names)
    pairs = list(combinations(range(4), 2))
    tables = [
        (a, b, (c,))
        for a, b, c in product(pairs, pairs, range(4))
        if sorted([*a, *b, c]) == [0, 0, 1, 2, 3]
    ]
    assert set(drawn) == set(tables)
    expected = 4000 / len(tables)
    assert sum((n - expected) ** 2 / expected for n in drawn.values()) < 35  # chi-squared, 10 or so


def test_draws_expect_what_counting_says_and_the_model_more() -> None:
    """With four of 20 codes on each patent two meet with 4 * 3 / (20 * 19), in the model (4 / 20)^2."""
    rng = np.random.default_rng(3)
    sets = [{f"c{c}" for c in rng.choice(20, 4, replace=False)} for _ in range(300)]
    exact = validate(sets, method="poisson-binomial").sort("a", "b")
    drawn = validate(sets, method="curveball", samples=300).sort("a", "b")
    ratio = (4 * 3 / (20 * 19)) / (4 / 20) ** 2
    np.testing.assert_allclose(drawn["expected"], exact["expected"] * ratio, rtol=0.08)
    assert spearmanr(drawn["p_value"], exact["p_value"]).statistic > 0.97
    assert (drawn["p_value"] < exact["p_value"] + 0.1).all()


def test_patents_of_one_code_make_the_model_expect_too_much() -> None:
    sets = [{f"c{i % 10}"} for i in range(300)] + [{"c0", "c1"}] * 20
    found = totals(sets)
    assert found.observed == 20
    links = membership(sets)
    chance = configuration_model(links.sizes, links.degrees)
    p = chance.probability[chance.patent_class][:, chance.code_class]
    slow = sum(float(p[:, a] @ p[:, b]) for a, b in combinations(range(10), 2))
    assert found.expected == pytest.approx(slow)
    assert found.expected > 2 * found.observed


def test_bad_input() -> None:
    with pytest.raises(InputError, match="none of the patents has a code"):
        validate([set(), set()])
    with pytest.raises(UsageError, match="alpha is 5"):
        validate(SMALL, alpha=5)
    with pytest.raises(UsageError, match='no method "normal"'):
        validate(SMALL, method="normal")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="count the same"):
        configuration_model(np.array([1, 2]), np.array([1]))
    one = validate([{"A"}, {"B"}, set()])
    assert one.height == 0
    assert one.schema["p_value"] == pl.Float64
    assert validate([["A", "A", "B"]])["observed"].to_list() == [1]
