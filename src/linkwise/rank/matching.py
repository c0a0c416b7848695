"""Members and items as vectors of one space: what a ranker retrieves by, and weighs beside its answers.

A vector is the mean of a text's states behind the first layers. Yes and no teach a model that begins
untrained next to nothing in a million tokens; telling the item that was acted on from those that others
acted on teaches it in minutes what goes with what, on any surface. An item is matched with a member's
description, with the items acted on before, and with those passed by.
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
LAYERS = (
    3  # one layer in so many: the first learn soonest, and the others stay free for the answers
)
BY_PAST = 0.25  # share of the events of described members that are found by past items
SEVERAL = 4  # past items, drawn at random, by which an item is found
FEWEST = (
    10  # events held out, of a task, that training is judged by: an item is found among few by luck
)


def text_vectors(model: LanguageModel, rows: Sequence[Sequence[int]]) -> Any:
    """The mean state of each token row behind the first layers, without its first token if it has others.

    Layers are the first third. Rows (n, size).
    """
    network = model.network
    packed = pack(
        rows,
        model.tokenizer.pad_token_id or 0,
        network.device,
        network.dtype,
        first_position(network),
    )
    states = packed_states(network, packed, first_layers(network.config.num_hidden_layers))
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


def first_layers(n: int) -> int:
    """How many of a model's layers a vector is made by."""
    return max(1, n // LAYERS)


def leading(vectors: Any, size: int) -> Any:
    """The first numbers of vectors, made of length one (n, size)."""
    return functional.normalize(vectors[:, :size], dim=1)


def matched(verbaliser: Verbaliser) -> bool:
    """Whether what is acted on in a task is to go with the member: not what is turned down."""
    return not verbaliser.task.turns_down


def matching_task(
    model: LanguageModel,
    verbalisers: Sequence[Verbaliser],
    until: int,
    held_out: frozenset[str],
) -> Task:
    """The task of `lm.fit`: each item acted on before `until` is to be found among those of its batch.

    A batch has events of one task. Members are known by their description or by past items, as
    `matching_loss` draws; the members of `held_out` judge, by tasks in which they have ten events or more.
    Tasks of turning items down teach nothing here.
    """
    number, event, names = [], [], []
    for place, verbaliser in enumerate(verbalisers):
        surface = verbaliser.surface
        if not matched(verbaliser):
            continue
        rows = np.flatnonzero((surface.time < until) & (verbaliser.labels == surface.yes))
        number.append(np.full(len(rows), place))
        event.append(rows)
        names += surface.members["id"].gather(surface.member[rows]).to_list()
    if sum(map(len, event)) < 2:
        raise InputError(
            "fewer than two events were acted on before the end of the training time, actions that turn "
            "items down apart; there is nothing to match (--matching-epochs 0 --matching 0 does without)."
        )
    of, at = np.concatenate(number), np.concatenate(event)
    out = np.array([name in held_out for name in names], dtype=np.bool_)

    def loss(chosen: Longs, rng: np.random.Generator) -> Loss:
        return matching_loss(model, verbalisers, of[chosen], at[chosen], rng)

    # Lengths are not known without saying all; batches are never split, so that nothing depends on them.
    # What is held out is mixed, so that its batches are drawn from all times and members.
    several = np.bincount(of[out], minlength=len(verbalisers)) >= FEWEST
    judging = np.random.default_rng(0).permutation(np.flatnonzero(out & several[of]))
    return Task(
        np.ones(len(at), dtype=np.int64),
        np.flatnonzero(~out),
        judging,
        loss,
        whole=True,
        kind=of,
    )


def matching_loss(
    model: LanguageModel,
    verbalisers: Sequence[Verbaliser],
    of: Longs,
    events: Longs,
    rng: np.random.Generator,
) -> Loss:
    """Cross-entropy of each event's item among the batch's items of its task; `of` (n,) is which task.

    By cosines over a temperature of .1, of all numbers and of their leading ones (Kusupati et al. 2022). A
    member is met by the description, or by some items acted on before the event: by these wherever there is
    no description, and otherwise once in four times. Events of members with neither are passed over.
    """
    start = model.text_start()
    said: list[list[int]] = []
    answer: list[int] = []
    tasks: list[int] = []
    keys: dict[tuple[int, int], int] = {}
    by_past: dict[int, int] = {}  # queries by the mean of past items, and the task of each
    met: list[tuple[int, int]] = []  # past items: which query's, and the item
    for task, event in zip(of.tolist(), events.tolist(), strict=True):
        verbaliser = verbalisers[task]
        surface = verbaliser.surface
        member, time = int(surface.member[event]), int(surface.time[event])
        description = verbaliser.member(member)
        earlier = surface.events(member, time)
        earlier = earlier[verbaliser.labels[earlier] == surface.yes]
        if description and not (len(earlier) and rng.random() < BY_PAST):
            said.append([*start, *description])
        elif len(earlier):
            some = rng.choice(earlier, min(SEVERAL, len(earlier)), replace=False)
            met += [(len(answer), int(item)) for item in surface.item[some]]
            by_past[len(answer)] = task
        else:
            continue
        tasks.append(task)
        answer.append(keys.setdefault((task, int(surface.item[event])), len(keys)))
    if not answer:
        return Loss(torch.zeros((), device=model.network.device), 0, 0)
    asked = len(keys)  # items that were acted on come first; past ones are no one's candidates
    places = [keys.setdefault((by_past[query], item), len(keys)) for query, item in met]
    items = [[*start, *verbalisers[task].item(item)] for task, item in keys]
    found = text_vectors(model, items)
    described = text_vectors(model, said) if said else found[:0]
    queries = torch.tensor(tasks)[:, None]
    other = queries != torch.tensor([task for task, _ in keys][:asked])[None, :]
    by_description = torch.tensor(
        [q for q in range(len(answer)) if q not in by_past], dtype=torch.long
    )
    owner = torch.tensor([query for query, _ in met], dtype=torch.long, device=found.device)
    target = torch.tensor(answer, device=found.device)
    total = torch.zeros((), device=found.device)
    sizes = [size for size in SIZES if size < found.shape[1]] + [found.shape[1]]
    for size in sizes:
        units = leading(found, size)
        members = units.new_zeros(len(answer), size).index_add(0, owner, units[places])
        members = members.index_add(0, by_description.to(found.device), leading(described, size))
        alike = (functional.normalize(members, dim=1) @ units[:asked].T / TEMPERATURE).float()
        among = alike.masked_fill(other.to(alike.device), -torch.inf)
        total = total + functional.cross_entropy(among, target, reduction="sum")
    return Loss(total / len(sizes), len(answer), sum(map(len, said)) + sum(map(len, items)))
