"""The training of masked completion, and its log-odds: the file of it that needs PyTorch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from linkwise.anomaly.base import Floats
from linkwise.anomaly.masked_network import CompletionNetwork
from linkwise.anomaly.masked_pairs import draw_others
from linkwise.anomaly.paths import neighbourhoods, path_counts, path_lengths
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import Interrupted

if TYPE_CHECKING:
    from linkwise.anomaly.masked import MaskedConfig

CLIP = 1.0  # largest length of a gradient
OWN = 2  # inputs of a node beside its label: log(1 + degree), and 1


def network_of(config: MaskedConfig, labels: int) -> CompletionNetwork:
    """An untrained network for nodes with so many columns of labels."""
    return CompletionNetwork(
        labels + OWN, config.network, config.layers, config.size, config.dropout, 2 * config.counts
    )


def train(
    graphs: Graphs, labels: Floats, config: MaskedConfig, seed: int, context: Context
) -> CompletionNetwork:
    """A network that tells edges from pairs without one, in double precision for what comes.

    At each pass `samples` edges of each graph are drawn, and for one end u of each a w that is no neighbour.
    Raises `Interrupted` where the run was asked to stop.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_of(config, labels.shape[1])
        steps = config.epochs * math.ceil(len(graphs) / config.batch_size)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        network.train()
        for _ in range(config.epochs):
            if context.cancelled():
                raise Interrupted("the training was stopped; begin it again.")
            losses = []
            order = rng.permutation(len(graphs))
            for begin in range(0, len(order), config.batch_size):
                rows = order[begin : begin + config.batch_size]
                part = graphs.select(rows)
                edges = drawn_edges(part, config.samples, rng)
                ends = edges[np.arange(len(edges)), rng.integers(0, 2, len(edges))]
                others = draw_others(part, ends, rng)
                if not len(edges) or not len(others):
                    continue
                pairs = np.concatenate([edges, others])
                there = np.arange(len(pairs)) < len(edges)
                own = np.concatenate(
                    [labels[graphs.first[row] : graphs.first[row + 1]] for row in rows]
                )
                odds = _forward(
                    network, part, own, config.mode, pairs, there, path_lengths(part, pairs)
                )
                loss = (
                    functional.softplus(-odds[: len(edges)]).mean()
                    + functional.softplus(odds[len(edges) :]).mean()
                ) / 2
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            context.progress.advance(1)
            if losses:
                context.progress.note(f"loss {np.mean(losses):.3f}")
    return network.double().eval()


def drawn_edges(graphs: Graphs, most: int, rng: np.random.Generator) -> Longs:
    """Up to so many random edges of each graph (n, 2), nodes numbered through all graphs."""
    source = np.repeat(np.arange(len(graphs.degree)), graphs.degree)
    once = source < graphs.neighbour
    edges = np.column_stack([source[once], graphs.neighbour[once]])
    owner = np.repeat(np.arange(len(graphs)), graphs.n_edges)
    order = np.lexsort((rng.random(len(edges)), owner))
    place = np.arange(len(edges)) - np.repeat(np.cumsum(graphs.n_edges), graphs.n_edges)
    place += np.repeat(graphs.n_edges, graphs.n_edges)  # of each edge within its graph
    return edges[order[place < most]]


def log_odds(
    network: CompletionNetwork, graphs: Graphs, labels: Floats, mode: str, pairs: Longs, there: Any,
    lengths: Longs, messages: int,
) -> Floats:  # fmt: skip
    """Log-odds (n,) of an edge between pairs of nodes (n, 2), `there` telling which have one."""
    with torch.inference_mode():
        odds = _forward(network, graphs, labels, mode, pairs, there, lengths, messages)
    return np.asarray(odds.numpy(), dtype=np.float64)


def _forward(
    network: CompletionNetwork, graphs: Graphs, labels: Floats, mode: str, pairs: Longs, there: Any,
    lengths: Longs, messages: int = 2**62,
) -> Tensor:  # fmt: skip
    """Log-odds of pairs (n,), by `messages` of masked neighbourhoods at a time."""
    dtype = network.inputs.weight.dtype
    degree = graphs.degree

    def inputs(node: Longs, fewer: Longs | int) -> Tensor:
        own = np.log1p(degree[node] - fewer)
        return torch.from_numpy(
            np.column_stack([labels[node], own, np.ones(len(node))]),
        ).to(dtype)

    every = np.arange(len(degree))
    target = torch.from_numpy(np.repeat(every, degree))
    source = torch.from_numpy(np.ascontiguousarray(graphs.neighbour))
    nodes = network.nodes(inputs(every, 0), source, target)
    n = graphs.n_nodes
    about = np.column_stack(
        [np.log(np.maximum(n, 1)), 2 * graphs.n_edges / np.maximum(n * (n - 1), 1)]
    )
    owner = graphs.graph_of_node()
    graph = network.graphs(nodes, torch.from_numpy(owner), torch.from_numpy(about).to(dtype))
    odds = nodes.new_zeros(len(pairs))
    counts = torch.from_numpy(
        path_counts(graphs, pairs) if network.counts else np.zeros((len(pairs), 0))
    ).to(dtype)

    def judge(at: Longs, u: Tensor, v: Tensor) -> Tensor:
        length, own = torch.from_numpy(lengths[at]), graph[owner[pairs[at, 0]]]
        return network.pairs(u, v, length, counts[at], own)

    masked = np.flatnonzero(there) if mode == "full-mask" else np.zeros(0, dtype=np.int64)
    whole = np.setdiff1d(np.arange(len(pairs)), masked)
    where, found = [whole], [judge(whole, nodes[pairs[whole, 0]], nodes[pairs[whole, 1]])]
    done = 0
    while done < len(masked):
        near = neighbourhoods(graphs, pairs[masked[done:]], len(network.layers), messages)
        at = masked[done : done + len(near)]
        own = network.nodes(
            inputs(near.node, near.fewer),
            torch.from_numpy(near.source),
            torch.from_numpy(near.target),
        )
        where.append(at)
        found.append(judge(at, own[near.place[:, 0]], own[near.place[:, 1]]))
        done += len(near)
    return odds.index_add(0, torch.from_numpy(np.concatenate(where)), torch.cat(found))
