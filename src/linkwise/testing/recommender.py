"""The contract of a `Recommender` (`linkwise.recommend.base`): a history in, a ranking of the catalogue out.

class TestMyRecommender(RecommenderContract):
    cls = MyRecommender
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linkwise.context import Context
from linkwise.data.interactions import Catalogue, Histories, Interactions
from linkwise.data.queries import split
from linkwise.errors import InputError, UsageError
from linkwise.recommend.base import Recommender
from linkwise.testing.scorer import SAFE_ENDINGS

USERS, GROUPS, ITEMS = 120, 4, 40


@cache
def grouped_log() -> Interactions:
    """A log in which users choose, nine times in ten, from the ten items of their own group."""
    rng = np.random.default_rng(0)
    own = np.arange(USERS) % GROUPS
    sequences = []
    for user in range(USERS):
        inside = rng.permutation(np.arange(own[user], ITEMS, GROUPS))[:6]
        outside = rng.integers(0, ITEMS, 1)
        sequences.append(rng.permutation(np.concatenate([inside, outside])))
    ids = pl.Series("id", [f"item-{row:02d}" for row in range(ITEMS)])
    titles = pl.Series("title", [f"Song {row} of group {row % GROUPS}" for row in range(ITEMS)])
    return Interactions(
        users=pl.Series("user", [f"user-{row:03d}" for row in range(USERS)]),
        catalogue=Catalogue(ids, titles),
        histories=Histories.of(sequences),
        clock="position",
        dislikes=np.empty((0, 2), dtype=np.int64),
        rated=False,
    )


def timed_log(seed: int, after: int | None = None) -> Interactions:
    """A log with times; with `after`, what happens from that time on is drawn anew, by `seed`."""
    rng = np.random.default_rng(0)
    n = 30 * USERS
    users = np.sort(rng.integers(0, USERS, n))
    items = (rng.integers(0, ITEMS // GROUPS, n) * GROUPS + users % GROUPS).astype(np.int32)
    times = rng.integers(0, 1000, n)
    scores = rng.integers(1, 6, n).astype(np.float32)
    if after is not None:
        future = times >= after
        other = np.random.default_rng(seed)
        # Other items, two of them never seen before, other ratings: all of the future but its times.
        items[future] = other.integers(0, ITEMS + 2, future.sum())
        scores[future] = other.integers(1, 6, future.sum())
    order = np.lexsort((np.arange(n), times, users))
    ids = pl.Series("id", [f"item-{row:02d}" for row in range(ITEMS + 2)])
    return Interactions(
        users=pl.Series("user", [f"user-{row:03d}" for row in range(USERS)]),
        catalogue=Catalogue(ids, pl.Series("title", [f"Song {row}" for row in range(ITEMS + 2)])),
        histories=Histories(
            np.searchsorted(users, np.arange(USERS + 1)).astype(np.int64),
            items[order],
            scores[order],
            times[order].astype(np.int64),
            np.zeros(n, dtype=np.bool_),
        ),
        clock="time",
        dislikes=np.empty((0, 2), dtype=np.int64),
        rated=True,
    )


def _bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class RecommenderContract:
    """Subclass it with `cls`; `make` may be overridden, for a model that trains long by itself."""

    cls: type[Recommender]
    learns = True
    """False for a recommender whose lists do not depend on the history, or mean nothing."""
    exact = True
    """False where two fits may differ in the last digits."""

    @classmethod
    def make(cls, **options: Any) -> Recommender:
        """A new, unfitted recommender."""
        return cls.cls(**options)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Recommender:
        """The recommender, fitted on `grouped_log`."""
        return cls.make().fit(grouped_log(), context=Context(folder=Path(), seed=1))

    def test_fit_returns_self(self) -> None:
        """`fit` returns the recommender, so that calls chain."""
        model = self.make()
        assert model.fit(grouped_log()) is model

    def test_a_list_has_k_different_unseen_items_best_first(self, fitted: Recommender) -> None:
        """`query, item, score, rank`; ranks from 1, scores falling, nothing seen before."""
        history = ["item-00", "item-04", "item-08"]
        found = fitted.recommend([history, history[:1]], k=7)
        assert found.columns == ["query", "item", "score", "rank"]
        for query, seen in ((0, history), (1, history[:1])):
            part = found.filter(pl.col("query") == query)
            assert part["rank"].to_list() == list(range(1, 8))
            assert part["item"].n_unique() == 7
            assert part["score"].is_sorted(descending=True)
            assert not set(part["item"]) & set(seen)

    def test_seen_items_may_come_again(self, fitted: Recommender) -> None:
        """Without `exclude_seen` the whole catalogue is ranked."""
        found = fitted.recommend([["item-00", "item-04"]], k=ITEMS, exclude_seen=False)
        assert sorted(found["item"]) == sorted(fitted.catalogue_.ids)

    def test_k_above_the_catalogue_gives_what_there_is(self, fitted: Recommender) -> None:
        """As many rows as there are items not seen."""
        assert len(fitted.recommend([["item-00"]], k=10 * ITEMS)) == ITEMS - 1

    def test_k_must_be_positive(self, fitted: Recommender) -> None:
        """k = 0 is wrong usage."""
        with pytest.raises(UsageError, match="k is 0"):
            fitted.recommend([["item-00"]], k=0)

    def test_unknown_items_are_passed_over(self, fitted: Recommender) -> None:
        """An id that the catalogue does not have changes nothing."""
        known = fitted.recommend([["item-00", "item-04"]], k=5)
        mixed = fitted.recommend([["nobody knows", "item-00", None, "item-04"]], k=5)
        assert mixed.equals(known)

    def test_an_empty_history_gets_the_most_popular(self, fitted: Recommender) -> None:
        """So does one of unknown items only, and an unknown user."""
        counts = np.bincount(grouped_log().histories.items, minlength=ITEMS)
        best = [f"item-{row:02d}" for row in np.argsort(-counts, kind="stable")[:5]]
        found = fitted.recommend([[], ["nobody knows"]], k=5)
        assert found["item"].to_list() == best * 2
        assert fitted.recommend(users=["nobody"], k=5)["item"].to_list() == best

    def test_a_user_gets_the_list_of_the_user_s_history(self, fitted: Recommender) -> None:
        """Fold-in: known users are not treated in another way than their histories."""
        log = grouped_log()
        history = [f"item-{row:02d}" for row in log.histories[7]]
        by_user = fitted.recommend(users=["user-007"], k=6)
        assert by_user["query"].to_list() == ["user-007"] * 6
        assert by_user["item"].to_list() == fitted.recommend([history], k=6)["item"].to_list()

    def test_a_user_s_ratings_are_those_of_the_log(self) -> None:
        """Asking for a user is asking for the history with its scores, in a log that has them."""
        log = timed_log(0)
        model = self.make().fit(log, context=Context(folder=Path(), seed=1))
        by_user = model.recommend(users=[log.users[3], log.users[50]], k=5)
        by_history = model.recommend(log.histories.take(np.array([3, 50])), k=5)
        assert by_user["item"].to_list() == by_history["item"].to_list()

    def test_repeated_items_in_a_history_are_harmless(self, fitted: Recommender) -> None:
        """The same item many times, and a history longer than any window."""
        found = fitted.recommend([["item-00"] * 3 + ["item-04"] * 400], k=5)
        assert len(found) == 5
        assert np.isfinite(found["score"].to_numpy()).all()

    def test_a_list_does_not_depend_on_who_else_is_asked(self, fitted: Recommender) -> None:
        """Queries are answered one by one, in effect."""
        histories = [["item-00", "item-04"], ["item-01"], ["item-02", "item-06", "item-10"], []]
        together = fitted.recommend(histories, k=4)
        for query, history in enumerate(histories):
            alone = fitted.recommend([history], k=4)
            mine = together.filter(pl.col("query") == query)
            assert mine["item"].to_list() == alone["item"].to_list()
            np.testing.assert_allclose(mine["score"], alone["score"], rtol=1e-4, atol=1e-5)

    def test_no_query_gives_an_empty_ranking(self, fitted: Recommender) -> None:
        """With the same columns."""
        found = fitted.recommend([], k=3)
        assert found.columns == ["query", "item", "score", "rank"]
        assert len(found) == 0

    def test_it_learns_who_likes_what(self, fitted: Recommender) -> None:
        """Users of a group get more of its items than popularity gives them."""
        if not self.learns:
            pytest.skip("this recommender learns nothing about a user")
        log = grouped_log()
        right = 0
        for group in range(GROUPS):
            users = [f"user-{row:03d}" for row in range(group, USERS, GROUPS)]
            found = fitted.recommend(users=users, k=4)["item"]
            right += sum(int(item[-2:]) % GROUPS == group for item in found)
        assert right / (USERS * 4) > 0.6  # chance is a quarter
        assert len(log.users) == USERS

    def test_similar_items(self, fitted: Recommender) -> None:
        """k others for each item, and an unknown item is named."""
        found = fitted.similar(["item-00", "item-01"], k=3)
        assert found["query"].to_list() == ["item-00"] * 3 + ["item-01"] * 3
        assert not (found["query"] == found["item"]).any()
        if self.learns:
            likely = fitted.similar([f"item-{row:02d}" for row in range(ITEMS)], k=3)
            same = [
                int(a[-2:]) % GROUPS == int(b[-2:]) % GROUPS
                for a, b in zip(likely["query"], likely["item"], strict=True)
            ]
            assert np.mean(same) > 0.5  # chance is under a quarter
        with pytest.raises(InputError, match="nobody knows"):
            fitted.similar(["nobody knows"])

    def test_disliked_items_never_come_and_their_like_move_down(self, fitted: Recommender) -> None:
        """What is most similar to a disliked item loses places."""
        history = ["item-00", "item-04", "item-08"]
        disliked = "item-12"
        plain = fitted.recommend([history], k=ITEMS)["item"].to_list()
        found = fitted.recommend([history], k=ITEMS, dislikes=[[disliked]])["item"].to_list()
        assert disliked not in found
        assert len(found) == len(plain) - 1
        if self.learns:
            twin = next(i for i in fitted.similar([disliked], k=ITEMS)["item"] if i not in history)
            rest = [item for item in plain if item != disliked]
            assert found.index(twin) >= rest.index(twin)

    def test_save_and_load_give_the_same_lists(self, fitted: Recommender, tmp_path: Path) -> None:
        """What is loaded is what was saved, from files that run no code."""
        fitted.save(tmp_path / "model")
        files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
        assert {path.suffix for path in files} <= SAFE_ENDINGS
        again = self.cls.load(tmp_path / "model")
        histories = [["item-00", "item-04"], ["item-01"], []]
        assert again.recommend(histories, k=9).equals(fitted.recommend(histories, k=9))
        assert again.similar(["item-05"], k=9).equals(fitted.similar(["item-05"], k=9))
        with pytest.raises(UsageError, match="does not know its users"):
            again.recommend(users=["user-007"])
        whole = self.cls.load(tmp_path / "model", grouped_log())
        assert len(whole.recommend(users=["user-007"], k=4)) == 4

    def test_equal_fits_give_equal_lists(self, fitted: Recommender) -> None:
        """The same log and seed give the same scores."""
        again = self.make().fit(grouped_log(), context=Context(folder=Path(), seed=1))
        histories = [["item-00", "item-04"], ["item-01"]]
        a, b = (m.recommend(histories, k=9)["score"].to_numpy() for m in (fitted, again))
        if self.exact:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)

    def test_nothing_of_the_future_is_learned(self, tmp_path: Path) -> None:
        """Mutation: with every event of the test drawn anew, the fitted model is the same to a byte."""
        log = timed_log(0)
        cutoff = int(split(log, "global-time:0.8").test.cutoffs[0])
        mutated = timed_log(1, after=cutoff)
        assert not np.array_equal(log.histories.items, mutated.histories.items)
        found, scores = [], []
        for number, each in enumerate((log, mutated)):
            parts = split(each, "global-time:0.8")
            model = self.make()
            context = Context(folder=Path(), seed=1)
            model.fit(parts.train, validation=parts.validation, context=context)
            again = self.make().fit(parts.refit, context=context)
            model.save(tmp_path / f"{number}" / "before")
            again.save(tmp_path / f"{number}" / "after")
            found.append(_bytes_of(tmp_path / f"{number}"))
            scores.append(again.scores(parts.refit.histories.slice(0, 20)))
        if self.exact:
            assert found[0] == found[1]
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-3)

    def test_short_histories_get_the_most_popular(self) -> None:
        """Histories of at most `min_items` different items, as the option says."""
        model = self.make(min_items=2).fit(grouped_log())
        empty = model.recommend([[]], k=ITEMS)["item"].to_list()
        short = model.recommend([["item-00", "item-04", "item-04"]], k=ITEMS - 2)["item"].to_list()
        assert short == [item for item in empty if item not in ("item-00", "item-04")]

    def test_a_log_of_one_item_or_one_user_is_no_trouble(self) -> None:
        """The smallest logs there are."""
        log = grouped_log()
        for sequences, n_items in (([[0, 0], [0, 0]], 1), ([[0, 1, 2]], 3)):
            small = Interactions(
                users=log.users.head(len(sequences)),
                catalogue=Catalogue(
                    log.catalogue.ids.head(n_items), log.catalogue.titles.head(n_items)
                ),
                histories=Histories.of(sequences),
                clock="position",
                dislikes=log.dislikes,
                rated=False,
            )
            model = self.make().fit(small)
            found = model.recommend([["item-00"], []], k=5, exclude_seen=False)
            assert len(found) == 2 * n_items
            assert np.isfinite(found["score"].to_numpy()).all()
