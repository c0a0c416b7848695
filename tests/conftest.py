"""Fixtures that many tests share, each made once per worker."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from linkwise.data.engine import collect
from linkwise.data.events import read_events
from linkwise.data.simulate_music import MusicSimulation, simulate_music
from linkwise.run import Run, RunConfig, execute

SHARED = Path(__file__).parents[1].parent / "shared" / "data"

# Small settings that fit in seconds; what is tested does not depend on them.
QUICK = {
    "trials": 2,
    "bootstrap": 50,
    "forest": {"trees": 20},
    "boosting": {"rounds": 40},
}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real data sets are not here (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated music log in the raw schema."""
    folder = tmp_path_factory.mktemp("logs") / "music"
    return simulate_music(MusicSimulation(users=1500, days=86, seed=3), folder)


@pytest.fixture(scope="session")
def music_config(music: Path) -> RunConfig:
    return RunConfig.from_values(
        {
            "paths": [str(music)],
            "input": {"schema": "music-box", "on_bad_row": "skip"},
            "engine": {"threads": 1},
            "churn": QUICK,
        },
        "test",
    )


@pytest.fixture(scope="session")
def music_run(music_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished churn run on the small music log."""
    return execute(music_config, tmp_path_factory.mktemp("runs") / "churn")


@pytest.fixture(scope="session")
def music_table(music: Path) -> pl.DataFrame:
    """The same log as one frame with plain columns, dates as dates and times in seconds."""
    events = read_events(music, schema="music-box", on_bad_row="skip")
    day = pl.from_epoch("day", time_unit="d").alias("date")
    return (
        collect(events.frame)
        .with_columns(day, pl.col("duration") / 1000, pl.col("length") / 1000)
        .drop("day")
    )
