"""Claims on detectors of strange graphs: how fast, and how well they tell families apart.

    python benchmarks/detect.py orderings --graphs ../shared/data/tu/DD.zip
    python benchmarks/detect.py graphrnn-families
    python benchmarks/detect.py graphrnn-labelled --graphs ../shared/data/tu/AIDS.zip --normal 1
    python benchmarks/detect.py graphrnn-batched
    python benchmarks/detect.py graphrnn-large --graphs ../shared/data/tu/DD.zip
    python benchmarks/detect.py planted
    python benchmarks/detect.py masked-clusters --n 320

One thread; CPU seconds. `orderings` compares with networkx, and with igraph where it is installed
(pip install igraph==1.0.0).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from linkwise.anomaly.base import Detector
from linkwise.anomaly.config import ReferenceConfig
from linkwise.anomaly.graphrnn import GraphRNN, GraphRNNConfig
from linkwise.anomaly.graphrnn_rows import ordered, sequences
from linkwise.anomaly.graphrnn_training import losses
from linkwise.anomaly.masked import Masked, MaskedConfig
from linkwise.anomaly.masked_clusters import cluster_completions
from linkwise.anomaly.orderings import KINDS, orderings, own_keys
from linkwise.anomaly.references import Reference
from linkwise.context import Context
from linkwise.data.graph_files import read_graphs
from linkwise.data.graphs import Graphs, build_graphs
from linkwise.data.simulate_graphs import Family, plant, simulate_graphs


def timed(run: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Median CPU seconds, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        began = time.process_time()
        result = run()
        seconds.append(time.process_time() - began)
    return median(seconds), result


def auroc(normal: np.ndarray, strange: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    labels = np.arange(len(normal) + len(strange)) >= len(normal)
    return float(roc_auc_score(labels, np.concatenate([normal, strange])))


def peak() -> float:
    """GiB of memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def of_orderings(options: argparse.Namespace) -> None:
    """Breadth-first orderings of all parts of all graphs, against C and Python."""
    import networkx as nx

    graphs = read_graphs(options.graphs)
    rng = np.random.default_rng(0)
    keys = rng.integers(2**64, size=(1, int(graphs.first[-1])), dtype=np.uint64)
    for kind in KINDS:
        orderings(graphs, kind, keys)  # compiles
        seconds, _ = timed(lambda kind=kind: orderings(graphs, kind, keys), 5)
        print(f"{kind}: {seconds * 1e3:.0f} ms of all {len(graphs):,} graphs")
    ours, _ = timed(lambda: orderings(graphs, "bfs", keys), 9)
    parts = [nx.Graph() for _ in range(len(graphs))]
    for row, part in enumerate(parts):
        part.add_nodes_from(range(int(graphs.n_nodes[row])))
        part.add_edges_from(graphs.edges(row).tolist())

    def by_networkx() -> None:
        for part in parts:
            seen: set[int] = set()
            for node in part:
                if node not in seen:
                    seen.add(node)
                    seen.update(v for _, v in nx.bfs_edges(part, node))

    theirs, _ = timed(by_networkx, 3)
    print(f"networkx bfs_edges, neighbours as they stand: {theirs / ours:.0f} times the time")
    try:
        import igraph
    except ImportError:
        print("igraph is not installed")
        return
    several = [igraph.Graph(int(n), graphs.edges(row)) for row, n in enumerate(graphs.n_nodes)]

    def by_igraph() -> None:
        for graph in several:
            graph.bfs(0)  # of the first part alone

    theirs, _ = timed(by_igraph, 9)
    print(
        f"igraph bfs, first part alone: {theirs * 1e3:.0f} ms, {theirs / ours:.2f} times the time"
    )
    n = 300_000
    ring = np.column_stack([np.arange(n), (np.arange(n) + 1) % n])
    edges = np.concatenate([ring, rng.integers(n, size=(3 * n, 2))])
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    large = build_graphs(["large"], np.array([n]), edges[:, 0], edges[:, 1], directed=False)
    key = rng.integers(2**64, size=(1, n), dtype=np.uint64)
    ours, _ = timed(lambda: orderings(large, "bfs", key), 5)
    graph = igraph.Graph(n, edges)
    theirs, _ = timed(lambda: graph.bfs(0), 5)
    print(f"one graph of {n:,} nodes: {ours * 1e3:.0f} ms, igraph {theirs * 1e3:.0f} ms")


