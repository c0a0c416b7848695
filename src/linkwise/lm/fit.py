"""The training of language models: batches, checkpoints, early stopping, several devices.

What is learned comes in as a `Task`; the loop knows nothing of it but its loss.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from linkwise.context import Context
from linkwise.errors import InputError, Interrupted
from linkwise.lm.config import FitConfig
from linkwise.lm.team import Team, check_team
from linkwise.lm.trie import Longs

if TYPE_CHECKING:
    from linkwise.lm.shard import Shards

CHECKPOINT_SECONDS = 300.0
HELD_OUT_SEED = 7


class Loss(NamedTuple):
    """A loss summed over its units (tokens, or examples), and the tokens that were run for it."""

    total: Any
    units: int
    tokens: int


@dataclass(frozen=True)
class Task:
    """What is learned: `lengths` (n,) tokens of each example, and the loss of some of them.

    `train` and `held_out` are rows; `loss(rows, rng)` is run with gradients for the first. `quality`, where
    given, judges in place of the held-out loss; lower is better. With `whole`, a batch is never split,
    because its examples are compared with each other. `kind` (n,) are numbers of which a batch holds one.
    """

    lengths: Longs
    train: Longs
    held_out: Longs
    loss: Callable[[Longs, np.random.Generator], Loss]
    quality: Callable[[], float] | None = None
    whole: bool = False
    kind: Longs | None = None


@dataclass
class Fitted:
    """How training went: an entry for each evaluation, and which one was best.

    Entries have `step`, `epoch`, `loss` (training, mean of a unit since the last), `held_out`, `seconds` and
    `tokens_per_second`.
    """

    best: int = -1
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: Any,
    task: Task,
    config: FitConfig,
    context: Context,
    name: str,
    *,
    team: Team | None = None,
) -> Fitted:
    """Train the parameters of `network` that require gradients, and keep those of the best evaluation.

    Without held-out examples or `quality` the last are kept. Checkpoints lie in `context.work`, every five
    minutes and at every evaluation; a resumed training goes on from the last, and ends as if it had never
    stopped: batches and dropout depend on the seed and the update alone. In a `team` each process takes its
    share of every batch, and gradients are summed. With `config.shard` each also holds its share of the
    network alone, on the team's device, until the training is over; then the network is whole again in every
    process, where it was before.

    Raises `InputError` where there is nothing to train on or the loss is no number, `Interrupted` where the
    run was asked to stop, `UsageError` where a network is to be divided that cannot be.
    """
    check_team(config.shard, team)
    if not len(task.train):
        raise InputError(f"{name}: there is no training example.")
    rank, size = (0, 1) if team is None else (team.rank, team.size)
    shards = None
    if config.shard and team is not None:
        from linkwise.lm.shard import Shards

        shards = Shards(network, team, bfloat16=config.precision == "bfloat16")
    trained = (
        {n: p for n, p in network.named_parameters() if p.requires_grad}
        if shards is None
        else shards.trained
    )
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(
        _groups(trained, config), lr=config.learning_rate, betas=(0.9, 0.98), fused=True
    )
    steps = n_updates(task, config.batch_size)
    total = steps * config.epochs
    judged = {math.ceil(steps * (i + 1) / config.evaluations) for i in range(config.evaluations)}
    seed = int(context.rng(f"{name} training").integers(2**31))
    run = _Run(context, name, task, config, trained, optimiser, team, shards)
    run.read()
    clock = _Clock(total, run.step)
    with context.step(name, total):
        context.progress.advance(run.step)
        for epoch in range(run.step // steps, config.epochs):
            if run.exhausted(config.patience):
                break
            batches = list(_batches(task, config, np.random.default_rng([seed, epoch])))
            for number in range(run.step - epoch * steps, steps):
                parts = list(_parts(task, config, batches[number][rank::size]))
                agreed: list[float] = [context.cancelled(), run.is_due(), len(parts)]
                if team is not None:
                    agreed = team.most(agreed)
                stop, due, most = agreed
                if stop or due:
                    run.write()
                if stop:
                    raise Interrupted("training was stopped; go on with --resume.")
                network.train()
                torch.manual_seed(seed + 1_000_003 * run.step + rank)  # dropout's
                rng = np.random.default_rng([seed, epoch, number, rank])
                _set_rate(optimiser, config, run.step, total)
                if shards is not None:  # there as many parts in every process
                    parts += [task.train[:0]] * (int(most) - len(parts))
                loss, units, tokens = _backward(task, config, parts, rng, device, shards)
                values = torch.tensor([loss, units, tokens], dtype=torch.float64, device=device)
                loss, units, tokens = (values if team is None else team.total(values)).tolist()
                if not math.isfinite(loss):
                    raise InputError(
                        f"{name}: the loss is no number after {run.step} updates; use a smaller "
                        "--learning-rate."
                    )
                _scale_gradients(trained, units, team, shards)
                torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                run.step += 1
                run.add(loss, units, tokens)
                context.progress.note(clock.words(run.step, tokens, loss / max(1.0, units)))
                context.progress.advance(run.step)
                if number + 1 in judged:
                    run.judge(network, epoch)
                    context.progress.say(f"{name}, {run.words()}")
                    run.write()
                    if run.exhausted(config.patience):
                        break
    run.restore_best()
    if shards is not None:
        shards.gather()
    network.eval()
    return run.fitted


def held_out_loss(task: Task, config: FitConfig) -> float:
    """The mean loss of a unit over the held-out examples, the same draws every time; nats."""
    total, units = 0.0, 0
    rng = np.random.default_rng(HELD_OUT_SEED)
    with torch.inference_mode(), _precision(config, None):
        for rows in _parts(task, config, task.held_out):
            loss = task.loss(rows, rng)
            total, units = total + float(loss.total), units + loss.units
    return total / max(1, units)


def _backward(
    task: Task,
    config: FitConfig,
    parts: list[Longs],
    rng: np.random.Generator,
    device: Any,
    shards: Shards | None,
) -> tuple[float, float, float]:
    total, units, tokens = 0.0, 0, 0
    for part in parts:
        work = partial(task.loss, part, rng) if len(part) else partial(_nothing, device)
        with _precision(config, device):
            loss = work() if shards is None else shards.loss(work)
        if loss.total.requires_grad:  # not where nothing was to decide
            loss.total.backward()
        total += float(loss.total.detach())
        units, tokens = units + loss.units, tokens + loss.tokens
    return total, float(units), float(tokens)


def _nothing(device: Any) -> Loss:
    return Loss(torch.zeros((), device=device), 0, 0)


def _parts(task: Task, config: FitConfig, rows: Longs) -> Iterator[Longs]:
    """Rows of like length, together at most `part_tokens` tokens with padding."""
    if task.whole:
        for some in _of_one_kind(task, rows):
            for start in range(0, len(some), config.batch_size):
                yield some[start : start + config.batch_size]
        return
    ordered = rows[np.argsort(task.lengths[rows], kind="stable")]
    start = 0
    while start < len(ordered):
        stop = start + 1
        while (
            stop < len(ordered)
            and task.lengths[ordered[stop]] * (stop + 1 - start) <= config.part_tokens
        ):
            stop += 1
        yield ordered[start:stop]
        start = stop


def _batches(task: Task, config: FitConfig, rng: np.random.Generator) -> Iterator[Longs]:
    """Rows of like length together, in random order: little padding, other company in every epoch."""
    groups = []
    for rows in _of_one_kind(task, task.train):
        noisy = task.lengths[rows] * rng.uniform(0.8, 1.2, len(rows))
        ordered = rows[np.argsort(noisy)]
        groups += [
            ordered[start : start + config.batch_size]
            for start in range(0, len(ordered), config.batch_size)
        ]
    for group in rng.permutation(len(groups)):
        yield groups[group]


def _of_one_kind(task: Task, rows: Longs) -> list[Longs]:
    """Rows parted by their kind."""
    if task.kind is None:
        return [rows]
    kinds = task.kind[rows]
    return [rows[kinds == kind] for kind in np.unique(kinds)]


def n_updates(task: Task, batch_size: int) -> int:
    """Updates of an epoch."""
    return sum(math.ceil(len(rows) / batch_size) for rows in _of_one_kind(task, task.train))


def _groups(trained: dict[str, Any], config: FitConfig) -> list[dict[str, Any]]:
    matrices = [p for p in trained.values() if p.dim() > 1]
    others = [p for p in trained.values() if p.dim() <= 1]
    return [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _set_rate(optimiser: Any, config: FitConfig, step: int, total: int) -> None:
    rising = max(1, round(config.warmup * total))
    share = (step + 1) / rising if step < rising else (total - step) / max(1, total - rising)
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * min(1.0, share)


def _scale_gradients(
    trained: dict[str, Any], units: float, team: Team | None, shards: Shards | None
) -> None:
    """From a sum over the units of this process to the mean over all; shards are summed already.

    What no process used has no gradient, as in one process: a gradient of zeros would let it decay.
    """
    used: list[float] = [p.grad is not None for p in trained.values()]
    if shards is not None:
        used = [name in shards.used for name in trained]
        shards.used.clear()
    if team is not None:
        used = team.most(used)
    for p, some in zip(trained.values(), used, strict=True):
        if not some:
            p.grad = None
            continue
        if team is not None and shards is None:
            p.grad = team.total(torch.zeros_like(p) if p.grad is None else p.grad)
        p.grad /= max(1.0, units)


def _precision(config: FitConfig, device: Any) -> AbstractContextManager[Any]:
    if config.precision == "float32" or config.shard:  # shards are gathered in their precision
        return nullcontext()
    kind = (
        "cuda" if torch.cuda.is_available() and (device is None or device.type == "cuda") else "cpu"
    )
    return torch.autocast(kind, dtype=torch.bfloat16)


def local(p: Any) -> Any:
    """The numbers of a tensor that this process holds, which can be changed in place."""
    return p.to_local() if hasattr(p, "to_local") else p


class _Clock:
    """Speed and time left, over the last updates."""

    def __init__(self, total: int, step: int) -> None:
        self.total, self.first, self.began, self.tokens = total, step, time.monotonic(), 0.0

    def words(self, step: int, tokens: float, loss: float) -> str:
        self.tokens += tokens
        seconds = max(1e-9, time.monotonic() - self.began)
        left = seconds / (step - self.first) * (self.total - step)
        return (
            f"loss {loss:.3f}, {self.tokens / seconds:,.0f} tokens a second, {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Run:
    """Where a training stands: kept in a checkpoint, where the run has a folder."""

    def __init__(
        self,
        context: Context,
        name: str,
        task: Task,
        config: FitConfig,
        trained: dict[str, Any],
        optimiser: Any,
        team: Team | None,
        shards: Shards | None,
    ) -> None:
        self.task, self.config, self.trained, self.optimiser = task, config, trained, optimiser
        self.team, self.shards = team, shards
        self.step = 0
        self.fitted = Fitted()
        self.best_state: dict[str, Any] | None = None
        self.loss = self.units = self.tokens = 0.0
        self.began = self.saved = time.monotonic()
        self.path: Path | None = None
        if context.folder != Path() and (team is None or team.rank == 0):
            # Named after what is trained: a run may train one model before and one after the validation.
            words = json.dumps([config.model_dump(), sorted(trained), context.seed])
            digest = hashlib.sha256(words.encode() + task.lengths.tobytes() + task.train.tobytes())
            self.path = context.work / f"{name.replace(' ', '-')}-{digest.hexdigest()[:16]}.pt"
        self.kept = self.path is not None

    def add(self, loss: float, units: float, tokens: float) -> None:
        """Count an update."""
        self.loss, self.units, self.tokens = (
            self.loss + loss,
            self.units + units,
            self.tokens + tokens,
        )

    def judge(self, network: Any, epoch: int) -> None:
        """Evaluate; what is best so far is kept."""
        network.eval()
        seconds = time.monotonic() - self.began
        entry = {
            "step": self.step,
            "epoch": epoch + 1,
            "loss": self.loss / max(1.0, self.units),
            "seconds": seconds,
            "tokens_per_second": self.tokens / max(1e-9, seconds),
        }
        quality = self.task.quality
        if quality is None and len(self.task.held_out):
            quality = partial(held_out_loss, self.task, self.config)
        if quality is not None:
            held = quality() if self.shards is None else self.shards.run(quality)
            # Kernels may round otherwise elsewhere, and all are to keep and to stop the same.
            entry["held_out"] = held if self.team is None else self.team.most([held])[0]
        self.fitted.history.append(entry)
        self.loss = self.units = self.tokens = 0.0
        self.began = time.monotonic()
        before = self.fitted.history[self.fitted.best] if self.fitted.best >= 0 else None
        if before is None or "held_out" not in entry or entry["held_out"] < before["held_out"]:
            self.fitted.best = len(self.fitted.history) - 1
            self.best_state = {n: local(p.detach()).cpu().clone() for n, p in self.trained.items()}

    def words(self) -> str:
        """How the last evaluation went."""
        entry = self.fitted.history[-1]
        held = f", held out {entry['held_out']:.3f}" if "held_out" in entry else ""
        return (
            f"epoch {entry['epoch']:.0f}, update {self.step:,}: loss {entry['loss']:.3f}{held} nats, "
            f"{entry['tokens_per_second']:,.0f} tokens a second"
        )

    def exhausted(self, patience: int) -> bool:
        """Whether too many evaluations have brought no gain."""
        return len(self.fitted.history) - 1 - self.fitted.best >= patience

    def restore_best(self) -> None:
        """Put the best weights back."""
        if self.best_state is not None:
            with torch.no_grad():
                for name, p in self.trained.items():
                    local(p).copy_(self.best_state[name])

    def is_due(self) -> bool:
        """Whether no checkpoint was written in the last minutes."""
        return time.monotonic() - self.saved >= CHECKPOINT_SECONDS

    def write(self) -> None:
        """Write a checkpoint, the first process of a team; the one before stands until it is whole."""
        self.saved = time.monotonic()
        if not self.kept:
            return
        best = self.best_state
        state = {
            "step": self.step,
            "trained": {n: p.detach() for n, p in self.trained.items()},
            "optimiser": self.optimiser.state_dict(),
            "best": self.fitted.best,
            "history": self.fitted.history,
            "best_state": best,
            "sums": [self.loss, self.units, self.tokens],
        }
        if self.shards is not None:
            if best is not None:
                state["best_state"] = {
                    n: self.shards.like(p, best[n]) for n, p in self.trained.items()
                }
            state = self.shards.whole(state)
        if self.path is None:
            return
        unfinished = self.path.with_suffix(".partial")
        torch.save(state, unfinished)
        unfinished.replace(self.path)

    def read(self) -> None:
        """Go on from the checkpoint, if there is one: that which the first process of a team sees."""
        found: Any = None
        if self.path is not None and self.path.exists():
            # Tensors, numbers and lists only: weights_only runs no code.
            found = torch.load(self.path, weights_only=True, map_location="cpu")
        if self.team is not None and self.shards is None:
            found = self.team.shared(found)
        elif self.team is not None and self.shards is not None:
            self.kept = self.team.shared(self.kept)  # to write a checkpoint takes all processes
            found = self.shards.share(found)
        if found is None:
            return
        with torch.no_grad():
            for name, p in self.trained.items():
                local(p).copy_(local(found["trained"][name]))
        self.optimiser.load_state_dict(found["optimiser"])
        self.step = found["step"]
        self.fitted = Fitted(found["best"], found["history"])
        if found["best_state"] is not None:
            self.best_state = {n: local(p).cpu() for n, p in found["best_state"].items()}
        self.loss, self.units, self.tokens = found["sums"]
