"""`gran`: how likely a network that learned to write normal graphs, block by block, is to write a graph."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from linkwise.anomaly.base import Contributions, Detector, Floats
from linkwise.anomaly.config import DetectorConfig
from linkwise.anomaly.orderings import Kind, back_edges, orderings, own_keys
from linkwise.context import Context
from linkwise.data.graphs import Graphs, Longs
from linkwise.data.schema import parted
from linkwise.errors import optional

HEADS = 4  # of attention
PAIRS = 500_000  # of a graph up to which each missing edge has a share of its own


class GRANConfig(DetectorConfig):
    """GRAN. Liao et al. have 7 layers of 128 numbers, and blocks of 1 node; that is for a GPU."""

    orderings: Annotated[tuple[Kind, ...], BeforeValidator(parted)] = ("bfs",)
    """Orderings in which graphs are written, one or several: `dfs` from the node with most neighbours, `bfs`
    from a random one, `degree`, `k-core`."""
    draws: int = Field(4, ge=1)
    """Orderings of each kind that a graph is scored by, ties broken anew in each."""
    average: Literal["log-mean-exp", "log-sum-exp"] = "log-mean-exp"
    """Over orderings: of the mean of the likelihoods, or of their sum over different adjacency matrices, a
    lower bound of the graph's own."""
    normalise: Literal["nodes", "pairs", "none"] = "nodes"
    """Whether the score is per node, per pair of nodes, or of the whole graph."""
    complexity: bool = False
    """Take off the code length of a random graph of as many nodes and edges, log C(n (n - 1) / 2, m) nats."""
    block_size: int = Field(4, ge=1, le=64)
    """Nodes that are written at once."""
    stride: int | None = Field(None, ge=1)
    """Nodes from one block to the next in training; by default the block size. Scores are always of blocks
    that do not overlap."""
    components: int = Field(20, ge=1)
    """Bernoulli distributions in the mixture of a block."""
    layers: int = Field(3, ge=1, le=12)
    """Layers of message passing."""
    size: int = Field(32, ge=HEADS, multiple_of=HEADS)
    """Numbers of a node at each layer, a multiple of 4."""
    window: int = Field(32, ge=1)
    """Places back up to which a node knows which of its earlier neighbours stands where."""
    epochs: int = Field(40, ge=1)
    """Passes over the training graphs, at most."""
    patience: int = Field(10, ge=1)
    """Passes without a better likelihood of graphs held out, after which training ends."""
    held_out: float = Field(0.1, ge=0, lt=1)
    """Share of the graphs that is held out to choose among passes; of fewer than 10 graphs none is."""
    batch_size: int = Field(4, ge=1)
    """Graphs at a time in training."""
    steps: int = Field(64, ge=1)
    """Blocks of a graph that are drawn at each pass of training, where it has more."""
    learning_rate: float = Field(4e-3, gt=0)
    """Largest step of Adam; it falls to 0 by a cosine."""
    seed: int = Field(0, ge=0)
    """Seed of weights and draws, beside that of the run."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.orderings:
            raise ValueError("orderings names none; expected one or more, such as dfs")
        if self.stride is not None and self.stride > self.block_size:
            raise ValueError(
                f"stride {self.stride} is above block_size {self.block_size}; nodes between are left out"
            )
        return self


class GRAN(Detector):
    """Scores a graph by -log of its probability under a graph recurrent attention network.

    Liao et al. 2019, Efficient Graph Generation with Graph Recurrent Attention Networks. The nodes stand in
    an ordering pi; block after block, the edges from its nodes to all before and to each other are drawn from
    a mixture of products of Bernoullis, given what is there. The network sees the part that is there, and the
    new nodes joined to all: log p(A) = sum over blocks of log sum over components k of alpha_k prod over
    pairs of theta_k. All is given n, the number of nodes: the probabilities of all A of n nodes sum to 1.

    Training may overlap blocks (`stride` below `block_size`, as the paper's code does). Scoring never does:
    there the stride is the block size, each row is written once, and the product is a probability. The
    paper's code counts pairs within a block twice and leaves out a last block that is not full; here every
    pair is written, once.

    The score is -log(mean over orderings of p(A)) or, with `average="log-sum-exp"`, of their sum over
    different A, which bounds the probability of the graph from below: p(graph) = sum over all different A.
    Logarithms are those of whole graphs; only the result is put over nodes or pairs. Orderings are drawn by a
    seed that is the graph's own (its Weisfeiler-Lehman key and its nodes' colours), so a score does not
    depend on its company or the numbers of its nodes, but for ties between nodes of one colour. Training
    graphs are scored by the network that learned from them, but for the share held out.

    Contributions: with posterior weights w, log sum_k p_k = sum_k w_k (log p_k - log w_k). Of components that
    gives each pair its expected -log theta over the components, given its whole block; what is left,
    KL(posterior || alpha), is that of choosing the component, and shared by the block's nodes. Of orderings
    it gives the expected shares over the orderings; what is left, minus their entropy (and log of how many,
    of a mean), is of the whole graph. All shares sum to the score; none depends on an order of the pairs. Of
    graphs above 500,000 pairs missing edges are not listed: their shares go to their two ends, in halves.

    Memory: steps are batched over graphs up to 200,000 messages; of a larger step, messages and pairs are
    taken 65,536 at a time. New nodes are joined to all that are there, however far, in any graph.
    """

    name: ClassVar[str] = "gran"
    Config: ClassVar[type[DetectorConfig]] = GRANConfig
    config: GRANConfig

    def __init__(self, config: GRANConfig | None = None) -> None:
        self.config = config or GRANConfig()

    def log_likelihoods(self, graphs: Graphs, orders: Longs) -> Floats:
        """log p(A) of each graph in each ordering (n_orders, n_graphs), nats.

        `orders` (n_orders, n_nodes) are nodes by place, numbered through all graphs, those of the first graph
        first. Raises `UsageError` before `fit`.
        """
        self._check_fitted()
        return self._log_likelihoods(graphs, orders)

    def orders(self, graphs: Graphs) -> Longs:
        """The orderings that graphs are scored by (kinds * draws, n_nodes)."""
        keys = own_keys(graphs, self.config.draws, self.config.seed)
        return np.concatenate([orderings(graphs, kind, keys) for kind in self.config.orderings])

    def contributions(self, graphs: Graphs, graph: int) -> Contributions:
        """What each pair of nodes, each node and the whole graph add to the score of one graph."""
        from linkwise.anomaly.gran_training import shares

        self._check_fitted()
        alone = graphs.select([graph])
        n = int(alone.n_nodes[0])
        orders = self.orders(alone)
        logs = self._log_likelihoods(alone, orders)
        counted = self._counted(alone, orders, logs)
        weight = np.exp(counted - _log_sum_exp(counted))[:, 0]
        unit = float(self._units(alone)[0])
        whole = float(self._scores_of(alone, counted)[0] + weight @ logs[:, 0] / unit)
        edges = alone.edges(0)
        number = edges[:, 0] * n + edges[:, 1]
        dense = n * (n - 1) // 2 <= PAIRS
        pairs = np.triu_indices(n, 1) if dense else (edges[:, 0], edges[:, 1])
        listed = pairs[0] * n + pairs[1]  # rising
        node, edge = np.zeros(n), np.zeros(len(listed))
        for order, w in zip(orders, weight, strict=True):
            if w == 0:
                continue
            for places, there, pair, new, rest in shares(
                self._network, alone, order, self.config.block_size
            ):
                ends = np.sort(order[places], axis=1)
                kept = np.ones(len(ends), dtype=np.bool_) if dense else there
                at = np.searchsorted(listed, ends[kept, 0] * n + ends[kept, 1])
                edge[at] -= w * pair[kept]
                for end in ends[~kept].T:
                    node -= np.bincount(end, w * pair[~kept] / 2, n)
                node[order[new]] -= w * rest
        return Contributions(
            whole, node / unit, np.column_stack(pairs), edge / unit, np.isin(listed, number)
        )

    def _fit(self, graphs: Graphs, context: Context) -> Floats:
        optional("torch", "anomaly", "gran")
        from linkwise.anomaly.gran_training import train

        with context.step("gran", self.config.epochs):
            seed = int(context.rng(f"gran {self.config.seed}").integers(2**31))
            self._network = train(graphs, self.config, seed, context)
        return self._scores(graphs)

    def _scores(self, graphs: Graphs) -> Floats:
        orders = self.orders(graphs)
        logs = self._log_likelihoods(graphs, orders)
        return self._scores_of(graphs, self._counted(graphs, orders, logs))

    def _log_likelihoods(self, graphs: Graphs, orders: Iterable[Longs]) -> Floats:
        from linkwise.anomaly.gran_training import log_likelihood

        return np.stack(
            [
                log_likelihood(self._network, graphs, order, self.config.block_size)
                for order in orders
            ]
        )

    def _counted(self, graphs: Graphs, orders: Longs, logs: Floats) -> Floats:
        """Log-likelihoods as they come into the sum: of equal adjacency matrices all but the first as 0."""
        if self.config.average == "log-mean-exp":
            return np.asarray(logs - np.log(len(logs)))
        found = logs.copy()
        seen: list[set[bytes]] = [set() for _ in range(len(graphs))]
        for row, order in enumerate(orders):
            later, back = back_edges(graphs, order)
            bounds = np.searchsorted(later, graphs.first)
            for graph, (begin, end) in enumerate(pairwise(bounds.tolist())):
                base = int(graphs.first[graph])
                matrix = np.concatenate([later[begin:end] - base, back[begin:end]]).tobytes()
                if matrix in seen[graph]:
                    found[row, graph] = -np.inf
                seen[graph].add(matrix)
        return found

    def _scores_of(self, graphs: Graphs, logs: Floats) -> Floats:
        score = -_log_sum_exp(logs)
        if self.config.complexity:
            score = score - code_length(graphs)
        return score / self._units(graphs)

    def _units(self, graphs: Graphs) -> Floats:
        """What a score is put over (n,): 1, nodes, or pairs."""
        n = graphs.n_nodes.astype(np.float64)
        if self.config.normalise == "none":
            return np.ones(len(n))
        return np.maximum(n if self.config.normalise == "nodes" else n * (n - 1) / 2, 1.0)

    def _save(self, folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        save_file(self._network.state_dict(), folder / "network.safetensors")
        return {}

    def _load(self, folder: Path, own: dict[str, Any]) -> None:
        optional("torch", "anomaly", "gran")
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from linkwise.anomaly.gran_training import network_of

        self._network = network_of(self.config).double().eval()
        try:
            self._network.load_state_dict(load_file(folder / "network.safetensors"))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"network.safetensors: {error}") from error


def code_length(graphs: Graphs) -> Floats:
    """Nats that tell a graph among all of its nodes and number of edges (n,): log C(n(n-1)/2, m)."""
    from scipy.special import gammaln

    pairs, m = graphs.n_nodes * (graphs.n_nodes - 1) / 2, graphs.n_edges
    return np.asarray(gammaln(pairs + 1) - gammaln(m + 1) - gammaln(pairs - m + 1))


def _log_sum_exp(logs: Floats) -> Floats:
    """Over the first axis."""
    return np.asarray(np.logaddexp.reduce(logs, axis=0))
