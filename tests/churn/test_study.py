"""The whole study: nothing leaks back from after a cutoff, and the parts are what they claim to be."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from tests.churn.logs import events_of, table_of

from conftest import QUICK
from linkwise.churn.clean import cleaned
from linkwise.churn.config import ChurnConfig
from linkwise.churn.features import feature_names, user_features
from linkwise.churn.models import split
from linkwise.churn.study import _with_wide_enough_interval, load_fitted, with_bots
from linkwise.churn.windows import labels, plan
from linkwise.config import RunConfig
from linkwise.data.engine import collect
from linkwise.data.events import epoch_day, read_events
from linkwise.data.splits import user_hash
from linkwise.errors import InputError
from linkwise.metrics import proportion_interval
from linkwise.run import Run, execute

COLUMNS = {
    name: name for name in ("user", "item", "event", "duration", "length", "device", "paid", "text")
} | {"time": "date"}
MODEL_FILES = (
    "logistic.skops", "logistic.json", "forest.skops", "forest.json", "boosting.txt",
    "boosting.json", "recency.json", "preparation.json",
)  # fmt: skip


def run_on(table: pl.DataFrame, folder: Path, **churn: object) -> Run:
    folder.mkdir()
    log = folder / "log.parquet"
    table.write_parquet(log)
    settings = QUICK | {"trials": 2, "ledger_auc": False} | churn
    values = {
        "paths": [str(log)], "input": COLUMNS, "engine": {"threads": 1}, "churn": settings,
    }  # fmt: skip
    return execute(RunConfig.from_values(values, "test"), folder / "run")


def mutated(table: pl.DataFrame, day: int) -> pl.DataFrame:
    """The log with every row from a day on changed: other users, items, kinds and times.

    Half of the users who came leave, and those who stayed away come back, so that labels turn over. The
    last day keeps a row, because the cutoffs are counted from it.
    """
    late = pl.col("date") >= pl.from_epoch(pl.lit(day), time_unit="d")
    before, after, last = table.filter(~late), table.filter(late), table["date"].max()
    came = after["user"].unique().sort()
    stay = came.filter(pl.Series(user_hash(came, "mutated") < 0.5))
    kept = after.filter(pl.col("user").is_in(stay.implode()))
    back = before.filter(~pl.col("user").is_in(came.implode())).unique("user", maintain_order=True)
    kept = kept.with_columns(pl.col("user", "item").reverse())
    changed = pl.concat([kept, back.with_columns(date=pl.lit(last))]).with_columns(
        event=pl.lit("play"),
        duration=pl.lit(10.0),
        length=pl.lit(100.0),
        device=pl.lit("ip"),
        paid=~pl.col("paid"),
    )
    assert changed["date"].max() == last
    return pl.concat([before, changed])


@pytest.mark.slow
def test_models_do_not_change_when_everything_after_the_training_labels_does(
    music_table: pl.DataFrame, tmp_path: Path
) -> None:
    before = run_on(music_table, tmp_path / "before")
    first, last = music_table["date"].min(), music_table["date"].max()
    train_label_end = epoch_day(last) + 1 - 3 * 14 + 14
    assert train_label_end > epoch_day(first) + 30
    after = run_on(mutated(music_table, train_label_end), tmp_path / "after")
    for name in MODEL_FILES:
        old, new = (run.folder / "model" / name for run in (before, after))
        assert old.read_bytes() == new.read_bytes(), name
    assert before.metrics != after.metrics, "the mutation did not reach the reported users"


@pytest.mark.slow
def test_calibrators_do_not_change_when_everything_after_their_labels_does(
    music_table: pl.DataFrame, tmp_path: Path
) -> None:
    before = run_on(music_table, tmp_path / "before")
    report_cutoff = epoch_day(music_table["date"].max()) + 1 - 14
    after = run_on(mutated(music_table, report_cutoff), tmp_path / "after")
    for name in ("logistic", "forest", "boosting", "recency"):
        old, new = (
            run.folder / "model" / "calibrators" / name / "calibrator.json"
            for run in (before, after)
        )
        assert old.read_bytes() == new.read_bytes(), name
    kept = pl.read_parquet(before.folder / "features.parquet").drop("churned")
    found = pl.read_parquet(after.folder / "features.parquet").drop("churned")
    assert kept.equals(found), (
        "features of the reported users changed with what came after the cutoff"
    )


def test_features_do_not_change_when_everything_from_the_cutoff_on_does(
    music_table: pl.DataFrame, music_run: Run
) -> None:
    spec, rules, _, _ = load_fitted(music_run.folder / "model")
    everyone = music_table["user"].unique()
    some = everyone.filter(pl.Series(user_hash(everyone, "features") < 0.4))
    log = music_table.filter(pl.col("user").is_in(some.implode()))
    tables = []
    for table in (log, mutated(log, epoch_day(log["date"].max()) + 1 - 28)):
        events = read_events(table, **COLUMNS)
        window = plan(events, 30, 0, 14).windows["calibrate"]
        tables.append(collect(user_features(cleaned(events.frame, spec, rules), spec, window)))
    assert tables[0].equals(tables[1])
    assert len(tables[0]) > 100


def test_features_file_has_a_row_per_reported_user(music_run: Run) -> None:
    features = pl.read_parquet(music_run.folder / "features.parquet")
    spec, *_ = load_fitted(music_run.folder / "model")
    assert features.columns == ["user", *feature_names(spec), "bot", "churned"]
    assert features["user"].n_unique() == len(features)
    boosting = pl.read_parquet(music_run.folder / "evaluation.parquet").filter(
        pl.col("model") == "boosting"
    )
    assert set(boosting["item"]) == set(features["user"])
    joined = boosting.join(features, left_on="item", right_on="user")
    assert (joined["label"] == joined["churned"]).all()


def test_report_names(music_run: Run) -> None:
    """The report's 32 features are there under their own names."""
    names = pl.read_parquet(music_run.folder / "features.parquet").columns
    expected = [
        *(f"time_percentage_{a}_to_{a + 20}" for a in (0, 20, 40, 60)),
        "time_percentage_larger_than_80",
        "time_percentage_larger_than_80_7d_over_30d",
        "total_play_time",
        "total_play_time_7d_over_30d",
        "average_play_time",
        *(f"freq_{kind}_last_{k}" for kind in "PDS" for k in (1, 3, 7, 14, 30)),
        *(f"{kind}_7d_over_{kind}_30d" for kind in "PDS"),
        *(f"last_{kind}_time_from_cutoff" for kind in "PDS"),
        "device_ar",
        "device_ip",
    ]
    assert len(expected) == 32
    assert set(expected) <= set(names)


