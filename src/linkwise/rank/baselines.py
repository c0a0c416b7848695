"""What a ranker is compared with: popularity, models of counts, networks, each trained on the task itself.

Counts are as of a time: nothing of that time or later enters. They are those of production systems: how often
the member, the item and the member with such items were shown and acted on in the last 1, 7 and 30 days, and
how the words of the member's description meet those of the item.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl

from linkwise.estimators.tabular import Boosting, Logistic
from linkwise.rank.surface import Longs, Surface

Floats = np.ndarray[Any, np.dtype[np.float64]]
DAY = 86_400_000_000  # microseconds
MIN_TIME = np.iinfo(np.int64).min
WINDOWS = (1, 7, 30)  # days
FEW = 100  # different values of an item's column that are counted by member
SMOOTH = 20.0  # events of the mean that a rate begins with
TRAINED_ON = 60_000  # events, drawn at random where there are more


class Counts:
    """How often a key was shown and acted on before a time."""

    def __init__(self, key: Longs, time: Longs, acted: Longs) -> None:
        order = np.lexsort((time, key))
        self.key, self.time = key[order], time[order]
        self.total = np.concatenate([[0], np.cumsum(acted[order])])
        # Sorted by key, then time: both as one number, by their ranks, so that one search finds a place.
        self.keys, self.times = np.unique(self.key), np.unique(self.time)
        self.place = self._number(self.key, self.time)

    def _number(self, key: Longs, time: Longs) -> Longs:
        """A number that grows with the key, and with the time within it; unknown keys come after all."""
        rank = np.searchsorted(self.keys, key)
        known = rank < len(self.keys)
        known[known] = self.keys[rank[known]] == key[known]
        rank = np.where(known, rank, len(self.keys))
        return np.asarray(rank * (len(self.times) + 1) + np.searchsorted(self.times, time))

    def before(self, key: Longs, time: Longs, days: int | None = None) -> tuple[Longs, Longs]:
        """Shown and acted on in the `days` before each time, or ever before it (n,)."""
        stop = np.searchsorted(self.place, self._number(key, time), side="left")
        since = np.full_like(time, MIN_TIME) if days is None else time - days * DAY
        start = np.searchsorted(self.place, self._number(key, since), side="left")
        start = np.minimum(start, stop)
        return stop - start, self.total[stop] - self.total[start]


def popularity(surface: Surface, acted: Longs, item: Longs, time: Longs) -> Floats:
    """The smoothed share of an item's earlier showings that were acted on (n,)."""
    shown, taken = Counts(surface.item, surface.time, acted).before(item, time)
    early = surface.time < time.min()
    mean = acted[early].mean() if early.any() else 0.5
    rate: Floats = (taken + SMOOTH * mean) / (shown + SMOOTH)
    return rate


def features(
    surface: Surface, acted: Longs, member: Longs, item: Longs, time: Longs
) -> pl.DataFrame:
    """Engineered counts of pairs of a member and an item, as of a time (n rows)."""
    columns: dict[str, Any] = {}

    def count(name: str, key: Longs, asked: Longs, windows: tuple[int | None, ...]) -> None:
        counts = Counts(key, surface.time, acted)
        for days in windows:
            shown, taken = counts.before(asked, time, days)
            when = f"{days}d" if days else "ever"
            columns[f"{name}_shown_{when}"] = shown
            columns[f"{name}_acted_{when}"] = taken
            columns[f"{name}_rate_{when}"] = np.where(
                shown > 0, taken / np.maximum(shown, 1), np.nan
            )

    windows: tuple[int | None, ...] = (*WINDOWS, None)
    count("member", surface.member, member, windows)
    count("item", surface.item, item, windows)
    for name in surface.items.columns[1:]:
        values, number = np.unique(
            surface.items[name].fill_null("").to_numpy().astype(str), return_inverse=True
        )
        if 1 < len(values) <= FEW:
            own = surface.member * len(values) + number[surface.item]
            count(name, own, member * len(values) + number[item], (None,))
    words = Words(surface)
    for name, values in words.meet(member, item).items():
        columns[name] = values
    liked = words.liked(surface, acted, member, item, time)
    columns |= liked
    return pl.DataFrame({name: np.asarray(v, dtype=np.float64) for name, v in columns.items()})


