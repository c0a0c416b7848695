"""Next-item networks: batches of histories, the loss over the catalogue, and the training loop.

A network maps tokens (n, length) to one vector for each place (n, length, size) that knows what came up to
there; the score of an item as the next one is its dot product with the item's output vector, plus a bias.
Token 0 is padding and stands at the end; item row r is token r + 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from linkwise.context import Context
from linkwise.data.interactions import Histories, Longs, Singles
from linkwise.errors import Interrupted, ResourceError
from linkwise.estimators.sequence_config import SequenceConfig

PAD = 0
FULL_SOFTMAX_ITEMS = 50_000  # larger catalogues are sampled from, unless told otherwise


@dataclass
class Trained:
    """What training leaves: the best weights, and how it went."""

    state: dict[str, Any]
    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry for each epoch: loss (nats per event), ndcg of the validation, seconds."""


class GRUNetwork(nn.Module):
    """Embedding, dropout, gated recurrent units, and an output layer with a bias for each item."""

    def __init__(
        self, n_items: int, embedding_size: int, hidden_size: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, embedding_size, padding_idx=PAD)
        nn.init.normal_(self.items.weight, std=embedding_size**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(embedding_size, hidden_size, layers, batch_first=True)
        self.output = nn.Linear(hidden_size, n_items)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """States (n, length, hidden) of tokens (n, length)."""
        states, _ = self.gru(self.dropout(self.items(tokens)))
        hidden: torch.Tensor = self.dropout(states)
        return hidden

    def outputs(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output vectors (n_items, hidden) and biases (n_items,)."""
        return self.output.weight, self.output.bias


class AttentionNetwork(nn.Module):
    """Item and place vectors, blocks of causal attention, a norm; items come out as they go in."""

    def __init__(
        self, n_items: int, size: int, blocks: int, heads: int, window: int, dropout: float
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, size, padding_idx=PAD)
        self.places = nn.Embedding(window + 1, size)
        nn.init.normal_(self.items.weight, std=size**-0.5)
        nn.init.normal_(self.places.weight, std=size**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([_Block(size, heads, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, length) -> (n, length, size)."""
        # Places are counted from the end: the newest event has the same one whatever the length.
        lengths = (tokens != PAD).sum(1, keepdim=True)
        place = (lengths - 1 - torch.arange(tokens.shape[1], device=tokens.device)).clamp(min=0)
        x: torch.Tensor = self.dropout(self.items(tokens) + self.places(place))
        for block in self.blocks:
            x = block(x)
        normed: torch.Tensor = self.norm(x)
        return normed

    def outputs(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The item vectors (n_items, size); no biases."""
        return self.items.weight[1:], None


class _Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and beside a shortcut."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.before, self.between = nn.LayerNorm(size), nn.LayerNorm(size)
        self.mix, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.wide, self.narrow = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, length, size) -> (n, length, size); padding stands at the end, where causality hides it."""
        n, length, size = x.shape
        shape = (n, length, 3, self.heads, size // self.heads)
        query, key, value = self.mix(self.before(x)).view(shape).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.rate if self.training else 0.0
        )  # (n, heads, length, size / heads)
        x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(n, length, size)))
        wide = functional.gelu(self.wide(self.between(x)))
        narrow: torch.Tensor = self.dropout(self.narrow(wide))
        return x + narrow


def choose_device(config: SequenceConfig) -> str:
    """Where to train."""
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ResourceError("device=cuda was asked for, and PyTorch finds no GPU; use device=auto.")
    return "cuda" if there and config.device != "cpu" else "cpu"


def padded(histories: Histories, window: int) -> tuple[Longs, Longs]:
    """Tokens (n, length) of the last `window` events, padded at the end, and the lengths (n,)."""
    lengths = np.minimum(histories.lengths, window)
    width = int(lengths.max(initial=1))
    tokens = np.full((len(histories), max(1, width)), PAD, dtype=np.int64)
    place = np.arange(tokens.shape[1])
    inside = place[None, :] < lengths[:, None]
    at = (histories.offsets[1:] - lengths)[:, None] + place[None, :]
    tokens[inside] = histories.items[at[inside]] + 1
    return tokens, lengths


def train_batches(
    histories: Histories, config: SequenceConfig, rng: np.random.Generator
) -> Iterator[tuple[Longs, Longs]]:
    """Tokens (b, window + 1) of users of like length, and their lengths, in random order.

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
        yield padded(histories.take(groups[group]), config.window + 1)


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
    validate: Callable[[Any], float] | None,
    name: str,
) -> Trained:
    """Train a network to predict each next item, and keep the weights of the best epoch.

    `network(tokens)` gives (n, length, size), `network.outputs()` the item vectors (n_items, size) and
    biases. `validate` is called with the network after every epoch, larger is better; without it the last
    epoch is kept.
    Adam's step rises over the first epoch and falls as a half cosine to a tenth. Checkpoints lie in
    `context.work` and a resumed run goes on from the last.
    """
    device = choose_device(config)
    rng = context.rng(f"{name} {config.seed}")
    torch.manual_seed(int(rng.integers(2**31)))  # dropout has no generator of its own
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
    # Named after what is trained: the fit before and the one with the validation's events are two.
    checkpoint = _Checkpoint(context, f"{name}-{len(histories.items)}-{config.epochs}")
    if (found := checkpoint.read()) is not None:
        network.load_state_dict(found["network"])
        optimiser.load_state_dict(found["optimiser"])
        rng.bit_generator.state = found["rng"]
        torch.set_rng_state(found["torch"])
        trained = Trained(found["state"], found["best_epoch"], found["history"])
        start, best = len(trained.history), found["best"]
    with context.step(f"train {name}", config.epochs):
        for epoch in range(start, config.epochs):
            if epoch > 0 and epoch - 1 - trained.best_epoch >= config.patience:
                break
            began = time.monotonic()
            network.train()
            total, n = 0.0, 0
            for step, (tokens, _) in enumerate(train_batches(histories, config, rng)):
                if context.cancelled():
                    raise Interrupted("training was stopped; go on with --resume.")
                _set_rate(optimiser, config, epoch + step / steps)
                batch = torch.from_numpy(tokens).to(device)
                inputs, targets = batch[:, :-1], batch[:, 1:]
                there = targets != PAD
                weights, bias = network.outputs()
                loss = softmax_loss(
                    network(inputs)[there], targets[there] - 1, weights, bias, negatives
                )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimiser.step()
                count = int(there.sum())
                total, n = total + float(loss.detach()) * count, n + count
            quality = validate(network) if validate is not None else float(epoch)
            entry = {
                "loss": total / max(1, n),
                "ndcg": quality,
                "seconds": time.monotonic() - began,
            }
            trained.history.append(entry)
            if quality > best:
                best, trained.best_epoch = quality, epoch
                trained.state = {
                    k: v.detach().cpu().clone() for k, v in network.state_dict().items()
                }
            checkpoint.write(network, optimiser, rng, trained, best)
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


def last_vectors(network: Any, histories: Histories, window: int, batch: int = 256) -> Singles:
    """What the network knows at the end of each history (n, size)."""
    device = next(network.parameters()).device
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(histories), batch):
            part = histories.slice(start, min(start + batch, len(histories)))
            tokens, lengths = padded(part, window)
            hidden = network(torch.from_numpy(tokens).to(device))
            ends = torch.from_numpy(np.maximum(lengths - 1, 0)).to(device)
            found.append(hidden[torch.arange(len(part), device=device), ends].float().cpu().numpy())
    return np.concatenate(found) if found else np.empty((0, 1), dtype=np.float32)


class _Checkpoint:
    """The last epoch of a training, in the run's work folder; without a run, none is kept."""

    def __init__(self, context: Context, name: str) -> None:
        self.path: Path | None = None
        if context.folder != Path():
            self.path = context.work / f"{name.replace(' ', '-')}.pt"

    def read(self) -> dict[str, Any] | None:
        if self.path is None or not self.path.exists():
            return None
        # Tensors, numbers and lists only: weights_only runs no code.
        found: dict[str, Any] = torch.load(self.path, weights_only=True)
        return found

    def write(
        self, network: Any, optimiser: Any, rng: np.random.Generator, trained: Trained, best: float
    ) -> None:
        if self.path is None:
            return
        partial = self.path.with_suffix(".partial")
        torch.save(
            {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "rng": rng.bit_generator.state,
                "torch": torch.get_rng_state(),
                "state": trained.state,
                "best_epoch": trained.best_epoch,
                "history": trained.history,
                "best": best,
            },
            partial,
        )
        partial.replace(self.path)
