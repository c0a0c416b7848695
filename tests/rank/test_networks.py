"""The networks that a ranker is compared with: their formulas, what they can learn, ids never seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from linkwise.metrics.binary import auc
from linkwise.rank.networks import Cross, Pairs, Towers, _Scale, network_scores


def test_cross_layers_are_those_of_the_paper() -> None:
    """x0 * (W x + b) + x, by hand in NumPy, behind the ids' vectors."""
    torch.manual_seed(0)
    network = Cross(3, 4, 5)
    counts = torch.randn(2, 5)
    member, item = torch.tensor([0, 2]), torch.tensor([4, 1])
    found = network(member, item, counts).detach().numpy()
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    x = first = np.concatenate(
        [
            weights["member.weight"][member.numpy()],
            weights["item.weight"][item.numpy()],
            counts.numpy(),
        ],
        axis=1,
    )
    for layer in range(3):
        x = (
            first * (x @ weights[f"crosses.{layer}.weight"].T + weights[f"crosses.{layer}.bias"])
            + x
        )
    for layer in range(2):
        x = np.maximum(0, x @ weights[f"deep.{layer}.weight"].T + weights[f"deep.{layer}.bias"])
    np.testing.assert_allclose(
        found, (x @ weights["out.weight"].T + weights["out.bias"])[:, 0], 1e-4
    )


def test_towers_take_the_mean_of_words() -> None:
    words = csr_array(np.array([[1.0, 0, 1], [0, 0, 0]])), csr_array(np.array([[0, 1.0, 1]]))
    network = Towers(*words)
    bag = network.word[0](network.words[0]).detach().numpy()
    table = network.word[0].weight.detach().numpy()
    np.testing.assert_allclose(bag[0], (table[0] + table[2]) / 2, rtol=1e-5)
    np.testing.assert_allclose(bag[1], 0)  # a text without words


def test_scaling_marks_what_is_missing() -> None:
    scale = _Scale(pl.DataFrame({"a": [0.0, 4.0], "b": [np.nan, 1.0], "c": [2.0, 2.0]}))
    found = scale(pl.DataFrame({"a": [4.0, 1e9], "b": [1.0, np.nan], "c": [2.0, 2.0]})).numpy()
    # Roots of a are 0 and 2: mean 1, spread 1; b has no spread; then the mark of b.
    np.testing.assert_allclose(found, [[1, 0, 0, 0], [5, 0, 0, 1]])


def test_both_learn_what_no_linear_model_can() -> None:
    """The product of two counts' signs for DCN-v2, the words that both texts have for the towers."""
    rng = np.random.default_rng(0)
    n_members, n_items, n = 200, 120, 6000
    topic = rng.integers(4, size=n_members), rng.integers(4, size=n_items)
    words = tuple(csr_array(np.eye(4)[rows]) for rows in topic)
    member, item = rng.integers(n_members, size=n), rng.integers(n_items, size=n)
    counts = rng.normal(size=(n, 2))
    known = pl.DataFrame(counts, schema=["a", "b"], orient="row")
    crossed = (counts[:, 0] * counts[:, 1] > 0).astype(np.int64)
    alike = (topic[0][member] == topic[1][item]).astype(np.int64)
    half = slice(0, n // 2), slice(n // 2, n)

    def pairs(rows: slice) -> Pairs:
        return Pairs(member[rows], item[rows], known[rows])

    for name, label in (("dcn-v2", crossed), ("two-towers", alike)):
        found = network_scores(pairs(half[0]), label[half[0]], pairs(half[1]), words, 0)
        assert auc(label[half[1]] == 1, found[name]) > 0.9
        again = network_scores(pairs(half[0]), label[half[0]], pairs(half[1]), words, 0)
        np.testing.assert_array_equal(found[name], again[name])


def test_ids_that_training_never_saw_are_all_one() -> None:
    rng = np.random.default_rng(1)
    member, item = rng.integers(20, size=400), rng.integers(20, size=400)
    known = pl.DataFrame({"a": np.zeros(400)})
    words = csr_array(np.ones((30, 2))), csr_array(np.ones((30, 2)))
    label = (member % 2 == 0).astype(np.int64)
    new = Pairs(np.array([20, 25, 29]), np.array([21, 22, 23]), known[:3])
    for found in network_scores(Pairs(member, item, known), label, new, words, 0).values():
        assert len(found) == 3
        np.testing.assert_allclose(found, found[0])
