"""The tabular scorers keep the contract, and equal the libraries they stand on."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linkwise.churn.models import Recency
from linkwise.errors import InputError
from linkwise.estimators.tabular import Boosting, BoostingConfig, Forest, ForestConfig, Logistic
from linkwise.testing import ScorerContract


class TestRecency(ScorerContract):
    cls = Recency
    learns = False


class TestLogistic(ScorerContract):
    cls = Logistic


class TestForest(ScorerContract):
    cls = Forest

    def make(self) -> Forest:
        return Forest(ForestConfig(trees=15))


class TestBoosting(ScorerContract):
    cls = Boosting

    def make(self) -> Boosting:
        return Boosting(BoostingConfig(rounds=15))

    def test_contributions_add_up_to_the_score(self) -> None:
        scorer = self.fitted()
        values = scorer.contributions(self.rows())
        assert values.shape == (400, 6)
        np.testing.assert_allclose(values.sum(axis=1), scorer.score(self.rows()), atol=1e-9)

    def test_contributions_equal_the_shap_library(self) -> None:
        shap = pytest.importorskip("shap")
        scorer = self.fitted()
        rows = self.rows().cast(pl.Float64).fill_null(float("nan")).to_numpy()
        expected = shap.TreeExplainer(scorer.booster_).shap_values(rows)
        np.testing.assert_allclose(scorer.contributions(self.rows())[:, :-1], expected, atol=1e-6)

    def test_early_stopping_finds_the_best_round(self) -> None:
        rows, labels = self.rows(), self.labels()
        value, config = Boosting(BoostingConfig(learning_rate=0.3)).stopped_early(
            (rows[:250], labels[:250]),
            (rows[250:], labels[250:]),
            max_rounds=60,
            patience=60,
            seed=1,
            threads=1,
        )
        from sklearn.metrics import log_loss

        losses = []
        for rounds in range(1, 61):
            model = Boosting(config.model_copy(update={"rounds": rounds}))
            model.fit(rows[:250], labels[:250], seed=1, threads=1)
            p = 1 / (1 + np.exp(-model.score(rows[250:])))
            losses.append(log_loss(labels[250:], p))
        assert config.rounds == int(np.argmin(losses)) + 1
        assert value == pytest.approx(min(losses), abs=1e-9)


def test_a_model_file_with_foreign_types_is_not_loaded(tmp_path: Path) -> None:
    contract = TestLogistic()
    contract.fitted().save(tmp_path)
    path = tmp_path / "logistic.skops"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries["schema.json"])
    schema["__class__"], schema["__module__"] = "Popen", "subprocess"
    entries["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="subprocess"):
        Logistic.load(tmp_path)


def test_forest_importances_sum_to_one() -> None:
    contract = TestForest()
    values = contract.fitted().importances
    assert sum(values.values()) == pytest.approx(1)
    assert max(values, key=values.__getitem__) == "last_event_time_from_cutoff"
