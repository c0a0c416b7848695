"""The contract of detectors, as tests: a detector's own test class inherits from `DetectorContract`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linkwise.anomaly.base import Detector
from linkwise.context import Context
from linkwise.data.graphs import Graphs, build_graphs
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import InputError, UsageError


class DetectorContract:
    """What every detector holds to: `make` gives an untrained one, `family` graphs that it can learn."""

    noise: float = 1e-9
    """How far scores of a graph may lie apart when its nodes are numbered otherwise, in deviations of the
    scores of normal graphs: of detectors that draw orderings more than nothing."""

    def make(self) -> Detector:
        """An untrained detector, small enough for a test."""
        raise NotImplementedError

    def family(self) -> Graphs:
        """Normal graphs."""
        return simulate_graphs("2a", 30, width=4, height=4, seed=1)

    @pytest.fixture
    def fitted(self) -> Detector:
        """A detector that has learned the family."""
        return self.make().fit(self.family(), Context(Path(), seed=3))

    def test_scores_are_numbers_and_the_threshold_is_that_of_the_share(
        self, fitted: Detector
    ) -> None:
        """At most the share `contamination` of the training graphs lies above the threshold."""
        scores = fitted.decision_scores_
        assert scores.shape == (30,)
        assert np.isfinite(scores).all()
        above = (scores > fitted.threshold_).mean()
        assert above <= fitted.config.contamination
        graphs = self.family()
        found = fitted.decision_function(graphs)
        np.testing.assert_array_equal(
            fitted.predict(graphs), (found > fitted.threshold_).astype(int)
        )

    def test_another_family_is_stranger(self, fitted: Detector) -> None:
        """Graphs of another family score higher than fresh ones of the same."""
        others = simulate_graphs("regular-6", 10, width=5, height=6, seed=2)
        fresh = simulate_graphs("2a", 10, width=4, height=4, seed=5)
        assert np.median(fitted.decision_function(others)) > np.median(
            fitted.decision_function(fresh)
        )

    def test_a_graph_s_score_does_not_depend_on_its_company(self, fitted: Detector) -> None:
        """Alone and among others, a graph has one score."""
        graphs = simulate_graphs("2b", 6, width=4, height=4, seed=4)
        whole = fitted.decision_function(graphs)
        for row in (0, 3, 5):
            alone = fitted.decision_function(graphs.select([row]))
            np.testing.assert_allclose(alone, whole[[row]], rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(fitted.decision_function(graphs), whole)

    def test_the_same_seed_gives_the_same(self, fitted: Detector) -> None:
        """Learning is reproducible."""
        again = self.make().fit(self.family(), Context(Path(), seed=3))
        np.testing.assert_allclose(again.decision_scores_, fitted.decision_scores_, rtol=1e-6)

    def test_numbering_nodes_otherwise_changes_no_score(self, fitted: Detector) -> None:
        """A graph's score is of the graph, not of its file."""
        graphs = simulate_graphs("2a", 8, width=4, height=4, seed=6)
        rng = np.random.default_rng(0)
        shuffled = renumbered(graphs, rng)
        spread = max(float(fitted.decision_scores_.std()), 1e-12)
        apart = fitted.decision_function(shuffled) - fitted.decision_function(graphs)
        assert np.abs(apart).max() <= self.noise * spread

    def test_odd_graphs_are_scored(self, fitted: Detector) -> None:
        """Single nodes, no edges, several parts, and graphs larger than any in training."""
        none = np.array([], dtype=np.int64)
        odd = build_graphs(["one", "three"], np.array([1, 3]), none, none)
        assert np.isfinite(fitted.decision_function(odd)).all()
        a = np.array([0, 2, 5, 6])
        parts = build_graphs(["parts"], np.array([8]), a, a + 1)
        assert np.isfinite(fitted.decision_function(parts)).all()
        large = simulate_graphs("2a", 1, width=6, height=12, seed=0)
        assert np.isfinite(fitted.decision_function(large)).all()

    def test_contributions_make_the_score(self, fitted: Detector) -> None:
        """What nodes and edges add is the score."""
        graphs = simulate_graphs("2b", 3, width=4, height=4, seed=7)
        scores = fitted.decision_function(graphs)
        for graph in range(3):
            found = fitted.contributions(graphs, graph)
            if found is None:
                return
            assert found.total == pytest.approx(scores[graph], abs=1e-6)
            assert found.node.shape == (graphs.n_nodes[graph],)
            there = {tuple(edge) for edge in graphs.edges(graph).tolist()}
            for (u, v), is_there in zip(found.edges.tolist(), found.there, strict=True):
                assert ((min(u, v), max(u, v)) in there) == bool(is_there)

    def test_what_is_saved_scores_the_same(self, fitted: Detector, tmp_path: Path) -> None:
        """Saved and loaded, without pickles."""
        graphs = simulate_graphs("3", 5, width=4, height=4, seed=8)
        fitted.save(tmp_path / "d")
        again: Any = type(fitted).load(tmp_path / "d")
        np.testing.assert_allclose(
            again.decision_function(graphs), fitted.decision_function(graphs), rtol=1e-6
        )
        assert again.threshold_ == fitted.threshold_
        assert not [p for p in (tmp_path / "d").rglob("*") if p.suffix in (".pkl", ".pt", ".bin")]
        (tmp_path / "d" / "detector.json").write_text("{}")
        with pytest.raises(InputError, match="no detector"):
            type(fitted).load(tmp_path / "d")

    def test_too_little_is_refused(self) -> None:
        """One graph is no family, and nothing is scored before learning."""
        with pytest.raises(InputError, match="graphs to learn from"):
            self.make().fit(self.family().select([0]))
        with pytest.raises(UsageError, match="learned nothing yet"):
            self.make().decision_function(self.family())


def renumbered(graphs: Graphs, rng: np.random.Generator) -> Graphs:
    """The same graphs with their nodes in random order."""
    source, target, nodes = [], [], []
    for graph in range(len(graphs)):
        begin = int(graphs.first[graph])
        order = rng.permutation(int(graphs.n_nodes[graph]))
        place = np.argsort(order)
        edges = graphs.edges(graph)
        source.append(begin + place[edges[:, 0]])
        target.append(begin + place[edges[:, 1]])
        nodes.append(begin + order)
    at = np.concatenate(nodes)
    return build_graphs(
        graphs.ids, graphs.n_nodes, np.concatenate(source), np.concatenate(target), label=graphs.label,
        node_label=None if graphs.node_label is None else (graphs.node_label[at], graphs.node_names),
        attributes=None if graphs.attributes is None else graphs.attributes[at], directed=False,
    )  # fmt: skip
