"""The options of the churn study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator

from linkwise.estimators.tabular import BoostingConfig, ForestConfig, LogisticConfig

Hidden = Parameter(show=False, parse=False)  # reached by --set and config files


class ChurnConfig(BaseModel):
    """Windows, cleaning, models and costs of the churn study."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    feature_days: int = Field(30, ge=1, le=3650)
    """Length of the feature window, days."""
    label_days: int = Field(14, ge=1, le=3650)
    """Length of the label window, days: gone is who does nothing in it."""
    gap_days: int = Field(0, ge=0, le=3650)
    """Days between the windows, for the time an action needs to reach the user."""
    activity: tuple[str, ...] = ()
    """Kinds of event that count as activity; every kind by default."""
    bots: Literal["auto", "drop", "flag"] = "auto"
    """What happens to users found to be bots: left out, or kept and marked in the list. `auto` leaves them
    out, but for logs with amounts: a shop's most frequent customers are its best ones."""
    bots_above: float = Field(99.9, gt=0, le=100)
    """Percentile of events per user above which a user is a bot, from the training window; 100 = off."""
    outliers_above: float = Field(99.9, gt=0, le=100)
    """Percentile above which a play time or song length is an outlier (training window); 100 = off."""
    impute: Literal["missing", "mean"] = "missing"
    """Missing play times and song lengths stay missing, or become the mean (the report's rule)."""
    search: Literal["optuna", "grid", "none"] = "optuna"
    """How forest and boosting are tuned: Optuna, the report's grid, or not at all."""
    trials: int = Field(12, ge=1, le=1000)
    """Settings that Optuna tries for each of the two models."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the users behind each interval."""
    ledger_auc: Annotated[bool, Parameter(negative="--no-ledger-auc")] = True
    """Measure each cleaning rule's effect on AUC, by fitting once without it."""
    holdout: float = Field(0.1, ge=0, lt=1)
    """Share of the listed users held out from any action at random, so that its effect can be measured."""
    stage: Literal["auto", "stickiness", "revenue"] = "auto"
    """Stage of the business, or `auto` to read it from retention and paying users."""
    offer_cost: float = Field(2.0, ge=0)
    """Cost of one offer (a trial, a discount, a free month), in money."""
    user_value: float = Field(50.0, ge=0)
    """Worth of one user who stays, in money."""
    offer_success: float = Field(0.1, ge=0, le=1)
    """Share of leaving users whom an offer keeps: an assumption until the holdout has measured it."""
    recommend: str | None = None
    """Folder of a finished recommend run: three items of its lists stand beside each user to be reached."""
    logistic: Annotated[LogisticConfig, Hidden] = LogisticConfig()
    """Settings of logistic regression."""
    forest: Annotated[ForestConfig, Hidden] = ForestConfig()
    """Settings of the random forest; tuning starts from these."""
    boosting: Annotated[BoostingConfig, Hidden] = BoostingConfig()
    """Settings of gradient boosting; tuning starts from these."""

    @field_validator("recommend")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        # So that the run's config means the same folder wherever it is repeated from.
        return None if path is None else str(Path(path).absolute())
