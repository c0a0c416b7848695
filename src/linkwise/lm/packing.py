"""Several sequences in one row, unseen by each other: less padding."""

from __future__ import annotations

from collections.abc import Sequence
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


def packed_states(network: Any, packed: Packed) -> Any:
    """The last states of a decoder (b, w, size)."""
    body = getattr(network, "base_model", network)
    found = body(
        input_ids=packed.ids,
        attention_mask=packed.mask,
        position_ids=packed.position,
        use_cache=False,
    )
    return found.last_hidden_state
