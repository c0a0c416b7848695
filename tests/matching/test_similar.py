"""Similarities and the judge that weighs them, by hand and against slow versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from linkwise.errors import InputError
from linkwise.matching.judge import WeighedJudge, fit_judge, threshold_of, threshold_words
from linkwise.matching.similar import (
    COMPARED,
    FEATURES,
    LONGEST,
    SIMILARITIES,
    Pools,
    Similar,
    collect,
    parts_of,
    with_rivals,
)


def letters(texts: Sequence[str]) -> np.ndarray:
    """A stand-in for an encoder: how often each letter stands in a text, of length one."""
    counts = np.array([[text.lower().count(chr(97 + k)) for k in range(26)] for text in texts])
    return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )


QUERIES = ["Cats chase the mice at night. Dogs sleep all day long.", "A boat on the wide blue sea"]
ITEMS = ["Cats and mice.", "The sea is blue and wide. Boats sail on it every single day.", "Zoo"]


def test_parts() -> None:
    assert parts_of("One sentence stands here. Yes. Another one stands there!") == [
        "One sentence stands here. Yes.",
        "Another one stands there!",
    ]
    assert parts_of("short") == ["short"]
    assert parts_of("") == [""]
    long = "word " * 400
    found = parts_of(long)
    assert all(len(part) <= LONGEST for part in found)
    assert " ".join(found).split() == long.split()
    assert [len(part) for part in parts_of("x" * 1300)] == [600, 600, 100]
    megabyte = "A sentence of some length is here. " * 30_000
    assert len(parts_of(megabyte)) == 30_000


@pytest.mark.parametrize(
    "sentence",
    [
        "Stripping is used to remove purgeable organic compounds (e.g. benzene and toluene) from water.",
        "The type of monitoring that should be used, i.e. continuous or not, depends on the plant.",
        "See the results of plants in Austria (Case study 43, pg. 12) on the use of lime.",
        "The scrubber of Fig. 3 and of No. 4 washes approx. 90 % of the gas, cf. Section 2.",
    ],
)
def test_no_sentence_ends_at_an_abbreviation(sentence: str) -> None:
    text = f"{sentence} Another one stands behind it."
    assert parts_of(text) == [sentence, "Another one stands behind it."]


def test_sentences_end_at_words_that_look_like_abbreviations() -> None:
    assert parts_of("The committee of the town said no. Then everybody went home.") == [
        "The committee of the town said no.", "Then everybody went home.",
    ]  # fmt: skip
    assert parts_of("It treats dust, gas, etc. Then the water is cleaned.") == [
        "It treats dust, gas, etc.", "Then the water is cleaned.",
    ]  # fmt: skip


def test_headings_speak_for_no_pair() -> None:
    items = collect(
        ["a", "b"],
        ["Cats and mice of the house\nA mouse is hunted by the cat of the house.", "Cats and mice of houses"],
        letters,
    )  # fmt: skip
    queries = collect(["q"], ["Cats and mice of the house."], letters)
    similar = Similar(queries, items)
    assert similar.best_parts(0, 0)[1] == "A mouse is hunted by the cat of the house."
    assert similar.best_parts(0, 1)[1] == "Cats and mice of houses"  # there is nothing else


def test_similarities_by_hand() -> None:
    queries, items = (collect(list(map(str, range(len(t)))), t, letters) for t in (QUERIES, ITEMS))
    similar = Similar(queries, items)
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", ngram_range=(1, 2))
    words.fit([*QUERIES, *ITEMS])
    centre = letters(ITEMS).mean(axis=0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    for q, text in enumerate(QUERIES):
        found = similar(q, np.array([2, 0, 1]))
        for row, i in enumerate((2, 0, 1)):
            mine, theirs = letters(parts_of(text)), letters(parts_of(ITEMS[i]))
            whole, other = letters([text])[0], letters([ITEMS[i]])[0]
            best = (mine @ theirs.T).max(axis=1)
            expected = [
                cosine(whole, other),
                cosine(whole - centre, other - centre),
                cosine(whole, theirs.sum(axis=0)),
                (theirs @ whole).max(),
                (mine @ other).max(),
                best.max(),
                np.sort(best)[-3:].mean(),
                float((words.transform([text]) @ words.transform([ITEMS[i]]).T).toarray()[0, 0]),
            ]
            np.testing.assert_allclose(found[row], expected, atol=1e-5)
        part, other_part = similar.best_parts(q, 1)
        alike = letters(parts_of(text)) @ letters(parts_of(ITEMS[1])).T
        a, b = np.unravel_index(alike.argmax(), alike.shape)
        assert (part, other_part) == (parts_of(text)[a], parts_of(ITEMS[1])[b])


def test_given_parts_make_the_whole() -> None:
    parts = [["cat", "dog"], ["sea"]]
    found = collect(["a", "b"], ["animals", "water"], letters, parts)
    sums = letters(["cat", "dog"]).sum(axis=0)
    np.testing.assert_allclose(found.whole[0], sums / np.linalg.norm(sums), rtol=1e-6)
    assert found.parts == ["cat", "dog", "sea"]
    with pytest.raises(InputError, match='the id "a" stands twice'):
        collect(["a", "a"], ["x", "y"], letters)
    with pytest.raises(InputError, match='"a" has no parts'):
        collect(["a"], ["x"], letters, [[]])


def test_rivals_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    found = rng.integers(0, 5, (7, 3)).astype(float)  # with equals
    got = with_rivals(found)
    for way in range(3):
        column = found[:, way]
        for row, value in enumerate(column):
            others = np.delete(column, row)
            deviation = (value - column.mean()) / column.std()
            expected = [value, value - others.max(), deviation, (others > value).mean()]
            np.testing.assert_allclose(got[row, way::3], expected)
    alone = with_rivals(found[:1])
    np.testing.assert_array_equal(alone, np.concatenate([found[:1], np.zeros((1, 9))], axis=1))
    assert len(COMPARED) == 4 * len(SIMILARITIES)
    assert len(set(FEATURES)) == len(COMPARED) + 4


def test_what_is_no_rival_is_compared_with_those_that_are() -> None:
    rng = np.random.default_rng(1)
    found = rng.normal(size=(9, 2))
    got = with_rivals(found, 6)
    np.testing.assert_array_equal(got[:6], with_rivals(found[:6]))
    for row in range(6, 9):
        for way in range(2):
            value, rivals = found[row, way], found[:6, way]
            deviation = (value - rivals.mean()) / rivals.std()
            expected = [value, value - rivals.max(), deviation, (rivals > value).sum() / 5]
            np.testing.assert_allclose(got[row, way::2], expected)


def test_pools_against_a_loop() -> None:
    rng = np.random.default_rng(2)
    whole = rng.normal(size=(80, 5)).astype(np.float32)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    items = whole[[3, 50]] + rng.normal(size=(2, 5)).astype(np.float32) / 4
    pool = [np.arange(0, 65), np.array([70, 71])]  # the second is too small to tell anything
    pools = Pools(whole, items, pool)

    def slow(query: int) -> list[float]:
        centre = whole[pool[0]].mean(axis=0)
        about = [(v - centre) / np.linalg.norm(v - centre) for v in whole]
        wanted = (items[0] - centre) / np.linalg.norm(items[0] - centre)
        order = sorted(pool[0].tolist(), key=lambda row: -float(about[row] @ wanted))
        best = [row for row in order[:3] if row != query]
        worst = order[-21:]
        moved = wanted + np.mean([about[row] for row in best], axis=0)
        moved = moved - np.mean([about[row] for row in worst], axis=0)
        return [float(about[query] @ wanted), float(about[query] @ moved / np.linalg.norm(moved))]

    every = np.array([slow(row) for row in range(65)])
    for query in (0, 3, 10, 64, 77):
        got = pools(query, np.array([0, 1]))
        expected = np.array(slow(query))
        deviations = (expected - every.mean(axis=0)) / every.std(axis=0)
        np.testing.assert_allclose(got[0], [*expected, *deviations], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(got[1], np.zeros(4))


def test_a_judge_is_the_regression_that_it_says() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3)) * [1, 5, 0.1] + 2
    label = (rng.random(400) < 1 / (1 + np.exp(2 - features[:, 0]))).astype(float)
    groups = np.repeat(np.arange(20), 20)
    judge, left_out = fit_judge(features, label, groups, ("a", "b", "c"))
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    alone = LogisticRegression(C=judge.strength, max_iter=5000).fit(scaled, label)
    np.testing.assert_allclose(
        judge.probability(features), alone.predict_proba(scaled)[:, 1], rtol=1e-6
    )
    again = WeighedJudge.of(
        {k: list(v) if isinstance(v, tuple) else v for k, v in judge.as_dict().items()}
    )
    assert again == judge
    # What is said of a pair does not depend on its own group's labels.
    turned = np.where(groups == 3, 1 - label, label)
    _, other = fit_judge(features, turned, groups, ("a", "b", "c"))
    if judge.strength == fit_judge(features, turned, groups, ("a", "b", "c"))[0].strength:
        np.testing.assert_array_equal(other[groups == 3], left_out[groups == 3])


def test_labels_that_teach_nothing() -> None:
    features, groups = np.ones((4, 1)), np.array([0, 0, 1, 1])
    for label in (np.ones(4), np.zeros(4)):
        with pytest.raises(InputError, match="all 4 labels are"):
            fit_judge(features, label, groups, ("a",))
    with pytest.raises(InputError, match="one group"):
        fit_judge(features, np.array([0, 1, 0, 1.0]), np.zeros(4), ("a",))
    with pytest.raises(InputError, match="one label alone"):
        fit_judge(features, np.array([0, 0, 1, 1.0]), groups, ("a",))


def test_the_threshold_of_costs_against_trying_all() -> None:
    """Of calibrated probabilities none other is expected to cost less, whatever they are."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = rng.random(int(rng.integers(1, 12)))
        costs = rng.integers(1, 5, 2).astype(float)

        def cost(at: float) -> float:
            return float(np.where(p >= at, costs[0] * (1 - p), costs[1] * p).sum())  # noqa: B023

        found = threshold_of(*costs)
        assert cost(found) <= min(map(cost, [*p, 2.0])) + 1e-9
    assert threshold_of(1, 1) == 0.5
    assert threshold_of(3, 1) == 0.75
    assert "as the judge was learned" in threshold_words(0.6, 1, 1)
