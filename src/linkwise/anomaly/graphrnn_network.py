"""The network of GraphRNN (You et al. 2018): a GRU over nodes, and a GRU or an MLP over the bits of a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BEGIN = 2  # the bit before the first
BIT = 8  # numbers of a bit in the edge GRU


class GraphRNNNetwork(nn.Module):
    """States of nodes, and log-odds of what comes next: the end, a label, the bits of the row.

    State i has seen the rows and labels of nodes 0 to i - 1. It says whether node i is there at all, then
    its label, then, with that label, its row: bit d tells of an edge to the node d places before.
    The edge GRU begins each row from the state, at the farthest bit, and takes in the bit before and what is
    told of the next.
    """

    def __init__(
        self,
        bits: int,
        labels: int,
        edge: str,
        layers: int,
        size: int,
        edge_layers: int,
        edge_size: int,
        told: int,
    ) -> None:
        super().__init__()
        self.bits, self.labels, self.kind, self.told = bits, labels, edge, told
        small = max(2, size // 2)
        self.inputs = nn.Sequential(nn.Linear(bits + labels + 1, small), nn.ReLU())
        self.node = nn.GRU(small, size, layers, batch_first=True)
        self.end = nn.Linear(size, 1)
        if labels:
            self.label = nn.Linear(size, labels)
        if edge == "rnn":
            self.begin = nn.Sequential(
                nn.Linear(size + labels, small), nn.ReLU(), nn.Linear(small, edge_size)
            )
            self.bit = nn.Embedding(3, BIT)
            self.edge = nn.GRU(BIT + told, edge_size, edge_layers, batch_first=True)
            self.edge_layers = edge_layers
            self.odds = nn.Linear(edge_size, 1)
        else:
            self.row = nn.Sequential(
                nn.Linear(size + labels, size), nn.ReLU(), nn.Linear(size, bits)
            )

    def states(self, rows: Tensor, labels: Tensor, n: Tensor) -> Tensor:
        """States 0 to n of sequences of n nodes, one after another (sum of n + 1, size).

        `rows` (n_nodes, bits) and `labels` (n_nodes, labels) are of zeros and ones.
        """
        about = torch.cat([rows, labels, rows.new_zeros((len(rows), 1))], dim=1)
        start = rows.new_zeros((1, about.shape[1]))
        start[0, -1] = 1
        x = self.inputs(torch.cat([about, start]))  # the start comes last
        longest = int(n.max()) + 1
        at = torch.full((len(n), longest), len(rows))
        inner = torch.arange(longest - 1)[None, :] < n[:, None]
        at[:, 1:][inner] = torch.arange(len(rows))
        packed = pack_padded_sequence(x[at], n + 1, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.node(packed)[0], batch_first=True)
        there = torch.arange(longest)[None, :] <= n[:, None]
        found: Tensor = out[there]
        return found

    def row_odds(
        self, states: Tensor, labels: Tensor, rows: Tensor, length: Tensor, told: Tensor
    ) -> Tensor:
        """Log-odds of the bits of rows (n, bits) with such states, labels and bits.

        `told` (n, bits, told) is what is told of each bit before it is written; an MLP is told nothing.

        Only the first `length` (n,), falling and 1 at least, of each row count; the others are 0.
        """
        given = torch.cat([states, labels], dim=1)
        if self.kind == "mlp":
            found: Tensor = self.row(given)
            inside = torch.arange(self.bits)[None, :] < length[:, None]
            return torch.where(inside, found, 0.0)
        # The farthest first, which by a breadth-first search is the node that found this one.
        longest = int(length.max())
        step = torch.arange(longest)[None, :]
        bit = (length[:, None] - 1 - step).clamp(min=0)  # (n, longest)
        before = rows.new_full((len(rows), longest), BEGIN, dtype=torch.int64)
        before[:, 1:] = rows.gather(1, bit)[:, :-1].long()
        about = told.gather(1, bit[:, :, None].expand(-1, -1, self.told))
        packed = pack_padded_sequence(
            torch.cat([self.bit(before), about], dim=2), length, batch_first=True
        )
        hidden = states.new_zeros((self.edge_layers, len(rows), self.edge.hidden_size))
        hidden = torch.cat([self.begin(given)[None], hidden[1:]])
        out, _ = self.edge(packed, hidden)
        flat = packed._replace(data=self.odds(out.data))
        padded = pad_packed_sequence(flat, batch_first=True)[0].squeeze(2)
        inside = torch.where(step < length[:, None], padded, 0.0)
        return rows.new_zeros(rows.shape).scatter_add(1, bit, inside)
