"""The simulated network: the same for the same seed, and its truth is what its events follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from linkwise.data.simulate_members import HELD_OUT, PAGES, MembersSimulation, simulate_members
from linkwise.errors import UsageError
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_members(
        MembersSimulation(members=600, seed=3), tmp_path_factory.mktemp("net") / "net"
    )


def test_the_same_seed_gives_the_same_tables(net: Path, tmp_path: Path) -> None:
    again = simulate_members(MembersSimulation(members=600, seed=3), tmp_path / "a")
    other = simulate_members(MembersSimulation(members=600, seed=4), tmp_path / "b")
    for path in sorted(net.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(net)).read_bytes()
    assert (net / "jobs.parquet").read_bytes() != (other / "jobs.parquet").read_bytes()
    with pytest.raises(UsageError, match="it exists already"):
        simulate_members(MembersSimulation(members=600), again)


def test_every_task_reads_its_tables(net: Path) -> None:
    tasks = sorted((net / "tasks").glob("*.toml"))
    assert {path.stem for path in tasks} > set(HELD_OUT)
    for path in tasks:
        surface = read_surface(read_task(path))
        assert len(surface) > 1000
        assert surface.clock


def test_the_best_auc_is_that_of_the_true_probabilities(net: Path) -> None:
    truth = json.loads((net / "truth.json").read_text())
    table = pl.read_parquet(net / "truth.parquet")
    from_ = np.datetime64(truth["test_from"])
    for page in PAGES:
        rows = table.filter((pl.col("surface") == page.name) & (pl.col("time") >= from_))
        for action, *_ in page.actions:
            labels = (rows["action"] == action).to_numpy()
            best = roc_auc_score(labels, rows[f"p_{action}"].to_numpy())
            assert truth["tasks"][action]["bayes_auc"] == pytest.approx(best, abs=1e-9)
            assert 0.65 < best < 0.95


def test_actions_are_as_frequent_as_their_probability(net: Path) -> None:
    table = pl.read_parquet(net / "truth.parquet")
    for page in PAGES:
        rows = table.filter(pl.col("surface") == page.name)
        for action, *_ in page.actions:
            p = rows[f"p_{action}"].to_numpy()
            error = np.sqrt((p * (1 - p)).sum())
            assert abs((rows["action"] == action).sum() - p.sum()) < 4 * error
