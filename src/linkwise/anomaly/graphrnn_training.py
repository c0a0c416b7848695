"""The training of GraphRNN, and its teacher-forced likelihoods: the file of it that needs PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from linkwise.anomaly.base import Floats
from linkwise.anomaly.graphrnn_network import GraphRNNNetwork
from linkwise.anomaly.graphrnn_rows import TOLD, Sequences, batches, ordered, sequences, told
from linkwise.anomaly.orderings import own_keys
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import Interrupted

if TYPE_CHECKING:
    from linkwise.anomaly.graphrnn import GraphRNNConfig

CLIP = 1.0  # largest length of a gradient
OTHER = 1e-3  # share of a label's probability that all labels have alike: one never met is not impossible
NODES = 10_000  # of sequences at a time
BITS = 300_000  # of rows at a step of training: of more some rows are drawn
# Of rows at a time: as many as a processor's cache holds. With 300,000 scoring took 31.7 ms a graph of 60
# nodes, with 20,000 it takes 18.
CHUNK = 20_000
DRAWS = 2  # orderings of each graph that is held out


@dataclass(frozen=True)
class Losses:
    """Negative log-likelihoods, nats: of sequences, in parts.

    `end` (n,) that each ends where it ends; `more` (n_nodes,) that a node comes; `label` (n_nodes,); `row`
    (n_nodes, bits) of each bit of a row, 0 beyond it, and `bits` (n_nodes, bits) what they are; `far`
    (n_edges,) of each edge that reaches farther back, 0 of others; `none` (n_nodes,) that no others do.
    """

    end: Floats
    more: Floats
    label: Floats
    row: Floats
    bits: np.ndarray
    far: Floats
    none: Floats


def network_of(config: GraphRNNConfig, bits: int, labels: int) -> GraphRNNNetwork:
    """An untrained network for rows of so many bits, and so many columns of labels."""
    c = config
    return GraphRNNNetwork(
        bits,
        labels,
        c.edge,
        c.layers,
        c.size,
        c.edge_layers,
        c.edge_size,
        TOLD * (c.told and c.edge == "rnn"),
    )


def train(
    graphs: Graphs, label: Longs, bits: int, labels: int, held_out: Longs, config: GraphRNNConfig,
    seed: int, context: Context,
) -> GraphRNNNetwork:  # fmt: skip
    """The network of the epoch that was best on the graphs held out, in double precision.

    At each epoch one ordering of each graph is drawn. Without graphs held out it is that of the last epoch.

    Raises `Interrupted` where the run was asked to stop.
    """
    rng = np.random.default_rng(seed)
    kept = np.setdiff1d(np.arange(len(graphs)), held_out)
    checked, own = graphs.select(held_out), label_of(graphs, label, held_out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_of(config, bits, labels)
        steps = config.epochs * math.ceil(len(kept) / config.batch_size)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best, best_at, weights = math.inf, 0, None
        for epoch in range(config.epochs):
            if context.cancelled():
                raise Interrupted("the training was stopped; begin it again.")
            keys = rng.integers(2**64, size=(1, int(graphs.first[-1])), dtype=np.uint64)
            orders = ordered(graphs, keys)
            shuffled = rng.permutation(kept)
            network.train()
            for begin in range(0, len(shuffled), config.batch_size):
                rows = shuffled[begin : begin + config.batch_size]
                part = sequences(graphs, orders, label, rows, np.zeros_like(rows))
                loss = training_loss(network, part, rng)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
                optimizer.step()
                schedule.step()
            context.progress.advance(1)
            if not len(held_out):
                context.progress.note(f"loss {loss.item():.3f}")
                continue
            found = held_out_loss(network.eval(), checked, own)
            context.progress.note(f"loss of graphs held out {found:.3f}")
            if found < best:
                best, best_at = found, epoch
                weights = {name: value.clone() for name, value in network.state_dict().items()}
            if epoch - best_at >= config.patience:
                break
        if weights is not None:
            network.load_state_dict(weights)
    return network.double().eval()


def label_of(graphs: Graphs, label: Longs, rows: Longs) -> Longs:
    """The labels of the nodes of some graphs, one after another."""
    parts = [label[graphs.first[row] : graphs.first[row + 1]] for row in rows]
    return np.concatenate([*parts, np.zeros(0, dtype=np.int64)])


def held_out_loss(network: GraphRNNNetwork, graphs: Graphs, label: Longs) -> float:
    """Nats per node of graphs, over the same orderings each time."""
    orders = ordered(graphs, own_keys(graphs, DRAWS))
    total, nodes = 0.0, 0
    for graph, draw in batches(graphs.n_nodes, DRAWS, NODES):
        part = sequences(graphs, orders, label, graph, draw)
        with torch.inference_mode():
            total += training_loss(network, part, None).item() * max(1, len(part.place))
        nodes += len(part.place)
    return total / max(1, nodes)


def _given(network: GraphRNNNetwork, part: Sequences) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows (n_nodes, bits), labels (n_nodes, labels), nodes of each sequence, and what is told of bits."""
    dtype = network.end.weight.dtype
    rows = torch.zeros((len(part.place), network.bits), dtype=dtype)
    near = part.back <= network.bits
    rows[part.later[near], part.back[near] - 1] = 1
    labels = torch.zeros((len(part.place), network.labels), dtype=dtype)
    if network.labels:
        labels[torch.arange(len(labels)), torch.from_numpy(part.label)] = 1
    about = torch.zeros((len(rows), network.bits, 0))
    if network.told:
        about = torch.from_numpy(told(part, network.bits))
    return rows, labels, torch.from_numpy(part.n), about


