"""`graphrnn`: how unlikely a graph is to a network that learned to write normal ones row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from linkwise.anomaly.base import Contributions, Detector, Floats
from linkwise.anomaly.config import DetectorConfig
from linkwise.anomaly.graphrnn_rows import batches, ordered, sequences, window
from linkwise.anomaly.orderings import own_keys
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.errors import optional

if TYPE_CHECKING:
    from linkwise.anomaly.graphrnn_rows import Sequences
    from linkwise.anomaly.graphrnn_training import Losses

HELD_OUT = 0.2  # of the training graphs, where there are five or more
EXPECTED = 0.1  # probability from which a missing edge is told by itself
RIDGE = 1e-2  # of the regression on size, in shares of the number of graphs


class GraphRNNConfig(DetectorConfig):
    """GraphRNN."""

    edge: Literal["rnn", "mlp"] = "rnn"
    """`rnn` GraphRNN, whose bits of a row know the bits before; `mlp` GraphRNN-S, whose bits do not."""
    layers: int = Field(2, ge=1, le=8)
    """Layers of the GRU over nodes; as published 4."""
    size: int = Field(64, ge=2)
    """Numbers of its state; as published 128."""
    edge_layers: int = Field(1, ge=1, le=8)
    """Layers of the GRU over the bits of a row; as published 4."""
    edge_size: int = Field(32, ge=2)
    """Numbers of its state; as published 16."""
    told: bool = True
    """Tell the GRU over bits of each what the graph so far says: edges of the earlier node, paths of two and
    of three edges between the two, how far apart they stand, whether the search is past it. The published
    GraphRNN is told none of it; without it rows still begin at their far end, unlike in the paper."""
    bits: int | None = Field(None, ge=1)
    """How far back a row reaches, nodes; by default as far as 99.9 of 100 rows of the training graphs do."""
    labels: bool = True
    """Also write the nodes' labels, where there are some."""
    orderings: int = Field(10, ge=1)
    """Breadth-first orderings of a graph that are scored."""
    average: Literal["log-mean-exp", "mean-log"] = "log-mean-exp"
    """Over orderings: of likelihoods, or of their logarithms."""
    normalise: Literal["nodes", "none"] = "nodes"
    """Whether the score is per node."""
    complexity: bool = False
    """Take off the code length of a random graph of as many nodes and edges, log C(n (n - 1) / 2, m) nats."""
    conditional: bool = True
    """Take off what is expected of a graph of this size: a regression on log n and log m of normal ones."""
    epochs: int = Field(40, ge=1)
    """Passes over the training graphs, a new ordering of each at each."""
    patience: int = Field(10, ge=1)
    """Passes without a gain on the graphs held out after which training ends."""
    batch_size: int = Field(16, ge=1)
    """Graphs at a time in training."""
    learning_rate: float = Field(3e-3, gt=0)
    """Largest step of Adam; it falls to 0 by a cosine."""
    seed: int = Field(0, ge=0)
    """Seed of weights and draws, beside that of the run."""


