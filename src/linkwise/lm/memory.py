"""What the training of a language model takes in memory, computed from its shape alone."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from linkwise.lm.packing import layers_of

GIB = 2**30
NUMBER = 4  # bytes of a number: weights, gradients and Adam's two averages are float32
BLOCK = 64  # numbers in 4 bits that share one in float32 (bitsandbytes)


def gib(parts: dict[str, float]) -> dict[str, float]:
    """Parts in bytes as GiB, with their sum."""
    found = {name: value / GIB for name, value in parts.items()}
    return {**found, "all": sum(found.values())}


def weight_bytes(module: nn.Module, four_bit: bool) -> int:
    """Bytes of a module's weights.

    In 4 bits are the matrices of linear layers but the head, with a float32 for each block of 64. Experts in
    one tensor (Mixtral's) are no linear layers, and stay in float32.
    """
    total = sum(NUMBER * p.numel() for p in module.parameters())
    if not four_bit:
        return total
    head = getattr(module, "get_output_embeddings", lambda: None)()
    for part in module.modules():
        if type(part) is nn.Linear and part is not head:
            n = part.weight.numel()
            total += math.ceil(n / 2) + NUMBER * math.ceil(n / BLOCK) - NUMBER * n
    return total


def gathered_bytes(network: Any) -> float:
    """Bytes of what full sharding holds whole at once, weights and gradients, at the most.

    What stands outside the layers (word vectors, head) is whole for as long as a loss is made; of the layers
    two are, that which is run and the next. In the end the outer gradients are copied to be divided.
    """
    inner = [_own_bytes(layer) for layer in layers_of(network.base_model)]
    weights, gradients = (
        whole - sum(sizes)
        for whole, sizes in zip(_own_bytes(network), zip(*inner, strict=True), strict=True)
    )
    return float(weights + gradients + max(gradients, 2 * max(map(sum, inner))))


def _own_bytes(module: nn.Module) -> tuple[int, int]:
    """Bytes of a module's weights, and of the gradients of those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return NUMBER * sum(n for n, _ in sizes), NUMBER * sum(n for n, trained in sizes if trained)


def activation_bytes(config: Any) -> float:
    """Bytes that the backward pass needs of a token, estimated for layers of the Llama and Mixtral kinds.

    A layer keeps 6 states, queries and attention's output, keys and values, and 4 rows of the feed-forward
    part, of each expert that is run 2 states more. In float32, nothing computed anew, attention's weights
    not kept (PyTorch's fused kernels). With dropout or other layers it can be twice that; bfloat16 takes
    less.
    """
    size, heads = int(config.hidden_size), int(config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or size // heads)
    keys = head * int(getattr(config, "num_key_value_heads", None) or heads)
    inner = int(getattr(config, "intermediate_size", None) or 4 * size)
    experts = getattr(config, "num_experts_per_tok", None)
    forward = 4 * inner if experts is None else int(experts) * (4 * inner + 2 * size)
    layer = 6 * size + 2 * heads * head + 2 * keys + forward
    return float(NUMBER * (config.num_hidden_layers * layer + 2 * size))
