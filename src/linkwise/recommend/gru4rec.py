"""`gru4rec`: a recurrent network over the history (Hidasi et al. 2016), with the softmax over all items."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from linkwise.estimators.sequence_config import sequence_module
from linkwise.recommend.sequential import Sequential, SequentialConfig


class GRU4RecConfig(SequentialConfig):
    """Gated recurrent units."""

    learning_rate: float = Field(3e-3, gt=0)
    """Largest step of Adam."""
    epochs: int = Field(24, ge=1)
    """Most passes over the users."""
    patience: int = Field(24, ge=1)
    """Passes without a better validation NDCG@10 after which training stops. As many as there are epochs: the
    quality rises once more when the step falls, after some passes without a gain."""
    embedding_size: int = Field(128, ge=1)
    """Numbers that an item goes in as."""
    hidden_size: int = Field(128, ge=1)
    """Numbers that a history is remembered in."""
    layers: int = Field(1, ge=1)
    """Recurrent layers."""


class GRU4Rec(Sequential):
    """Gated recurrent units read the items in order; their last state scores the next one."""

    name = "gru4rec"
    Config = GRU4RecConfig
    config: GRU4RecConfig

    def _network(self, n_items: int) -> Any:
        c = self.config
        return sequence_module().GRUNetwork(
            n_items, c.embedding_size, c.hidden_size, c.layers, c.dropout
        )