class Words:
    """The words of members and items, as sparse rows."""

    def __init__(self, surface: Surface) -> None:
        from scipy.sparse import csr_array

        vocabulary: dict[str, int] = {}

        def matrix(frame: pl.DataFrame) -> Any:
            rows, places = [], []
            texts = frame.select(
                pl.concat_str(pl.col(frame.columns[1:]).fill_null(""), separator=" ")
                if frame.width > 1
                else pl.lit("")
            ).to_series()
            for row, text in enumerate(texts):
                for word in set(re.findall(r"\w{3,}", text.lower())):
                    rows.append(row)
                    places.append(vocabulary.setdefault(word, len(vocabulary)))
            return rows, places, len(frame)

        parts = [matrix(surface.members), matrix(surface.items)]
        size = max(1, len(vocabulary))
        self.members, self.items = (
            csr_array((np.ones(len(rows)), (rows, places)), shape=(n, size))
            for rows, places, n in parts
        )
        shown = np.asarray(self.items.sum(axis=0)).ravel()
        self.idf = np.log((1 + self.items.shape[0]) / (1 + shown))

    def meet(self, member: Longs, item: Longs) -> dict[str, Floats]:
        """Words that a member's and an item's texts share: how many, and how rare."""
        common = self.members[member] * self.items[item]
        return {
            "words_shared": np.asarray(common.sum(axis=1)).ravel(),
            "words_shared_rare": np.asarray(common @ self.idf).ravel(),
        }

    def liked(
        self, surface: Surface, acted: Longs, member: Longs, item: Longs, time: Longs
    ) -> dict[str, Floats]:
        """How alike an item is, by words, to those the member has acted on before, and not acted on."""
        from scipy.sparse import csr_array, diags_array

        weighted = self.items @ diags_array(self.idf)
        norms = np.sqrt(np.asarray((weighted * weighted).sum(axis=1)).ravel())
        unit = csr_array(diags_array(1 / np.where(norms > 0, norms, 1)) @ weighted)
        found = {"like_acted": np.zeros(len(member)), "like_passed": np.zeros(len(member))}
        order = np.lexsort((time, member))
        first = 0
        while first < len(order):  # one member's questions of one time together
            last = first
            m, t = member[order[first]], time[order[first]]
            while last < len(order) and (member[order[last]], time[order[last]]) == (m, t):
                last += 1
            rows = order[first:last]
            events = surface.events(int(m), int(t))
            for name, which in (("like_acted", 1), ("like_passed", 0)):
                past = surface.item[events[acted[events] == which]]
                if len(past):
                    mean = np.asarray(unit[past].sum(axis=0)).ravel() / len(past)
                    found[name][rows] = unit[item[rows]] @ mean
            first = last
        return found


def fitted_scores(
    surface: Surface,
    until: int,
    asked: tuple[Longs, Longs, Longs],
    snapshot: Any,
    seed: int,
    threads: int,
) -> dict[str, Floats]:
    """Scores of pairs (members, items, times, each (n,)) by popularity and by models trained on the task.

    Those are logistic regression, boosting, DCN-v2 and two towers, trained on the surface's events before
    `until`; `snapshot` rounds an event's time to that up to which its counts are known.
    """
    from linkwise.rank.networks import Pairs, network_scores

    member, item, time = asked
    surface = surface.answered()  # as the ranker is trained: events without an answer teach nothing
    acted = (surface.labels() == surface.yes).astype(np.int64)
    train = np.flatnonzero(surface.time < until)
    rng = np.random.default_rng(seed)
    if len(train) > TRAINED_ON:
        train = np.sort(rng.choice(train, TRAINED_ON, replace=False))
    found = {"popularity": popularity(surface, acted, item, time)}
    if len(np.unique(acted[train])) < 2:
        return found
    known = features(
        surface, acted, surface.member[train], surface.item[train], snapshot(surface.time[train])
    )
    new = features(surface, acted, member, item, time)
    for name, model in (("logistic", Logistic()), ("boosting", Boosting())):
        model.fit(known, acted[train].astype(np.float64), seed=seed, threads=threads)
        found[name] = model.score(new)
    words = Words(surface)
    return found | network_scores(
        Pairs(surface.member[train], surface.item[train], known),
        acted[train],
        Pairs(member, item, new),
        (words.members, words.items),
        seed,
    )
