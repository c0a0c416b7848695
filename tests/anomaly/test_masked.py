"""Masked completion: against slow loops, on odd graphs, and the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from linkwise.anomaly.masked import Masked, MaskedConfig
from linkwise.anomaly.masked_clusters import cluster_completions
from linkwise.anomaly.masked_network import GAT, GIN, HEADS, LENGTHS, SAGE
from linkwise.anomaly.masked_pairs import draw_others, judged_pairs
from linkwise.anomaly.masked_training import drawn_edges
from linkwise.context import Context
from linkwise.data.graphs import Graphs, build_graphs, of_networkx
from linkwise.data.simulate_graphs import plant, simulate_graphs
from linkwise.errors import InputError, Interrupted
from linkwise.metrics.binary import auc
from linkwise.testing.detector import DetectorContract, renumbered

SMALL: dict[str, Any] = {"size": 8, "epochs": 8, "samples": 16, "learning_rate": 1e-2}


def some_graphs(labels: bool = True) -> tuple[list[nx.Graph], Graphs]:
    several = [nx.gnp_random_graph(n, 0.3, seed=n) for n in (7, 12, 15, 9)]
    if labels:
        for graph in several:
            nx.set_node_attributes(graph, {v: "ab"[v % 2] for v in graph}, "label")
    return several, of_networkx(several)


def made(graphs: Graphs, **more: Any) -> Masked:
    return Masked(MaskedConfig(**{**SMALL, **more})).fit(graphs, Context(Path(), seed=1))


@pytest.fixture(scope="module")
def likely() -> Masked:
    return made(simulate_graphs("2a", 20, width=4, height=4, seed=1), score="likelihood")


def messages(graph: nx.Graph) -> tuple[torch.Tensor, torch.Tensor]:
    both = [(u, v) for a, b in graph.edges for u, v in ((a, b), (b, a))]
    ends = torch.tensor(both, dtype=torch.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def test_layers_are_those_of_a_slow_loop() -> None:
    graph = nx.gnp_random_graph(9, 0.3, seed=2)
    graph.add_node(9)
    torch.manual_seed(0)
    x = torch.randn(10, 8)
    source, target = messages(graph)
    gin, sage, gat = GIN(8), SAGE(8), GAT(8)
    torch.nn.init.constant_(gin.eps, 0.3)
    with torch.no_grad():
        got = [layer(x, source, target) for layer in (gin, sage, gat)]
        for v in graph:
            near = [x[u] for u in graph[v]]
            total = sum(near, torch.zeros(8))
            torch.testing.assert_close(got[0][v], gin.mlp(1.3 * x[v] + total))
            mean = total / max(1, len(near))
            torch.testing.assert_close(got[1][v], sage.own(x[v]) + sage.near(mean))
            values = [gat.values(y).view(HEADS, -1) for y in (x[v], *near)]
            heads = []
            for head in range(HEADS):
                taken = values[0][head] @ gat.takes[head]
                odds = torch.stack([value[head] @ gat.sends[head] + taken for value in values])
                weight = torch.nn.functional.leaky_relu(odds, 0.2).softmax(0)
                heads.append(sum(w * value[head] for w, value in zip(weight, values, strict=True)))
            torch.testing.assert_close(got[2][v], torch.cat(heads) + gat.bias)


def slow_log_odds(detector: Masked, graph: nx.Graph, names: list[str], u: int, v: int) -> float:
    """The whole network anew on a copy of the graph, the edge really removed where the mode says so."""
    network = detector._network

    def vectors(of: nx.Graph) -> torch.Tensor:
        rows = []
        for w in of:
            label = of.nodes[w].get("label")
            one_hot = [float(label == name) for name in names]
            unknown = [float(label not in names)] if names else []
            rows.append([*one_hot, *unknown, np.log1p(of.degree(w)), 1.0])
        return network.nodes(torch.tensor(rows, dtype=torch.float64), *messages(of))

    barred = graph.copy()
    barred.remove_edges_from([(u, v)])
    length = nx.shortest_path_length(barred, u, v) if nx.has_path(barred, u, v) else 0
    with torch.no_grad():
        whole = vectors(graph)
        seen = vectors(barred) if detector.config.mode == "full-mask" else whole
        pooled = torch.relu(network.pooled(whole.mean(dim=0)))
        about = torch.tensor([np.log(len(graph)), nx.density(graph)])
        column = np.eye(LENGTHS)[min(length, LENGTHS - 1)]
        inverse = 1 / length if length else 0.0
        steps = [len(path) - 1 for path in nx.all_simple_paths(barred, u, v, cutoff=3)]
        counts = [float(steps.count(k)) for k in (2, 3)] if detector.config.counts else []
        row = [
            seen[u] + seen[v],
            (seen[u] - seen[v]).abs(),
            torch.tensor([inverse]),
            torch.tensor(column),
            torch.log1p(torch.tensor(counts)),
            pooled,
            about,
        ]
        return float(network.mlp(torch.cat([part.double() for part in row])))


@pytest.mark.parametrize("mode", ["full-mask", "full-edge-prediction"])
@pytest.mark.parametrize(
    ("network", "layers", "labels"), [("gin", 2, True), ("sage", 1, False), ("gat", 3, True)]
)
def test_scores_are_those_of_a_loop_that_removes_each_edge(
    mode: Any, network: Any, layers: int, labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    several, graphs = some_graphs(labels)
    detector = made(
        graphs,
        mode=mode,
        network=network,
        layers=layers,
        score="likelihood",
        epochs=2,
        counts=labels,
    )
    monkeypatch.setattr("linkwise.anomaly.masked.MESSAGES", 100)  # in several parts
    scores = detector.decision_function(graphs)
    for k, graph in enumerate(several):
        found = detector.completions(graphs, k)
        pairs = [tuple(pair) for pair in found.pairs.tolist()]
        assert sorted(pairs) == [(u, v) for u in graph for v in graph if u < v]
        slow = [
            slow_log_odds(detector, graph, list(graphs.node_names), u, v) for u, v in found.pairs
        ]
        np.testing.assert_allclose(found.log_odds, slow, atol=1e-9)
        # The mean over edges, and over what each end of each edge would draw.
        there, drawn = [], []
        for (u, v), odds in zip(pairs, slow, strict=True):
            if graph.has_edge(u, v):
                there.append(np.log1p(np.exp(-odds)))
            else:
                free = [len(graph) - 1 - graph.degree(w) for w in (u, v)]
                chance = graph.degree(u) / free[0] + graph.degree(v) / free[1]
                drawn.append((chance, np.log1p(np.exp(odds))))
        other = sum(c * loss for c, loss in drawn) / sum(c for c, _ in drawn)
        assert scores[k] == pytest.approx((np.mean(there) + other) / 2, abs=1e-9)


def test_a_summary_is_histograms_and_quantiles() -> None:
    _, graphs = some_graphs()
    detector = made(graphs, epochs=1)
    found = detector.completions(graphs, 2)
    own = detector.summaries(graphs)[2]
    p = found.probability[found.there]
    np.testing.assert_allclose(own[:10], np.histogram(p, 10, (0, 1))[0] / len(p))
    expected = np.quantile(p, [0.1, 0.25, 0.5, 0.75, 0.9], method="hazen")
    np.testing.assert_allclose(own[10:15], expected, atol=1e-9)
    others, weight = found.probability[~found.there], found.weight[~found.there]
    np.testing.assert_allclose(own[15:25], np.histogram(others, 10, (0, 1), weights=weight)[0])
    # A weighted sample many times over has the same quantiles.
    many = np.random.default_rng(0).choice(others, 100_000, p=weight)
    np.testing.assert_allclose(own[27], np.median(many), atol=0.02)


def test_distances_are_those_of_the_nearest_others() -> None:
    _, graphs = some_graphs()
    detector = made(graphs, neighbours=2)
    summary = detector.summaries(graphs)
    for first in (0, 15):
        summary[:, first : first + 10] = summary[:, first : first + 10] @ np.triu(np.ones((10, 10)))
    summary = (summary - summary.mean(axis=0)) / (summary.std(axis=0) + 1e-3)
    np.testing.assert_allclose(
        detector.standardised(detector.summaries(graphs)), summary, atol=1e-9
    )
    between = np.linalg.norm(summary[:, None] - summary[None], axis=2)
    for k in range(4):
        without = np.sort(np.delete(between[k], k))
        assert detector.decision_scores_[k] == pytest.approx(without[:2].mean())
    np.testing.assert_allclose(
        detector.decision_function(graphs), np.sort(between, axis=1)[:, :2].mean(axis=1)
    )


def test_draws_are_edges_and_pairs_without() -> None:
    several, graphs = some_graphs()
    rng = np.random.default_rng(0)
    edges = drawn_edges(graphs, 5, rng)
    owner = np.repeat(np.arange(4), graphs.n_nodes)
    np.testing.assert_array_equal(np.bincount(owner[edges[:, 0]]), np.minimum(graphs.n_edges, 5))
    assert len(np.unique(edges, axis=0)) == len(edges)
    # Each edge as often as any other.
    count = np.zeros((len(owner), len(owner)))
    for _ in range(2000):
        np.add.at(count, tuple(drawn_edges(graphs, 5, rng).T), 1)
    for begin, graph in zip(graphs.first, several, strict=False):
        own = [count[begin + u, begin + v] / 2000 for u, v in graph.edges]
        share = min(1.0, 5 / graph.number_of_edges())
        np.testing.assert_allclose(own, share, atol=0.05)
    others = draw_others(graphs, np.repeat(np.arange(len(owner)), 300), rng)
    for begin, graph in zip(graphs.first, several, strict=False):
        for u in graph:
            got = others[others[:, 0] == begin + u][:, 1] - begin
            free = [w for w in graph if w != u and not graph.has_edge(u, w)]
            share = np.bincount(got, minlength=len(graph)) / max(1, len(got))
            assert set(np.flatnonzero(share)) == set(free)
            np.testing.assert_allclose(share[free], 1 / max(1, len(free)), atol=0.15)


def test_large_graphs_are_sampled_alike_in_any_company(likely: Masked) -> None:
    sampling = made(
        simulate_graphs("2a", 20, width=4, height=4, seed=1), edges=40, pairs=60, score="likelihood"
    )
    graphs = simulate_graphs("2a", 5, width=5, height=6, seed=3)
    found = sampling.completions(graphs, 1)
    assert found.there.sum() == 40
    assert 20 < (~found.there).sum() <= 40
    edges = {tuple(edge) for edge in graphs.edges(1).tolist()}
    for pair, there in zip(found.pairs.tolist(), found.there, strict=True):
        assert (tuple(pair) in edges) == there
    whole = sampling.decision_function(graphs)
    for row in (1, 4):
        alone = sampling.decision_function(graphs.select([row]))
        np.testing.assert_allclose(alone, whole[[row]], rtol=1e-9)
    # A sample's mean is that of all, but for noise.
    config = likely.config
    likely.config = config.model_copy(update={"edges": 60, "pairs": 60})
    large = simulate_graphs("2a", 20, width=5, height=6, seed=4)
    sampled = likely.decision_function(large)
    likely.config = config
    exact = likely.decision_function(large)
    assert abs(sampled.mean() - exact.mean()) < 0.03
    assert 0 < np.abs(sampled - exact).max() < 0.2
    contributions = sampling.contributions(graphs, 1)
    assert contributions is not None
    assert contributions.total == pytest.approx(whole[1], abs=1e-9)


@pytest.mark.parametrize("score", ["knn", "likelihood"])
def test_renumbered_graphs_score_the_same_where_all_is_judged(score: Any) -> None:
    detector = made(some_graphs()[1], score=score)
    graphs = some_graphs()[1]
    shuffled = renumbered(graphs, np.random.default_rng(1))
    np.testing.assert_allclose(
        detector.decision_function(shuffled), detector.decision_function(graphs), atol=1e-8
    )


def test_graphs_with_nothing_to_complete_have_a_score(likely: Masked) -> None:
    none = np.array([], dtype=np.int64)
    nothing = build_graphs(["none", "one", "three"], np.array([0, 1, 3]), none, none)
    scores = likely.decision_function(nothing)
    np.testing.assert_allclose(scores[:2], np.log(2))  # as of a coin
    found = likely.completions(nothing, 2)
    assert not found.there.any()
    np.testing.assert_allclose(found.weight, 1 / 3)
    assert scores[2] == pytest.approx(found.loss.mean())
    clique = of_networkx([nx.complete_graph(5)])
    assert likely.completions(clique, 0).there.all()
    assert likely.decision_function(clique)[0] == pytest.approx(
        likely.completions(clique, 0).loss.mean()
    )
    for graphs, graph in ((nothing, 0), (nothing, 1), (nothing, 2), (clique, 0)):
        terms = likely.contributions(graphs, graph)
        assert terms is not None
        assert terms.total == pytest.approx(likely.decision_function(graphs)[graph], abs=1e-9)


def test_an_unknown_label_has_a_column_and_no_labels_are_as_unknown() -> None:
    detector = made(some_graphs()[1], score="likelihood")
    several, _ = some_graphs()
    for graph in several:
        nx.set_node_attributes(graph, {v: "az"[v % 2] for v in graph}, "label")
    graphs = of_networkx(several)
    found = detector.completions(graphs, 1)
    slow = [slow_log_odds(detector, several[1], ["a", "b"], u, v) for u, v in found.pairs]
    np.testing.assert_allclose(found.log_odds, slow, atol=1e-9)
    bare, graphs = some_graphs(labels=False)
    found = detector.completions(graphs, 1)
    slow = [slow_log_odds(detector, bare[1], ["a", "b"], u, v) for u, v in found.pairs]
    np.testing.assert_allclose(found.log_odds, slow, atol=1e-9)


def test_it_learns_to_complete() -> None:
    graphs = simulate_graphs("2a", 30, width=4, height=4, seed=1)
    before = made(graphs, score="likelihood", epochs=1, learning_rate=1e-9)
    after = made(graphs, score="likelihood", epochs=20)
    fresh = simulate_graphs("2a", 10, width=4, height=4, seed=2)
    assert before.decision_function(fresh).mean() > 0.65
    assert after.decision_function(fresh).mean() < 0.6


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(InputError, match="no graph has an edge"):
        made(of_networkx([nx.empty_graph(3)] * 2))
    with pytest.raises(InputError, match="all graphs are complete"):
        made(of_networkx([nx.complete_graph(3), nx.complete_graph(4)]))
    with pytest.raises(ValueError, match="no multiple of 4"):
        MaskedConfig(network="gat", size=6)
    graphs = some_graphs()[1]
    stopping = iter([False, False, True])
    with pytest.raises(Interrupted):
        Masked(MaskedConfig(**SMALL)).fit(graphs, Context(Path(), cancelled=lambda: next(stopping)))


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    made(some_graphs()[1], epochs=1)
    assert torch.rand(1) == expected


def test_clusters_are_classes_where_completions_differ() -> None:
    detector = made(simulate_graphs("1", 30, width=4, height=6, seed=0), epochs=20)
    normal = simulate_graphs("1", 12, width=4, height=6, seed=1)
    strange = simulate_graphs("2a", 8, width=4, height=6, seed=2)
    found = cluster_completions(detector, normal, strange)
    np.testing.assert_allclose(found.vectors.sum(axis=1), 1)
    assert found.vectors.shape == (20, 10)
    assert found.coordinates.shape == (20, 2)
    right = (found.cluster == found.strange).mean()
    assert found.accuracy == max(right, 1 - right)
    assert found.accuracy > 0.9
    whole = cluster_completions(detector, normal, strange, by="summary")
    assert whole.vectors.shape == (20, 30)
    assert whole.accuracy > 0.9
    # Of one family in two parts there is nothing to find.
    same = cluster_completions(
        detector, normal, simulate_graphs("1", 12, width=4, height=6, seed=9)
    )
    assert same.accuracy < 0.9
    with pytest.raises(InputError, match="0 strange"):
        cluster_completions(detector, normal, strange.select([]))


def test_known_anomalies_are_told_from_normal_graphs(tmp_path: Path) -> None:
    graphs = simulate_graphs("2a", 30, width=4, height=4, seed=1)
    anomalies = simulate_graphs("3", 5, width=4, height=4, seed=2)
    detector = Masked(MaskedConfig(**SMALL)).fit_with_anomalies(graphs, anomalies, Context(Path()))
    assert (detector.decision_scores_ > detector.threshold_).mean() <= 0.05
    fresh = detector.decision_function(simulate_graphs("2a", 20, width=4, height=4, seed=3))
    strange = detector.decision_function(simulate_graphs("3", 20, width=4, height=4, seed=4))
    assert (strange[:, None] > fresh).mean() > 0.9
    detector.save(tmp_path)
    again = Masked.load(tmp_path)
    np.testing.assert_array_equal(
        again.decision_function(graphs), detector.decision_function(graphs)
    )
    assert again.contributions(graphs, 0) is None
    with pytest.raises(InputError, match="7 normal graphs"):
        detector.fit_with_anomalies(graphs.select(range(7)), anomalies)
    with pytest.raises(InputError, match="1 known anomalies"):
        detector.fit_with_anomalies(graphs, anomalies.select([0]))


def test_a_broken_folder_is_refused(likely: Masked, tmp_path: Path) -> None:
    likely.save(tmp_path)
    (tmp_path / "network.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(InputError, match=r"network\.safetensors"):
        Masked.load(tmp_path)


def test_pairs_of_several_graphs_are_those_of_each() -> None:
    _, graphs = some_graphs()
    pairs, owner, there, weight, length = judged_pairs(graphs, MaskedConfig())
    for k in range(4):
        one = judged_pairs(graphs.select([k]), MaskedConfig())
        at = owner == k
        np.testing.assert_array_equal(pairs[at] - graphs.first[k], one[0])
        for column, own in zip((there, weight, length), one[2:], strict=True):
            np.testing.assert_array_equal(column[at], own)
        for kind in (True, False):
            assert weight[at & (there == kind)].sum() == pytest.approx(1)


class TestMasked(DetectorContract):
    noise = 1e-6

    def make(self) -> Masked:
        return Masked(MaskedConfig(**SMALL))


class TestKept(DetectorContract):
    noise = 1e-6

    def make(self) -> Masked:
        return Masked(
            MaskedConfig(mode="full-edge-prediction", score="likelihood", network="sage", **SMALL)
        )


def test_what_pairs_add_to_a_distance_is_what_leaving_them_out_takes_away() -> None:
    """Moving a little of a pair's weight to the usual spread changes the distance by the pair's part."""
    family = simulate_graphs("2a", 20, width=4, height=4, seed=1)
    detector = made(family, neighbours=1)
    strange = simulate_graphs("3", 2, width=4, height=4, seed=5)
    found = detector.contributions(strange, 1)
    assert found is not None
    assert found.total == pytest.approx(detector.decision_function(strange)[1], abs=1e-9)
    completions = detector.completions(strange, 1)
    bins = np.minimum((completions.probability * 10).astype(int), 9)
    summary = detector.summaries(strange)[1]
    train = detector.summaries(family)
    nearest = np.linalg.norm(
        detector.standardised(train) - detector.standardised(summary[None]), axis=1
    ).argmin()

    def distance(changed: np.ndarray) -> float:
        apart = detector.standardised(changed[None]) - detector.standardised(train[[nearest]])
        return float(np.linalg.norm(apart))

    step = 1e-4
    for pair in (0, 7, len(bins) // 2, len(bins) - 1):
        first = 0 if completions.there[pair] else 15
        usual = train[:, first : first + 10].mean(axis=0)
        moved = summary.copy()
        weight = completions.weight[pair]
        moved[first + bins[pair]] -= step * weight
        moved[first : first + 10] += step * weight * usual
        slope = (distance(summary) - distance(moved)) / step
        assert found.edge[pair] == pytest.approx(slope, abs=1e-3)


def test_a_planted_part_is_found_by_the_pairs_that_add_most() -> None:
    normal = simulate_graphs("2b", 40, width=5, height=8, seed=1)
    planted, strange = plant(simulate_graphs("2b", 8, width=5, height=8, seed=2), size=6, seed=3)
    detector = Masked(MaskedConfig(size=16, epochs=25))
    detector.fit(normal, Context(Path(), seed=1))
    found = []
    for graph in range(len(planted)):
        told = detector.contributions(planted, graph)
        assert told is not None
        own = strange[planted.first[graph] : planted.first[graph + 1]]
        node = np.bincount(told.edges.ravel(), np.repeat(told.edge, 2), len(own))
        found.append(auc(own.astype(int), node))
    assert np.mean(found) > 0.8
