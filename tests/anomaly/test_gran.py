"""GRAN: against slow loops and sums over all graphs, on odd and large graphs, and the contract."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import logsumexp

from linkwise.anomaly.gran import GRAN, GRANConfig, code_length
from linkwise.anomaly.gran_network import HEADS, PER_DOUBLING, GRANNetwork
from linkwise.anomaly.gran_steps import blocks, messages, ordered, parts, steps_of
from linkwise.anomaly.gran_training import _held_out_loss, log_likelihood
from linkwise.anomaly.orderings import KINDS
from linkwise.context import Context, Silent
from linkwise.data.graphs import Graphs, build_graphs, of_networkx
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import Interrupted
from linkwise.testing.detector import DetectorContract, renumbered

SMALL: dict[str, Any] = {
    "size": 16,
    "layers": 2,
    "components": 4,
    "window": 16,
    "epochs": 6,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "draws": 1,
}


def made(graphs: Graphs, **more: Any) -> GRAN:
    return GRAN(GRANConfig(**{**SMALL, **more})).fit(graphs, Context(Path(), seed=1))


def untrained(block_size: int, window: int = 3, layers: int = 2) -> GRANNetwork:
    """Random weights, of a family of 2 to 6 nodes: graphs of the tests are larger."""
    torch.manual_seed(block_size)
    network = GRANNetwork(window, block_size, layers, 8, 3)
    network.set_family(np.array([2, 6]), 0.3)
    return network.double()


def several() -> list[nx.Graph]:
    found = [nx.gnp_random_graph(n, 0.35, seed=n) for n in (10, 7, 2, 11)]
    return [*found, nx.empty_graph(5), nx.disjoint_union(nx.path_graph(3), nx.cycle_graph(4))]


@pytest.fixture(scope="module")
def fitted() -> GRAN:
    return made(simulate_graphs("2a", 20, width=4, height=4, seed=1), orderings=KINDS)


def slow_block(network: GRANNetwork, a: np.ndarray, begin: int, end: int) -> float:
    """log p of the rows `begin` to `end` - 1 of a matrix, node by node and pair by pair."""
    n, window, oldest = len(a), network.window, int(network.oldest)
    new = range(begin, end)
    low, high = network.sizes.tolist()
    edges = a[:begin, :begin].sum() / 2
    about = torch.tensor(
        [begin / n, min(max(math.log(n), low), high), edges / max(1, begin)], dtype=torch.float64
    )
    x = []
    for v in range(end):
        if v in new:
            own = network.blocks.weight[v - begin + 1]
        else:
            row = [a[v, v - k] if k <= v else 0.0 for k in range(1, window + 1)]
            far = sum(a[v, u] for u in range(v) if v - u > window)
            age = min(begin - v, oldest)
            column = (
                age if age <= window else window + 1 + int(PER_DOUBLING * math.log2(age / window))
            )
            own = network.rows(torch.tensor([*row, math.log1p(far)], dtype=torch.float64))
            own = own + network.ages.weight[column]
            numbers = [math.log1p(a[v, :begin].sum()), math.log1p(age)]
            own = own + network.own(torch.tensor(numbers, dtype=torch.float64))
        x.append(own + network.about(about))

    def message(module: Any, to: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(module.own(to) + module.near(of))
        gate = torch.sigmoid(module.gate(hidden))
        return torch.cat([g * part for g, part in zip(gate, hidden.chunk(HEADS), strict=True)])

    zero = torch.zeros(len(x[0]), dtype=torch.float64)
    for layer in network.layers:
        following = []
        for v in range(end):
            along, pairs = zero, []
            for u in range(end):
                if u == v:
                    continue
                if u in new or v in new:
                    pairs.append(message(layer.pairs, x[v], x[u]))
                elif a[u, v]:
                    along = along + message(layer.edges, x[v], x[u])
            mean = sum(pairs, zero) / max(1, len(pairs))
            told = layer.second(torch.cat([along, mean]))
            following.append(layer.update(told[None], x[v][None])[0])
        x = following
    half = len(zero)
    pairs = [(i, j) for i in new for j in range(i)]
    hidden = [torch.relu(network.late(x[i]) + network.early(x[j])) for i, j in pairs]
    alpha = network.alpha(sum((h[half:] for h in hidden), zero) / len(pairs)).softmax(0)
    product = alpha
    for (i, j), h in zip(pairs, hidden, strict=True):
        theta = torch.sigmoid(network.theta(h[:half]))
        product = product * (theta if a[i, j] else 1 - theta)
    return float(product.sum().log())


@pytest.mark.parametrize("block_size", [1, 3])
def test_likelihoods_are_those_of_a_slow_loop(
    block_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = untrained(block_size)
    graphs = of_networkx(several())
    rng = np.random.default_rng(0)
    order = np.concatenate(
        [begin + rng.permutation(n) for begin, n in zip(graphs.first, graphs.n_nodes, strict=False)]
    )
    found = log_likelihood(network, graphs, order, block_size)
    with torch.no_grad():
        for row, graph in enumerate(several()):
            begin, end = graphs.first[row], graphs.first[row + 1]
            a = nx.to_numpy_array(graph, nodelist=(order[begin:end] - begin).tolist())
            slow = sum(
                slow_block(network, a, at, min(at + block_size, len(a)))
                for at in range(0, len(a), block_size)
                if min(at + block_size, len(a)) > 1
            )
            assert found[row] == pytest.approx(slow, abs=1e-9)
    # The same in small parts.
    monkeypatch.setattr("linkwise.anomaly.gran_network.SPLIT", 7)
    monkeypatch.setattr("linkwise.anomaly.gran_training.MESSAGES", 50)
    np.testing.assert_allclose(
        log_likelihood(network, graphs, order, block_size), found, rtol=1e-12
    )


@pytest.mark.parametrize("block_size", [1, 2, 3, 4])
def test_probabilities_of_all_graphs_of_four_nodes_sum_to_one(block_size: int) -> None:
    network = untrained(block_size)
    pairs = list(itertools.combinations(range(4), 2))
    every = [
        nx.Graph([pair for pair, there in zip(pairs, row, strict=True) if there])
        for row in itertools.product((0, 1), repeat=6)
    ]
    whole = []
    for graph in every:
        known = nx.empty_graph(4)
        known.add_edges_from(graph.edges)
        whole.append(known)
    graphs = of_networkx(whole)
    logs = log_likelihood(network, graphs, np.arange(4 * 64), block_size)
    assert np.exp(logs).sum() == pytest.approx(1, abs=1e-12)
    assert np.exp(logs).std() > 1e-3  # and they are not all the same


def test_orderings_are_summed_over_by_whole_likelihoods(fitted: GRAN) -> None:
    graphs = of_networkx(
        [nx.gnp_random_graph(6, 0.5, seed=3), nx.complete_graph(4), nx.path_graph(1)]
    )
    settings = {"draws": 3, "normalise": "pairs"}
    mean = GRAN(fitted.config.model_copy(update=settings))
    sums = GRAN(fitted.config.model_copy(update={**settings, "average": "log-sum-exp"}))
    for detector in (mean, sums):
        detector._network, detector.threshold_ = fitted._network, 0.0
    orders = mean.orders(graphs)
    assert orders.shape == (3 * len(KINDS), 11)
    p = np.exp(mean.log_likelihoods(graphs, orders))
    pairs = np.array([15, 6, 1])
    expected = -np.log(p.mean(axis=0)) / pairs
    np.testing.assert_allclose(mean.decision_function(graphs), expected, atol=1e-12)
    # Equal matrices count once: a complete graph has a single one, and is written with one probability.
    total = np.zeros(3)
    for row, graph in enumerate(
        [nx.gnp_random_graph(6, 0.5, seed=3), nx.complete_graph(4), nx.path_graph(1)]
    ):
        begin, end = graphs.first[row], graphs.first[row + 1]
        different = {}
        for order, own in zip(orders[:, begin:end] - begin, p[:, row], strict=True):
            different[nx.to_numpy_array(graph, nodelist=order.tolist()).tobytes()] = own
        total[row] = sum(different.values())
        assert len(different) == 1 or row == 0
    np.testing.assert_allclose(sums.decision_function(graphs), -np.log(total) / pairs)


def test_scores_are_put_over_nodes_and_freed_of_code_lengths(fitted: GRAN) -> None:
    graphs = simulate_graphs("2a", 4, width=4, height=3, seed=3)
    m = graphs.n_edges

    def scores(**more: Any) -> np.ndarray:
        detector = GRAN(fitted.config.model_copy(update=more))
        detector._network, detector.threshold_ = fitted._network, 0.0
        return detector.decision_function(graphs)

    whole = scores(normalise="none")
    np.testing.assert_allclose(scores(normalise="nodes"), whole / 12)
    np.testing.assert_allclose(scores(normalise="pairs"), whole / 66)
    length = [math.log(math.comb(66, int(k))) for k in m]
    np.testing.assert_allclose(code_length(graphs), length)
    np.testing.assert_allclose(scores(normalise="none", complexity=True), whole - length)


@pytest.mark.parametrize("most", [10**6, 10])
@pytest.mark.parametrize("average", ["log-mean-exp", "log-sum-exp"])
def test_contributions_sum_to_the_score(
    fitted: GRAN, most: int, average: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkwise.anomaly.gran.PAIRS", most)
    monkeypatch.setattr("linkwise.anomaly.gran_training.MESSAGES", 200)  # several runs of steps
    detector = GRAN(
        fitted.config.model_copy(update={"complexity": True, "average": average, "draws": 2})
    )
    detector._network, detector.threshold_ = fitted._network, 0.0
    graphs = of_networkx(several())
    scores = detector.decision_function(graphs)
    for row, graph in enumerate(several()):
        found = detector.contributions(graphs, row)
        assert found.total == pytest.approx(scores[row], abs=1e-9)
        listed = [tuple(pair) for pair in found.edges.tolist()]
        if most > 10 or len(graph) <= 5:
            assert listed == list(itertools.combinations(range(len(graph)), 2))
        else:
            assert listed == sorted(graph.edges)
        assert [pair for pair, there in zip(listed, found.there, strict=True) if there] == sorted(
            graph.edges
        )


def test_contributions_are_the_posterior_s_shares() -> None:
    """One ordering, one block: by hand from all components."""
    graph = nx.gnp_random_graph(5, 0.5, seed=1)
    graphs = of_networkx([graph])
    detector = GRAN(GRANConfig(draws=1, block_size=5, normalise="none", size=8, components=3))
    detector._network, detector.threshold_ = untrained(5), 0.0
    found = detector.contributions(graphs, 0)
    order = detector.orders(graphs)[0]
    from linkwise.anomaly.gran_network import Batch

    steps = steps_of(ordered(graphs, order), blocks(graphs.n_nodes, 5, 5), 3)
    with torch.no_grad():
        logs, alpha = (part.numpy() for part in detector._network(Batch(steps, torch.float64)))
    joint = alpha[0] + logs.sum(axis=0)
    posterior = np.exp(joint - logsumexp(joint))
    for late, early, own in zip(steps.late, steps.early, logs, strict=True):
        pair = sorted((int(order[late]), int(order[early])))
        at = found.edges.tolist().index(pair)
        assert found.edge[at] == pytest.approx(-(posterior * own).sum())
    kl = (posterior * (np.log(posterior) - alpha[0])).sum()
    np.testing.assert_allclose(found.node, kl / 5)
    assert found.whole == pytest.approx(0, abs=1e-9)


def test_steps_are_cut_into_runs() -> None:
    assert list(parts(np.array([3, 4, 9, 1, 1]), 7)) == [slice(0, 2), slice(2, 3), slice(3, 5)]
    found = blocks(np.array([5, 1, 0, 4]), 3, 2)
    assert found.graph.tolist() == [0, 0, 0, 3, 3]
    assert found.begin.tolist() == [0, 2, 4, 0, 2]
    assert found.end.tolist() == [3, 5, 5, 3, 4]
    graphs = of_networkx([nx.path_graph(5)])
    own = ordered(graphs, np.arange(5))
    every = blocks(graphs.n_nodes, 3, 2)
    counted = [steps_of(own, every.at([k]), 2) for k in range(3)]
    expected = [len(s.source) + 2 * len(s.late) for s in counted]
    assert messages(own, every).tolist() == expected == [6, 2 + 18, 6 + 8]


def test_the_best_pass_is_kept_and_training_ends_early() -> None:
    graphs = simulate_graphs("2a", 20, width=4, height=3, seed=1)

    class Notes(Silent):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def note(self, text: str) -> None:
            self.losses.append(float(text.split()[4]))

    notes = Notes()
    config = GRANConfig(**{**SMALL, "epochs": 40, "patience": 2, "learning_rate": 0.05})
    detector = GRAN(config).fit(graphs, Context(Path(), seed=1, progress=notes))
    assert 3 <= len(notes.losses) < 40
    assert min(notes.losses) == notes.losses[-3]
    seed = int(Context(Path(), seed=1).rng("gran 0").integers(2**31))
    held_out = np.sort(np.random.default_rng(seed).permutation(20)[:2])
    loss = _held_out_loss(detector._network, graphs.select(held_out), config)
    assert loss == pytest.approx(min(notes.losses), abs=1e-3)


def test_a_family_is_written_shorter_than_a_random_graph() -> None:
    """Overlapping blocks in training; scores of fresh graphs are code lengths of their matrices."""
    graphs = of_networkx([nx.cycle_graph(n) for n in range(8, 20)])
    detector = made(graphs, orderings=("bfs",), block_size=3, stride=1, epochs=40, normalise="none")
    fresh = of_networkx([nx.cycle_graph(n) for n in (9, 13, 17, 24)])
    scores = detector.decision_function(fresh)
    assert (scores < code_length(fresh) / 3).all()


def test_nodes_may_be_numbered_otherwise(fitted: GRAN) -> None:
    """A seed of its own draws each graph's ties: where all nodes differ, nothing changes at all."""
    graphs = of_networkx(map(asymmetric, range(4)))
    shuffled = renumbered(graphs, np.random.default_rng(1))
    np.testing.assert_allclose(
        fitted.decision_function(shuffled), fitted.decision_function(graphs), rtol=1e-9
    )


