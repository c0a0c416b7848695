"""Lists from a finished run: for a new history by raw ids, or for a user of its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from linkwise.data.interactions import Histories, Singles
from linkwise.errors import InputError, LinkwiseError, UsageError
from linkwise.recommend.base import Recommender
from linkwise.recommend.daytime import DayTime, band_at
from linkwise.recommend.lists import SHOWN, Near, recommendations
from linkwise.recommend.registry import model_class


def _place(folder: Path, name: str | None) -> tuple[str, Path]:
    """A model of a run, by default the one that the run chose, and the folder it lies in."""
    about = folder / "model" / "chosen.json"
    if not about.is_file():
        raise UsageError(f"{folder}: this is no folder of a recommend run.")
    names = json.loads(about.read_text())
    wanted = name or names["chosen"]
    if wanted not in names["models"]:
        raise UsageError(
            f'{folder}: the run has no model "{wanted}"; it has {", ".join(names["models"])}.'
        )
    return wanted, folder / "model" / wanted


def model_names(folder: Path) -> list[str]:
    """The models of a run, the chosen one first."""
    chosen, _ = _place(folder, None)
    names = json.loads((folder / "model" / "chosen.json").read_text())["models"]
    return [chosen, *(name for name in names if name != chosen)]


def load_model(folder: Path, name: str | None = None) -> Recommender:
    """A model of the run folder; by default the one that the run chose.

    Raises `UsageError` where the run has no such model.
    """
    wanted, place = _place(folder, name)
    return model_class(wanted).load(place)


def list_for(
    run: Any,
    *,
    history: Sequence[Any] | None = None,
    dislikes: Sequence[Any] = (),
    user: Any | None = None,
    model: str | None = None,
    k: int = 10,
    at: datetime | None = None,
) -> pl.DataFrame:
    """The k best items: `item, title, score, rank, reason`.

    `history` are raw item ids, the oldest first, as text or as the log has them; unknown ones are passed
    over, and so are unknown `dislikes`, which are not listed. For a `user` of the run's log, the list that
    the run made is read. With `at`, the list for a history is re-ranked for that time of day, as a run with
    --daytime has learned.

    Raises `InputError` where the user is not in the run, or none of the history's items is in the catalogue.
    """
    folder = Path(run.folder)
    if user is not None:
        asked = {"--at": at, "--dislikes": dislikes if len(dislikes) else None, "--model": model}
        for option, value in asked.items():
            if value is not None:
                raise UsageError(
                    f"{option} goes with --history: a user's list is read as the run made it."
                )
        if k > SHOWN:
            raise UsageError(f"--k is {k}; the run made lists of {SHOWN} for its users.")
        lists = pl.scan_parquet(folder / "recommendations.parquet")
        of_user = pl.col("user").cast(pl.String) == str(user)
        found = lists.filter(of_user, pl.col("rank") <= k).collect()
        if not len(found):
            raise InputError(f'{folder}: the run knows no user "{user}".')
        return found.drop("user")
    past = () if history is None else tuple(history)
    (made,) = Lists(folder, model).answer([Wish(past, tuple(dislikes), k=k, at=at)])
    if isinstance(made, LinkwiseError):
        raise made
    return made


@dataclass(frozen=True)
class Wish:
    """A list that is wanted: raw item ids of the past, oldest first, and of what was turned down.

    What is in `exclude` is passed over, and changes nothing else.
    """

    history: tuple[Any, ...] = ()
    dislikes: tuple[Any, ...] = ()
    exclude: tuple[Any, ...] = ()
    k: int = 10
    at: datetime | None = None


class Lists:
    """A model of a run, held in memory, and lists for as many histories at a time as are asked for.

    Raises `UsageError` where the run has no such model.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.name, place = _place(folder, name)
        self.folder = folder
        self.model: Recommender = model_class(self.name).load(place)
        self.ids = self.model.catalogue_.ids
        self.rows = {item: row for row, item in enumerate(self.ids.cast(pl.String))}
        self.near = Near(self.model)

    @cached_property
    def daytime(self) -> tuple[DayTime, float]:
        """How lists change with the time of day, and how much; raises `UsageError` without --daytime."""
        return DayTime.load(self.folder / "model")

    def find(self, text: str, limit: int) -> list[dict[str, Any]]:
        """Items with words that begin so, the most chosen first: `item, title, popularity`."""
        words = text.lower().split()
        found: list[dict[str, Any]] = []
        for row in self._by_popularity:
            if len(found) == limit:
                break
            said = self._said[row]
            if all(f" {word}" in said for word in words):
                title = self.model.catalogue_.titles[row]
                number = int(self.model.popularity_[row])
                found.append({"item": str(self.ids[row]), "title": title, "popularity": number})
        return found

    @cached_property
    def _said(self) -> list[str]:
        titles = self.model.catalogue_.titles.fill_null("")
        return (" " + titles + " " + self.ids.cast(pl.String)).str.to_lowercase().to_list()

    @cached_property
    def _by_popularity(self) -> list[int]:
        order: list[int] = np.argsort(-self.model.popularity_, kind="stable").tolist()
        return order

    def unknown(self, ids: Sequence[Any]) -> list[str]:
        """Those of some ids that the catalogue does not have."""
        return [str(item) for item in ids if str(item) not in self.rows]

    def answer(self, wishes: Sequence[Wish]) -> list[pl.DataFrame | LinkwiseError]:
        """The list of each wish, `item, title, score, rank, reason`, or why there is none."""
        found: list[pl.DataFrame | LinkwiseError | None] = [None] * len(wishes)
        together: dict[int | None, list[int]] = {}  # wishes by the band of their time
        for number, wish in enumerate(wishes):
            try:
                self._check(wish)
                if wish.at is not None:
                    self.daytime  # noqa: B018 (loaded, or refused, here)
            except LinkwiseError as error:
                found[number] = error
                continue
            together.setdefault(None if wish.at is None else band_at(wish.at), []).append(number)
        for band, numbers in together.items():
            for number, table in zip(
                numbers, self._lists([wishes[n] for n in numbers], band), strict=True
            ):
                found[number] = table
        return [table for table in found if table is not None]

    def _check(self, wish: Wish) -> None:
        if wish.history and not self._known(wish.history):
            raise InputError(
                f"the catalogue has none of the items {', '.join(map(str, wish.history[:5]))}; its ids look "
                f"like {', '.join(str(item) for item in self.ids.head(3))}."
            )

    def _known(self, ids: Sequence[Any]) -> list[int]:
        return [self.rows[str(item)] for item in ids if str(item) in self.rows]

    def _lists(self, wishes: Sequence[Wish], band: int | None) -> list[pl.DataFrame]:
        adjust = None
        if band is not None:
            daytime, weight = self.daytime

            def adjust(scores: Singles) -> Singles:
                return daytime.adjust(scores, band, weight)

        found = recommendations(
            self.model,
            Histories.of([self._known(wish.history) for wish in wishes]),
            pl.Series("user", range(len(wishes))),
            repeats=False,
            # Excluded items are left out below, and others move up.
            k=max(wish.k + len(set(wish.exclude)) for wish in wishes),
            adjust=adjust,
            dislikes=Histories.of([self._known(wish.dislikes) for wish in wishes]),
            near=self.near,
        )
        tables = []
        for number, wish in enumerate(wishes):
            mine = found.filter(pl.col("user") == number).drop("user")
            if wish.exclude:
                kept = ~mine["item"].cast(pl.String).is_in([str(item) for item in wish.exclude])
                mine = mine.filter(kept)
            mine = mine.head(wish.k)
            ranks = pl.int_range(1, len(mine) + 1, dtype=pl.Int32, eager=True)
            tables.append(mine.with_columns(rank=ranks))
        return tables