def config_of(options: argparse.Namespace, **more: Any) -> GraphRNNConfig:
    given = dict(pair.split("=", 1) for pair in options.set)
    return GraphRNNConfig.model_validate({**more, **given})


def fitted(graphs: Graphs, config: GraphRNNConfig) -> tuple[float, GraphRNN]:
    return timed(lambda: GraphRNN(config).fit(graphs, Context(Path(), seed=0)))


def graphrnn_families(options: argparse.Namespace) -> None:
    """Simulated families, each learned from its own graphs, and others told from fresh ones."""
    claims: list[tuple[Family, list[Family]]] = [
        ("1", ["2a", "3", "regular-6"]), ("2c", ["3"]), ("2c-6", ["3"]),
    ]  # fmt: skip
    for family, others in claims:
        train = simulate_graphs(family, options.n, seed=1)
        seconds, detector = fitted(train, config_of(options))
        fresh = detector.decision_function(simulate_graphs(family, options.test, seed=2))
        print(
            f"{family}: {options.n} graphs learned in {seconds:.0f} CPU s; fresh ones "
            f" {fresh.mean():.3f} (deviation {fresh.std():.3f})"
        )
        for other in others:
            found = detector.decision_function(simulate_graphs(other, options.test, seed=3))
            print(
                f"  against {other}: {found.mean():.3f}, AUROC {auroc(fresh, found):.4f}",
                flush=True,
            )


def graphrnn_labelled(options: argparse.Namespace) -> None:
    """A TUDataset: four fifths of the graphs of one class learned, the others told from the rest."""
    graphs = read_graphs(options.graphs)
    assert graphs.label is not None
    normal = np.array([label == options.normal for label in graphs.label])
    shuffled = np.random.default_rng(0).permutation(np.flatnonzero(normal))
    cut = int(0.8 * len(shuffled))
    seconds, detector = fitted(graphs.select(shuffled[:cut]), config_of(options))
    scoring, fresh = timed(lambda: detector.decision_function(graphs.select(shuffled[cut:])))
    more, strange = timed(
        lambda: detector.decision_function(graphs.select(np.flatnonzero(~normal)))
    )
    print(
        f"{cut} graphs learned in {seconds:.0f} CPU s; {int((~normal).sum()) + len(fresh)} scored in "
        f"{scoring + more:.1f}; AUROC {auroc(fresh, strange):.4f}; of {len(fresh)} normal ones "
        f"{(fresh > detector.threshold_).mean():.3f} above the threshold of .05"
    )


def graphrnn_batched(options: argparse.Namespace) -> None:
    """Graphs scored together, one by one, and one ordering at a time."""
    for width, height in ((6, 10), (4, 4)):
        train = simulate_graphs("2a", 30, width=width, height=height, seed=1)
        detector = fitted(train, config_of(options, epochs=2))[1]
        graphs = simulate_graphs("2a", 200, width=width, height=height, seed=2)
        together = timed(lambda d=detector, g=graphs: d.decision_function(g))[0] / len(graphs)
        few = [graphs.select([row]) for row in range(20)]
        alone = timed(lambda d=detector, g=few: [d.decision_function(one) for one in g])[0] / 20
        slow = timed(lambda d=detector, g=few: [one_at_a_time(d, one) for one in g])[0] / 20
        print(
            f"{width * height} nodes: {together * 1e3:.2f} CPU ms a graph together; by itself "
            f"{alone / together:.1f} times that, each ordering by itself {slow / together:.1f} times",
            flush=True,
        )


def one_at_a_time(detector: GraphRNN, graph: Graphs) -> None:
    """The likelihood of each ordering of one graph by itself."""
    orders = ordered(graph, own_keys(graph, detector.config.orderings))
    label, first = detector._labels(graph), np.zeros(1, dtype=np.int64)
    for draw in range(detector.config.orderings):
        part = sequences(graph, orders, label, first, np.array([draw]))
        losses(detector._network, part, detector._rate)


def graphrnn_large(options: argparse.Namespace) -> None:
    """All graphs of a set scored by ten orderings with a small network; its memory."""
    graphs = read_graphs(options.graphs)
    small = np.flatnonzero(graphs.n_nodes < 300)[:60]
    small_network = {"size": 32, "layers": 1, "edge": "mlp", "epochs": 2}
    seconds, detector = fitted(graphs.select(small), config_of(options, **small_network))
    before = peak()
    began = time.monotonic()
    scoring, scores = timed(lambda: detector.decision_function(graphs))
    wall = time.monotonic() - began
    print(
        f"{len(small)} graphs learned in {seconds:.0f} CPU s, rows of {detector._bits} bits; "
        f"all {len(graphs):,} (largest {graphs.n_nodes.max():,} nodes)"
    )
    print(
        f"scored by {detector.config.orderings} orderings in {scoring:.0f} CPU s, {wall:.0f} s; peak "
        f"{peak():.2f} GiB ({before:.2f} before); mean {scores.mean():.3f}"
    )