class GraphRNN(Detector):
    """Writes a graph node by node in breadth-first order, and judges it by its negative log-likelihood.

    You et al. 2018. A GRU over nodes says of each whether it comes at all (else the graph ends), its label,
    and its row: to which of the `bits` nodes before it has an edge. The bits are written by a second GRU
    (`rnn`), the farthest first, or all at once (`mlp`). An edge that reaches farther back is not dropped: of
    each node so many of them are expected as training graphs had, anywhere before. A node whose row is empty
    begins a new part of the graph, so every part is written. The probabilities of all sequences sum to 1.

    Unlike in the paper rows begin at their far end: by breadth-first search that is at the node that found
    this one, and what is told of the others (`told`) then says more. Of type 2c the loss of graphs held out
    fell from 6.39 to 5.78 nats per node, and the AUROC against 3 rose from .73 to .93.

    The score is the mean over `orderings` drawn by a seed that is the graph's own (its Weisfeiler-Lehman
    key); per node by default. A fifth of the training graphs is held out for the choice of the epoch.
    """

    name: ClassVar[str] = "graphrnn"
    Config: ClassVar[type[DetectorConfig]] = GraphRNNConfig
    config: GraphRNNConfig

    def __init__(self, config: GraphRNNConfig | None = None) -> None:
        self.config = config or GraphRNNConfig()

    def losses(self, graphs: Graphs) -> Floats:
        """Negative log-likelihoods of each graph's orderings (n_graphs, orderings), nats.

        Raises `UsageError` before `fit`.
        """
        self._check_fitted()
        return self._sequence_losses(graphs)

    def contributions(self, graphs: Graphs, graph: int) -> Contributions | None:
        """What edges, missing edges and nodes add to a score.

        Edges add their own loss, and so do missing edges that had a probability of .1 or more; nodes that
        they come, their labels, and the rest of their rows. Orderings count by their share of the likelihood.
        `whole` is that the graph ends, what spreads the likelihood over orderings, and the corrections.
        """
        self._check_fitted()
        one = graphs.select([graph])
        n, draws = int(one.n_nodes[0]), self.config.orderings
        loss = np.zeros((1, draws))
        terms = []
        for part, found, graph_of, draw in self._losses(one):
            loss[graph_of, draw] = _totals(part, found)
            terms.append((part, found, draw))
        weights = shares(loss, self.config.average)
        orders = ordered(one, own_keys(one, draws, self.config.seed)).order
        scale = 1 / max(1, n) if self.config.normalise == "nodes" else 1.0
        node: Floats = np.zeros(n)
        codes, values, kinds = [], [], []
        for part, found, draw in terms:
            own = np.concatenate([orders[k] for k in draw])
            weight = np.repeat(weights[0, draw], part.n) * scale
            row = found.row * weight[:, None]
            told = found.bits | (found.row > -np.log1p(-EXPECTED))
            at, back = np.nonzero(told)
            codes.append(own[at] * n + own[at - back - 1])
            values.append(row[at, back])
            kinds.append(found.bits[at, back])
            far = np.flatnonzero(found.far)
            later = part.later[far]
            codes.append(own[later] * n + own[later - part.back[far]])
            values.append(found.far[far] * weight[later])
            kinds.append(np.ones(len(far), dtype=np.bool_))
            rest = weight * (found.more + found.label + found.none)
            rest += np.where(told, 0.0, row).sum(axis=1)
            np.add.at(node, own, rest)
        code = np.concatenate(codes)
        both = np.stack([code // max(1, n), code % max(1, n)])
        pair, which = np.unique(both.min(axis=0) * n + both.max(axis=0), return_inverse=True)
        edge: Floats = np.bincount(which, np.concatenate(values), len(pair)).astype(np.float64)
        there = np.zeros(len(pair), dtype=np.bool_)
        there[which] = np.concatenate(kinds)
        score = float(self._averaged(one, loss)[0])
        return Contributions(
            score - float(node.sum() + edge.sum()),
            node,
            np.column_stack([pair // max(1, n), pair % max(1, n)]),
            edge,
            there,
        )

    def _fit(self, graphs: Graphs, context: Context) -> Floats:
        optional("torch", "anomaly", "GraphRNN")
        from linkwise.anomaly.graphrnn_training import rate_of_far, train

        c = self.config
        self._names = list(graphs.node_names) if c.labels else []
        rng = context.rng(f"graphrnn {c.seed}")
        keys = rng.integers(2**64, size=(c.orderings, int(graphs.first[-1])), dtype=np.uint64)
        self._bits = c.bits or window(graphs, keys)
        held = int(HELD_OUT * len(graphs))
        held_out = np.sort(rng.permutation(len(graphs))[:held])
        label = self._labels(graphs)
        every = np.arange(len(graphs))
        part = sequences(graphs, ordered(graphs, keys[:1]), label, every, np.zeros_like(every))
        self._rate = rate_of_far(part, self._bits)
        with context.step("GraphRNN", c.epochs):
            self._network = train(
                graphs,
                label,
                self._bits,
                self._columns,
                held_out,
                c,
                int(rng.integers(2**31)),
                context,
            )
        self._size = np.zeros(0)
        plain = self._corrected(graphs, averaged(self._sequence_losses(graphs), c.average))
        if c.conditional:
            # By those held out: the scores of the others are too good.
            some = held_out if held > 20 else every
            self._size = _regression(_size(graphs.select(some)), plain[some])
        return self._conditioned(graphs, plain)

    @property
    def _columns(self) -> int:
        return len(self._names) + 1 if self._names else 0

    def _labels(self, graphs: Graphs) -> Longs:
        """The column of each node's label, by the names of training (n_nodes,); the last is of others."""
        if graphs.node_label is None or not self._names:
            return np.full(int(graphs.first[-1]), len(self._names))
        number = {name: k for k, name in enumerate(self._names)}
        known = [number.get(name, len(self._names)) for name in graphs.node_names]
        return np.array(known, dtype=np.int64)[graphs.node_label]

    def _scores(self, graphs: Graphs) -> Floats:
        return self._averaged(graphs, self._sequence_losses(graphs))

    def _averaged(self, graphs: Graphs, loss: Floats) -> Floats:
        mean = averaged(loss, self.config.average)
        return self._conditioned(graphs, self._corrected(graphs, mean))

    def _losses(self, graphs: Graphs) -> Iterator[tuple[Sequences, Losses, Longs, Longs]]:
        """Terms of all orderings of graphs, some at a time, and which they are."""
        from linkwise.anomaly.graphrnn_training import NODES, losses

        c = self.config
        label = self._labels(graphs)
        orders = ordered(graphs, own_keys(graphs, c.orderings, c.seed))
        for graph, draw in batches(graphs.n_nodes, c.orderings, NODES):
            part = sequences(graphs, orders, label, graph, draw)
            yield part, losses(self._network, part, self._rate), graph, draw

    def _sequence_losses(self, graphs: Graphs) -> Floats:
        found = np.zeros((len(graphs), self.config.orderings))
        for part, some, graph, draw in self._losses(graphs):
            found[graph, draw] = _totals(part, some)
        return found

    def _corrected(self, graphs: Graphs, loss: Floats) -> Floats:
        if self.config.complexity:
            loss = loss - code_lengths(graphs)
        if self.config.normalise == "nodes":
            loss = loss / np.maximum(graphs.n_nodes, 1)
        return loss

    def _conditioned(self, graphs: Graphs, score: Floats) -> Floats:
        if not len(self._size):
            return score
        # Beyond the sizes of training the regression is that of their end.
        low, high, weights = self._size[:2], self._size[2:4], self._size[4:]
        size = np.clip(_size(graphs), low, high)
        return np.asarray(score - weights[0] - size @ weights[1:])

    def _save(self, folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        save_file(self._network.state_dict(), folder / "network.safetensors")
        return {
            "names": self._names,
            "bits": self._bits,
            "rate": self._rate,
            "size": self._size.tolist(),
        }

    def _load(self, folder: Path, own: dict[str, Any]) -> None:
        optional("torch", "anomaly", "GraphRNN")
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from linkwise.anomaly.graphrnn_training import network_of

        self._names, self._bits = list(own["names"]), int(own["bits"])
        self._rate, self._size = float(own["rate"]), np.array(own["size"], dtype=np.float64)
        self._network = network_of(self.config, self._bits, self._columns).double().eval()
        try:
            self._network.load_state_dict(load_file(folder / "network.safetensors"))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"network.safetensors: {error}") from error


def averaged(loss: Floats, average: str) -> Floats:
    """Losses (n, draws), nats, over draws (n,): minus log of the mean likelihood, or their mean."""
    if average == "mean-log":
        return np.asarray(loss.mean(axis=1))
    from scipy.special import logsumexp

    return np.asarray(np.log(loss.shape[1]) - logsumexp(-loss, axis=1))


def shares(loss: Floats, average: str) -> Floats:
    """What each draw counts in a graph's score (n, draws): all alike, or by their likelihoods."""
    if average == "mean-log":
        return np.full(loss.shape, 1 / loss.shape[1])
    from scipy.special import softmax

    return np.asarray(softmax(-loss, axis=1))


def code_lengths(graphs: Graphs) -> Floats:
    """Of each graph among all of as many nodes and edges (n,), nats: log C(n (n - 1) / 2, m)."""
    from scipy.special import gammaln

    n, m = graphs.n_nodes, graphs.n_edges
    pairs = n * (n - 1) // 2
    return np.asarray(gammaln(pairs + 1) - gammaln(m + 1) - gammaln(pairs - m + 1))


def _totals(part: Sequences, found: Losses) -> Floats:
    """The losses of sequences (n,)."""
    owner, n = part.owner, len(part.n)
    node = found.more + found.label + found.none + found.row.sum(axis=1)
    far = np.bincount(owner[part.later], found.far, n)
    return np.asarray(found.end + np.bincount(owner, node, n) + far)


def _size(graphs: Graphs) -> Floats:
    return np.log1p(np.column_stack([graphs.n_nodes, graphs.n_edges]).astype(np.float64))


def _regression(size: Floats, score: Floats) -> Floats:
    """The least and greatest sizes, and weights of a ridge regression of scores on them: constant first."""
    mean = size.mean(axis=0)
    centred = size - mean
    ridge = RIDGE * len(size) * np.eye(size.shape[1]) * max(1e-12, float(size.var(axis=0).mean()))
    weights = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (score - score.mean()))
    constant = score.mean() - mean @ weights
    return np.concatenate([size.min(axis=0), size.max(axis=0), [constant], weights])
