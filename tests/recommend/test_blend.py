"""The blend by hand, and its weights learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linkwise.context import Context
from linkwise.data.interactions import Histories
from linkwise.data.queries import countable, split
from linkwise.errors import InputError
from linkwise.recommend.blend import CONSTANT, Blend, BlendConfig
from linkwise.testing.recommender import grouped_log


def said(config: BlendConfig) -> tuple[Blend, Histories, dict[str, np.ndarray]]:
    model = Blend(config).fit(grouped_log(), context=Context(folder=Path(), seed=1))
    histories = Histories.of([[0, 4, 8], [1]])
    return model, histories, {name: m.scores(histories) for name, m in model.models_.items()}


def ranks(scores: np.ndarray) -> np.ndarray:
    """Places, equal scores in the order of the items."""
    found = np.empty(scores.shape)
    for row, own in enumerate(scores):
        best_first = sorted(range(len(own)), key=lambda item: (-own[item], item))
        for place, item in enumerate(best_first, start=1):
            found[row, item] = place
    return found


def test_reciprocal_ranks_by_hand() -> None:
    model, histories, scores = said(BlendConfig(weights={"svd": 1.0, "nmf": 3.0}))
    expected = 0.25 / (CONSTANT + ranks(scores["svd"])) + 0.75 / (CONSTANT + ranks(scores["nmf"]))
    np.testing.assert_allclose(model.scores(histories), expected, rtol=1e-5)


def test_scores_are_moved_to_lie_between_0_and_1() -> None:
    config = BlendConfig(weights={"svd": 1.0, "popularity": 1.0}, combine="score")
    model, histories, scores = said(config)
    moved = [
        (own - own.min(1, keepdims=True)) / np.ptp(own, axis=1, keepdims=True)
        for own in (scores["svd"], scores["popularity"])
    ]
    np.testing.assert_allclose(
        model.scores(histories), np.mean(moved, axis=0), rtol=1e-4, atol=1e-6
    )


def test_what_both_agree_on_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkwise.recommend.blend.TOP", 6)
    model, histories, scores = said(BlendConfig(weights={"nmf+svd": 1.0}))
    found = np.argsort(-model.scores(histories)[0], kind="stable")
    a, b = (np.argsort(np.argsort(-scores[n][0], kind="stable")) + 1 for n in ("nmf", "svd"))
    both = [item for item in range(40) if a[item] <= 6 and b[item] <= 6]
    rest = [item for item in range(40) if item not in both]
    expected = sorted(both, key=lambda i: (a[i] + b[i], i)) + sorted(
        rest, key=lambda i: (a[i] + b[i], i)
    )
    assert found.tolist() == expected


def test_weights_are_learned_on_the_validation() -> None:
    """Popularity is no help where users keep to their groups: its weight falls, and nothing gets worse."""
    parts = split(grouped_log(), "leave-last-out")
    validation = countable(parts.validation, False)
    given = {"popularity": 0.9, "item-item": 0.1}
    context = Context(folder=Path(), seed=2)
    fixed = Blend(BlendConfig(weights=given)).fit(parts.train, context=context)
    tuned = Blend(BlendConfig(weights=given, tune=20))
    tuned.fit(parts.train, validation=validation, context=context)
    assert fixed.weights_ == given
    assert tuned.weights_["popularity"] < 0.5
    assert sum(tuned.weights_.values()) == pytest.approx(1)


def test_weights_are_checked() -> None:
    for weights in ({}, {"svd": -1.0}, {"svd": 0.0}):
        with pytest.raises(ValueError, match="weights must not be negative"):
            BlendConfig(weights=weights)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    model, *_ = said(BlendConfig(weights={"svd": 1.0}))
    model.save(tmp_path)
    for path in (tmp_path / "svd").iterdir():
        path.unlink()
    (tmp_path / "svd").rmdir()
    with pytest.raises(InputError, match="part svd is missing"):
        Blend.load(tmp_path)
