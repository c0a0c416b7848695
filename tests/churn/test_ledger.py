"""The ledger: what is undone, on whom, and what is left unmeasured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from conftest import QUICK
from linkwise.churn import ledger
from linkwise.churn.config import ChurnConfig
from linkwise.config import RunConfig
from linkwise.context import Context
from linkwise.run import Run, execute


def test_the_ledger_of_a_run(music_run: Run) -> None:
    entries = pl.read_parquet(music_run.folder / "cleaning.parquet")
    bots = entries.filter(pl.col("rule").str.starts_with("bot:"))
    assert len(bots) == 2
    values = entries.filter(pl.col("rule").str.contains("play_time|song_length"))
    touched = values.filter(pl.col("rows") > 0, ~pl.col("rule").str.contains("unreadable"))
    assert len(touched) > 4
    assert touched["auc_with"].n_unique() == 1, "one model with all rules"
    found = touched.with_columns(expected=pl.col("auc_with") - pl.col("auc_without"))
    np.testing.assert_allclose(found["difference"], found["expected"])
    assert (found["low"] <= found["high"]).all()
    untouched = entries.filter(pl.col("rows") == 0)
    assert untouched["auc_without"].is_null().all()


def test_difference_is_paired_and_equals_sklearns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300).astype(float)
    good, noise = labels + rng.normal(0, 1, 300), rng.normal(size=300)
    config, context = ChurnConfig(), Context(tmp_path)
    found = ledger._difference(labels, good, noise, config, context)
    assert found["auc_with"] == pytest.approx(roc_auc_score(labels, good))
    assert found["auc_without"] == pytest.approx(roc_auc_score(labels, noise))
    assert 0 < found["low"] < found["difference"] < found["high"]
    same = ledger._difference(labels, good, good, config, context)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("days", "cutoffs"), [(44, 1), (58, 2)])
def test_bot_rules_on_short_logs(
    music_table: pl.DataFrame, tmp_path: Path, days: int, cutoffs: int
) -> None:
    log = tmp_path / "log.parquet"
    first = music_table["date"].min()
    music_table.filter(pl.col("date") < first + pl.duration(days=days)).write_parquet(log)
    names = ("user", "item", "event", "duration", "length", "device", "paid")
    values = {
        "paths": [str(log)],
        "input": {name: name for name in names} | {"time": "date"},
        "engine": {"threads": 1},
        "churn": QUICK | {"search": "none", "bots_above": 99.0},
    }
    run = execute(RunConfig.from_values(values, "test"), tmp_path / "run")
    entries = pl.read_parquet(run.folder / "cleaning.parquet")
    rule = entries.filter(pl.col("rule").str.starts_with("bot: events")).row(0, named=True)
    assert rule["users"] > 0
    assert (rule["auc_without"] is None) == (cutoffs == 1)