def unknown_items(folder: Path, ids: Sequence[Any], model: str | None = None) -> list[str]:
    """The ids that the catalogue of a run's model does not have."""
    if not ids:
        return []
    _, place = _place(folder, model)
    known = set(pl.read_parquet(place / "catalogue.parquet")["id"].cast(pl.String))
    return [str(item) for item in ids if str(item) not in known]


class FirstItems:
    """Called with users, the first items of their lists in a run: `title; title; title` (n,).

    A user whom the run does not know gets the most popular items. Raises `UsageError` where the folder is
    none of a recommend run.
    """

    def __init__(self, folder: Path, n: int = 3) -> None:
        model = load_model(folder)
        lists = pl.read_parquet(folder / "recommendations.parquet").filter(pl.col("rank") <= n)
        named = pl.col("title").fill_null(pl.col("item").cast(pl.String))
        self.folder = folder
        self.texts = (
            lists.sort("user", "rank")
            .group_by(pl.col("user").cast(pl.String))
            .agg(named.str.join("; ").alias("items"))
        )
        catalogue = pl.DataFrame({"item": model.catalogue_.ids, "title": model.catalogue_.titles})
        best = np.argsort(-model.popularity_, kind="stable")[:n]
        self.popular = "; ".join(catalogue[best].select(named)["title"])

    def check(self, users: pl.Series) -> None:
        """Raise `InputError` where the run knows none of the users."""
        if not self.texts["user"].is_in(users.cast(pl.String).implode()).any():
            raise InputError(
                f"{self.folder}: the recommend run knows none of the log's users; make it from the same log."
            )

    def __call__(self, users: pl.Series) -> pl.Series:
        """The items of each user, as text (n,)."""
        wanted = pl.DataFrame({"user": users.cast(pl.String)})
        found = wanted.join(self.texts, on="user", how="left", maintain_order="left")["items"]
        return found.fill_null(self.popular)
