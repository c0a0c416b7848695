"""A small network, a tiny base, and a ranker trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rank.network import QUICK
from tests.tiny_models import causal

from linkwise.cli import main
from linkwise.data.simulate_members import MembersSimulation, simulate_members
from linkwise.rank import evidence


@pytest.fixture(scope="session", autouse=True)
def _few_events_weigh() -> Iterator[None]:
    """Members held out of a network of 200 act on five items: enough here to weigh answers and vectors by."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evidence, "FEWEST", 4)
        yield


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_members(
        MembersSimulation(members=200, days=90, seed=1), tmp_path_factory.mktemp("net") / "net"
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal(tmp_path_factory.mktemp("lm") / "llama", "llama", positions=2000)


@pytest.fixture(scope="session")
def run(net: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "brew"
    tasks = [str(net / "tasks" / f"{name}.toml") for name in ("enrol", "connect", "follow")]
    words = ["rank", "train", *tasks, "--held-out", "follow", "--base", str(base), *QUICK]
    assert main([*words, "--gap-days", "10", "--refresh-days", "14", "--out", str(out)]) == 0
    return out
