"""A run as a user makes it, with the options that are not the default, and newer logs scored with it."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.churn.logs import quick, shop_log

from linkwise.churn.models import GRIDS
from linkwise.churn.shortlist import HOLDOUT, REACH_SONGS, WATCH
from linkwise.data.simulate_music import MusicSimulation, simulate_music
from linkwise.data.splits import user_hash
from linkwise.errors import InputError, LinkwiseError
from linkwise.run import Run, churn, score

ACTS = ("play", "download")
COLUMNS = {name: name for name in ("user", "event", "time", "item", "duration")}
FEATURE_DAYS, GAP_DAYS, LABEL_DAYS = 14, 1, 7


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    return shop_log(1)


@pytest.fixture(scope="module")
def run(log: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on nine tenths of the users of a log with clock times, where visits do not count."""
    config = quick(
        activity=ACTS, search="grid", feature_days=FEATURE_DAYS, gap_days=GAP_DAYS,
        label_days=LABEL_DAYS, impute="mean", ledger_auc=True,
    )  # fmt: skip
    out = tmp_path_factory.mktemp("shop") / "run"
    return churn(log, out=out, sample=0.9, threads=1, **COLUMNS, **config.model_dump())


def acts_between(log: pl.DataFrame, first: int, last: int) -> dict[str, list[int]]:
    """User -> days before the log's end on which plays or downloads fell; days in [last, first]."""
    end = max(row["time"] for row in log.to_dicts()).date() + timedelta(days=1)
    found: dict[str, list[int]] = {}
    for row in log.to_dicts():
        ago = (end - row["time"].date()).days
        if row["event"] in ACTS and last <= ago <= first:
            found.setdefault(row["user"], []).append(ago)
    return found


@pytest.mark.slow
def test_labels_follow_the_activity_the_gap_and_the_sample(run: Run, log: pl.DataFrame) -> None:
    before = acts_between(log, FEATURE_DAYS + GAP_DAYS + LABEL_DAYS, GAP_DAYS + LABEL_DAYS + 1)
    after = acts_between(log, LABEL_DAYS, 1)
    expected = {user: int(user not in after) for user in before}
    features = pl.read_parquet(run.folder / "features.parquet")
    found = dict(features.select("user", "churned").iter_rows())
    assert 0.8 < len(found) / len(expected) < 1, "a tenth of the users was not read"
    assert found == {user: expected[user] for user in found}
    assert 0 < features["churned"].mean() < 1


@pytest.mark.slow
def test_the_list_follows_the_activity(run: Run, log: pl.DataFrame) -> None:
    active = acts_between(log, FEATURE_DAYS, 1)
    listed = run.ranking
    assert set(listed["item"]) < set(active)
    silent = {user: min(days) - 1 for user, days in active.items()}
    actions = dict(listed.filter(pl.col("action") != HOLDOUT).select("item", "action").iter_rows())
    assert {user for user, action in actions.items() if action == WATCH} == {
        user for user in actions if 7 <= silent[user] < 14
    }
    assert REACH_SONGS not in actions.values(), "nobody is silent for longer than the window"
    recency = json.loads((run.folder / "model" / "recency.json").read_text())
    assert recency["columns"] == ["last_P_time_from_cutoff", "last_D_time_from_cutoff"]


@pytest.mark.slow
def test_the_grids_settings_are_those_of_the_saved_models(run: Run) -> None:
    for name, grid in GRIDS.items():
        settings = json.loads((run.folder / "model" / f"{name}.json").read_text())
        text = json.dumps(settings)
        for key, values in grid.items():
            found = re.search(rf'"{key}": ("\w+"|[\d.]+)', text)
            assert found is not None, key
            assert json.loads(found[1]) in values


def newer(log: pl.DataFrame, days: int = 5) -> pl.DataFrame:
    """The same people a few days on."""
    return log.with_columns(pl.col("time") + pl.duration(days=days))


