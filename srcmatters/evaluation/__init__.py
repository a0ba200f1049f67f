"""Evaluation: pure functions of the prediction table."""

from srcmatters.evaluation.environments import (
    compute_metrics,
    confounder_effect,
    environment_auc,
    environment_scores,
    flattened_auc,
)
from srcmatters.evaluation.predictions import log_odds, prediction_table, read_predictions

__all__ = [
    "compute_metrics",
    "confounder_effect",
    "environment_auc",
    "environment_scores",
    "flattened_auc",
    "log_odds",
    "prediction_table",
    "read_predictions",
]
