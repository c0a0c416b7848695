"""A training divided among two processes is the training that it would have been."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.lm.sharded import NOWHERE, TEXTS, losses, options, trained, weights
from tests.tiny_models import causal, masked

from linkwise.cli import main
from linkwise.context import Context
from linkwise.errors import UsageError
from linkwise.lm import load_model, tree
from linkwise.lm.adapt import prepare
from linkwise.lm.config import TrainConfig
from linkwise.lm.fit import Loss, Task, fit
from linkwise.lm.load import LanguageModel
from linkwise.rank.config import RankConfig
from linkwise.rank.ranker import Ranker

pytestmark = pytest.mark.slow

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """The folder of `sharded.py`, what it said of its failure, and when it had ended."""
    folder = tmp_path_factory.mktemp("sharded")
    causal(folder / "llama", "llama", positions=500, layers=4)
    masked(folder / "bert")
    words = [*LAUNCH, "-m", "tests.lm.sharded", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)
    ended = time.time()
    assert (folder / "failed").exists(), done.stderr[-4000:]
    assert done.returncode != 0
    return folder, done.stderr, ended


@pytest.fixture(scope="module")
def folder(launched: tuple[Path, str, float]) -> Path:
    return launched[0]


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What each process found."""
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module", params=["full", "lora"])
def one(request: Any, folder: Path) -> tuple[str, LanguageModel, Any]:
    """What is trained, the model and how its training went, in one process."""
    prepared, fitted = trained(folder, options("clm", train=request.param), None)
    return request.param, prepared.model, fitted


def test_losses_and_weights_are_those_of_a_team_and_of_one_process(
    one: tuple[str, LanguageModel, Any], folder: Path, found: list[dict[str, Any]]
) -> None:
    train, model, fitted = one
    alone = weights(model.network)
    begun = weights(prepare(str(folder / "llama"), "causal", options("clm")).model.network)
    for rank in range(2):
        np.testing.assert_allclose(found[rank][train]["shard"], losses(fitted), rtol=1e-5)
        np.testing.assert_allclose(found[rank][train]["plain"], losses(fitted), rtol=1e-5)
        tensors = load_file(folder / f"{train}-{rank}.safetensors")
        assert set(tensors) == {f"{how}.{name}" for how in ("plain", "shard") for name in alone}
        for name, p in alone.items():
            for how in ("plain", "shard"):
                torch.testing.assert_close(tensors[f"{how}.{name}"], p, rtol=0, atol=1e-5)
    # What is compared has moved by a hundred times of that.
    moved = [float((p - begun[n]).abs().max()) for n, p in alone.items() if n in begun]
    if train == "lora":
        moved = [float(p.abs().max()) for n, p in alone.items() if "lora_B" in n]
        assert len(moved) == 4 * 7
    assert min(moved) > 1e-3


@pytest.mark.parametrize("train", ["full", "lora"])
def test_each_process_holds_half_and_gathers_a_layer_at_a_time(
    train: str, found: list[dict[str, Any]]
) -> None:
    for own in (rank[train] for rank in found):
        assert own["own"] == pytest.approx(own["all"] / 2, rel=0.01)
        outside = own["all"] - sum(own["size"])
        # A layer at the least, and with that outside the layers two at the most, and what fills up shares.
        assert (
            max(own["size"]) < own["most"] <= 1.01 * (outside + 2 * max(own["size"])) < own["all"]
        )
    # Parts were not as many in both: there were passes that the other process stood in for.
    assert sum(rank[train]["stood_in"] for rank in found) > 0


def test_other_trainings_are_the_same_too(found: list[dict[str, Any]]) -> None:
    """Parts with nothing to decide, dropout, frozen words; in half precision sums are taken otherwise."""
    for name, tolerance in (("mlm", 1e-5), ("soft-prompt", 1e-5), ("bfloat16", 1e-3)):
        plain, divided = found[0][name]
        np.testing.assert_allclose(divided, plain, rtol=tolerance, err_msg=name)
    (before, rows), (after, divided) = found[0]["tokens"]
    np.testing.assert_allclose(after, before, rtol=1e-5)
    np.testing.assert_allclose(divided, rows, atol=1e-5)


def test_a_ranker_is_the_same(found: list[dict[str, Any]]) -> None:
    """Batches of answers, items to be found and texts: passes of two depths, in each process others."""
    for rank in found:
        plain, divided = rank["ranker"]
        np.testing.assert_allclose(divided["p"], plain["p"], atol=1e-5)
        assert divided["weights"] == pytest.approx(plain["weights"], abs=1e-5)
        assert plain["weights"].keys() == divided["weights"].keys()
        assert rank["ranker"] == found[0]["ranker"]


def test_what_is_written_is_a_model_like_any_other(
    one: tuple[str, LanguageModel, Any], folder: Path, found: list[dict[str, Any]]
) -> None:
    lines = [" meow", " woof", " a movie"]

    def scores(model: LanguageModel) -> Any:
        context = [*model.text_start(), *model.encode("the cat says")]
        return tree.score(model.network, context, [model.encode(line) for line in lines])

    train, model, _ = one
    written = load_model(str(folder / f"{train}-model"), "causal")
    np.testing.assert_allclose(scores(written), scores(model), atol=1e-4)
    names = load_file(folder / "lora-model" / "adapter_model.safetensors")
    assert len(names) == 2 * 4 * 7
    assert not (folder / "lora-model" / "model.safetensors").exists()
    assert [rank["command"] for rank in found] == [0, 0]
    # By the command, LoRA put into the base.
    merged = load_file(folder / "command" / "model.safetensors")
    base = load_file(folder / "llama" / "model.safetensors")
    assert {n: p.shape for n, p in merged.items()} == {n: p.shape for n, p in base.items()}
    query = "model.layers.3.self_attn.q_proj.weight"
    assert not torch.equal(merged[query], base[query])


def test_a_stopped_training_goes_on(folder: Path, found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert rank["stopped"] == "training was stopped; go on with --resume."
        assert rank["resumed"]["apart"] <= 1e-6
        assert rank["resumed"]["steps"] == [3, 6]
    (checkpoint,) = (folder / "stopped" / ".work").glob("*.pt")
    state = torch.load(checkpoint, weights_only=True)
    assert sum(p.numel() for p in state["trained"].values()) == found[0]["full"]["all"]


def test_a_process_that_fails_ends_the_others(launched: tuple[Path, str, float]) -> None:
    folder, said, ended = launched
    assert "MemoryError: no room" in said
    assert ended - (folder / "failed").stat().st_mtime < 30


def test_what_cannot_be_divided_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="--shard cannot divide a base in 4 bits"):
        TrainConfig(shard=True, four_bit=True, train="lora")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    words = ["lm", "adapt", "--model", str(folder / "llama"), "--objective", "clm", "--shard"]
    assert main([*words, "--texts", str(tmp_path / "texts.txt"), "--out", str(tmp_path / "m")]) == 2
    assert "start it with torchrun" in " ".join(capsys.readouterr().err.split())
    ranker = Ranker(RankConfig(base=str(folder / "llama"), shard=True))
    with pytest.raises(UsageError, match="start it with torchrun"):
        ranker.fit([], 0, NOWHERE)

    class One:
        rank, size, device = 0, 1, torch.device("cpu")

    network: Any = torch.nn.Linear(2, 2)
    task = Task(np.ones(2, int), np.arange(2), np.arange(0), lambda rows, rng: Loss(0, 1, 1))
    team: Any = One()
    with pytest.raises(UsageError, match="Linear: this network has no layers of a language model"):
        fit(network, task, TrainConfig(shard=True), Context(folder=Path()), "line", team=team)
