"""p-values that hold, and what twins leave to be reached."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy.stats import chi2, combine_pvalues
from sklearn.metrics import roc_auc_score

from linkwise.anomaly.audit import twins
from linkwise.anomaly.calibrate import conformal_p_values, fisher, p_values_by_size
from linkwise.anomaly.config import ReferenceConfig
from linkwise.anomaly.references import Reference
from linkwise.data.graphs import of_networkx
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import InputError
from linkwise.metrics.multiple import benjamini_hochberg


def test_p_values_by_hand() -> None:
    normal = np.array([1.0, 2.0, 2.0, 5.0])
    found = conformal_p_values(np.array([0.0, 2.0, 3.0, 9.0]), normal)
    np.testing.assert_allclose(found, [5 / 5, 4 / 5, 2 / 5, 1 / 5])
    with pytest.raises(InputError, match="no normal graph was held out"):
        conformal_p_values(np.array([1.0]), np.array([]))


def test_p_values_of_normals_are_never_too_small() -> None:
    """Over many draws of calibration and test graphs of one kind, P(p <= a) is at most a."""
    rng = np.random.default_rng(0)
    small = {0.05: 0, 0.1: 0, 0.3: 0}
    draws = 4000
    for _ in range(draws):
        scores = np.round(rng.normal(size=20), 1)  # with equals
        (p,) = conformal_p_values(scores[:1], scores[1:])
        for a in small:
            small[a] += p <= a
    for a, count in small.items():
        assert count / draws <= a + 3 * np.sqrt(a * (1 - a) / draws)
        assert count / draws > a / 3


def test_p_values_of_a_fitted_detector_hold_on_simulated_normals() -> None:
    graphs = simulate_graphs("3", 400, width=4, height=5, seed=0)
    detector = Reference(ReferenceConfig(description="wl", rounds=2))
    detector.fit(graphs.select(np.arange(150)))
    normal = detector.decision_function(graphs.select(np.arange(150, 275)))
    p = conformal_p_values(detector.decision_function(graphs.select(np.arange(275, 400))), normal)
    for a in (0.1, 0.2, 0.5):
        assert abs((p <= a).mean() - a) < 4 * np.sqrt(a * (1 - a) * 2 / 125)
    strange = simulate_graphs("regular-6", 30, width=6, height=8, seed=1)
    both = np.concatenate([p, conformal_p_values(detector.decision_function(strange), normal)])
    flagged = benjamini_hochberg(both, len(both), 0.2)
    assert flagged[125:].all()
    assert flagged[:125].mean() < 0.15


def test_a_large_graph_is_not_strange_for_its_size() -> None:
    rng = np.random.default_rng(1)
    size = rng.integers(10, 100, 800).astype(float)
    score = size + rng.normal(size=800)  # a score that sees nothing but size
    plain = conformal_p_values(score[400:], score[:400])
    by_size = p_values_by_size(score[400:], size[400:], score[:400], size[:400])
    large = size[400:] > 90
    assert plain[large].max() < 0.15
    assert by_size[large].mean() > 0.3
    assert 0.02 < (by_size <= 0.1).mean() < 0.18
    same = p_values_by_size(score[400:], size[400:], score[:400], size[:400], fewest=10_000)
    np.testing.assert_array_equal(same, plain)
    equal = p_values_by_size(np.array([3.0]), np.array([7.0]), np.arange(100.0), np.full(100, 7.0))
    assert equal[0] == pytest.approx(98 / 101)


def test_p_values_by_size_hold_and_lose_little() -> None:
    """Even of a score that is the size itself, with many equal sizes; of 41 graphs 2/41 is the most."""
    rng = np.random.default_rng(3)
    draws, m = 6000, 160
    p = np.empty(draws)
    for k in range(draws):
        size = np.round(rng.lognormal(3, 0.6, m + 1))
        score = size + rng.normal(scale=0.3, size=m + 1)
        p[k] = p_values_by_size(score[:1], size[:1], score[1:], size[1:])[0]
    for a in (0.05, 0.1, 0.3):
        error = 3 * np.sqrt(a * (1 - a) / draws)
        assert a - 1 / 41 - error < (p <= a).mean() < a + error


def test_bins_by_size_are_those_of_all_graphs_together() -> None:
    normal_size = np.array([1, 1, 2, 3, 3, 3, 4, 9.0])
    normal = np.arange(8.0)
    # Of three or more: {1, 1, 2}, {3, 3, 3}, and {4, 9} too few, which join the threes.
    for own, members in ((1.0, [0, 1]), (2.0, [0, 1, 2]), (3.0, [3, 4, 5, 6, 7]), (50.0, [6, 7])):
        (p,) = p_values_by_size(np.array([0.5]), np.array([own]), normal, normal_size, fewest=3)
        if own == 1:  # three of size 1: a bin by themselves
            assert p == pytest.approx((1 + 1) / 3)
            continue
        assert p == pytest.approx((1 + sum(normal[members] >= 0.5)) / (1 + len(members)))


def test_fisher_s_statistic_is_scipy_s() -> None:
    p = np.array([[0.1, 0.9], [0.02, 0.5]])
    for k in range(2):
        expected, _ = combine_pvalues(p[:, k], method="fisher")
        assert fisher(p)[k] == pytest.approx(expected)
    assert chi2.sf(fisher(p)[0], 4) < 0.05


def test_twins_and_their_ceiling() -> None:
    several = [nx.complete_graph(k) for k in (3, 3, 3, 4, 4, 5)] + [nx.path_graph(4)]
    strange = np.array([1, 0, 0, 1, 1, 0, 1], dtype=bool)
    found = twins(of_networkx(several), strange)
    assert (found.graphs, found.copies, found.across) == (7, 5, 3)
    best = roc_auc_score(strange, [1 / 3, 1 / 3, 1 / 3, 1, 1, 0, 1])
    assert found.ceiling == pytest.approx(best)
    rng = np.random.default_rng(0)
    for _ in range(200):  # no score of the five kinds of graphs reaches more
        value = rng.permutation(4)
        score = value[[0, 0, 0, 1, 1, 2, 3]]
        assert roc_auc_score(strange, score) <= best + 1e-12


@pytest.mark.real_data
def test_the_cliques_of_imdb(shared_data) -> None:  # type: ignore[no-untyped-def]
    from linkwise.data.graph_files import read_graphs

    graphs = read_graphs(shared_data / "tu" / "IMDB-MULTI.zip")
    n, m = graphs.n_nodes, graphs.n_edges
    assert int((m == n * (n - 1) // 2).sum()) == 789
    found = twins(graphs, np.array(graphs.label) == "1")
    assert found.copies > 789 / 2
    assert 0.5 < found.ceiling < 1
