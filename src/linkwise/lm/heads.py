"""What a network makes of tokens, at chosen places only: the vocabulary head is the dearest part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# Heads that are nothing but this module after the last states. Others (those that scale or cap their logits)
# are run whole.
HEADS = {
    "bert": "cls",
    "roberta": "lm_head",
    "xlm-roberta": "lm_head",
    "gpt2": "lm_head",
    "llama": "lm_head",
    "mistral": "lm_head",
    "mixtral": "lm_head",
    "qwen2": "lm_head",
    "qwen3": "lm_head",
}


def head_parts(network: Any) -> tuple[Any, Any] | None:
    """What the head does before its last, linear layer, and that layer; None where it cannot be parted."""
    kind = network.config.model_type
    if kind == "bert" and hasattr(network, "cls"):
        return network.cls.predictions.transform, network.cls.predictions.decoder
    name = HEADS.get(kind)
    linear = getattr(network, name, None) if name else None
    if not isinstance(linear, torch.nn.Linear):
        return None
    return (lambda states: states), linear


def first_position(network: Any) -> int:
    """The number of the first token's position: RoBERTa's begin behind that of its padding."""
    if network.config.model_type in ("roberta", "xlm-roberta", "camembert"):
        return int(network.config.pad_token_id) + 1
    return 0


def room_of(network: Any) -> int | None:
    """Tokens that a network has room for: its positions, or the window in which attention sees them all."""
    config = network.config
    limits = [getattr(config, "max_position_embeddings", None)]
    if getattr(config, "use_sliding_window", True):
        limits.append(getattr(config, "sliding_window", None))
    found = [int(limit) for limit in limits if limit]
    return min(found) - first_position(network) if found else None


def padded(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Token rows as one tensor, filled up at the right (b, w), and where tokens are (b, w)."""
    width = max((len(row) for row in rows), default=1) or 1
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    there = torch.zeros((len(rows), width), dtype=torch.bool)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(list(row), dtype=torch.long)
        there[at, : len(row)] = True
    return ids.to(device), there.to(device)


def both_ways(there: Any, dtype: Any) -> Any:
    """An attention mask that hides padding alone, also from a decoder (b, 1, w, w)."""
    hidden = ~there[:, None, None, :].expand(-1, 1, there.shape[1], -1)
    return torch.zeros(hidden.shape, dtype=dtype, device=there.device).masked_fill(
        hidden, torch.finfo(dtype).min
    )


def states(network: Any, ids: Any, there: Any, *, bidirectional: bool = False) -> Any:
    """The last states of a network with or without a head (b, w, size)."""
    mask = both_ways(there, network.dtype) if bidirectional else there.long()
    body = getattr(network, "base_model", network)
    return body(input_ids=ids, attention_mask=mask).last_hidden_state


def logits_at(
    network: Any, ids: Any, there: Any, rows: Any, places: Any, *, bidirectional: bool = False
) -> Any:
    """The logits at some places of some rows (n, vocabulary), float32.

    `rows` and `places` (n,) are indices into the batch (b, w).
    """
    name = HEADS.get(network.config.model_type)
    head = getattr(network, name, None) if name else None
    if head is None:
        mask = both_ways(there, network.dtype) if bidirectional else there.long()
        return network(input_ids=ids, attention_mask=mask).logits[rows, places].float()
    found = states(network, ids, there, bidirectional=bidirectional)
    return head(found[rows, places]).float()