@pytest.fixture(scope="module")
def music_days(music_table: pl.DataFrame) -> pl.DataFrame:
    """The users and days of the music log."""
    days = music_table.select("user", day=pl.col("date").dt.epoch("d")).unique()
    return days.sort("user", "day").with_columns(event=pl.lit("play"))


@pytest.mark.parametrize(("days", "parts"), [(44, 1), (58, 2), (72, 3), (86, 4)])
def test_no_user_is_in_two_parts_of_one_cutoff(
    music_days: pl.DataFrame, days: int, parts: int
) -> None:
    events = events_of(music_days.filter(pl.col("day") < music_days["day"].min() + days))
    cutoffs = plan(events, 30, 0, 14)
    assert len({window.cutoff for window in cutoffs.windows.values()}) == parts
    made = {}
    for window in cutoffs.windows.values():
        rows = collect(labels(events.frame, window, ())).sort("user")
        made[window] = table_of(dict(rows.iter_rows()))  # what splits them is who they are
    found = split(cutoffs, {role: made[window] for role, window in cutoffs.windows.items()})
    fit, check = set(found.fit.users), set(found.check.users)
    train, calibrate, report = (
        set(part.users) for part in (found.train, found.calibrate, found.report)
    )
    assert not fit & check
    if parts == 1:
        assert not train & calibrate
        assert not train & report
        assert not calibrate & report
        assert fit | check == train
        everyone = len(train) + len(calibrate) + len(report)
        assert len(train) / everyone == pytest.approx(0.6, abs=0.08)
        assert all(user_hash(found.report.users, "split") >= 0.8)
    if parts == 2:
        assert not train & calibrate
        assert len(found.report) == len(made[cutoffs.report])
    if parts >= 3:
        assert train == set(made[cutoffs.train].users)
        assert calibrate == set(made[cutoffs.windows["calibrate"]].users)
        assert report == set(made[cutoffs.report].users)
        tuned = cutoffs.windows.get("tune", cutoffs.train)
        assert fit | check == set(made[tuned].users)


