"""The training loop: parts, checkpoints, early stopping, several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import masked

from linkwise.context import Context
from linkwise.errors import InputError, Interrupted
from linkwise.lm.adapt import adapt, prepare
from linkwise.lm.config import AdaptConfig, FitConfig
from linkwise.lm.fit import Loss, Task, fit, held_out_loss


class Line(torch.nn.Module):
    """One matrix, to be learned from noisy products."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 2)
        self.dropout = torch.nn.Dropout(0.2)


def regression(network: Line, n: int = 60) -> Task:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32))
    y = x @ torch.arange(8.0).view(4, 2)

    def loss(rows: Any, generator: np.random.Generator) -> Loss:
        noise = torch.from_numpy(generator.normal(size=(len(rows), 2)).astype(np.float32))
        found = network.linear(network.dropout(x[rows])) - y[rows] - 0.1 * noise
        return Loss((found**2).sum(), len(rows), 10 * len(rows))

    lengths = rng.integers(1, 9, n)
    return Task(lengths, np.arange(n - 10), np.arange(n - 10, n), loss)


def weights(network: Line) -> np.ndarray:
    return network.linear.weight.detach().numpy().copy()


CONFIG = FitConfig(epochs=30, learning_rate=0.2, batch_size=8, patience=30)


def test_it_learns_and_keeps_the_best() -> None:
    network = Line()
    task = regression(network)
    network.eval()
    before = held_out_loss(task, CONFIG)
    found = fit(network, task, CONFIG, Context(folder=Path()), "line")
    after = held_out_loss(task, CONFIG)
    assert after < before / 20
    best = found.history[found.best]["held_out"]
    assert after == pytest.approx(best)
    assert best == min(entry["held_out"] for entry in found.history)
    assert not network.training


def test_it_stops_when_nothing_is_gained() -> None:
    network = Line()
    task = regression(network)
    values = iter([5.0, 4.0, 6.0, 7.0, 8.0, 1.0])
    task = Task(task.lengths, task.train, task.held_out, task.loss, quality=lambda: next(values))
    found = fit(
        network, task, CONFIG.model_copy(update={"patience": 2}), Context(folder=Path()), "line"
    )
    assert [entry["held_out"] for entry in found.history] == [5, 4, 6, 7]
    assert found.best == 1


def test_a_batch_in_parts_is_the_same_batch() -> None:
    """The sum of the parts' gradients is that of the batch."""
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32))
    results = []
    for part_tokens in (10_000, 12):
        network = Line()
        given = regression(network)

        def loss(rows: Any, rng: np.random.Generator, network: Line = network) -> Loss:
            return Loss((network.linear(x[rows]) ** 2).sum(), len(rows), len(rows))

        task = Task(given.lengths, given.train, given.held_out, loss)
        config = CONFIG.model_copy(update={"part_tokens": part_tokens, "epochs": 3})
        fit(network, task, config, Context(folder=Path()), "line")
        results.append(weights(network))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


def test_interrupted_and_resumed_is_as_if_never_stopped(tmp_path: Path) -> None:
    whole = Line()
    fit(whole, regression(whole), CONFIG, Context(folder=tmp_path / "a", seed=4), "line")
    for stop in (3, 20, 100):
        network = Line()
        task = regression(network)
        steps = 0

        def cancelled(stop: int = stop) -> bool:
            nonlocal steps
            steps += 1
            return steps > stop

        folder = tmp_path / f"b{stop}"
        context = Context(folder=folder, seed=4, cancelled=cancelled)
        with pytest.raises(Interrupted, match="--resume"):
            fit(network, task, CONFIG, context, "line")
        again = Line()
        found = fit(again, regression(again), CONFIG, Context(folder=folder, seed=4), "line")
        np.testing.assert_array_equal(weights(again), weights(whole))
        assert found.history[-1]["epoch"] == 30


def test_a_loss_that_is_no_number_is_an_error_and_so_is_nothing_to_learn() -> None:
    network = Line()
    task = regression(network)
    empty = Task(task.lengths, task.train[:0], task.held_out, task.loss)
    with pytest.raises(InputError, match="there is no training example"):
        fit(network, empty, CONFIG, Context(folder=Path()), "line")
    bad = Task(
        task.lengths, task.train, task.held_out,
        lambda rows, rng: Loss(network.linear.weight.sum() * float("nan"), 1, 1),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"the loss is no number .* --learning-rate"):
        fit(network, bad, CONFIG, Context(folder=Path()), "line")


