import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from linkwise.anomaly.evaluate import Fold, evaluate_folds
from linkwise.errors import InputError
from linkwise.metrics.bootstrap import evaluate_binary


def made(seed: int, n: int = 80) -> Fold:
    rng = np.random.default_rng(seed)
    strange = rng.random(n) < 0.3
    return Fold(strange, {"size": rng.normal(size=n), "wl": rng.normal(size=n) + strange})


def test_one_fold_is_the_usual_evaluation() -> None:
    fold = made(0)
    rows = evaluate_folds([fold], baseline="size", split="s", slice="x", samples=400, seed=3)
    other = evaluate_binary(
        fold.strange.astype(int), fold.scores, {}, baseline="size", split="s", slice="x", shares=(),
        samples=400, seed=3,
    )  # fmt: skip
    for row in other:
        mine = next(r for r in rows if (r.model, r.metric) == (row.model, row.metric))
        assert mine.value == pytest.approx(row.value)
        assert mine.low == pytest.approx(row.low)
        assert mine.difference_high == pytest.approx(row.difference_high)


def test_folds_are_averaged_and_never_pooled() -> None:
    folds = [made(1), made(2), made(3)]
    shifted = [
        Fold(fold.strange, {name: s + 100 * k for name, s in fold.scores.items()})
        for k, fold in enumerate(folds)
    ]
    for some in (folds, shifted):
        rows = evaluate_folds(some, baseline="size", split="s", slice="x", samples=200, seed=0)
        by = {(row.model, row.metric): row for row in rows}
        for name in ("size", "wl"):
            auc = np.mean([roc_auc_score(f.strange, f.scores[name]) for f in folds])
            ap = np.mean([average_precision_score(f.strange, f.scores[name]) for f in folds])
            assert by[name, "auc"].value == pytest.approx(auc)
            assert by[name, "average_precision"].value == pytest.approx(ap)
        wl = by["wl", "auc"]
        assert wl.difference == pytest.approx(wl.value - by["size", "auc"].value)
        assert wl.low < wl.value < wl.high
        assert wl.n == 240


def test_a_fold_of_one_kind_is_refused() -> None:
    fold = Fold(np.zeros(10, dtype=bool), {"size": np.arange(10.0)})
    rows = evaluate_folds([fold], baseline="size", split="s", slice="x", samples=100, seed=0)
    assert rows[0].low is None
    with pytest.raises(InputError):
        evaluate_folds(
            [Fold(np.zeros(2, dtype=bool), {"size": np.array([np.nan, 1.0])})],
            baseline="size", split="s", slice="x", samples=100, seed=0,
        )  # fmt: skip
