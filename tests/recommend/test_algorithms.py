"""The algorithms against slow versions and reference libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from linkwise.context import Context
from linkwise.data.interactions import Histories
from linkwise.errors import Interrupted
from linkwise.estimators.fit_sequence import Validation, fit_next_item, softmax_loss
from linkwise.estimators.sequence import AttentionNetwork, GRUNetwork, padded
from linkwise.estimators.sequence_config import SequenceConfig
from linkwise.estimators.team import fit_in_processes
from linkwise.recommend.als import ALS, BPR, ALSConfig, BPRConfig
from linkwise.recommend.base import top_k
from linkwise.recommend.ease import EASE, EASEConfig
from linkwise.recommend.item_item import ItemItem, ItemItemConfig
from linkwise.recommend.lists import neighbours, recommendations
from linkwise.recommend.nmf import NMF, NMFConfig
from linkwise.recommend.popularity import Popularity
from linkwise.recommend.svd import SVD, SVDConfig
from linkwise.testing.recommender import grouped_log, timed_log

HISTORIES = Histories.of([[0, 4, 8], [1, 5, 5], [2]])


def dense(values: str = "one") -> np.ndarray:
    log = grouped_log()
    return log.histories.matrix(log.n_items, values).toarray().astype(np.float64)


def test_ease_is_a_ridge_regression_of_each_item_on_the_others() -> None:
    x, ridge = dense(), 7.0
    model = EASE(EASEConfig(ridge=ridge)).fit(grouped_log())
    for item in (0, 13, 39):
        others = [i for i in range(40) if i != item]
        left = x[:, others].T @ x[:, others] + ridge * np.eye(39)
        expected = np.linalg.solve(left, x[:, others].T @ x[:, item])
        np.testing.assert_allclose(model.weights_[others, item], expected, rtol=1e-4, atol=1e-6)
        assert model.weights_[item, item] == 0


def test_item_item_equals_a_loop() -> None:
    x = dense("rating")
    model = ItemItem(ItemItemConfig(neighbours=5)).fit(grouped_log())
    for item in (0, 7, 22):
        cosines = {
            other: x[:, item]
            @ x[:, other]
            / np.linalg.norm(x[:, item])
            / np.linalg.norm(x[:, other])
            for other in range(40)
            if other != item
        }
        best = sorted(cosines, key=lambda other: (-round(cosines[other], 6), other))[:5]
        found = model.similarity_[item].toarray().ravel()
        np.testing.assert_allclose(
            np.sort(found)[-5:], np.sort([cosines[other] for other in best]), rtol=1e-5
        )
        for other in np.flatnonzero(found):
            assert found[other] == pytest.approx(cosines[int(other)], rel=1e-5)
    scores = model.scores(HISTORIES)
    matrix = model.similarity_.toarray()
    np.testing.assert_allclose(scores[0], matrix[0] + matrix[4] + matrix[8], rtol=1e-5)


def test_svd_projects_on_the_leading_singular_vectors() -> None:
    x = dense("rating")
    model = SVD(SVDConfig(factors=6)).fit(grouped_log())
    _, _, right = np.linalg.svd(x, full_matrices=False)
    row = HISTORIES.matrix(40, "rating").toarray()
    expected = row @ right[:6].T @ right[:6]
    np.testing.assert_allclose(model.scores(HISTORIES), expected, atol=0.05)


def test_nmf_folds_in_by_non_negative_least_squares() -> None:
    model = NMF(NMFConfig(factors=4, max_iter=400)).fit(grouped_log())
    rows = HISTORIES.matrix(40, "rating").toarray()
    for row, found in zip(rows, model.scores(HISTORIES), strict=True):
        weights, _ = nnls(model.components_.T.astype(np.float64), row)
        np.testing.assert_allclose(found, weights @ model.components_, atol=0.02)


def test_als_folds_in_as_the_library_does() -> None:
    import implicit

    config = ALSConfig(factors=8, alpha=3.0, ridge=0.5, rounds=3)
    model = ALS(config).fit(grouped_log())
    library = implicit.als.AlternatingLeastSquares(
        factors=8, regularization=0.5, alpha=1.0, use_gpu=False, num_threads=1
    )
    library.item_factors = model.factors_
    library.user_factors = np.zeros((1, 8), dtype=np.float32)
    counts = HISTORIES.matrix(40, "count")
    counts.data = 1 + config.alpha * counts.data
    users = library.recalculate_user(np.arange(3), counts)
    np.testing.assert_allclose(
        model.scores(HISTORIES), users @ model.factors_.T, rtol=1e-2, atol=1e-3
    )


def test_histories_fold_in_one_by_one_as_together() -> None:
    """Padded in groups of like length, against the normal equations of one history at a time."""
    model = ALS(ALSConfig(factors=6, alpha=3, ridge=2)).fit(grouped_log())
    histories = Histories.of([[0, 4, 8, 0], [1], list(range(40)), [5, 6], []])
    found = model._fold_in(histories, 3.0, 2.0)
    items = model.factors_.astype(np.float64)
    for row in range(4):
        rows, n = np.unique(histories[row], return_counts=True)
        chosen = items[rows]
        left = items.T @ items + 2 * np.eye(6) + (chosen.T * (3 * n)) @ chosen
        expected = np.linalg.solve(left, chosen.T @ (1 + 3 * n))
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-6)
    assert not found[4].any()


def test_bpr_folds_in_with_the_spread_and_the_biases_of_training() -> None:
    model = BPR(BPRConfig(factors=6, rounds=20)).fit(grouped_log())
    scores = model._scores(Histories.of([[0, 4, 8], [1]])) - model.biases_
    np.testing.assert_allclose(scores.std(axis=1), model.spread_, rtol=1e-4)


def test_ratings_by_hand() -> None:
    """The larger of the mean of plays and the best like."""
    histories = Histories(
        np.array([0, 5, 6]),
        np.array([3, 3, 3, 1, 1, 0], dtype=np.int32),
        np.array([1, 5, 5, 2, 5, 4], dtype=np.float32),
        np.zeros(6, dtype=np.int64),
        np.array([False, False, True, False, False, True]),
    )
    found = histories.matrix(4, "rating").toarray()
    np.testing.assert_allclose(found, [[0, 3.5, 0, 5], [4, 0, 0, 0]])
    assert histories.matrix(4, "count").toarray().tolist() == [[0, 2, 0, 3], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    "network",
    [GRUNetwork(20, 8, 12, 1, 0.0), AttentionNetwork(20, 8, 2, 2, 10, 0.0)],
    ids=["gru", "attention"],
)
def test_a_place_knows_nothing_of_what_comes_after(network: torch.nn.Module) -> None:
    network.eval()
    first = torch.tensor([[3, 7, 1, 9, 2, 5]])
    other = torch.tensor([[3, 7, 1, 14, 18, 6]])
    torch.testing.assert_close(network(first)[:, :3], network(other)[:, :3])
    assert not torch.allclose(network(first)[:, 3], network(other)[:, 3])


def test_padding_changes_nothing() -> None:
    network = AttentionNetwork(20, 8, 2, 2, 10, 0.0).eval()
    alone = network(torch.tensor([[3, 7, 1]]))
    beside = network(torch.tensor([[3, 7, 1, 0, 0], [1, 2, 3, 4, 5]]))
    torch.testing.assert_close(alone[0], beside[0, :3])


def test_the_newest_input_stands_at_the_place_that_is_asked_for() -> None:
    """Training shows each history, short ones too, up to the event before the last, as a query would."""
    seen: list[torch.Tensor] = []

    class Spy(AttentionNetwork):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            seen.append(tokens.clone())
            return super().forward(tokens)

    histories = Histories.of([[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]])
    config = SequenceConfig(epochs=1, batch_size=8, window=4)
    fit_next_item(Spy(20, 8, 1, 2, 4, 0.0), histories, config, Context(folder=Path()), None, "spy")
    rows = sorted(row[row != 0].tolist() for row in seen[0])
    assert rows == [[1, 2, 3, 4], [6, 7], [9]]


def test_windows_hold_the_last_events() -> None:
    tokens, lengths = padded(Histories.of([[0, 1, 2, 3], [7], []]), 3)
    assert tokens.tolist() == [[2, 3, 4], [8, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 1, 0]


def test_the_sampled_softmax_estimates_the_full_one() -> None:
    torch.manual_seed(0)
    hidden, weights = torch.randn(50, 8), torch.randn(300, 8) * 0.3
    bias, targets = torch.randn(300) * 0.1, torch.randint(300, (50,))
    full = softmax_loss(hidden, targets, weights, bias, None)
    expected = torch.nn.functional.cross_entropy(hidden @ weights.T + bias, targets)
    torch.testing.assert_close(full, expected)
    draws = [float(softmax_loss(hidden, targets, weights, bias, 150)) for _ in range(200)]
    assert np.mean(draws) == pytest.approx(float(full), abs=0.03)
    assert np.std(draws) > 0


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    log = grouped_log()
    config = SequenceConfig(epochs=4, batch_size=32)

    def train(folder: Path, batches: int | None = None) -> dict[str, torch.Tensor]:
        """Stopped after so many batches, four to an epoch."""
        torch.manual_seed(5)
        network = GRUNetwork(40, 8, 8, 1, 0.2)
        asked = iter(range(10**6))
        context = Context(folder=folder)
        context.cancelled = lambda: batches is not None and next(asked) > batches
        fit_next_item(network, log.histories, config, context, None, "gru")
        return network.state_dict()

    whole = train(tmp_path / "a")
    with pytest.raises(Interrupted):
        train(tmp_path / "b", 10)
    resumed = train(tmp_path / "b")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, msg=name)


@pytest.mark.slow
def test_two_processes_train_as_one_does() -> None:
    """Without dropout the gradients of two processes add up to those of one."""
    log = grouped_log()
    config = SequenceConfig(epochs=2, batch_size=32, dropout=0.0, device="cpu")
    validation = Validation(log.histories.last(3), log.histories.last(1))
    found = []
    for processes in (1, 2):
        torch.manual_seed(5)
        network = AttentionNetwork(40, 8, 1, 2, 10, 0.0)
        settings = config.model_copy(update={"processes": processes})
        fit = fit_next_item if processes == 1 else fit_in_processes
        trained = fit(network, log.histories, settings, Context(folder=Path()), validation, "net")
        found.append((network.state_dict(), trained))
    (one, alone), (two, together) = found
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, msg=name, rtol=1e-3, atol=1e-4)
    assert [round(e["loss"], 3) for e in alone.history] == [
        round(e["loss"], 3) for e in together.history
    ]
    assert together.best_epoch == alone.best_epoch


def test_reasons_name_the_most_similar_item_of_the_history() -> None:
    model = ItemItem(ItemItemConfig(neighbours=39)).fit(grouped_log())
    log = grouped_log()
    some = log.histories.take(np.arange(5))
    lists = recommendations(model, some, log.users, repeats=False, k=4)
    near, _ = neighbours(model, np.arange(log.n_items))
    matrix = model.similarity_.toarray()
    for row in lists.iter_rows(named=True):
        item = log.catalogue.rows[row["item"]]
        mine = some[int(row["user"][-3:])]
        inside = [i for i in mine if i in near[item]]
        if not inside:
            assert row["reason"] == "chosen by many"
            continue
        best = max(matrix[item, i] for i in inside)
        names = [log.catalogue.titles[int(i)] for i in inside if matrix[item, i] == best]
        assert row["reason"] in [f"similar to {name}, chosen before" for name in names]


def test_the_k_best_keep_the_order_of_equal_scores() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (50, 200)).astype(np.float32)
    scores[0] = 0
    scores[0, 5] = 1
    for k in (1, 10, 199, 200, 300):
        items, values = top_k(scores, k)
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(items, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1))


def test_a_dislike_leaves_the_rest_of_a_popular_list_alone() -> None:
    model = Popularity().fit(grouped_log())
    plain = model.recommend([[]], k=40)["item"].to_list()
    found = model.recommend([[]], k=40, dislikes=[["item-05"]])["item"].to_list()
    assert found == [item for item in plain if item != "item-05"]
    popular = recommendations(model, Histories.of([[0, 1]]), grouped_log().users.head(1), False)
    assert popular["reason"].unique().to_list() == ["chosen by many"]


def test_a_history_s_factors_do_not_depend_on_who_else_is_asked() -> None:
    log = timed_log(0)
    model = NMF().fit(log)
    together = model.scores(log.histories)
    for row in (0, 40, 100):
        alone = model.scores(log.histories.slice(row, row + 1))[0]
        np.testing.assert_allclose(together[row], alone, rtol=1e-4, atol=1e-5)


def test_users_of_another_type_are_nobody() -> None:
    model = Popularity().fit(grouped_log())
    best = model.recommend([[]], k=3)["item"].to_list()
    assert model.recommend(users=[17], k=3)["item"].to_list() == best
