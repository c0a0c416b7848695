"""Each metric against scikit-learn, on rows repeated as often as they weigh, or by hand."""

from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics as sk

from linkwise import metrics
from linkwise.errors import InputError, UsageError
from linkwise.metrics.binary import cumulate, order_rows, top_share_draws

RANKING = {
    metrics.auc: sk.roc_auc_score,
    metrics.average_precision: sk.average_precision_score,
}
THRESHOLD = {
    metrics.accuracy: sk.accuracy_score,
    metrics.precision: sk.precision_score,
    metrics.recall: sk.recall_score,
    metrics.f1: sk.f1_score,
}
LOSSES = {
    metrics.brier: sk.brier_score_loss,
    metrics.log_loss: sk.log_loss,
}


def sample(seed, n=300, digits=None):
    """Labels, probabilities (n,) with ties where digits are few, and counts as weights."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.35).astype(int)
    probabilities = np.clip(0.3 * labels + 0.6 * rng.random(n), 0.01, 0.99)
    if digits is not None:
        probabilities = np.round(probabilities, digits)
    return labels, probabilities, rng.integers(0, 4, size=n)


@pytest.mark.parametrize("digits", [None, 1, 2])
@pytest.mark.parametrize("ours", RANKING | LOSSES, ids=lambda f: f.__name__)
def test_scored_metrics_equal_sklearn(ours, digits):
    labels, probabilities, weights = sample(seed=1, digits=digits)
    theirs = (RANKING | LOSSES)[ours]
    assert ours(labels, probabilities) == pytest.approx(theirs(labels, probabilities), abs=1e-12)
    assert ours(labels, probabilities, weights) == pytest.approx(
        theirs(labels, probabilities, sample_weight=weights), abs=1e-12
    )


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("ours", THRESHOLD, ids=lambda f: f.__name__)
def test_threshold_metrics_equal_sklearn(ours, threshold):
    labels, probabilities, weights = sample(seed=2, digits=1)  # some stand on the threshold
    predicted = probabilities >= threshold
    theirs = THRESHOLD[ours]
    assert ours(labels, probabilities, threshold=threshold) == pytest.approx(
        theirs(labels, predicted), abs=1e-12
    )
    assert ours(labels, probabilities, weights, threshold=threshold) == pytest.approx(
        theirs(labels, predicted, sample_weight=weights), abs=1e-12
    )


@pytest.mark.parametrize("share", [0.01, 0.1, 0.33, 1.0])
@pytest.mark.parametrize("ties", ["pessimistic", "expected"])
@pytest.mark.parametrize("metric", [metrics.precision_at_share, metrics.lift_at_share])
def test_weights_are_repeated_rows(metric, ties, share):
    labels, scores, weights = sample(seed=3, digits=1)
    repeated = np.repeat(np.arange(len(labels)), weights)
    assert metric(labels, scores, share, weights, ties=ties) == pytest.approx(
        metric(labels[repeated], scores[repeated], share, ties=ties), abs=1e-12
    )


def test_by_hand():
    labels, scores = [1, 0, 1, 0], [4.0, 3.0, 3.0, 1.0]
    # Pairs: 4 beats 3 and 1; 3 ties with 3 and beats 1: (1 + 1 + 1/2 + 1) / 4.
    assert metrics.auc(labels, scores) == 3.5 / 4
    # Half the recall at precision 1, the other half at precision 2 / 3.
    assert metrics.average_precision(labels, scores) == pytest.approx(0.5 + 0.5 * 2 / 3)
    # Top half is two rows: the positive, and one of the tied pair.
    assert metrics.precision_at_share(labels, scores, 0.5) == 0.5
    assert metrics.precision_at_share(labels, scores, 0.5, ties="expected") == 0.75
    assert metrics.lift_at_share(labels, scores, 0.5) == 1.0
    assert metrics.lift_at_share(labels, scores, 0.5, ties="expected") == 1.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("places", range(1, 7))
def test_top_share_against_every_order_of_the_rows(seed, places):
    rng = np.random.default_rng(seed)
    labels, scores = rng.permutation([1, 1, 1, 0, 0, 0]), rng.integers(0, 3, 6)
    found = []
    for order in permutations(range(6)):
        rows = np.array(order)[np.argsort(-scores[list(order)], kind="stable")]
        found.append(labels[rows[:places]].mean())
    share = places / 6
    assert metrics.precision_at_share(labels, scores, share) == pytest.approx(min(found))
    assert metrics.precision_at_share(labels, scores, share, ties="expected") == pytest.approx(
        np.mean(found)
    )


@pytest.mark.parametrize(("n", "share", "places"), [(100, 0.07, 7), (20, 0.01, 1), (50, 0.05, 3)])
def test_places_are_rounded_up_but_not_by_binary_fractions(n, share, places):
    labels, scores = np.arange(n) >= n - places, np.arange(n)  # the positives stand on top
    assert metrics.precision_at_share(labels, scores, share) == 1.0
    labels = np.arange(n) == n - places - 1  # the first row below the cut
    assert metrics.precision_at_share(labels, scores, share) == 0.0


@pytest.mark.parametrize("ties", ["pessimistic", "expected"])
def test_many_resamples_equal_one_at_a_time(ties):
    labels, scores, _ = sample(seed=4, digits=1)
    weights = np.random.default_rng(0).integers(0, 3, (20, len(labels)))
    rows = order_rows(labels.astype(bool), scores)
    cumulated = cumulate(rows, weights.astype(float))
    at_once, lifts = top_share_draws(rows, cumulated, 0.2, ties)
    for drawn, together, lift in zip(weights, at_once, lifts, strict=True):
        assert together == metrics.precision_at_share(labels, scores, 0.2, drawn, ties=ties)
        assert lift == metrics.lift_at_share(labels, scores, 0.2, drawn, ties=ties)


def test_tied_rows_in_any_order_give_the_same_bits():
    labels, scores, weights = sample(seed=5, digits=1)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    for metric in RANKING:
        assert metric(labels, scores, weights) == metric(
            labels[shuffled], scores[shuffled], weights[shuffled]
        )


def test_log_loss_is_clipped():
    assert metrics.log_loss([1, 0], [0.0, 0.0]) == pytest.approx(-0.5 * np.log(1e-15))
    assert metrics.log_loss([1, 0], [1.0, 0.0]) == pytest.approx(1e-15)


def test_infinite_scores_rank():
    assert metrics.auc([1, 0, 0, 1], [np.inf, -np.inf, 0.0, 1.0]) == 1.0
    assert metrics.auc([1, 0], [-np.inf, -np.inf]) == 0.5


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_one_class_auc(labels):
    with pytest.raises(InputError, match="positives and negatives"):
        metrics.auc(labels, [0.1, 0.2])


def test_one_class_by_weights():
    with pytest.raises(InputError, match="positives and negatives"):
        metrics.auc([1, 0], [0.1, 0.2], [2, 0])


def test_no_positives():
    for call in (
        lambda: metrics.average_precision([0, 0], [0.1, 0.2]),
        lambda: metrics.lift_at_share([0, 0], [0.1, 0.2], 0.5),
        lambda: metrics.recall([0, 0], [0.1, 0.9]),
    ):
        with pytest.raises(InputError, match="needs a positive"):
            call()


def test_nothing_predicted():
    with pytest.raises(InputError, match=r"probability >= 0\.5"):
        metrics.precision([1, 0], [0.1, 0.2])
    with pytest.raises(InputError, match="f1 needs"):
        metrics.f1([0, 0], [0.1, 0.2])
    assert metrics.f1([1, 0], [0.1, 0.2]) == 0.0
    assert metrics.brier([1, 1], [1.0, 0.5]) == 0.125  # one class suffices


@pytest.mark.parametrize(
    ("labels", "probabilities", "weights", "message"),
    [
        ([], [], None, "at least one row"),
        ([[1, 0]], [0.1, 0.2], None, "one label per row"),
        ([1, 2], [0.1, 0.2], None, "row 1"),
        ([1, np.nan], [0.1, 0.2], None, "row 1"),
        (["yes", "no"], [0.1, 0.2], None, "row 0"),
        ([1, 0], [0.1], None, "one for each label"),
        ([1, 0], [0.1, np.nan], None, "row 1: NaN"),
        ([1, 0], [0.1, 1.2], None, "row 1: 1.2"),
        ([1, 0], [-0.1, 0.2], None, "row 0: -0.1"),
        ([1, 0], [0.1, 0.2], [1], "one for each label"),
        ([1, 0], [0.1, 0.2], [1, -1], "how often"),
        ([1, 0], [0.1, 0.2], [1, 0.5], "how often"),
        ([1, 0], [0.1, 0.2], [1, np.nan], "how often"),
        ([1, 0], [0.1, 0.2], [0, 0], "all zero"),
    ],
)
def test_broken_input(labels, probabilities, weights, message):
    with pytest.raises(InputError, match=message):
        metrics.brier(labels, probabilities, weights)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, np.nan])
def test_broken_share(share):
    with pytest.raises(UsageError, match="share"):
        metrics.precision_at_share([1, 0], [0.1, 0.2], share)


def test_broken_settings():
    with pytest.raises(UsageError, match="ties"):
        metrics.precision_at_share([1, 0], [0.1, 0.2], 0.5, ties="optimistic")
    with pytest.raises(UsageError, match="threshold"):
        metrics.accuracy([1, 0], [0.1, 0.2], threshold=50)
