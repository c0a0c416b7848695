"""The training of GRAN, and its log-likelihoods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from linkwise.anomaly.base import Floats
from linkwise.anomaly.gran_network import Batch, GRANNetwork
from linkwise.anomaly.gran_steps import Blocks, Ordered, blocks, messages, ordered, parts, steps_of
from linkwise.anomaly.orderings import orderings, own_keys
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import Interrupted

if TYPE_CHECKING:
    from linkwise.anomaly.gran import GRANConfig

CLIP = 1.0  # largest length of a gradient
MESSAGES = 200_000  # of a layer at a time
FEWEST = 10  # graphs from which on some are held out


def network_of(config: GRANConfig) -> GRANNetwork:
    """An untrained network."""
    return GRANNetwork(
        config.window, config.block_size, config.layers, config.size, config.components
    )


def train(graphs: Graphs, config: GRANConfig, seed: int, context: Context) -> GRANNetwork:
    """A network that writes graphs like these, in double precision for what comes.

    Each pass draws an ordering of each graph, of one kind for a batch. What falls is the mean over orderings
    of -log p(A), which is never below -log of their mean, the score. A share of the graphs is held out, and
    the weights kept that write these best. Raises `Interrupted` where the run was asked to stop.
    """
    rng = np.random.default_rng(seed)
    left_out = round(config.held_out * len(graphs)) if len(graphs) >= FEWEST else 0
    shuffled = rng.permutation(len(graphs))
    held_out = graphs.select(np.sort(shuffled[:left_out]))
    learned = graphs.select(np.sort(shuffled[left_out:]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_of(config)
        n = learned.n_nodes
        network.set_family(n, float(learned.n_edges.sum() / max(1, (n * (n - 1) // 2).sum())))
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        steps = config.epochs * math.ceil(len(learned) / config.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best, weights, since = math.inf, None, 0
        for _ in range(config.epochs):
            if context.cancelled():
                raise Interrupted("the training was stopped; begin it again.")
            losses = []
            order = rng.permutation(len(learned))
            for begin in range(0, len(order), config.batch_size):
                part = learned.select(order[begin : begin + config.batch_size])
                losses.append(_train_step(network, optimizer, part, config, rng))
                schedule.step()
            context.progress.advance(1)
            if not len(held_out):
                context.progress.note(f"{np.mean(losses):.3f} nats a node")
                continue
            loss = _held_out_loss(network, held_out, config)
            context.progress.note(
                f"{np.mean(losses):.3f} nats a node, {loss:.3f} of graphs held out"
            )
            since += 1
            if loss < best:
                best, since = loss, 0
                weights = {name: value.clone() for name, value in network.state_dict().items()}
            if since >= config.patience:
                break
        if weights is not None:
            network.load_state_dict(weights)
    return network.double().eval()


def _train_step(
    network: GRANNetwork,
    optimizer: torch.optim.Optimizer,
    graphs: Graphs,
    config: GRANConfig,
    rng: np.random.Generator,
) -> float:
    """One step of Adam on graphs in random orderings; the loss in nats a node."""
    keys = rng.integers(0, 2**63, (1, int(graphs.first[-1])), dtype=np.uint64)
    kind = config.orderings[int(rng.integers(len(config.orderings)))]
    own = ordered(graphs, orderings(graphs, kind, keys)[0])
    some = blocks(graphs.n_nodes, config.block_size, config.stride or config.block_size)
    some, weight = _drawn(some, config.steps, len(graphs), rng)
    # With a stride below the block size each row is written several times.
    weight = weight * (config.stride or config.block_size) / config.block_size
    weight = weight / max(1, int(graphs.n_nodes.sum()))
    total = 0.0
    optimizer.zero_grad()
    for rows in parts(messages(own, some), MESSAGES):
        loss = -(_log_p(network, own, some.at(rows)) * torch.from_numpy(weight[rows])).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()
    return total


def _drawn(
    some: Blocks, most: int, n_graphs: int, rng: np.random.Generator
) -> tuple[Blocks, Floats]:
    """Up to `most` random steps of each graph, and how many steps each stands for (n_steps,)."""
    shuffled = np.lexsort((rng.random(len(some)), some.graph))
    count = np.bincount(some.graph, minlength=n_graphs)
    place = np.arange(len(some)) - np.repeat(np.cumsum(count) - count, count)
    found = some.at(np.sort(shuffled[place < most]))
    weight = np.maximum(count / most, 1.0)[found.graph]
    return found, weight.astype(np.float32)


def _held_out_loss(network: GRANNetwork, graphs: Graphs, config: GRANConfig) -> float:
    """Nats a node, by the same orderings and steps every time."""
    keys = own_keys(graphs, 1)
    total = 0.0
    for kind in config.orderings:
        own = ordered(graphs, orderings(graphs, kind, keys)[0])
        every = blocks(graphs.n_nodes, config.block_size, config.block_size)
        some, weight = _drawn(every, config.steps, len(graphs), np.random.default_rng(0))
        total -= float((_every_log_p(network, own, some) * weight).sum())
    return total / max(1, int(graphs.n_nodes.sum())) / len(config.orderings)


def _log_p(network: GRANNetwork, graphs: Ordered, some: Blocks) -> Tensor:
    """log p of each step (n_steps,), given what is there."""
    batch = Batch(steps_of(graphs, some, network.window), network.rows.weight.dtype)
    found: Tensor = torch.logsumexp(network.joint(batch)[1], dim=1)
    return found


def _every_log_p(network: GRANNetwork, graphs: Ordered, some: Blocks) -> Floats:
    found = [np.zeros(0)]
    with torch.inference_mode():
        for rows in parts(messages(graphs, some), MESSAGES):
            found.append(_log_p(network, graphs, some.at(rows)).double().numpy())
    return np.concatenate(found)


def log_likelihood(network: GRANNetwork, graphs: Graphs, order: Longs, block_size: int) -> Floats:
    """log p(A) of each graph written in an ordering (n_graphs,): nodes by place (n_nodes,).

    Blocks follow on each other, so that each row is written once.
    """
    own = ordered(graphs, order)
    some = blocks(graphs.n_nodes, block_size, block_size)
    found = np.bincount(some.graph, _every_log_p(network, own, some), len(graphs))
    return found.astype(np.float64)  # also where there is no block at all


def shares(
    network: GRANNetwork, graphs: Graphs, order: Longs, block_size: int
) -> Iterator[tuple[Longs, Any, Floats, Longs, Floats]]:
    """What of a single graph's log p(A) in an ordering is whose, run of steps by run of steps.

    Of each run: the pairs of nodes (n, 2) by place, whether each has an edge (n,), what it adds (n,); the new
    nodes by place (k,), and what each adds (k,).
    """
    own = ordered(graphs, order)
    some = blocks(graphs.n_nodes, block_size, block_size)
    for rows in parts(messages(own, some), MESSAGES):
        steps = steps_of(own, some.at(rows), network.window)
        with torch.inference_mode():
            batch = Batch(steps, network.rows.weight.dtype)
            logs, joint = network.joint(batch)
            chosen = torch.softmax(joint, dim=1)  # (n_steps, K), the components given all pairs
            pair = (logs * chosen[batch.pair_step]).sum(1)
            rest = torch.logsumexp(joint, 1).index_add(0, batch.pair_step, -pair)
        new = np.flatnonzero(steps.new)
        each = rest.numpy() / np.bincount(steps.step[new], minlength=len(rest))
        places = np.column_stack([steps.place[steps.late], steps.place[steps.early]])
        yield places, steps.there, pair.numpy(), steps.place[new], each[steps.step[new]]
