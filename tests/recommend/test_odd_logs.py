"""The whole study, all models, on the smallest and oddest logs there are."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import linkwise
from linkwise.errors import InputError

MODELS = "random,item-item,nmf,svd,ease,als,bpr,segments,blend,gru4rec,sasrec"
QUICK = {"epochs": 1, "window": 4, "embedding_size": 8}


def study(rows: list[tuple[Any, Any, int]], out: Path, **options: Any) -> linkwise.Run:
    """Users, items and days after 2026-01-01."""
    frame = pl.DataFrame(rows, schema=["user", "item", "day"], orient="row")
    frame = frame.with_columns(day=pl.date(2026, 1, 1) + pl.duration(days=pl.col("day")))
    chosen = {"models": MODELS, "split": "leave-last-out", "bootstrap": 20} | options
    return linkwise.recommend(
        frame, user="user", item="item", time="day", out=out, gru4rec=QUICK, sasrec=QUICK, **chosen
    )


def value(run: linkwise.Run, model: str) -> float:
    return next(
        row["value"]
        for row in run.metrics
        if (row["model"], row["metric"], row["k"], row["split"], row["slice"])
        == (model, "hit_rate", 10, "test", "all")
    )


def test_one_user(tmp_path: Path) -> None:
    """What she chooses last is new to everyone."""
    run = study([("a", f"i{day}", day) for day in range(8)], tmp_path / "run")
    assert value(run, "ease") == value(run, "sasrec") == 0
    assert "1 of 1 targets were not in the catalogue" in run.report.read_text()


def test_one_item(tmp_path: Path) -> None:
    """Without repeats nothing is left to recommend; with them everyone is right."""
    rows = [(f"u{user}", "only", day) for user in range(5) for day in range(6)]
    with pytest.raises(InputError, match="leaves 0 queries"):
        study(rows, tmp_path / "run")
    run = study(rows, tmp_path / "run", repeats=True)
    assert {value(run, model) for model in ("popularity", *MODELS.split(","))} == {1}


def test_no_item_twice(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{user}-{day}", day) for user in range(5) for day in range(6)]
    run = study(rows, tmp_path / "run")
    assert value(run, "als") == value(run, "blend") == 0


@pytest.mark.parametrize("kind", ["text", "number", "uuid"])
def test_ids_come_back_as_they_were(kind: str, tmp_path: Path) -> None:
    make: dict[str, Any] = {
        "text": lambda n: f"id, {n}\n",
        "number": lambda n: 10**15 + n,
        "uuid": lambda n: str(uuid.UUID(int=n)),
    }
    rows = [
        (make[kind](user), make[kind](1000 + (user + 3 * day) % 11), day)
        for user in range(30)
        for day in range(6)
    ]
    run = study(rows, tmp_path / "run", models="svd")
    users, items = ({str(row[place]) for row in rows} for place in (0, 1))
    assert set(run.ranking["query"]) == users
    assert set(run.ranking["item"]) <= items
    lists = pl.read_parquet(run.folder / "recommendations.parquet")
    assert set(lists["user"]) == {row[0] for row in rows}
    assert set(lists["item"]) <= {row[1] for row in rows}


def test_histories_longer_than_the_window(tmp_path: Path) -> None:
    """The network sees the last four events; the rest is still left out of the lists."""
    rows = [(f"u{user}", f"i{(user + day) % 45}", day) for user in range(30) for day in range(40)]
    run = study(rows, tmp_path / "run", models="gru4rec,sasrec")
    seen = {(user, item) for user, item, day in rows if day < 39}
    listed = set(run.ranking.select("query", "item").rows())
    assert not listed & seen
