"""The parameters of a ranker's training."""

from __future__ import annotations

from pydantic import Field

from linkwise.lm.config import TrainConfig


class RankConfig(TrainConfig):
    """One text model for all surfaces."""

    base: str = "small"
    """Model to begin with: `tiny`, `small` or `medium` (new, with MiniLM's words), a causal model's folder,
    or its name on the hub."""
    epochs: int = Field(1, ge=1)
    """Passes over all members' events."""
    learning_rate: float = Field(1e-3, gt=0)
    """Adam's largest step."""
    batch_size: int = Field(16, ge=1)
    """Sequences of an update, over all processes."""
    part_tokens: int = Field(8192, ge=1)
    """Tokens, with padding, run at once; a larger batch is run in parts, its gradients summed."""
    max_tokens: int = Field(1024, ge=64)
    """Tokens of a sequence: what is known of a member and as many events as fit."""
    evaluations: int = Field(4, ge=1)
    """How often an epoch is judged on members held out."""
    grouped: int = Field(2, ge=1)
    """Events of a member that are learned from where past items are shown by action: such a prompt teaches
    its last answer only."""
    text: float = Field(0.05, ge=0, le=1)
    """Share of the tokens that are texts of members and items alone, read word by word."""
    balance: bool = True
    """Give all answers of a task the same weight in training; their shares are put back in the scores."""
    seed: int = 0
    """Seed of the training."""
