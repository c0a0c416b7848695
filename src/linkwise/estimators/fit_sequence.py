"""The training of next-item networks: batches of histories, the loss over the catalogue, the best epoch."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from linkwise.context import Context
from linkwise.data.interactions import Histories, Longs, chunks
from linkwise.errors import Interrupted, ResourceError
from linkwise.estimators.sequence import PAD, last_vectors, padded
from linkwise.estimators.sequence_config import SequenceConfig
from linkwise.lm.team import Team
from linkwise.metrics.ranking import full_ranks, per_query

FULL_SOFTMAX_ITEMS = 50_000  # larger catalogues are sampled from, unless told otherwise


@dataclass
class Trained:
    """What training leaves: the best weights, and how it went."""

    state: dict[str, Any]
    best_epoch: int
    history: list[dict[str, float | None]] = field(default_factory=list)
    """One entry for each epoch: loss (nats per event), ndcg of the validation (None without), seconds."""


@dataclass(frozen=True)
class Validation:
    """What epochs are judged by: histories, and what was chosen after each."""

    histories: Histories
    targets: Histories
    repeats: bool = False

    def ndcg(self, network: Any, window: int) -> float:
        """NDCG@10 over the whole catalogue; items of the history are left out, but for `repeats`."""
        weights, bias = network.outputs()
        vectors = weights.detach().float().cpu().numpy()
        ranks = []
        for start, part in chunks(self.histories, len(vectors)):
            scores = last_vectors(network, part, window) @ vectors.T
            if bias is not None:
                scores += bias.detach().float().cpu().numpy()
            if not self.repeats:
                scores[part.rows, part.items] = -np.inf
            targets = self.targets.slice(start, start + len(part))
            ranks.append(full_ranks(scores, targets.rows, targets.items.astype(np.int64)))
        found = per_query(np.concatenate(ranks), self.targets.offsets, 10)
        return float(found["ndcg"].mean())


def choose_device(config: SequenceConfig) -> str:
    """Where to train."""
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ResourceError("device=cuda was asked for, and PyTorch finds no GPU; use device=auto.")
    return "cuda" if there and config.device != "cpu" else "cpu"


def train_batches(
    histories: Histories, config: SequenceConfig, rng: np.random.Generator
) -> Iterator[Longs]:
    """Tokens (b, window + 1) of users of like length, in random order.

    Of a history longer than the window, its end is taken.
    """
    usable = np.flatnonzero(histories.lengths >= 2)
    lengths = histories.lengths[usable]
    # Sorted by length with noise: little padding, and yet other company in every epoch.
    noisy = np.minimum(lengths, config.window + 1) * rng.uniform(0.9, 1.1, len(usable))
    ordered = usable[np.argsort(noisy)]
    groups = [
        ordered[start : start + config.batch_size]
        for start in range(0, len(ordered), config.batch_size)
    ]
    for group in rng.permutation(len(groups)):
        yield padded(histories.take(groups[group]), config.window + 1)[0]


def softmax_loss(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor | None,
    negatives: int | None,
) -> torch.Tensor:
    """Mean cross-entropy of the next item, nats.

    `hidden` (t, size), `targets` (t,) item rows, `weights` (n_items, size). With `negatives`, so many items
    are drawn uniformly for the batch, and each stands for (n_items - 1) / negatives of them: the sum over the
    catalogue in the softmax is replaced by an estimate, the target's own term being exact (Bengio and
    Senecal 2008).
    """
    if negatives is None or negatives >= len(weights):
        return functional.cross_entropy(functional.linear(hidden, weights, bias), targets)
    drawn = torch.randint(len(weights), (negatives,), device=hidden.device)
    positive = (hidden * weights[targets]).sum(-1, keepdim=True)  # (t, 1)
    others = hidden @ weights[drawn].T  # (t, negatives)
    if bias is not None:
        positive = positive + bias[targets][:, None]
        others = others + bias[drawn]
    others = others + math.log((len(weights) - 1) / negatives)
    others = others.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)
    return functional.cross_entropy(torch.cat([positive, others], dim=1), torch.zeros_like(targets))


def fit_next_item(
    network: Any,
    histories: Histories,
    config: SequenceConfig,
    context: Context,
    validation: Validation | None,
    name: str,
    team: Team | None = None,
) -> Trained:
    """Train a network to predict each next item, and keep the weights of the best epoch.

    `network(tokens)` gives (n, length, size), `network.outputs()` the item vectors (n_items, size) and
    biases. Epochs are judged by `validation`; without it the last is kept.
    Adam's step rises over the first epoch and falls as a half cosine to a tenth. Checkpoints lie in
    `context.work` and a resumed run goes on from the last: the randomness of an epoch depends on the seed and
    the epoch alone. In a `team` each process takes its share of every batch, and gradients are summed, so
    that the batch, and without dropout the result, is that of one process.
    """
    device = choose_device(config) if team is None else team.device
    rank, size = (0, 1) if team is None else (team.rank, team.size)
    seed = int(context.rng(f"{name} {config.seed}").integers(2**31))
    network.to(device)
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    usable = int((histories.lengths >= 2).sum())
    steps = max(1, math.ceil(usable / config.batch_size))
    negatives = config.negatives
    if negatives is None and len(network.outputs()[0]) > FULL_SOFTMAX_ITEMS:
        negatives = 2048
    trained, start, best = Trained({}, 0), 0, -math.inf
    checkpoint = _Checkpoint(context, name, histories, config)
    if (found := checkpoint.read()) is not None:
        network.load_state_dict(found["network"])
        optimiser.load_state_dict(found["optimiser"])
        trained = Trained(found["state"], found["best_epoch"], found["history"])
        start, best = len(trained.history), found["best"]
    with context.step(f"train {name}", config.epochs):
        for epoch in range(start, config.epochs):
            if epoch > 0 and epoch - 1 - trained.best_epoch >= config.patience:
                break
            began = time.monotonic()
            network.train()
            rng = np.random.default_rng([seed, epoch])
            torch.manual_seed(
                seed + 1_000_003 * epoch + rank
            )  # dropout has no generator of its own
            total, n = 0.0, 0.0
            for step, tokens in enumerate(train_batches(histories, config, rng)):
                if context.cancelled():
                    raise Interrupted("training was stopped; go on with --resume.")
                _set_rate(optimiser, config, epoch + step / steps)
                batch = torch.from_numpy(tokens[rank::size]).to(device)
                there = batch[:, 1:] != PAD
                counts = torch.tensor(float(there.sum()), device=device)
                whole = counts if team is None else team.total(counts)
                optimiser.zero_grad(set_to_none=True)
                loss = torch.zeros((), device=device)
                if float(counts):
                    weights, bias = network.outputs()
                    # Without the last event, which is nobody's input: the newest input of a short history is
                    # at the place where one is asked for.
                    hidden = network(batch[:, :-1].masked_fill(~there, PAD))[there]
                    mean = softmax_loss(hidden, batch[:, 1:][there] - 1, weights, bias, negatives)
                    loss = mean * counts / whole
                    loss.backward()  # type: ignore[no-untyped-call]
                if team is not None:
                    for p in network.parameters():
                        p.grad = team.total(torch.zeros_like(p) if p.grad is None else p.grad)
                nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimiser.step()
                part = loss.detach() if team is None else team.total(loss.detach())
                total, n = total + float(part * whole), n + float(whole)
            quality = float(epoch)
            if validation is not None:
                quality = validation.ndcg(network, config.window)
            entry = {
                "loss": total / max(1.0, n),
                "ndcg": None if validation is None else quality,
                "seconds": time.monotonic() - began,
            }
            trained.history.append(entry)
            if quality > best:
                best, trained.best_epoch = quality, epoch
                trained.state = {
                    k: v.detach().cpu().clone() for k, v in network.state_dict().items()
                }
            if rank == 0:
                checkpoint.write(network, optimiser, trained, best)
                context.progress.advance(epoch + 1)
    network.load_state_dict(trained.state)
    network.eval()
    return trained


def _set_rate(optimiser: Any, config: SequenceConfig, at: float) -> None:
    """The step at a moment, in epochs."""
    rate = min(1.0, at + 0.02)
    if at > 1:
        rate = 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, (at - 1) / max(1, config.epochs - 1))))
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * rate


class _Checkpoint:
    """The last epoch of a training, in the run's work folder; without a run, none is kept."""

    def __init__(
        self, context: Context, name: str, histories: Histories, config: SequenceConfig
    ) -> None:
        self.path: Path | None = None
        if context.folder != Path():
            # Named after what is trained: a run fits the same model before and after the validation, and
            # one for each segment.
            digest = hashlib.sha256(histories.items.tobytes() + config.model_dump_json().encode())
            self.path = context.work / f"{name}-{digest.hexdigest()[:16]}.pt"

    def read(self) -> dict[str, Any] | None:
        if self.path is None or not self.path.exists():
            return None
        # Tensors, numbers and lists only: weights_only runs no code.
        found: dict[str, Any] = torch.load(self.path, weights_only=True)
        return found

    def write(self, network: Any, optimiser: Any, trained: Trained, best: float) -> None:
        if self.path is None:
            return
        partial = self.path.with_suffix(".partial")
        torch.save(
            {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "state": trained.state,
                "best_epoch": trained.best_epoch,
                "history": trained.history,
                "best": best,
            },
            partial,
        )
        partial.replace(self.path)