@pytest.mark.slow
def test_a_newer_log_is_scored_without_the_runs_sample(run: Run, log: pl.DataFrame) -> None:
    """Everybody on the newer log is listed; those whom the run knew, as they were in its own list."""
    ranked = score(run, newer(log))
    assert set(ranked["user"]) == set(acts_between(log, FEATURE_DAYS, 1))
    assert ranked["score"].is_sorted(descending=True)
    own = run.ranking
    joined = own.join(ranked, left_on="item", right_on="user", suffix="_newer")
    assert len(joined) == len(own) < len(ranked)
    for column in ("score", "probability", "reason", "action", "holdout"):
        assert joined[column].to_list() == joined[f"{column}_newer"].to_list(), column


@pytest.mark.slow
def test_kinds_of_event_that_the_run_never_saw_count_in_the_totals_only(
    run: Run, log: pl.DataFrame
) -> None:
    end = log["time"].max().replace(hour=0, minute=0, second=0, microsecond=0)
    users = log["user"].unique().sort()
    strange = pl.DataFrame(
        {"user": [*users, "stranger"], "event": "refund", "time": end},
        schema_overrides={"time": pl.Datetime("us")},
    )
    changed = pl.concat([log, strange], how="diagonal")
    ranked, plain = score(run, changed), score(run, log)
    # Who did only the unknown is not active, as the activity says.
    assert set(ranked["user"]) == set(plain["user"])
    assert "stranger" not in set(ranked["user"])
    assert ranked["score"].is_finite().all()
    without = score(run, log.with_columns(event=pl.col("event").replace("visit", "call")))
    assert set(without["user"]) == set(plain["user"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda log: log.with_columns(pl.col("time").dt.date()),
            "dates only; give a log with times",
        ),
        (
            lambda log: log.filter(pl.col("time") > pl.col("time").max() - timedelta(days=9)),
            "shorter",
        ),
        (lambda log: log.drop("item"), "item"),
        (lambda log: log.drop("event"), "event"),
        (
            lambda log: log.with_columns(event=pl.lit("visit")),
            "counts play, download as activity, and this log has none of them; it has visit",
        ),
    ],
    ids=["dates", "short", "no items", "no kinds", "no activity"],
)
def test_a_newer_log_that_does_not_fit_is_refused(
    run: Run, log: pl.DataFrame, change: Any, message: str
) -> None:
    with pytest.raises(LinkwiseError, match=message):
        score(run, change(log))


@pytest.mark.slow
def test_a_newer_raw_log_with_other_rows_is_scored_with_the_shared_run(
    music_run: Run, tmp_path: Path
) -> None:
    """A Music Box log of other users and other days, scored with the run that many tests share."""
    simulation = MusicSimulation(users=80, days=31, seed=11, start=date(2018, 1, 1))
    folder = simulate_music(simulation, tmp_path / "log")
    out = tmp_path / "list.csv"
    ranked = score(music_run, folder, out=out)
    truth = pl.read_parquet(folder / "truth.parquet")
    assert 0 < len(ranked) <= len(truth)
    assert out.is_file()
    held = user_hash(ranked["user"], f"holdout-{music_run.config.seed}") < 0.1
    assert ranked["holdout"].to_list() == held.tolist()
    with pytest.raises(InputError, match="shorter than the run's feature window of 30 days"):
        score(music_run, [str(path) for path in sorted(folder.glob("201801[12]*.log"))])


@pytest.mark.slow
def test_boosting_beats_recency_on_a_simulated_log(tmp_path: Path) -> None:
    log = simulate_music(MusicSimulation(users=10_000, days=86, seed=1), tmp_path / "log")
    run = churn(log, schema="music-box", threads=1, trials=3, bootstrap=200, ledger_auc=False)
    row = next(
        r for r in run.metrics
        if (r["model"], r["metric"], r["split"]) == ("boosting", "auc", "test")
    )  # fmt: skip
    assert row["difference_low"] > 0
    assert row["value"] > 0.85
    assert json.loads((run.folder / "report.json").read_text())["lead"][0].startswith(
        "Boosting beats recency alone"
    )
