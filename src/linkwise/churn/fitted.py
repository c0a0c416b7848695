"""A study with its models fitted: what the ledger, the insight, the list and the report work from."""

from __future__ import annotations

from dataclasses import dataclass

from linkwise.churn.clean import CleaningRules
from linkwise.churn.features import FeatureSpec
from linkwise.churn.models import Model, Parts, Table
from linkwise.churn.windows import Plan
from linkwise.data.events import Events
from linkwise.estimators.calibrate import IsotonicCalibrator
from linkwise.estimators.tabular import Boosting, Forest, Vector

LISTED_MODEL = "boosting"  # its reasons are exact, and it is the model that the report judges


@dataclass(frozen=True)
class Judged:
    """Every model on the same users: scores and calibrated probabilities, model -> (n,)."""

    scores: dict[str, Vector]
    probabilities: dict[str, Vector]


@dataclass(frozen=True)
class Fitted:
    """The log, the rules fitted on its training window, the parts, the models and their judgement."""

    events: Events
    spec: FeatureSpec
    rules: CleaningRules
    plan: Plan
    parts: Parts
    models: dict[str, Model]
    calibrators: dict[str, IsotonicCalibrator]
    judged: Judged

    @property
    def boosting(self) -> Boosting:
        """The gradient boosting model."""
        model = self.models["boosting"]
        assert isinstance(model, Boosting)
        return model

    @property
    def forest(self) -> Forest:
        """The random forest."""
        model = self.models["forest"]
        assert isinstance(model, Forest)
        return model

    @property
    def listed(self) -> tuple[Boosting, IsotonicCalibrator]:
        """The model that ranks the list, and its calibrator."""
        return self.boosting, self.calibrators[LISTED_MODEL]


def judge(
    models: dict[str, Model], calibrators: dict[str, IsotonicCalibrator], table: Table
) -> Judged:
    """Score the users of a table with every model."""
    scores = {name: model.score(table.rows) for name, model in models.items()}
    return Judged(scores, {name: calibrators[name].predict(s) for name, s in scores.items()})