def _heads(
    network: GraphRNNNetwork, states: Tensor, part: Sequences
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses of ends (n,), of nodes' coming and of labels (n_nodes,), and the states before nodes."""
    last = torch.zeros(len(states), dtype=torch.bool)
    last[torch.from_numpy(np.cumsum(part.n + 1) - 1)] = True
    ends = network.end(states).squeeze(1)
    states = states[~last]
    label = states.new_zeros(len(states))
    if network.labels:
        chance = network.label(states).softmax(1) * (1 - OTHER) + OTHER / network.labels
        label = -chance[torch.arange(len(states)), torch.from_numpy(part.label)].log()
    return functional.softplus(-ends[last]), functional.softplus(ends[~last]), label, states


def _chunks(network: GraphRNNNetwork, place: Longs) -> list[tuple[Tensor, Tensor]]:
    """Nodes that have a row, the longest first, and the length of it, so many bits at a time."""
    length = np.minimum(place, network.bits)
    order = np.argsort(-length, kind="stable")
    order = order[: int((length > 0).sum())]
    chunk = max(1, CHUNK // network.bits)
    parts = [order[begin : begin + chunk] for begin in range(0, len(order), chunk)]
    return [(torch.from_numpy(at), torch.from_numpy(length[at])) for at in parts]


def training_loss(
    network: GraphRNNNetwork, part: Sequences, rng: np.random.Generator | None
) -> Tensor:
    """Nats per node of sequences, without edges that reach beyond the rows (these have nothing to learn).

    With `rng` rows are drawn where they are too many; of the others all bits count as many times more.
    """
    rows, labels, n, about = _given(network, part)
    ends, more, label, states = _heads(network, network.states(rows, labels, n), part)
    total = ends.sum() + more.sum() + label.sum()
    place = part.place
    share = 1.0
    some = np.flatnonzero(place)
    most = BITS // network.bits
    if rng is not None and len(some) > most:
        some = np.sort(rng.choice(some, most, replace=False))
        share = most / np.count_nonzero(place)
    for at, length in _chunks(network, place[some]):
        at = torch.from_numpy(some)[at]
        odds = network.row_odds(states[at], labels[at], rows[at], length, about[at].to(rows.dtype))
        inside = torch.arange(network.bits)[None, :] < length[:, None]
        loss = functional.softplus(torch.where(rows[at] > 0, -odds, odds))
        total = total + loss[inside].sum() / share
    return total / max(1, len(place))


def losses(network: GraphRNNNetwork, part: Sequences, rate: float) -> Losses:
    """All terms of the likelihood of sequences.

    Of edges that reach farther back than rows do `rate` are expected of a node, spread evenly over all the
    nodes there.
    """
    rows, labels, n, about = _given(network, part)
    with torch.inference_mode():
        ends, more, label, states = _heads(network, network.states(rows, labels, n), part)
        row = torch.zeros_like(rows)
        for at, length in _chunks(network, part.place):
            odds = network.row_odds(
                states[at], labels[at], rows[at], length, about[at].to(rows.dtype)
            )
            inside = torch.arange(network.bits)[None, :] < length[:, None]
            loss = functional.softplus(torch.where(rows[at] > 0, -odds, odds))
            row[at] = torch.where(inside, loss, 0.0)
    places = np.maximum(part.place - network.bits, 0)
    odds_far = np.log(rate) - np.log(np.maximum(places, 1))
    long = part.back > network.bits
    count = np.bincount(part.later[long], minlength=len(places))
    return Losses(
        ends.numpy(),
        more.numpy(),
        label.numpy(),
        row.numpy(),
        rows.numpy() > 0,
        np.where(long, np.logaddexp(0, -odds_far[part.later]), 0.0),
        (places - count) * np.logaddexp(0, odds_far),
    )


def rate_of_far(part: Sequences, bits: int) -> float:
    """Edges that reach farther back than `bits` of a node that could have one; half an edge is added."""
    able = int((part.place > bits).sum())
    return (int((part.back > bits).sum()) + 0.5) / (able + 1)
