"""GraphRNN: against slow loops, sums over all graphs, odd graphs, and the contract."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from linkwise.anomaly.graphrnn import GraphRNN, GraphRNNConfig, code_lengths
from linkwise.anomaly.graphrnn_network import GraphRNNNetwork
from linkwise.anomaly.graphrnn_rows import Sequences, ordered, sequences, window
from linkwise.anomaly.graphrnn_training import OTHER, losses, rate_of_far, training_loss
from linkwise.anomaly.orderings import own_keys
from linkwise.context import Context
from linkwise.data.graphs import Graphs, build_graphs, of_networkx
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import Interrupted
from linkwise.testing.detector import DetectorContract, renumbered

SMALL: dict[str, Any] = {
    "layers": 1, "size": 16, "edge_layers": 1, "edge_size": 8, "epochs": 12, "orderings": 4,
    "learning_rate": 1e-2, "conditional": False,
}  # fmt: skip


def made(graphs: Graphs, **more: Any) -> GraphRNN:
    return GraphRNN(GraphRNNConfig(**{**SMALL, **more})).fit(graphs, Context(Path(), seed=1))


def some_graphs(labels: bool = True) -> tuple[list[nx.Graph], Graphs]:
    several = [nx.gnp_random_graph(n, 0.3, seed=n) for n in (7, 12, 15, 9, 11, 8)]
    several += [nx.empty_graph(3), nx.empty_graph(1), nx.cycle_graph(9), nx.empty_graph(0)]
    if labels:
        for graph in several:
            nx.set_node_attributes(graph, {v: "ab"[v % 2] for v in graph}, "label")
    return several, of_networkx(several)


@pytest.fixture(scope="module")
def both() -> dict[str, GraphRNN]:
    """Of labelled graphs, with windows too narrow for some edges."""
    _, graphs = some_graphs()
    more: Any = {"layers": 2, "edge_layers": 2, "bits": 4}
    found = {edge: made(graphs, edge=edge, **more) for edge in ("rnn", "mlp")}
    return {**found, "as published": made(graphs, told=False, **more)}


def one_sequence(n: int, edges: list[tuple[int, int]], label: list[int]) -> Sequences:
    """Nodes as they are numbered; edges by their later ends, which stand first, the nearest first."""
    later = np.array([a for a, _ in edges], dtype=np.int64)
    back = np.array([a - b for a, b in edges], dtype=np.int64)
    return Sequences(np.array([n]), np.arange(n), np.array(label, dtype=np.int64), later, back)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def gru(layer: Callable[..., Any], x: torch.Tensor, hidden: torch.Tensor) -> Any:
    """One step of one sequence."""
    out, hidden = layer(x[None, None], hidden)
    return out[0, 0], hidden


def slow_told(i: int, d: int, edges: set[tuple[int, int]]) -> list[float]:
    """By all triples of nodes that stand, of the edges written before the bit of i to i - d."""
    j = i - d
    before = {(a, b) for a, b in edges if a < i or (a == i and b < j)}
    edge = before | {(b, a) for a, b in before}
    others = set(range(i)) - {j}
    two = sum((i, a) in edge and (a, j) in edge for a in others)
    three = sum(
        (i, k) in edge and (k, a) in edge and (a, j) in edge for k in others for a in others - {k}
    )
    degree = sum(a == j for a, _ in edge)
    last = min([b for a, b in edges if a == i - 1], default=i - 1)
    return [math.log1p(degree), math.log1p(two), math.log1p(three), math.log1p(d), float(j < last)]


def slow_loss(
    network: GraphRNNNetwork, n: int, edges: set[tuple[int, int]], label: list[int], rate: float
) -> float:
    """One node, one bit, one step at a time."""
    total = 0.0
    hidden = torch.zeros((network.node.num_layers, 1, network.node.hidden_size)).double()
    x = torch.zeros(network.bits + network.labels + 1).double()
    x[-1] = 1
    for i in range(n + 1):
        state, hidden = gru(network.node, network.inputs(x), hidden)
        end = sigmoid(float(network.end(state)))
        if i == n:
            return total - math.log(end)
        total -= math.log(1 - end)
        one_hot = torch.zeros(network.labels).double()
        if network.labels:
            chance = network.label(state).softmax(0)[label[i]].item()
            total -= math.log((1 - OTHER) * chance + OTHER / network.labels)
            one_hot[label[i]] = 1
        given = torch.cat([state, one_hot])
        row = [float((i, i - d) in edges) for d in range(1, min(i, network.bits) + 1)]
        if network.kind == "rnn":
            own = torch.zeros((network.edge_layers, 1, network.edge.hidden_size)).double()
            own[0, 0] = network.begin(given)
            before = 2
        for d, bit in reversed(list(enumerate(row))):
            if network.kind == "rnn":
                about = slow_told(i, d + 1, edges)[: network.told]
                x = torch.cat([network.bit(torch.tensor(before)), torch.tensor(about).double()])
                out, own = gru(network.edge, x, own)
                p = sigmoid(float(network.odds(out)))
                before = int(bit)
            else:
                p = sigmoid(float(network.row(given)[d]))
            total -= math.log(p if bit else 1 - p)
        for d in range(network.bits + 1, i + 1):
            odds = rate / (i - network.bits)
            there = (i, i - d) in edges
            total -= math.log(odds / (1 + odds) if there else 1 / (1 + odds))
        x = torch.zeros(network.bits + network.labels + 1).double()
        x[: len(row)] = torch.tensor(row).double()
        x[network.bits : network.bits + network.labels] = one_hot
    raise AssertionError


def totals(detector: GraphRNN, part: Sequences) -> float:
    found = losses(detector._network, part, detector._rate)
    return float(sum(term.sum() for term in (found.end, found.more, found.label, found.row)) + found.far.sum()
                 + found.none.sum())  # fmt: skip


@pytest.mark.parametrize("edge", ["rnn", "mlp", "as published"])
def test_likelihoods_are_those_of_a_slow_loop(both: dict[str, GraphRNN], edge: str) -> None:
    detector = both[edge]
    several, graphs = some_graphs()
    found = detector.losses(graphs)
    order = ordered(graphs, own_keys(graphs, 4)).order
    assert graphs.node_label is not None
    far = 0
    with torch.no_grad():
        for row, graph in enumerate(several):
            begin, n = int(graphs.first[row]), len(graph)
            for draw in range(4):
                nodes = (order[draw, begin : begin + n] - begin).tolist()
                place = {v: k for k, v in enumerate(nodes)}
                edges = {(max(place[u], place[v]), min(place[u], place[v])) for u, v in graph.edges}
                far += sum(a - b > 4 for a, b in edges)
                label = graphs.node_label[begin : begin + n][nodes].tolist()
                expected = slow_loss(detector._network, n, edges, label, detector._rate)
                assert found[row, draw] == pytest.approx(expected, abs=1e-8)
    assert far > 10  # edges beyond the window were among them


@pytest.mark.parametrize("edge", ["rnn", "mlp"])
@pytest.mark.parametrize("bits", [1, 2, 5])
def test_the_probabilities_of_all_graphs_of_four_nodes_sum_to_one(edge: str, bits: int) -> None:
    detector = made(some_graphs(labels=False)[1], edge=edge, bits=bits, epochs=3)
    places = [(a, b) for a in range(4) for b in reversed(range(a))]
    total, ends = 0.0, 0.0
    for there in itertools.product((False, True), repeat=6):
        edges = [place for place, some in zip(places, there, strict=True) if some]
        part = one_sequence(4, edges, [0] * 4)
        found = losses(detector._network, part, detector._rate)
        total += math.exp(-(found.row.sum() + found.far.sum() + found.none.sum()))
    assert total == pytest.approx(1.0, abs=1e-9)
    # Ends, labels and rows together, over all graphs of up to two nodes and those with more to come.
    for n in (0, 1):
        found = losses(detector._network, one_sequence(n, [], [0] * n), detector._rate)
        ends += math.exp(-(found.end.sum() + found.more.sum()))
    for edges in ([], [(1, 0)]):
        found = losses(detector._network, one_sequence(2, edges, [0, 0]), detector._rate)
        ends += math.exp(-(found.more.sum() + found.row.sum()))  # whether it ends there or not
    assert ends == pytest.approx(1.0, abs=1e-9)


def test_the_probabilities_of_labels_sum_to_one(both: dict[str, GraphRNN]) -> None:
    detector = both["rnn"]
    total = 0.0
    for label in itertools.product(range(3), repeat=2):
        for edges in ([], [(1, 0)]):
            found = losses(detector._network, one_sequence(2, edges, list(label)), detector._rate)
            total += math.exp(-(found.label.sum() + found.row.sum()))
    assert total == pytest.approx(1.0, abs=1e-9)


def test_orderings_are_averaged_as_they_say(both: dict[str, GraphRNN]) -> None:
    detector = both["mlp"]
    _, graphs = some_graphs()
    n = np.maximum(graphs.n_nodes, 1)
    loss = detector.losses(graphs)
    direct = [-math.log(sum(math.exp(-x) for x in row) / len(row)) for row in loss.tolist()]
    np.testing.assert_allclose(detector.decision_function(graphs), direct / n, rtol=1e-9)
    detector.config = detector.config.model_copy(
        update={"average": "mean-log", "normalise": "none"}
    )
    np.testing.assert_allclose(detector.decision_function(graphs), loss.mean(axis=1), rtol=1e-12)
    detector.config = detector.config.model_copy(
        update={"average": "log-mean-exp", "normalise": "nodes"}
    )


def test_training_and_scoring_have_one_likelihood(both: dict[str, GraphRNN]) -> None:
    """But for edges beyond the rows, which training knows nothing of; and drawing rows changes no mean."""
    _, graphs = some_graphs()
    for detector in both.values():
        orders = ordered(graphs, own_keys(graphs, 1))
        label = detector._labels(graphs)
        every = np.arange(len(graphs))
        part = sequences(graphs, orders, label, every, np.zeros_like(every))
        found = losses(detector._network, part, detector._rate)
        whole = sum(term.sum() for term in (found.end, found.more, found.label, found.row))
        loss = training_loss(detector._network, part, None).item() * len(part.place)
        assert loss == pytest.approx(whole, rel=1e-9)


def test_rows_that_are_drawn_count_for_all(
    both: dict[str, GraphRNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, graphs = some_graphs()
    detector = both["mlp"]
    every = np.arange(len(graphs))
    orders = ordered(graphs, own_keys(graphs, 1))
    part = sequences(graphs, orders, detector._labels(graphs), every, np.zeros_like(every))
    whole = training_loss(detector._network, part, None).item()
    monkeypatch.setattr("linkwise.anomaly.graphrnn_training.BITS", 80)  # 20 rows of about 60
    rng = np.random.default_rng(0)
    drawn = [training_loss(detector._network, part, rng).item() for _ in range(200)]
    assert np.std(drawn) > 0
    assert np.mean(drawn) == pytest.approx(whole, abs=4 * float(np.std(drawn)) / 14)
    monkeypatch.setattr("linkwise.anomaly.graphrnn_training.CHUNK", 8)  # a row or two at a time
    assert training_loss(detector._network, part, None).item() == pytest.approx(whole, rel=1e-9)


def test_the_window_holds_nearly_all_rows() -> None:
    graphs = of_networkx([nx.star_graph(9)])
    keys = np.tile(np.arange(10, dtype=np.uint64), (1, 1))  # the hub first
    assert window(graphs, keys) == 9
    graphs = of_networkx([nx.path_graph(9)])
    assert window(graphs, np.arange(9, dtype=np.uint64)[None]) == 1
    assert window(of_networkx([nx.empty_graph(3)]), np.arange(3, dtype=np.uint64)[None]) == 1
    cycle = of_networkx([nx.cycle_graph(50)])  # both ways round in turns, two places back
    assert window(cycle, np.arange(50, dtype=np.uint64)[None]) == 2


def test_far_edges_are_expected_as_often_as_they_were() -> None:
    """Rows of 9 bits of a star of 20 leaves: 11 nodes could reach farther, and each does."""
    graphs = of_networkx([nx.star_graph(20)])
    orders = ordered(graphs, np.arange(21, dtype=np.uint64)[None])
    zero = np.zeros(1, dtype=np.int64)
    part = sequences(graphs, orders, np.zeros(21, dtype=np.int64), zero, zero)
    assert rate_of_far(part, 9) == pytest.approx(11.5 / 12)
    assert rate_of_far(part, 20) == pytest.approx(0.5)


def test_an_edge_that_reaches_far_costs() -> None:
    """The same path with one chord beyond the window is less likely, and no edge is dropped."""
    detector = made(of_networkx([nx.path_graph(12)] * 10), bits=3, epochs=3)
    plain = totals(detector, one_sequence(12, [(k + 1, k) for k in range(11)], [0] * 12))
    chord = totals(
        detector, one_sequence(12, [*((k + 1, k) for k in range(11)), (11, 1)], [0] * 12)
    )
    odds = detector._rate / (11 - 3)
    assert chord - plain == pytest.approx(-math.log(odds), abs=1e-9)


def test_labels_that_no_training_graph_had_are_one_more() -> None:
    _, graphs = some_graphs()
    detector = made(graphs)
    other = build_graphs(
        graphs.ids, graphs.n_nodes,
        *np.concatenate([graphs.edges(g) + graphs.first[g] for g in range(len(graphs))]).T,
        node_label=(np.zeros(int(graphs.first[-1])), ["unknown"]),
    )  # fmt: skip
    plain, strange = detector.decision_function(graphs), detector.decision_function(other)
    some = graphs.n_nodes > 0
    assert (strange[some] > plain[some]).all()
    without = made(some_graphs(labels=False)[1])
    ignored = made(graphs, labels=False)
    assert ignored._network.labels == without._network.labels == 0
    assert np.isfinite(without.decision_function(graphs)).all()


def test_contributions_tell_edges_and_missing_edges_apart(both: dict[str, GraphRNN]) -> None:
    _, graphs = some_graphs()
    for detector in both.values():
        scores = detector.decision_function(graphs)
        for graph in range(len(graphs)):
            found = detector.contributions(graphs, graph)
            assert found is not None
            assert found.total == pytest.approx(scores[graph], abs=1e-9)
            assert len(np.unique(found.edges, axis=0)) == len(found.edges)
            own = {tuple(edge) for edge in graphs.edges(graph).tolist()}
            told = {tuple(edge) for edge in found.edges[found.there].tolist()}
            assert told == own
            assert (found.edge > 0).all()
            assert (found.node > 0).all()


def test_a_planted_edge_is_the_most_surprising() -> None:
    """Of long paths with one chord, the chord; and where a path is broken, the pair that should be joined."""
    detector = made(of_networkx([nx.path_graph(n) for n in range(8, 20)]), epochs=60)
    graph = nx.path_graph(14)
    graph.add_edge(4, 7)
    found = detector.contributions(of_networkx([graph]), 0)
    assert found is not None
    cycle = {(4, 5), (5, 6), (6, 7), (4, 7)}
    there = found.there.astype(bool)
    assert tuple(found.edges[there][found.edge[there].argmax()].tolist()) in cycle


def test_the_code_length_of_a_random_graph() -> None:
    graphs = of_networkx([nx.path_graph(4), nx.complete_graph(5), nx.empty_graph(1)])
    np.testing.assert_allclose(code_lengths(graphs), [math.log(math.comb(6, 3)), 0, 0], atol=1e-9)
    detector = made(simulate_graphs("2a", 12, width=4, height=4, seed=1), epochs=2)
    graphs = simulate_graphs("2b", 3, width=4, height=4, seed=1)
    plain = detector.decision_function(graphs)
    detector.config = detector.config.model_copy(update={"complexity": True})
    np.testing.assert_allclose(
        detector.decision_function(graphs), plain - code_lengths(graphs) / 16, rtol=1e-9
    )


def test_scores_conditional_on_size_do_not_follow_it() -> None:
    several = [nx.gnp_random_graph(n, 0.3, seed=n) for n in range(6, 36)] * 2
    graphs = of_networkx(several)
    plain, given = (made(graphs, conditional=on, epochs=4) for on in (False, True))
    size = np.log(graphs.n_nodes)
    assert abs(np.corrcoef(plain.decision_scores_, size)[0, 1]) > 0.8
    assert abs(np.corrcoef(given.decision_scores_, size)[0, 1]) < 0.2
    # A graph larger than all is taken as one of the largest: its score differs as without the regression.
    large = of_networkx(
        [nx.gnp_random_graph(60, 0.3, seed=0), nx.gnp_random_graph(90, 0.3, seed=0)]
    )
    np.testing.assert_allclose(
        np.diff(given.decision_function(large)), np.diff(plain.decision_function(large)), rtol=1e-6
    )


def test_a_run_that_was_stopped_says_so() -> None:
    context = Context(Path(), cancelled=iter([False, False, True]).__next__)
    with pytest.raises(Interrupted):
        GraphRNN(GraphRNNConfig(**SMALL)).fit(some_graphs()[1], context)


def test_training_ends_where_graphs_held_out_gain_no_more() -> None:
    notes = []

    class Listening:
        def start(self, name: str, total: int | None) -> None: ...
        def advance(self, done: int) -> None: ...
        def note(self, text: str) -> None:
            notes.append(text)

        def say(self, text: str) -> None: ...
        def finish(self, seconds: float) -> None: ...

    graphs = of_networkx([nx.gnp_random_graph(6, 0.5, seed=k) for k in range(10)])
    config = GraphRNNConfig(**{**SMALL, "epochs": 300, "patience": 4, "learning_rate": 3e-2})
    GraphRNN(config).fit(graphs, Context(Path(), progress=Listening()))
    losses_ = [float(note.split()[-1]) for note in notes]
    assert 5 <= len(losses_) < 300
    assert min(losses_) >= losses_[-5] - 1e-3


def test_numbers_of_nodes_matter_no_more_than_orderings() -> None:
    """Of graphs whose nodes all look alike keys change places; scores differ as between draws."""
    detector = made(simulate_graphs("regular-6", 12, width=4, height=4, seed=1), orderings=20)
    graphs = simulate_graphs("regular-6", 6, width=4, height=4, seed=2)
    spread = detector.losses(graphs).std(axis=1) / 16
    apart = detector.decision_function(renumbered(graphs, np.random.default_rng(0)))
    apart -= detector.decision_function(graphs)
    assert 0 < np.abs(apart).max() < 3 * spread.max()


class TestGraphRNN(DetectorContract):
    noise = 1e-9

    def make(self) -> GraphRNN:
        return GraphRNN(GraphRNNConfig(**{**SMALL, "conditional": True}))