def asymmetric(seed: int) -> nx.Graph:
    """Six nodes of degrees 6 to 11, most of it leaves; leaves of one node may change places."""
    graph = nx.gnp_random_graph(6, 0.4, seed=seed)
    for v in range(6):
        graph.add_edges_from([(v, (v, k)) for k in range(6 + v - graph.degree[v])])
    return nx.convert_node_labels_to_integers(graph)


def test_it_can_be_stopped() -> None:
    graphs = simulate_graphs("2a", 10, width=4, height=3, seed=1)
    stops = iter([False, False, True])
    with pytest.raises(Interrupted, match="stopped"):
        GRAN(GRANConfig(**SMALL)).fit(graphs, Context(Path(), cancelled=lambda: next(stops)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 5, "block_size": 4}, "stride 5 is above block_size 4"),
        ({"orderings": ()}, "names none"),
        ({"orderings": "dfs,x"}, "bfs"),
        ({"size": 10}, "multiple of 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GRANConfig(**settings)


def test_graphs_without_nodes_are_scored(fitted: GRAN) -> None:
    none = np.array([], dtype=np.int64)
    empty = build_graphs(["none", "one"], np.array([0, 1]), none, none)
    np.testing.assert_allclose(fitted.decision_function(empty), 0.0, atol=1e-12)
    for row in (0, 1):
        assert fitted.contributions(empty, row).total == pytest.approx(0.0, abs=1e-12)
    # Neither is there anything to write in a family of single nodes.
    single = build_graphs(["a", "b", "c"], np.array([1, 1, 0]), none, none)
    np.testing.assert_allclose(made(single).decision_scores_, 0.0, atol=1e-12)


LARGE = """
import resource, sys
import networkx as nx, numpy as np, torch
from linkwise.anomaly.gran_network import GRANNetwork
from linkwise.anomaly.gran_training import log_likelihood
from linkwise.data.graphs import of_networkx
torch.set_num_threads(1)
n = int(sys.argv[1])
graphs = of_networkx([nx.gnm_random_graph(n, 5 * n // 2, seed=0), nx.path_graph(3)])
network = GRANNetwork(32, 32, 1, 8, 4)
network.set_family(np.array([3, 60]), 0.1)
log_likelihood(network.double(), graphs.select([1]), np.arange(3), 32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = log_likelihood(network, graphs, np.arange(n + 3), 32)
assert np.isfinite(found).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_is_bounded_on_the_largest_graph_of_dd() -> None:
    """All 16.5 million pairs of 5,748 nodes are written, in a few hundred MB."""
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, "5748"], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 400_000  # KiB


class TestGRAN(DetectorContract):
    """The contract, over two orderings."""

    def make(self) -> GRAN:
        """Small, and trained for a few passes."""
        return GRAN(GRANConfig(**SMALL, orderings=("bfs", "dfs")))
