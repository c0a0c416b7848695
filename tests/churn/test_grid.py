"""The search over the report's grid, against trying every setting in a loop."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.churn.logs import quick, table_of

from linkwise.churn import models
from linkwise.churn.models import GRIDS, Parts, Table
from linkwise.context import Context, Silent
from linkwise.estimators.tabular import Boosting, BoostingConfig, Forest, ForestConfig
from linkwise.metrics import binary


class Count(Silent):
    """How many settings were tried."""

    done = 0

    def advance(self, done: int) -> None:
        self.done = done


def table(seed: int, n: int = 240) -> Table:
    rng = np.random.default_rng(seed)
    rows = pl.DataFrame(rng.normal(size=(n, 4)), schema=["a", "b", "c", "d"])
    risk = 1 / (1 + np.exp(-2 * rows["a"].to_numpy() * rows["b"].to_numpy()))
    return table_of(dict(enumerate((rng.random(n) < risk).astype(float).tolist())), rows)


@pytest.fixture(scope="module")
def parts() -> Parts:
    fit, check = table(1), table(2)
    return Parts(fit, check, fit, check, check, "")


def test_the_forests_grid_is_searched_whole(parts: Parts, tmp_path: Path) -> None:
    start = ForestConfig(trees=6)
    losses = {}
    for leaf, share in product(*GRIDS["forest"].values()):
        settings = start.model_copy(update={"min_samples_leaf": leaf, "max_features": share})
        model = Forest(settings).fit(parts.fit.rows, parts.fit.labels, seed=5, threads=1)
        losses[settings] = binary.log_loss(parts.check.labels, model.score(parts.check.rows))
    config = quick(search="grid").model_copy(update={"forest": start})
    count = Count()
    found = models._tuned_forest(parts, config, Context(tmp_path, seed=5, progress=count))
    assert count.done == len(losses) == 6
    assert losses[found] == min(losses.values())


def test_the_grid_of_boosting_is_searched_whole(parts: Parts, tmp_path: Path) -> None:
    losses = []
    for leaves, rate in product(*GRIDS["boosting"].values()):
        settings = BoostingConfig(num_leaves=leaves, learning_rate=rate)
        losses.append(
            Boosting(settings).stopped_early(
                (parts.fit.rows, parts.fit.labels),
                (parts.check.rows, parts.check.labels),
                max_rounds=models.MAX_ROUNDS,
                patience=models.PATIENCE,
                seed=5,
                threads=1,
            )
        )
    config = quick(search="grid").model_copy(update={"boosting": BoostingConfig()})
    count = Count()
    context = Context(tmp_path, seed=5, progress=count)
    found = models._tuned_boosting(parts, config, context)
    assert count.done == len(losses) == 6
    least = min(value for value, _ in losses)
    assert found in [settings for value, settings in losses if value == least]
    # A resumed run finds the settings instead of searching again.
    other = Parts(table(3), table(4), parts.train, parts.calibrate, parts.report, "")
    assert models._tuned_boosting(other, config, context) == found
