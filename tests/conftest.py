"""Fixtures that many tests share, each made once per worker."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.chat_server import KEY, Stage

from linkwise.config import RunConfig
from linkwise.data.engine import collect
from linkwise.data.events import read_events
from linkwise.data.simulate_music import MusicSimulation, simulate_music
from linkwise.run import Run, execute

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
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that the workers of one test session share; what one makes there, the others find."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def once(path: Path, make: Callable[[], object]) -> Path:
    """Let one worker make `path`, and the others wait for it."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make()
    return path


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny masked model."""
    from tests.tiny_models import masked

    return masked(tmp_path_factory.mktemp("lm") / "bert")


@pytest.fixture(scope="session")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny causal model."""
    from tests.tiny_models import causal

    return causal(tmp_path_factory.mktemp("lm") / "gpt")


@pytest.fixture(scope="session")
def music(shared_folder: Path) -> Path:
    """A small simulated music log in the raw schema."""
    folder = shared_folder / "logs" / "music"
    folder.parent.mkdir(exist_ok=True)
    simulation = MusicSimulation(users=1500, days=86, seed=3)
    return once(folder, lambda: simulate_music(simulation, folder))


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
def music_run(music_config: RunConfig, shared_folder: Path) -> Run:
    """A finished churn run on the small music log."""
    out = shared_folder / "runs" / "churn"
    out.parent.mkdir(exist_ok=True)
    return Run(once(out, lambda: execute(music_config, out)))


@pytest.fixture(scope="session")
def music_log(music: Path, shared_folder: Path) -> Path:
    """The same log as one file with plain columns, dates as dates and times in seconds."""

    def make() -> None:
        events = read_events(music, schema="music-box", on_bad_row="skip")
        day = pl.from_epoch("day", time_unit="d").alias("date")
        plain = collect(events.frame).with_columns(
            day, pl.col("duration") / 1000, pl.col("length") / 1000
        )
        plain.drop("day").write_parquet(path)

    path = shared_folder / "music.parquet"
    return once(path, make)


@pytest.fixture(scope="session")
def music_table(music_log: Path) -> pl.DataFrame:
    """The same log as one frame."""
    return pl.read_parquet(music_log)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A chat server that plays what the test wants."""
    from linkwise.lm import server as server_module

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(server_module, "BACKOFF", 0.01)
    stage = Stage()
    thread = threading.Thread(target=stage.http.serve_forever, args=(0.02,))
    thread.start()
    yield stage
    stage.http.shutdown()
    stage.http.server_close()
    thread.join()


@pytest.fixture
def server(stage: Stage) -> Any:
    """A client of the played server."""
    from linkwise.lm.server import Server

    return Server(stage.url, "tiny", timeout=5)
