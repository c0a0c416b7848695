"""The network of GRAN (Liao et al. 2019): what new nodes see of those there, and a mixture of Bernoullis."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from linkwise.anomaly.gran_steps import Steps

HEADS = 4  # of attention
SPLIT = 65_536  # messages and pairs at a time
PER_DOUBLING = 4  # columns of ages beyond the window
DOUBLINGS = 16  # up to which ages are told apart
ABOUT = 3  # numbers of a step
OWN = 2  # numbers of a node beside its row and age: log(1 + degree so far) and log(1 + age)


class Messages(nn.Module):
    """The sum over messages from j to i of a gate times relu(A x_i + B x_j), one gate for each head.

    In the paper the message is an MLP of x_i - x_j and the gate a sigmoid of another one: here both have
    their first layer in common, of which the difference is the case B = -A, and the message's second layer is
    taken after the sum, which it goes through as it is linear. A pair costs no product of matrices then.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.own = nn.Linear(size, size)
        self.near = nn.Linear(size, size, bias=False)
        self.gate = nn.Linear(size, HEADS)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """(n, size) -> (n, size)."""
        own, near = self.own(x), self.near(x)
        total = torch.zeros_like(own)
        for s, t in zip(torch.split(source, SPLIT), torch.split(target, SPLIT), strict=True):
            hidden = functional.relu(own[t] + near[s])  # (n_messages, size)
            gate = torch.sigmoid(self.gate(hidden))
            message = hidden.view(len(s), HEADS, x.shape[1] // HEADS) * gate[:, :, None]
            total = total.index_add(0, t, message.view(len(s), x.shape[1]))
        return total


class Layer(nn.Module):
    """Messages along edges there, summed, and along new pairs, averaged; then a GRU cell.

    Sums over new pairs would grow with the graph, and say something else in a graph larger than those of
    training.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.edges = Messages(size)
        self.pairs = Messages(size)
        self.second = nn.Linear(2 * size, size)
        self.update = nn.GRUCell(size, size)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """(n, size) -> (n, size)."""
        along = self.edges(x, batch.source, batch.target)
        new = self.pairs(x, batch.pair_source, batch.pair_target) / batch.pair_count
        found: Tensor = self.update(self.second(torch.cat([along, new], dim=1)), x)
        return found


class Batch:
    """Steps as tensors, numbers in the precision of the network."""

    def __init__(self, steps: Steps, dtype: torch.dtype) -> None:
        self.step, self.place, self.new, self.age = (
            torch.from_numpy(each) for each in (steps.step, steps.place, steps.new, steps.age)
        )
        self.source, self.target = torch.from_numpy(steps.source), torch.from_numpy(steps.target)
        self.late, self.early = torch.from_numpy(steps.late), torch.from_numpy(steps.early)
        self.pair_source = torch.cat([self.early, self.late])
        self.pair_target = torch.cat([self.late, self.early])
        count = torch.bincount(self.pair_target, minlength=len(self.step))
        self.pair_count = count.clamp(min=1)[:, None].to(dtype)
        self.there, self.pair_step = (
            torch.from_numpy(steps.there),
            torch.from_numpy(steps.pair_step),
        )
        self.about = torch.from_numpy(steps.about).to(dtype)
        self.lags = torch.from_numpy(steps.lags).to(dtype)
        degree = torch.bincount(self.target, minlength=len(self.step))
        self.degree = degree.to(dtype)


class GRANNetwork(nn.Module):
    """Log-probabilities of the pairs of each step under each component, and of the components.

    A node that is there comes in by its row of the adjacency matrix as the `window` places before it and a
    count of edges farther back, by its age (how long before the block it came: a column for each up to
    `window`, four for each doubling after it, and its logarithm), and its degree so far; a new node by its
    number in the block; all by the share of nodes that are there, log n, and edges for each node so far. So
    nothing of it grows with the graph (Liao et al. take the whole row, up to the nodes of the largest graph
    in training). Ages and log n beyond those of training count as the nearest of training: what follows from
    them was never learned.
    """

    oldest: Tensor
    sizes: Tensor

    def __init__(
        self, window: int, block_size: int, layers: int, size: int, components: int
    ) -> None:
        super().__init__()
        self.window = window
        self.rows = nn.Linear(window + 1, size)
        self.own = nn.Linear(OWN, size, bias=False)
        self.ages = nn.Embedding(window + PER_DOUBLING * DOUBLINGS + 1, size)
        self.blocks = nn.Embedding(block_size + 1, size)
        self.about = nn.Linear(ABOUT, size, bias=False)
        self.layers = nn.ModuleList([Layer(size) for _ in range(layers)])
        self.late, self.early = nn.Linear(size, 2 * size), nn.Linear(size, 2 * size, bias=False)
        self.theta = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, components))
        self.alpha = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, components))
        self.register_buffer("oldest", torch.tensor(1))
        self.register_buffer("sizes", torch.zeros(2))

    def set_family(self, n_nodes: np.ndarray, density: float) -> None:
        """Tell the sizes of the graphs in training, and begin at their share of pairs with an edge."""
        some = np.maximum(n_nodes, 1)
        self.oldest.fill_(int(some.max()))
        self.sizes.copy_(torch.tensor([math.log(some.min()), math.log(some.max())]))
        density = min(max(density, 1e-4), 1 - 1e-4)
        last = self.theta[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, math.log(density / (1 - density)))

    def inputs(self, batch: Batch) -> Tensor:
        """Vectors of nodes before any message (n, size)."""
        age = batch.age.clamp(max=int(self.oldest))
        beyond = torch.log2((age / self.window).clamp(min=1)) * PER_DOUBLING
        column = torch.where(
            age <= self.window, age, self.window + 1 + beyond.floor().long()
        ).clamp(max=self.ages.num_embeddings - 1)
        own = torch.stack([batch.degree.log1p(), age.to(batch.degree.dtype).log1p()], dim=1)
        old = self.rows(batch.lags)[batch.place] + self.ages(column) + self.own(own)
        x = torch.where((batch.new > 0)[:, None], self.blocks(batch.new), old)
        size = batch.about[:, 1].clamp(float(self.sizes[0]), float(self.sizes[1]))
        about = torch.stack([batch.about[:, 0], size, batch.about[:, 2]], dim=1)
        found: Tensor = x + self.about(about)[batch.step]
        return found

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log p of each pair under each component (n_pairs, K), and of the components (n_steps, K)."""
        x = self.inputs(batch)
        for layer in self.layers:
            x = layer(x, batch)
        late, early = self.late(x), self.early(x)
        n_steps = len(batch.about)
        logs = []
        seen = x.new_zeros((n_steps, x.shape[1]))
        for i, j, step, there in zip(
            torch.split(batch.late, SPLIT),
            torch.split(batch.early, SPLIT),
            torch.split(batch.pair_step, SPLIT),
            torch.split(batch.there, SPLIT),
            strict=True,
        ):
            hidden = functional.relu(late[i] + early[j])
            theta, alpha = hidden.chunk(2, dim=1)
            odds = self.theta(theta)
            logs.append(-functional.softplus(torch.where(there[:, None], -odds, odds)))
            seen = seen.index_add(0, step, alpha)
        pairs = torch.bincount(batch.pair_step, minlength=n_steps)[:, None]
        components = functional.log_softmax(self.alpha(seen / pairs.clamp(min=1)), dim=1)
        return torch.cat(logs), components

    def joint(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log p of each pair (n_pairs, K), and log p of a component and all pairs of a step (n_steps, K)."""
        logs, components = self(batch)
        return logs, components.index_add(0, batch.pair_step, logs)
