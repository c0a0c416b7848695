"""How a language model is trained: the parameters, apart from the code that needs PyTorch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from linkwise.errors import UsageError

Trained = Literal["full", "lora", "soft-prompt", "new"]
Objective = Literal["mlm", "mlm-hybrid", "clm", "mntp", "contrastive", "technology-tokens"]


class FitConfig(BaseModel):
    """How a language model is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: int = Field(3, ge=1)
    """Passes over the training examples."""
    learning_rate: float = Field(2e-4, gt=0)
    """Adam's largest step."""
    batch_size: int = Field(32, ge=1)
    """Examples of an update, over all processes."""
    part_tokens: int = Field(2048, ge=1)
    """Tokens, with padding, run at once; a larger batch is run in parts, its gradients summed."""
    warmup: float = Field(0.06, ge=0, le=1)
    """Share of the updates over which the step rises; after it, it falls linearly to 0."""
    weight_decay: float = Field(0.01, ge=0)
    """Of matrices; biases and norms do not decay."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: mixed precision, where the processor has it; weights and sums stay in float32."""
    evaluations: int = Field(1, ge=1)
    """How often an epoch is judged on what was held out."""
    patience: int = Field(3, ge=1)
    """Evaluations without a gain on held-out examples after which training stops."""
    shard: bool = False
    """Divide weights, gradients and the optimiser among the processes (FSDP2); all must be started together,
    by torchrun."""


class TrainConfig(FitConfig):
    """What of a model is trained, and how."""

    train: Trained = "full"
    """All weights, LoRA matrices beside frozen ones, a soft prompt before a frozen model (by peft), or the
    new rows of the vocabulary alone (technology tokens)."""
    learning_rate: float = Field(2e-4, gt=0)
    """Adam's largest step; by default 1e-2 with a soft prompt, 1e-5 with contrastive; of technology tokens
    1e-2 (new), 1e-3 (lora) and 3e-4 (full)."""
    rank: int = Field(16, ge=1)
    """Rank of LoRA matrices."""
    prompt_tokens: int = Field(20, ge=1)
    """Vectors of a soft prompt."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout in training; by default the model's own, .05 of LoRA (0 beside Mixtral's experts), and .1 with
    contrastive."""
    max_tokens: int = Field(256, ge=4)
    """Tokens at which texts are cut; with clm, mlm and mntp the rest becomes further examples."""
    merge: bool = False
    """Write a LoRA-trained model whole, not the adapter."""
    four_bit: bool = False
    """Hold the base in 4 bits (bitsandbytes); with --train lora."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("train") == "soft-prompt":
            return {"learning_rate": 1e-2, **values}
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.four_bit and self.train != "lora":
            raise UsageError(
                "a base in 4 bits cannot be trained itself; use --four-bit with --train lora."
            )
        if self.four_bit and self.shard:
            raise UsageError(
                "--shard cannot divide a base in 4 bits, which bitsandbytes packs. Leave out --four-bit, and "
                "each process holds its share of the base in all its bits; or leave out --shard, and each "
                "holds all of it in 4 bits."
            )
        if self.merge and (self.train != "lora" or self.four_bit):
            raise UsageError("--merge goes with --train lora, and not with --four-bit.")
        return self


class AdaptConfig(TrainConfig):
    """Continued pre-training."""

    objective: Objective = "mlm"
    """`mlm` masked words; `mlm-hybrid` words, or the title at a synopsis's end; `clm` the next token; `mntp`
    masked words of a decoder that looks both ways; `contrastive` two dropouts of one text;
    `technology-tokens` hidden codes of a patent, each a word of its own."""
    layout: Literal["before", "after"] = "before"
    """Where a patent's technology tokens stand: before its text or after it."""

    @model_validator(mode="before")
    @classmethod
    def _contrastive(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("objective") == "contrastive":
            return {"learning_rate": 1e-5, "dropout": 0.1, **values}
        if isinstance(values, dict) and values.get("objective") == "technology-tokens":
            rates = {"new": 1e-2, "lora": 1e-3}
            return {"learning_rate": rates.get(values.get("train", "full"), 3e-4), **values}
        return values

    @model_validator(mode="after")
    def _tokens(self) -> Self:
        tokens = self.objective == "technology-tokens"
        if self.train == "new" and not tokens:
            raise UsageError("--train new goes with --objective technology-tokens.")
        if tokens and (self.train == "soft-prompt" or self.four_bit):
            raise UsageError(
                "technology tokens are trained with --train new, lora or full, and not in 4 bits."
            )
        return self


class TuneConfig(TrainConfig):
    """Tuning on prompts with their answers."""

    objective: Literal["instruct", "catalogue"] = "instruct"
    """`instruct`: the answer's tokens, each after those before it. `catalogue`: the answer among all
    different answers of the table, whose probabilities add up to one."""
    max_tokens: int = Field(512, ge=4)
    """Tokens of a prompt with its answer; a longer prompt loses its beginning."""
