"""What all next-item networks share, apart from PyTorch, which takes two seconds to import."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from linkwise.errors import optional


class SequenceConfig(BaseModel):
    """What all next-item networks share."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window: int = Field(100, ge=1)
    """Last events of a history that are seen."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the values that are dropped in training."""
    epochs: int = Field(60, ge=1)
    """Most passes over the users."""
    patience: int = Field(8, ge=1)
    """Passes without a better validation NDCG@10 after which training stops."""
    batch_size: int = Field(64, ge=1)
    """Users at a time."""
    learning_rate: float = Field(1e-3, gt=0)
    """Largest step of Adam."""
    weight_decay: float = Field(0.0, ge=0)
    """Shrinkage of the weights at each step (AdamW)."""
    negatives: int | None = Field(None, ge=1)
    """Items drawn for each batch in place of the whole catalogue, the loss corrected for it; by default the
    softmax is full up to 50,000 items, and 2,048 are drawn beyond."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU where there is one."""
    processes: int = Field(1, ge=1)
    """Processes that train together, each on a GPU of its own where there are so many; the batch is that of
    all of them."""
    seed: int = Field(0, ge=0)
    """Seed of weights, order and dropout, beside that of the run."""


def sequence_module() -> Any:
    """`linkwise.estimators.sequence`; raises `ResourceError` naming the extra where PyTorch is missing."""
    optional("torch", "deep", "a neural recommender")
    from linkwise.estimators import sequence

    return sequence
