"""`sasrec`: causal self-attention over the history (Kang and McAuley 2018), with the softmax over all items.

The loss is the full softmax, or a corrected sample of it, in place of the paper's one negative for each
event: that alone makes most of the difference between published results (Petrov and Macdonald 2023).
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from linkwise.estimators.sequence_config import sequence_module
from linkwise.recommend.sequential import Sequential, SequentialConfig


class SASRecConfig(SequentialConfig):
    """Causal self-attention."""

    window: int = Field(150, ge=1)
    """Last events of a history that are seen."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the values that are dropped in training."""
    epochs: int = Field(36, ge=1)
    """Most passes over the users."""
    learning_rate: float = Field(2e-3, gt=0)
    """Largest step of Adam."""
    embedding_size: int = Field(128, ge=1)
    """Numbers that an item, a place and a history are represented by; a multiple of `heads`."""
    blocks: int = Field(2, ge=1)
    """Layers of attention."""
    heads: int = Field(4, ge=1)
    """Attention heads of a layer."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(
                f"embedding_size {self.embedding_size} is no multiple of heads {self.heads}"
            )
        return self


class SASRec(Sequential):
    """Each event attends to those up to it; items go in and come out by the same vectors."""

    name = "sasrec"
    Config = SASRecConfig
    config: SASRecConfig

    def _network(self, n_items: int) -> Any:
        c = self.config
        return sequence_module().AttentionNetwork(
            n_items, c.embedding_size, c.blocks, c.heads, c.window, c.dropout
        )