def test_only_what_requires_gradients_moves() -> None:
    network = Line()
    network.linear.bias.requires_grad_(False)
    before = network.linear.bias.detach().clone()
    fit(network, regression(network), CONFIG, Context(folder=Path()), "line")
    torch.testing.assert_close(network.linear.bias, before, rtol=0, atol=0)


def test_what_no_process_uses_does_not_decay() -> None:
    """As in one process: a team's gradients of zeros would shrink it."""

    class Twice:
        rank, size, device = 0, 2, torch.device("cpu")

        def total(self, values: Any) -> Any:
            return 2 * values

        def most(self, values: Any) -> Any:
            return values

        def shared(self, value: Any) -> Any:
            return value

    teams: list[Any] = [None, Twice()]
    for team in teams:
        network = Line()
        network.unused = torch.nn.Parameter(torch.ones(3, 3))
        before = weights(network)
        fit(network, regression(network), CONFIG, Context(folder=Path()), "line", team=team)
        assert torch.equal(network.unused, torch.ones(3, 3))
        assert np.abs(weights(network) - before).max() > 0.1


TEXTS = [f"the cat says meow {i % 7} and the dog says woof {i % 5}" for i in range(40)]


@pytest.mark.parametrize("objective", ["mlm", "clm", "mntp", "contrastive"])
def test_adapting_lowers_the_held_out_loss(objective: Any, tmp_path: Path) -> None:
    place = masked(tmp_path / "bert")
    head: Any = {"mlm": "masked", "contrastive": "encoder"}.get(objective, "causal")
    config = AdaptConfig(
        objective=objective, epochs=15, learning_rate=5e-3, batch_size=8, patience=15, dropout=0.1
    )
    model = prepare(str(place), head, config, as_causal=head == "causal").model
    found = adapt(model, TEXTS, config, Context(folder=Path()))
    assert found.history[found.best]["held_out"] < 0.8 * found.history[0]["held_out"]
    assert model.bidirectional == (objective == "mntp")


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Without dropout the gradients of the shares add up to those of the batch."""
    place = masked(tmp_path / "bert")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    words = [
        "lm", "adapt", "--model", str(place), "--as", "causal", "--objective", "clm", "--epochs", "2",
        "--texts", str(tmp_path / "texts.txt"), "--dropout", "0", "--device", "cpu", "--threads", "1",
        "--batch-size", "8", "--learning-rate", "0.001", "--json",
    ]  # fmt: skip
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    histories = []
    for name, start in (("one", []), ("two", launch)):
        command = [sys.executable, *start, "-m", "linkwise", *words, "--out", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert (tmp_path / name / "model.safetensors").is_file()
        histories.append(json.loads(done.stdout[done.stdout.index("{") :])["history"])
    for one, two in zip(*histories, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["held_out"] == pytest.approx(one["held_out"], rel=1e-4)


def test_a_team_goes_on_from_what_its_first_process_has(tmp_path: Path) -> None:
    """Another process, which has no folder, takes the weights and the count of updates from it."""
    network = Line()
    task = regression(network)
    config = CONFIG.model_copy(update={"epochs": 3})
    context = Context(folder=tmp_path)
    fit(network, task, config, context, "line")
    (checkpoint,) = (tmp_path / ".work").glob("*.pt")
    state = torch.load(checkpoint, weights_only=True)

    class Second:
        rank, size, device = 1, 2, torch.device("cpu")

        def total(self, values: Any) -> Any:
            return 2 * values

        def most(self, values: Any) -> Any:
            return values

        def shared(self, value: Any) -> Any:
            assert value is None
            return state

    other = Line()
    found = fit(other, task, config, Context(folder=Path()), "line", team=Second())
    torch.testing.assert_close(other.linear.weight, network.linear.weight)
    assert [entry["step"] for entry in found.history] == [e["step"] for e in state["history"]]
