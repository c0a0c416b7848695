"""Members and items as vectors of one space: what a ranker retrieves by, and weighs beside its answers.

A vector is the mean of a text's last states. Yes and no teach a model that begins untrained next to nothing
in a million tokens; telling the item that was acted on from those that others acted on teaches it in
minutes what goes with what, on any surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from linkwise.errors import InputError
from linkwise.lm.fit import Loss, Task
from linkwise.lm.heads import first_position
from linkwise.lm.load import LanguageModel
from linkwise.lm.packing import pack, packed_states
from linkwise.rank.surface import Longs

if TYPE_CHECKING:
    from linkwise.rank.verbalise import Verbaliser

TEMPERATURE = 0.1
SIZES = (32, 64, 128)  # leading numbers of a vector that are of use alone, beside all of them


def text_vectors(model: LanguageModel, rows: Sequence[Sequence[int]]) -> Any:
    """The mean of the last states of each token row, without its first token if it has others (n, size)."""
    network = model.network
    packed = pack(
        rows,
        model.tokenizer.pad_token_id or 0,
        network.device,
        network.dtype,
        first_position(network),
    )
    states = packed_states(network, packed)
    lengths = np.array([len(row) for row in rows])
    # What a text begins with says nothing, and its state is far from all others.
    skipped = (lengths > 1).astype(np.int64)
    counts = lengths - skipped
    owner = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = torch.from_numpy(packed.row[owner])
    at = torch.from_numpy((packed.offset + skipped)[owner] + place)
    of = torch.from_numpy(owner).to(states.device)
    sums = states.new_zeros(len(rows), states.shape[2]).index_add(0, of, states[row, at])
    return sums / torch.from_numpy(counts).to(states)[:, None]


def leading(vectors: Any, size: int) -> Any:
    """The first numbers of vectors, made of length one (n, size)."""
    return functional.normalize(vectors[:, :size], dim=1)


def matching_task(
    model: LanguageModel,
    verbalisers: Sequence[Verbaliser],
    until: int,
    held_out: frozenset[str],
) -> Task:
    """The task of `lm.fit`: each item acted on before `until` is to be found among the batch's.

    Cosine over a temperature of .1, of all numbers and of their leading ones (Kusupati et al. 2022); the
    members of `held_out` judge. An event is met with as much of its member's past as a random budget leaves,
    so that a vector is of use with a past and without.
    """
    number, event, names = [], [], []
    for place, verbaliser in enumerate(verbalisers):
        surface = verbaliser.surface
        rows = np.flatnonzero((surface.time < until) & (verbaliser.labels == surface.yes))
        number.append(np.full(len(rows), place))
        event.append(rows)
        names += surface.members["id"].gather(surface.member[rows]).to_list()
    of, at = np.concatenate(number), np.concatenate(event)
    if len(at) < 2:
        raise InputError("fewer than two events were acted on before the end of the training time.")
    out = np.array([name in held_out for name in names], dtype=np.bool_)
    # Mixed, so that batches of what is held out have as many of each task as those of training.
    order = np.random.default_rng(0).permutation(len(at))
    of, at, out = of[order], at[order], out[order]

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        return matching_loss(model, verbalisers, of[chosen], at[chosen], rng)

    # Lengths are not known without saying all; batches are never split, so that nothing depends on them.
    return Task(
        np.ones(len(at), dtype=np.int64),
        np.flatnonzero(~out),
        np.flatnonzero(out),
        loss,
        whole=True,
    )


def matching_loss(
    model: LanguageModel,
    verbalisers: Sequence[Verbaliser],
    of: Longs,
    events: Longs,
    rng: np.random.Generator,
) -> Loss:
    """Cross-entropy of each event's item among the batch's items of its task; `of` (n,) is which task.

    And of it against one item that the member was shown before and did not act on, where there is one: what
    is shown to a member is not any item, and finding that alone would count for an action, too.
    """
    said, place, passed = [], [], []
    keys: dict[tuple[int, int], int] = {}
    for task, event in zip(of.tolist(), events.tolist(), strict=True):
        verbaliser = verbalisers[task]
        surface = verbaliser.surface
        budget = int(rng.integers(verbaliser.most_sought + 1))
        said.append(
            verbaliser.seeking(int(surface.member[event]), int(surface.time[event]), budget)
        )
        key = (task, int(surface.item[event]))
        place.append(keys.setdefault(key, len(keys)))
        earlier = surface.events(int(surface.member[event]), int(surface.time[event]))
        earlier = earlier[
            (verbaliser.labels[earlier] >= 0) & (verbaliser.labels[earlier] != surface.yes)
        ]
        passed.append((task, int(surface.item[rng.choice(earlier)])) if len(earlier) else None)
    asked = len(
        keys
    )  # items that were acted on come first; those passed over are no one else's candidates
    against = [-1 if key is None else keys.setdefault(key, len(keys)) for key in passed]
    start = model.text_start()
    items = [[*start, *verbalisers[task].item(item)] for task, item in keys]
    members, found = text_vectors(model, said), text_vectors(model, items)
    tasks = torch.tensor([task for task, _ in keys][:asked])
    other = torch.from_numpy(of)[:, None] != tasks[None, :]
    answer = torch.tensor(place, device=members.device)
    pairs = [row for row, key in enumerate(against) if key >= 0]
    rival = torch.tensor([against[row] for row in pairs], dtype=torch.long, device=members.device)
    total = torch.zeros((), device=members.device)
    sizes = [size for size in SIZES if size < members.shape[1]] + [members.shape[1]]
    for size in sizes:
        alike = leading(members, size) @ leading(found, size).T / TEMPERATURE
        alike = alike.float()
        among = alike[:, :asked].masked_fill(other.to(alike.device), -torch.inf)
        total = total + functional.cross_entropy(among, answer, reduction="sum")
        gain = alike[pairs, answer[pairs]] - alike[pairs, rival]
        total = total - functional.logsigmoid(gain).sum()
    return Loss(total / len(sizes), len(said), sum(map(len, said)) + sum(map(len, items)))
