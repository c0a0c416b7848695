"""Next-item networks.

A network maps tokens (n, length) to one vector for each place (n, length, size) that knows what came up to
there; the score of an item as the next one is its dot product with the item's output vector, plus a bias.
Token 0 is padding and stands at the end; item row r is token r + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from linkwise.data.interactions import Histories, Longs, Singles

PAD = 0


class GRUNetwork(nn.Module):
    """Embedding, dropout, gated recurrent units, and an output layer with a bias for each item."""

    def __init__(
        self, n_items: int, embedding_size: int, hidden_size: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.made_by = (n_items, embedding_size, hidden_size, layers, dropout)
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
        self.made_by = (n_items, size, blocks, heads, window, dropout)
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