def planted(options: argparse.Namespace) -> None:
    """Nearly all edges put in among 8 of 60 nodes: are graphs found, and in them edges and nodes?"""
    normal = simulate_graphs("2b", 100, seed=1)
    strange, part = plant(simulate_graphs("2b", 40, seed=2), size=8, seed=3)
    fresh = simulate_graphs("2b", 40, seed=5)
    detectors: dict[str, Detector] = {"wl": Reference(ReferenceConfig(description="wl"))}
    for name, mode in (("masked", "full-mask"), ("masked-edge", "full-edge-prediction")):
        for score in ("knn", "likelihood"):
            config = MaskedConfig.model_validate({"mode": mode, "score": score, "epochs": 20})
            detectors[f"{name}, {score}"] = Masked(config)
    detectors["graphrnn"] = GraphRNN(config_of(options))
    for name, detector in detectors.items():
        detector.fit(normal, Context(Path(), seed=0))
        whole = auroc(detector.decision_function(fresh), detector.decision_function(strange))
        edges, nodes = [], []
        for graph in range(len(strange)):
            found = detector.contributions(strange, graph)
            assert found is not None
            own = part[strange.first[graph] : strange.first[graph + 1]]
            there = np.asarray(found.there)
            inside = own[found.edges[there]].all(axis=1)
            if len(inside):
                edges.append(auroc(found.edge[there][~inside], found.edge[there][inside]))
            ends = np.bincount(found.edges.ravel(), np.repeat(found.edge, 2) / 2, len(own))
            node = found.node + ends
            nodes.append(auroc(node[~own], node[own]))
        told = f"edges {np.mean(edges):.3f}, " if edges else ""
        print(f"{name}: graphs {whole:.3f}, {told}nodes {np.mean(nodes):.3f}", flush=True)


def masked_clusters(options: argparse.Namespace) -> None:
    """Types 2c and 2c-6 against 3 by masked completion: two clusters, and the AUROC."""
    for family in ("2c", "2c-6"):
        train = simulate_graphs(family, options.n, seed=1)  # type: ignore[arg-type]
        fresh = simulate_graphs(family, options.test, seed=2)  # type: ignore[arg-type]
        other = simulate_graphs("3", options.test, seed=3)
        for mode in ("full-mask", "full-edge-prediction"):
            given = dict(pair.split("=", 1) for pair in options.set)
            config = MaskedConfig.model_validate({"mode": mode, **given})
            detector = Masked(config)
            seconds, _ = timed(lambda d=detector, g=train: d.fit(g, Context(Path(), seed=0)))
            parts = [
                cluster_completions(detector, fresh, other, by=by).accuracy
                for by in ("histogram", "summary")
            ]
            told = auroc(detector.decision_function(fresh), detector.decision_function(other))
            print(
                f"{family} against 3, {mode}: {options.n} graphs learned in {seconds:.0f} CPU s; clusters of "
                f"histograms {parts[0]:.3f}, of summaries {parts[1]:.3f}; AUROC {told:.4f}",
                flush=True,
            )


CLAIMS: dict[str, Callable[[argparse.Namespace], None]] = {
    "orderings": of_orderings,
    "graphrnn-families": graphrnn_families,
    "graphrnn-labelled": graphrnn_labelled,
    "graphrnn-batched": graphrnn_batched,
    "graphrnn-large": graphrnn_large,
    "planted": planted,
    "masked-clusters": masked_clusters,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("claim", choices=list(CLAIMS))
    parser.add_argument("--graphs", help="a TUDataset as a zip file")
    parser.add_argument("--normal", default="1", help="label of the class to learn")
    parser.add_argument("--n", type=int, default=300, help="simulated graphs to learn from")
    parser.add_argument(
        "--test", type=int, default=60, help="simulated graphs of each family to score"
    )
    parser.add_argument("--set", nargs="*", default=[], help="fields of the config, as name=value")
    options = parser.parse_args()
    torch.set_num_threads(1)
    CLAIMS[options.claim](options)


if __name__ == "__main__":
    main()
