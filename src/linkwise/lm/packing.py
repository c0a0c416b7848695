"""Several sequences in one row, unseen by each other: less padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from linkwise.lm.trie import Longs


@dataclass(frozen=True)
class Packed:
    """Rows of tokens (b, w), their positions (b, w), and a mask that keeps sequences apart.

    `mask` is (b, w), where tokens are, if each row holds one sequence, else (b, 1, w, w), 0 where a token is
    seen and very negative elsewhere. Sequence i begins at place `offset[i]` of row `row[i]` (n,).
    """

    ids: Any
    position: Any
    mask: Any
    row: Longs
    offset: Longs


def pack(
    sequences: Sequence[Sequence[int]], pad: int, device: Any, dtype: Any, first: int = 0
) -> Packed:
    """Sequences in rows as wide as the longest of them: each into the first row with room, longest first.

    `first` is the number of a sequence's first position (`heads.first_position`).
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    width = int(lengths.max(initial=1))
    row, offset = np.zeros_like(lengths), np.zeros_like(lengths)
    used: list[int] = []
    for number in np.argsort(-lengths, kind="stable"):
        need = int(lengths[number])
        place = next((at for at, full in enumerate(used) if full + need <= width), len(used))
        if place == len(used):
            used.append(0)
        row[number], offset[number] = place, used[place]
        used[place] += need
    ids = torch.full((len(used), width), pad, dtype=torch.long)
    position = torch.zeros((len(used), width), dtype=torch.long)
    owner = torch.full((len(used), width), -1, dtype=torch.long)
    for number, sequence in enumerate(sequences):
        inside = slice(int(offset[number]), int(offset[number] + lengths[number]))
        ids[row[number], inside] = torch.tensor(list(sequence), dtype=torch.long)
        position[row[number], inside] = first + torch.arange(len(sequence))
        owner[row[number], inside] = number
    ids, position, owner = ids.to(device), position.to(device), owner.to(device)
    if len(used) == len(sequences):
        return Packed(ids, position, (owner >= 0).long(), row, offset)
    seen = (owner[:, :, None] == owner[:, None, :]) & torch.ones(
        width, width, dtype=torch.bool, device=device
    ).tril()
    seen |= torch.eye(width, dtype=torch.bool, device=device)  # padding sees itself, not nothing
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    mask.masked_fill_(~seen, torch.finfo(dtype).min)
    return Packed(ids, position, mask[:, None], row, offset)


class _Reached(Exception):
    """No error: it carries the states out of the layers."""

    def __init__(self, states: Any) -> None:
        self.states = states


_DEPTH: ContextVar[int | None] = ContextVar("layers that the pass under way runs", default=None)


def pass_depth() -> int | None:
    """How many layers the pass under way runs; None: all. Known before it begins, which sharding needs."""
    return _DEPTH.get()


def packed_states(network: Any, packed: Packed, layers: int | None = None) -> Any:
    """The last states of a decoder (b, w, size); with `layers` those behind that many of its layers.

    Layers further up are not run then.
    """
    body = getattr(network, "base_model", network)

    def run() -> Any:
        return body(
            input_ids=packed.ids,
            attention_mask=packed.mask,
            position_ids=packed.position,
            use_cache=False,
        )

    return run().last_hidden_state if layers is None else stopped(body, layers, run)


def stopped(body: Any, layers: int, run: Callable[[], Any]) -> Any:
    """The states behind that many of a body's layers (b, w, size); `run` runs the body, which stops there."""

    def stop(_module: Any, _inputs: Any, output: Any) -> None:
        raise _Reached(output[0] if isinstance(output, tuple) else output)

    handle = layers_of(body)[layers - 1].register_forward_hook(stop)
    before = _DEPTH.set(layers)
    try:
        run()
    except _Reached as reached:
        return reached.states
    finally:
        _DEPTH.reset(before)
        handle.remove()
    raise AssertionError("the layer was not run")


def layers_of(body: Any) -> Any:
    """A network's layers, first to last: the outermost list of as many modules as it has layers.

    Empty where there is none.
    """
    n = body.config.num_hidden_layers
    lists = (part for part in body.modules() if isinstance(part, torch.nn.ModuleList))
    return next((part for part in lists if len(part) == n), torch.nn.ModuleList())
