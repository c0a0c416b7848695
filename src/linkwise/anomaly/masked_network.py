"""The network of masked completion: message passing, and the odds of an edge between two nodes.

Three kinds of layers, each a few lines over `index_add`: GIN (Xu et al. 2019), GraphSAGE with means (Hamilton
et al. 2017) and GAT (Veličković et al. 2018). Messages go from `source` to `target`, both (n_messages,).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 4  # of GAT
GLOBAL = 2  # numbers of a graph beside its pooled vector: log n and density
# 1 / length alone is learned slowly: 1/2, 1/3 and 1/4 lie near each other, and a family may have edges at
# one of these alone. After 280 steps on graphs of type 1 the loss was .655 with it, and .355 with a column
# for each length beside it.
LENGTHS = 7  # columns of path lengths: none (0), 2, 3, ... (1 is never met), and 6 and more


class GIN(nn.Module):
    """MLP((1 + eps) x + the sum of the neighbours')."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """(n, size) -> (n, size)."""
        near = torch.zeros_like(x).index_add(0, target, x[source])
        found: Tensor = self.mlp((1 + self.eps) * x + near)
        return found


class SAGE(nn.Module):
    """W x + V the mean of the neighbours'; 0 where there is none."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.own = nn.Linear(size, size)
        self.near = nn.Linear(size, size, bias=False)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """(n, size) -> (n, size)."""
        total = torch.zeros_like(x).index_add(0, target, x[source])
        count = torch.bincount(target, minlength=len(x)).clamp(min=1)
        found: Tensor = self.own(x) + self.near(total / count[:, None])
        return found


class GAT(nn.Module):
    """Neighbours and the node itself, weighted by attention; four heads side by side."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.values = nn.Linear(size, size, bias=False)
        self.sends = nn.Parameter(torch.randn(HEADS, size // HEADS) * (size // HEADS) ** -0.5)
        self.takes = nn.Parameter(torch.randn(HEADS, size // HEADS) * (size // HEADS) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """(n, size) -> (n, size)."""
        n = len(x)
        self_loops = torch.arange(n, device=x.device)
        source, target = torch.cat([source, self_loops]), torch.cat([target, self_loops])
        values = self.values(x).view(n, HEADS, -1)
        sends, takes = (values * self.sends).sum(-1), (values * self.takes).sum(-1)
        odds = functional.leaky_relu(sends[source] + takes[target], 0.2)  # (n_messages, heads)
        # The largest is taken off so that no exponential overflows.
        index = target[:, None].expand_as(odds)
        top = torch.full_like(sends, -torch.inf).scatter_reduce(0, index, odds.detach(), "amax")
        weight = (odds - top[target]).exp()
        total = torch.zeros_like(sends).index_add(0, target, weight)
        weight = weight / total[target]
        near = torch.zeros_like(values).index_add(0, target, weight[:, :, None] * values[source])
        return near.reshape(n, -1) + self.bias


LAYERS: dict[str, type[nn.Module]] = {"gin": GIN, "sage": SAGE, "gat": GAT}


class CompletionNetwork(nn.Module):
    """Vectors of nodes, of graphs, and the log-odds of an edge between two nodes.

    The vector of a node is that of its inputs and of each layer, side by side. A pair goes into the MLP as
    the sum and the distance (number by number) of its nodes' vectors, so that (u, v) and (v, u) are one; with
    1 / shortest path (0 if none) and the length as a column of its own, the logarithms of `counts` numbers of
    paths, and the graph's vector: the mean of its nodes', made smaller, log n and density.
    """

    def __init__(
        self, inputs: int, kind: str, layers: int, size: int, dropout: float, counts: int
    ) -> None:
        super().__init__()
        self.counts = counts
        self.inputs = nn.Linear(inputs, size)
        self.layers = nn.ModuleList([LAYERS[kind](size) for _ in range(layers)])
        # Of each node by itself: what a batch holds must not matter.
        self.norms = nn.ModuleList([nn.LayerNorm(size) for _ in range(layers)])
        wide = (layers + 1) * size
        self.pooled = nn.Linear(wide, size)
        self.mlp = nn.Sequential(
            nn.Linear(2 * wide + 1 + LENGTHS + counts + size + GLOBAL, 2 * size),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * size, size),
            nn.ReLU(),
            nn.Linear(size, 1),
        )

    def nodes(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Vectors (n, (layers + 1) * size) of nodes with such inputs (n, inputs)."""
        x = functional.relu(self.inputs(x))
        found = [x]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.relu(norm(layer(x, source, target)))
            found.append(x)
        return torch.cat(found, dim=1)

    def graphs(self, nodes: Tensor, owner: Tensor, about: Tensor) -> Tensor:
        """Vectors (n_graphs, size + 2) from those of nodes, their graphs, and log n and density."""
        total = nodes.new_zeros((len(about), nodes.shape[1])).index_add(0, owner, nodes)
        count = torch.bincount(owner, minlength=len(about)).clamp(min=1)
        return torch.cat([functional.relu(self.pooled(total / count[:, None])), about], dim=1)

    def pairs(self, u: Tensor, v: Tensor, length: Tensor, counts: Tensor, graph: Tensor) -> Tensor:
        """Log-odds (n,) of an edge between nodes with such vectors (n, wide), in graphs with such vectors.

        `length` (n,) are edges on the shortest path between the two that is not the edge itself, 0 if none;
        `counts` (n, counts) how many short paths there are.
        """
        inverse = torch.where(length > 0, 1 / length.clamp(min=1), 0.0).to(u.dtype)
        column = functional.one_hot(length.clamp(max=LENGTHS - 1), LENGTHS).to(u.dtype)
        parts = [u + v, (u - v).abs(), inverse[:, None], column, counts.log1p(), graph]
        together = torch.cat(parts, dim=1)
        found: Tensor = self.mlp(together).squeeze(1)
        return found
