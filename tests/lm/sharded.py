"""What each of two processes does for `test_shard.py`: the same trainings with shards and without.

At the end one fails.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.lm.sharded FOLDER`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tests.rank.network import write_surface

from linkwise.cli import main
from linkwise.context import Context
from linkwise.errors import Interrupted
from linkwise.lm import shard
from linkwise.lm.adapt import Prepared, adapt, prepare, write
from linkwise.lm.config import AdaptConfig, FitConfig
from linkwise.lm.fit import Fitted, Loss, fit
from linkwise.lm.load import load_model
from linkwise.lm.objectives import clm
from linkwise.lm.team import launched_team
from linkwise.rank.config import RankConfig
from linkwise.rank.ranker import Ranker
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task
from linkwise.technology.tokens import TechnologyTokens

NOWHERE = Context(folder=Path(), seed=3)
# Of different lengths, so that parts are.
TEXTS = [
    f"the cat says meow {i % 7} and the dog says woof {i % 5}" + " a movie" * (i % 4) * (i % 3)
    for i in range(24)
]
CODES = ("A01B", "B02C", "C03D")
# Parts of one to three texts: updates in which one process has more of them than the other.
OPTIONS = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8, "dropout": 0.0, "part_tokens": 150}


def options(objective: Any, **more: Any) -> AdaptConfig:
    """A short training without dropout."""
    return AdaptConfig(**{**OPTIONS, "objective": objective, **more})


def begun(folder: Path, config: AdaptConfig) -> Prepared:
    """The model that a training begins from."""
    masked = config.objective == "mlm"
    name = str(folder / ("bert" if masked else "llama"))
    return prepare(name, "masked" if masked else "causal", config, device="cpu")


def trained(folder: Path, config: AdaptConfig, team: Any, context: Context = NOWHERE) -> Any:
    """A model after its training, and how that went."""
    prepared = begun(folder, config)
    return prepared, adapt(prepared.model, TEXTS, config, context, team=team)


def weights(network: torch.nn.Module) -> dict[str, Any]:
    """All weights of a network, copied."""
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def losses(fitted: Fitted) -> list[list[float]]:
    """Of each evaluation."""
    return [[entry["loss"], entry["held_out"]] for entry in fitted.history]


class Watched(shard.Shards):
    """Shards that are measured while they are trained."""

    def __init__(self, network: Any, team: Any, **more: Any) -> None:
        self.all = sum(p.numel() for p in network.parameters())
        self.size = [sum(p.numel() for p in layer.parameters()) for layer in network.model.layers]
        super().__init__(network, team, **more)
        self.own = sum(p.to_local().numel() for p in network.parameters())
        self.most = self.stood_in = 0
        for layer in self.layers:
            layer.register_forward_hook(lambda *_: self.measure())
            layer.register_full_backward_hook(lambda *_: self.measure())
        FOUND.append(self)

    def measure(self) -> None:
        """How many numbers are whole in this process just now."""
        held = {
            p.data_ptr(): p.untyped_storage().nbytes() // 4
            for p in self.network.parameters()
            if not hasattr(p, "to_local")
        }
        self.most = max(self.most, sum(held.values()))

    def _stand_in(self, depth: int) -> None:
        self.stood_in += 1
        super()._stand_in(depth)


FOUND: list[Watched] = []


def full_and_lora(folder: Path, team: Any, out: dict[str, Any]) -> None:
    """All weights, and LoRA: with shards and without, measured, and written by the first process."""
    for train in ("full", "lora"):
        config = options("clm", train=train)
        prepared, plain = trained(folder, config, team)
        tensors = {f"plain.{n}": p for n, p in weights(prepared.model.network).items()}
        shard.Shards = Watched  # type: ignore[misc]
        prepared, fitted = trained(folder, config.model_copy(update={"shard": True}), team)
        shard.Shards = Watched.__base__  # type: ignore[misc]
        watched = FOUND.pop()
        tensors |= {f"shard.{n}": p for n, p in weights(prepared.model.network).items()}
        out[train] = {
            "plain": losses(plain),
            "shard": losses(fitted),
            **{name: getattr(watched, name) for name in ("all", "own", "most", "size", "stood_in")},
        }
        save_file(tensors, folder / f"{train}-{team.rank}.safetensors")
        if team.rank == 0:
            write(prepared, folder / f"{train}-model")


def other_trainings(folder: Path, team: Any, out: dict[str, Any]) -> None:
    """What passes through a model otherwise: parts with nothing hidden, soft prompts, bfloat16, new words."""
    cases = {
        "mlm": options("mlm", part_tokens=40, dropout=0.2),
        "soft-prompt": options("clm", train="soft-prompt", prompt_tokens=3, epochs=1),
        "bfloat16": options("clm", precision="bfloat16", epochs=1),
    }
    for name, config in cases.items():
        out[name] = [
            losses(trained(folder, config.model_copy(update={"shard": divided}), team)[1])
            for divided in (False, True)
        ]
    out["tokens"] = []
    for divided in (False, True):
        tokens = TechnologyTokens(load_model(str(folder / "bert"), "masked"), CODES, {}, "new")
        rng = np.random.default_rng(0)
        own = [
            [str(c) for c in rng.choice(CODES, 1 + n % 2, replace=False)] for n in range(len(TEXTS))
        ]
        task = tokens.task(tokens.rows_of(TEXTS, own, 60))
        how = FitConfig(epochs=2, learning_rate=1e-2, batch_size=8, shard=divided)
        fitted = fit(tokens, task, how, NOWHERE, "tokens", team=team)
        out["tokens"].append([losses(fitted), tokens.rows.tolist()])


def ranker(folder: Path, team: Any, out: dict[str, Any]) -> None:
    """Matching by the first layers, answers, items and texts in one batch."""
    rng = np.random.default_rng(0)
    items = ("toy", "alien", "heat", "ran")
    events = [
        (f"u{1 + n % 3}", items[int(rng.integers(4))], ("play", "ignore")[int(rng.integers(2))],
         f"2026-01-{1 + n // 3:02d}")
        for n in range(30)
    ]  # fmt: skip
    history = {"group_by_action": False, "budget_tokens": 200}
    path = folder / f"net-{team.rank}"
    surface = read_surface(read_task(write_surface(path, events, history=history)))
    config = RankConfig(
        base=str(folder / "llama"), batch_size=3, max_tokens=300, part_tokens=300, text=0.3, evaluations=1,
        matching_epochs=1, matching_batch=7,
    )  # fmt: skip
    out["ranker"] = []
    for divided in (False, True):
        found = Ranker(config.model_copy(update={"shard": divided}))
        found.fit([surface], 2**60, NOWHERE, team=team)
        p = found.probabilities(found.verbaliser(surface), 0, [0, 1, 2, 3])
        kept = {name: float(p.double().norm()) for name, p in weights(found.model.network).items()}
        out["ranker"].append({"p": p.tolist(), "weights": kept, "history": len(found.history_)})


def resumed(folder: Path, team: Any, out: dict[str, Any]) -> None:
    """Stopped in the second epoch, and gone on with; the first process alone has a folder, and is stopped."""
    config = options("clm", shard=True, dropout=0.1)
    whole, _ = trained(folder, config, team)
    context = replace(NOWHERE, folder=folder / "stopped" if team.rank == 0 else Path())
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    stopped: Callable[[], bool] = cancelled if team.rank == 0 else lambda: False
    try:
        trained(folder, config, team, replace(context, cancelled=stopped))
    except Interrupted as error:
        out["stopped"] = str(error)
    again, fitted = trained(folder, config, team, context)
    after = weights(again.model.network)
    out["resumed"] = {
        "steps": [entry["step"] for entry in fitted.history],
        "apart": max(
            float((p - after[name]).abs().max()) for name, p in weights(whole.model.network).items()
        ),
    }


def command(folder: Path, team: Any, out: dict[str, Any]) -> None:
    """The command itself, but that the team goes on after it."""
    team.accelerator.__class__.end_training = lambda _: None
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    words = ["lm", "adapt", "--model", str(folder / "llama"), "--objective", "clm", "--shard"]
    words += [
        "--texts",
        str(folder / "texts.txt"),
        "--out",
        str(folder / "command"),
        "--epochs",
        "1",
    ]
    out["command"] = main(
        [*words, "--device", "cpu", "--threads", "1", "--train", "lora", "--merge"]
    )


def fail(folder: Path, team: Any) -> None:
    """The second process fails in the middle of a training."""
    config = options("clm", shard=True)
    model = begun(folder, config).model
    task = clm(model, TEXTS, 90)

    def loss(rows: Any, rng: Any) -> Loss:
        if team.rank == 1:
            (folder / "failed").touch()
            raise MemoryError("no room")
        return task.loss(rows, rng)

    fit(model.network, replace(task, loss=loss), config, NOWHERE, "fails", team=team)


def work(folder: Path) -> None:
    """All of it, what was found as JSON, and a training that fails."""
    torch.set_num_threads(1)
    team = launched_team(cpu=torch.cuda.is_available())
    assert team is not None
    assert team.size == 2
    out: dict[str, Any] = {}
    for case in (full_and_lora, other_trainings, ranker, resumed, command):
        case(folder, team, out)
    (folder / f"found-{team.rank}.json").write_text(json.dumps(out))
    fail(folder, team)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
