import numpy as np
import pytest
from scipy.stats import kstest

from linkwise.anomaly.base import Detector
from linkwise.anomaly.calibrate import conformal_p_values
from linkwise.anomaly.choose import choose, mark_of
from linkwise.anomaly.config import EnsembleConfig
from linkwise.anomaly.ensemble import Ensemble, continued_p_values
from linkwise.anomaly.registry import DETECTORS, make, names
from linkwise.anomaly.study_config import DetectConfig
from linkwise.context import Context
from linkwise.data.graphs import Graphs
from linkwise.data.simulate_graphs import simulate_graphs
from linkwise.errors import InputError, UsageError
from linkwise.testing.detector import DetectorContract


class TestEnsemble(DetectorContract):
    def make(self) -> Detector:
        return Ensemble(EnsembleConfig(members=("degrees", "wl"), share=0.34))

    def test_too_few_to_leave_out_are_refused(self) -> None:
        few = simulate_graphs("1", 12, width=4, height=4, seed=0)
        with pytest.raises(InputError, match="3 of them left out"):
            Ensemble(EnsembleConfig(members=("size",))).fit(few)


def test_the_threshold_is_that_of_graphs_that_the_members_left_out() -> None:
    graphs = simulate_graphs("2b", 240, width=4, height=5, seed=3)
    members = ("degrees", "netlsd")
    detector = Ensemble(EnsembleConfig(members=members, share=0.5, contamination=0.1)).fit(graphs)
    # Nearest neighbours of the whole spectrum: graphs that were learned from lie nearer to each other.
    fresh = simulate_graphs("2b", 600, width=4, height=5, seed=4)
    assert abs(detector.predict(fresh).mean() - 0.1) < 0.06
    again = np.sort(detector.decision_scores_[detector._out])
    assert int((again > detector.threshold_).sum()) in (11, 12)  # a tenth of 120


def test_p_values_are_counted_within_and_fall_on_beyond() -> None:
    normal = np.arange(100.0)
    inside = np.array([-1.0, 0.0, 50.5, 99.0])
    np.testing.assert_allclose(
        continued_p_values(inside, normal), conformal_p_values(inside, normal)
    )
    # The uppermost tenth, 90 to 99, lies 4.5 above its least in the mean.
    beyond = continued_p_values(np.array([99 + 4.5, 99 + 9.0]), normal)
    np.testing.assert_allclose(beyond, np.exp([-1.0, -2.0]) / 101)
    flat = continued_p_values(np.array([5.0, 50.0]), np.ones(20))
    np.testing.assert_allclose(flat, [1 / 21, 1 / 21])


def test_continued_p_values_of_exponential_scores_are_uniform_on_the_whole() -> None:
    rng = np.random.default_rng(0)
    p = continued_p_values(rng.exponential(size=4000), rng.exponential(size=2000))
    assert kstest(p, "uniform").statistic < 0.05


def test_every_detector_can_be_made_by_its_name() -> None:
    for name in names():
        assert not hasattr(make(name, DetectConfig()), "threshold_")
    assert make("wl-cosine", DetectConfig()).config.metric == "cosine"  # type: ignore[attr-defined]
    config = DetectConfig(reference={"neighbours": 5})  # type: ignore[arg-type]
    assert make("size", config).config.neighbours == 5  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="there is no detector"):
        make("graphnn", DetectConfig())
    assert set(DETECTORS) <= set(names())


def family(seed: int, n: int = 60) -> Graphs:
    return simulate_graphs("2c", n, width=5, height=6, seed=seed)


def test_auto_takes_what_sees_the_strangeness_that_was_made() -> None:
    config = DetectConfig(auto_from=("degrees", "netlsd", "size"))  # type: ignore[arg-type]
    found = choose(family(0, 120), config, Context(None))  # type: ignore[arg-type]
    # All graphs have one size; rewired ones have the same degrees, which only the spectrum sees.
    assert found.name == "netlsd"
    assert found.aucs["degrees"]["rewired"] == 0.5
    assert found.aucs["netlsd"]["rewired"] > 0.9
    assert found.aucs["size"]["joined"] == 1.0
    assert found.mark("netlsd") == max(found.mark(name) for name in found.aucs)
    assert mark_of({"rewired": 0.5, "relabelled": 0.5, "joined": 0.864}) == pytest.approx(0.6)
    again = choose(family(0, 120), config, Context(None))  # type: ignore[arg-type]
    assert again == found
