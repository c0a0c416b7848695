"""Pure functions on arrays, each with a confidence interval."""

from linkwise.metrics.binary import (
    accuracy,
    auc,
    average_precision,
    brier,
    f1,
    lift_at_share,
    log_loss,
    precision,
    precision_at_share,
    recall,
)
from linkwise.metrics.bootstrap import (
    MetricRow,
    bootstrap_weights,
    evaluate_binary,
    percentile_interval,
    proportion_interval,
)

__all__ = [
    "MetricRow",
    "accuracy",
    "auc",
    "average_precision",
    "bootstrap_weights",
    "brier",
    "evaluate_binary",
    "f1",
    "lift_at_share",
    "log_loss",
    "percentile_interval",
    "precision",
    "precision_at_share",
    "proportion_interval",
    "recall",
]