def test_an_activity_that_the_log_lacks_is_named(music_table: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='"purchase", which the log does not have; it has play'):
        run_on(music_table.head(2000), tmp_path / "log", activity=["purchase"])


@pytest.mark.slow
def test_flagged_bots_stay_and_are_marked(music_table: pl.DataFrame, tmp_path: Path) -> None:
    run = run_on(music_table, tmp_path / "log", bots="flag", bots_above=99, search="none")
    features = pl.read_parquet(run.folder / "features.parquet")
    assert features["bot"].sum() > 0
    dropped = run_on(music_table, tmp_path / "dropped", bots_above=99, search="none")
    fewer = pl.read_parquet(dropped.folder / "features.parquet")
    assert set(features.filter(~pl.col("bot"))["user"]) == set(fewer["user"])


@pytest.mark.slow
@pytest.mark.real_data
def test_boosting_beats_recency_on_a_real_shop_log(shared_data: Path, tmp_path: Path) -> None:
    config = RunConfig.from_values(
        {
            "paths": [str(shared_data / "cdnow" / "cdnow.parquet")],
            "input": {"user": "customer", "time": "date", "value": "amount"},
            "engine": {"threads": 1},
            "churn": {"feature_days": 180, "label_days": 90, "trials": 4, "bootstrap": 200},
        },
        "test",
    )
    run = execute(config, tmp_path / "cdnow")
    row = next(
        r for r in run.metrics
        if (r["model"], r["metric"], r["split"]) == ("boosting", "auc", "test")
    )  # fmt: skip
    assert row["difference_low"] > 0
    names = pl.read_parquet(run.folder / "features.parquet").columns
    assert not [name for name in names if "play_time" in name or "percentage" in name]


@pytest.mark.slow
@pytest.mark.real_data
def test_a_short_log_with_clock_times_runs(shared_data: Path, tmp_path: Path) -> None:
    config = RunConfig.from_values(
        {
            "paths": [str(shared_data / "sparkify-log-2018-11" / "events-2018-11.parquet")],
            "input": {"schema": "sparkify", "on_bad_row": "skip"},
            "engine": {"threads": 1},
            "churn": {"feature_days": 14, "label_days": 7, "trials": 2, "bootstrap": 100},
        },
        "test",
    )
    run = execute(config, tmp_path / "sparkify")
    names = pl.read_parquet(run.folder / "features.parquet").columns
    assert "freq_P_last_14" in names
    assert "evening_share" in names
    assert "freq_Home_last_7" in names


def test_bots_are_kept_where_the_log_has_amounts() -> None:
    events = read_events(pl.DataFrame({"u": [1, 2], "t": [date(2024, 1, 1)] * 2, "v": [1.0, 2.0]}),
                         user="u", time="t")  # fmt: skip
    priced = replace(events, columns=events.columns | {"value"})
    assert with_bots(ChurnConfig(), events).bots == "drop"
    assert with_bots(ChurnConfig(), priced).bots == "flag"
    assert with_bots(ChurnConfig(bots="drop"), priced).bots == "drop"


def test_precision_and_lift_among_few_users_have_the_same_interval() -> None:
    """Ten of ten churned, of whom 40 % do: Wilson's interval, and the same over the rate."""
    row = {"n": 100, "k": 10.0, "value": 1.0, "low": 1.0, "high": 1.0, "metric": "precision_at"}
    low, high = proportion_interval(10, 10)
    found = _with_wide_enough_interval(row, 0.4)
    assert (found["low"], found["high"]) == (low, high)
    lifted = _with_wide_enough_interval(row | {"metric": "lift_at", "value": 2.5}, 0.4)
    assert (lifted["low"], lifted["high"]) == pytest.approx((low / 0.4, high / 0.4))
    assert lifted["high"] <= 1 / 0.4
    many = row | {"n": 1000, "low": 0.9}
    assert _with_wide_enough_interval(many, 0.4) == many
