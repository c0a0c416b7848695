"""Small real runs of every verb, made once for all workers, and clients of a service over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.conftest import once
from tests.matching.test_link import files, options
from tests.matching.test_match_pairs import write_world
from tests.tiny_models import causal

import linkwise
from linkwise.cli import main
from linkwise.data.simulate_members import MembersSimulation, simulate_members
from linkwise.data.simulate_patents import PatentsSimulation, simulate_patents
from linkwise.rank import evidence
from linkwise.run import Run
from linkwise.serve.app import make_app
from linkwise.serve.config import ServeConfig


@pytest.fixture(scope="session")
def runs(
    shared_folder: Path,
    music: Path,
    music_run: Run,
    bert: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of the runs; read only, for all tests."""
    root = shared_folder / "served" / "runs"
    data = shared_folder / "served" / "data"
    root.parent.mkdir(exist_ok=True)

    def make() -> None:
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        made = data / "runs"
        made.mkdir()
        shutil.copytree(music_run.folder, made / "churn")
        words = ["recommend", str(music), "--schema", "music-box", "--models", "item-item,svd"]
        assert main([*words, "--bootstrap", "50", "--quiet", "--out", str(made / "songs")]) == 0
        normal, strange = data / "normal", data / "strange"
        words = ["simulate", "graphs", "--quiet", "--type"]
        assert main([*words, "1", "--n", "60", "--seed", "1", "--out", str(normal)]) == 0
        assert main([*words, "3", "--n", "20", "--seed", "2", "--out", str(strange)]) == 0
        linkwise.detect(
            str(normal),
            against=(str(strange),),
            detector=("wl",),
            bootstrap=100,
            out=made / "graphs",
        )
        patents = simulate_patents(PatentsSimulation(patents=2000, codes=80, seed=5), data / "pat")
        linkwise.forecast(
            str(patents / "patents.parquet"), embed="2006-2010", forecast="2011-2015",
            bootstrap=100, lm=(str(bert),), max_tokens=16, map=True, out=made / "codes",
        )  # fmt: skip
        (data / "links").mkdir()
        paths = files(data / "links")
        linkwise.match_links(
            str(paths["patents"]),
            **options(paths, bert, published=(str(paths["pairs"]),), map=True),
            out=made / "links",
        )
        (data / "world").mkdir()
        world = write_world(data / "world", 40)
        linkwise.match(
            str(world["patents"]),
            [str(data / "world" / f"{name}.md") for name in ("alpha", "beta", "gamma")],
            labels=str(world["labels"]), lm=str(bert), retrieve=4, folds=3, bootstrap=100,
            out=made / "pairs",
        )  # fmt: skip
        net = simulate_members(MembersSimulation(members=120, days=70, seed=1), data / "net")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(evidence, "FEWEST", 4)
            linkwise.rank(
                [str(net / "tasks" / "connect.toml")],
                base=str(causal(data / "llama", "llama", positions=2000)),
                epochs=1, sequences=4, judged=40, bootstrap=100, gap_days=10, refresh_days=14,
                out=made / "brew",
            )  # fmt: skip
        made.rename(root)

    return once(root, make)


@pytest.fixture(scope="session")
def client(runs: Path) -> Iterator[TestClient]:
    """A client of a service over the runs."""
    with TestClient(make_app(runs, ServeConfig()), raise_server_exceptions=False) as client:
        yield client
