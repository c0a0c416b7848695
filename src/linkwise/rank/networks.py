"""Networks that a ranker is compared with: DCN-v2 over ids and counts, and two towers.

Both are trained on the rows that the other baselines learn from, one member in ten held out to stop by. An id
that training never saw has a vector of its own, learned from ids that are hidden at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn
from torch.nn import functional

from linkwise.context import Context
from linkwise.lm.config import FitConfig
from linkwise.lm.fit import Loss, Task, fit
from linkwise.rank.surface import Longs

Floats = np.ndarray[Any, np.dtype[np.float64]]
ID_SIZE = 16
TOWER = 32
CROSSES = 3
HIDDEN = (128, 64)
UNSEEN = 0.1  # share of the ids hidden in training
HELD_OUT = 0.1  # share of the members
FIT = FitConfig(
    epochs=20,
    learning_rate=2e-3,
    batch_size=128,
    part_tokens=10**9,
    weight_decay=1e-2,
    patience=3,
)


@dataclass(frozen=True)
class Pairs:
    """Pairs of a member and an item: rows of their tables (n,), and counts known of the pair (n, p)."""

    member: Longs
    item: Longs
    known: pl.DataFrame


class Cross(nn.Module):
    """DCN-v2, stacked (Wang et al. 2021): x <- x0 * (W x + b) + x some times, then a plain network."""

    def __init__(self, members: int, items: int, counts: int) -> None:
        super().__init__()
        self.member, self.item = (
            nn.Embedding(members + 1, ID_SIZE),
            nn.Embedding(items + 1, ID_SIZE),
        )
        for table in (self.member, self.item):
            nn.init.normal_(table.weight, std=0.02)
        width = 2 * ID_SIZE + counts
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(CROSSES))
        sizes = (width, *HIDDEN)
        self.deep = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(sizes[-1], 1)

    def forward(self, member: Any, item: Any, counts: Any) -> Any:
        """Log-odds (n,) of members and items, 0 for one that is not known, and scaled counts (n, p)."""
        first = x = torch.cat([self.member(member), self.item(item), counts], dim=1)
        for layer in self.crosses:
            x = first * layer(x) + x
        for layer in self.deep:
            x = functional.relu(layer(x))
        return self.out(x)[:, 0]


class Towers(nn.Module):
    """A vector of the member and one of the item, from ids and the words of texts; their product."""

    def __init__(self, members: Any, items: Any) -> None:
        super().__init__()
        self.words = tuple(_bags(table) for table in (members, items))
        size = members.shape[1]
        ids = [nn.Embedding(table.shape[0] + 1, TOWER) for table in (members, items)]
        words = [nn.EmbeddingBag(size + 1, TOWER, mode="mean", padding_idx=size) for _ in range(2)]
        for id_table in ids:
            nn.init.normal_(id_table.weight, std=0.02)
        for word_table in words:  # to be learned from first, ids where words do not tell
            nn.init.normal_(word_table.weight, std=TOWER**-0.5)
            word_table.weight.data[size] = 0.0
        self.id, self.word = nn.ModuleList(ids), nn.ModuleList(words)
        self.tower = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * TOWER, HIDDEN[1]), nn.ReLU(), nn.Linear(HIDDEN[1], TOWER))
            for _ in range(2)
        )
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, member: Any, item: Any, ids: tuple[Any, Any]) -> Any:
        """Log-odds (n,) of rows of members and items, `ids` being theirs, 0 for one that is not known."""
        parts = []
        for side, rows in enumerate((member, item)):
            said = self.word[side](self.words[side][rows])
            parts.append(self.tower[side](torch.cat([self.id[side](ids[side]), said], dim=1)))
        return (parts[0] * parts[1]).sum(1) + self.bias


def _bags(words: Any) -> Any:
    """The words of each row of a sparse table (n, most), the number of all words where there are no more."""
    counts = np.diff(words.indptr)
    found = np.full((words.shape[0], max(1, int(counts.max(initial=0)))), words.shape[1])
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(words.indptr[:-1], counts)
    found[row, place] = words.indices
    return torch.from_numpy(found.astype(np.int64))


def network_scores(
    train: Pairs, acted: Longs, asked: Pairs, words: tuple[Any, Any], seed: int
) -> dict[str, Floats]:
    """The log-odds of `asked` pairs by DCN-v2 and by two towers, both fitted to `train` and `acted` (n,).

    `words` are the words of all members and items, sparse rows.
    """
    sizes = (words[0].shape[0], words[1].shape[0])
    scale = _Scale(train.known)
    rng = np.random.default_rng(seed)
    members = np.unique(train.member)
    held = np.isin(train.member, members[rng.random(len(members)) < HELD_OUT])
    if held.all():
        held[:] = False
    seen = (np.unique(train.member[~held]), np.unique(train.item[~held]))

    def ids(pairs: Pairs) -> tuple[Any, Any]:
        known = (
            np.isin(rows, of) for rows, of in zip((pairs.member, pairs.item), seen, strict=True)
        )
        return tuple(  # type: ignore[return-value]
            torch.from_numpy(np.where(there, rows + 1, 0))
            for rows, there in zip((pairs.member, pairs.item), known, strict=True)
        )

    def cross(network: Any, pairs: Pairs) -> Callable[[Any, tuple[Any, Any]], Any]:
        counts = scale(pairs.known)
        return lambda rows, some: network(*some, counts[rows])

    def towers(network: Any, pairs: Pairs) -> Callable[[Any, tuple[Any, Any]], Any]:
        member, item = torch.from_numpy(pairs.member), torch.from_numpy(pairs.item)
        return lambda rows, some: network(member[rows], item[rows], some)

    found: dict[str, Floats] = {}
    label = torch.from_numpy(acted.astype(np.float32))
    state = torch.get_rng_state()
    for name, make, ask in (
        ("dcn-v2", lambda: Cross(*sizes, scale.width), cross),
        ("two-towers", lambda: Towers(*words), towers),
    ):
        torch.manual_seed(seed)
        network = make()
        scorer, own = ask(network, train), ids(train)

        def loss(
            rows: Longs,
            rng: np.random.Generator,
            network: Any = network,
            scorer: Any = scorer,
            own: Any = own,
        ) -> Loss:
            at = torch.from_numpy(rows)
            some = tuple(numbers[at] for numbers in own)
            if network.training:
                hidden = torch.from_numpy(rng.random((2, len(rows))) < UNSEEN)
                some = tuple(n.masked_fill(h, 0) for n, h in zip(some, hidden, strict=True))
            total = functional.binary_cross_entropy_with_logits(
                scorer(at, some), label[at], reduction="sum"
            )
            return Loss(total, len(rows), len(rows))

        task = Task(
            np.ones(len(acted), dtype=np.int64), np.flatnonzero(~held), np.flatnonzero(held), loss
        )
        fit(network, task, FIT, Context(folder=Path(), seed=seed), name)
        with torch.inference_mode():
            every = torch.arange(len(asked.member))
            found[name] = ask(network, asked)(every, ids(asked)).double().numpy()
    torch.set_rng_state(state)
    return found


class _Scale:
    """Counts as a network takes them: signed square roots, scaled as in training, missing ones marked."""

    def __init__(self, known: pl.DataFrame) -> None:
        values = self._roots(known)
        there = np.isfinite(values)
        n = np.maximum(1, there.sum(axis=0))
        self.mean = np.where(there, values, 0).sum(axis=0) / n
        spread = np.where(there, values - self.mean, 0)
        self.spread = np.sqrt((spread**2).sum(axis=0) / n)
        self.gaps = ~there.all(axis=0)
        self.width = len(self.mean) + int(self.gaps.sum())

    @staticmethod
    def _roots(known: pl.DataFrame) -> Floats:
        values = known.to_numpy().astype(np.float64)
        return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))

    def __call__(self, known: pl.DataFrame) -> Any:
        """Scaled counts, and 1 where one of those with gaps is missing (n, width)."""
        values = self._roots(known)
        there = np.isfinite(values)
        scaled = (values - self.mean) / np.where(self.spread > 0, self.spread, 1)
        # A value far outside of the training's would be squared and cubed by the crosses.
        scaled = np.clip(np.where(there, scaled, 0), -5, 5)
        gaps = (~there)[:, self.gaps]
        return torch.from_numpy(np.concatenate([scaled, gaps], axis=1).astype(np.float32))
