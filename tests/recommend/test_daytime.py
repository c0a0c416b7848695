"""The time of day: bands, lifts by hand, ranks against a loop, and lists that change with the hour."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkwise.cli import main
from linkwise.context import Context
from linkwise.data.interactions import Interactions
from linkwise.data.queries import split
from linkwise.errors import InputError
from linkwise.recommend.daytime import HOUR, PRIOR, WEIGHTS, DayTime, band_at, bands_of
from linkwise.recommend.ease import EASE
from linkwise.run import Run
from linkwise.testing.recommender import timed_log

START = datetime(2026, 1, 5)  # a Monday


@pytest.mark.parametrize(
    ("moment", "band"),
    [
        ("2026-11-20T08:00", 0),
        ("2026-11-20T17:59", 0),
        ("2026-11-20T18:00", 1),
        ("2026-11-21T23:59", 1),
        ("2026-11-21T12:00", 2),
        ("2026-11-20T07:59", 2),
        ("1969-12-31T09:00", 0),
    ],
)
def test_bands(moment: str, band: int) -> None:
    """Friday 20 and Saturday 21 November 2026, and a Wednesday before the epoch."""
    assert band_at(datetime.fromisoformat(moment)) == band


def evening_log() -> pl.DataFrame:
    """Users of two tastes who choose the even items of it in working hours, the odd ones in the evening."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(150):
        for day in range(20):
            for hour, odd in ((10, 0), (20, 1)):
                item = 2 * int(rng.integers(0, 15)) + odd + 30 * (user % 2)
                at = START.timestamp() + 86_400 * day + 3600 * hour + int(rng.integers(0, 3600))
                rows.append((f"u{user}", f"i{item}", datetime.fromtimestamp(at)))
    return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


def test_lifts_by_hand() -> None:
    log = hours(timed_log(0))
    daytime = DayTime().fit(log)
    bands = bands_of(log.histories.times)
    share = np.mean(bands == 1)
    for item in (0, 17):
        mine = log.histories.items == item
        expected = np.log(
            (np.sum(mine & (bands == 1)) + PRIOR * share) / ((mine.sum() + PRIOR) * share)
        )
        assert daytime.lifts_[1, item] == pytest.approx(expected, rel=1e-5)


def hours(log: Interactions) -> Interactions:
    """The log with its times as hours."""
    histories = log.histories
    object.__setattr__(histories, "times", histories.times * HOUR)
    return log


def test_ranks_equal_a_loop() -> None:
    parts = split(hours(timed_log(0)), "global-time:0.8")
    model = EASE().fit(parts.refit, context=Context(folder=Path()))
    daytime = DayTime().fit(parts.refit)
    plain, moved = daytime.ranks(model, parts.test, (0.0, 0.5))
    bands = bands_of(parts.test.targets.times)
    for at in range(0, len(plain), 7):
        query = int(parts.test.targets.rows[at])
        history = parts.test.histories[query]
        scores = model.scores(parts.test.histories.take(np.array([query])))[0].astype(np.float64)
        scores = (scores - scores.mean()) / scores.std()
        for weight, found in ((0.0, plain), (0.5, moved)):
            each = scores + weight * daytime.lifts_[bands[at]]
            each[history] = -np.inf
            target = int(parts.test.targets.items[at])
            if target < len(each):
                assert abs(int((each >= each[target]).sum()) - found[at]) <= 1  # rounding of ties
    weight = daytime.best_weight(model, parts.validation, WEIGHTS, 10)
    assert weight in WEIGHTS


def test_positions_and_days_have_no_hours() -> None:
    log = timed_log(0)
    object.__setattr__(log, "clock", "day")
    with pytest.raises(InputError, match="only their days"):
        DayTime().fit(log)


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("daytime")
    evening_log().write_parquet(folder / "log.parquet")
    words = ["recommend", str(folder / "log.parquet"), "--user", "user", "--item", "item"]
    words += ["--time", "time", "--models", "svd", "--repeats", "--daytime", "--tune", "1"]
    words += ["--bootstrap", "100", "--quiet", "--out", str(folder / "run")]
    assert main([*words, "--set", "svd.factors=2"]) == 0
    return Run(folder / "run")


def test_the_time_of_day_helps_where_it_matters(daily: Run) -> None:
    found = {
        row["model"]: row
        for row in daily.metrics
        if (row["metric"], row["k"], row["split"], row["slice"]) == ("ndcg", 10, "test", "all")
    }
    assert found["svd by time of day"]["low"] > found["svd"]["high"]
    assert "made the lists better" in daily.report.read_text()


def test_lists_change_with_the_hour(daily: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recommend", "--run", str(daily.folder), "--history", "i0,i1,i2,i3", "--k", "6"]
    lists = {}
    for at in ("2026-11-20T10:00", "2026-11-20T21:30"):
        assert main([*words, "--model", "svd", "--at", at, "--json"]) == 0
        listed = pl.read_json(capsys.readouterr().out.encode())["item"]
        lists[at] = [int(item[1:]) for item in listed]
    assert all(item % 2 == 0 for item in lists["2026-11-20T10:00"])
    assert all(item % 2 == 1 for item in lists["2026-11-20T21:30"])


def test_a_run_without_hours_says_so(
    daily: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    plain = tmp_path / "plain"
    shutil.copytree(daily.folder, plain)
    (plain / "model" / "daytime.safetensors").unlink()
    words = ["recommend", "--run", str(plain), "--history", "i0", "--at", "2026-11-20T10:00"]
    assert main(words) == 3
    assert "make it with --daytime" in " ".join(capsys.readouterr().err.split())
