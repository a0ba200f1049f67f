"""Evaluation: pure functions of the prediction table."""

from srcmatters.evaluation.analysis import Analysis, analyse
from srcmatters.evaluation.collection import StudyResults, read_results, read_runs
from srcmatters.evaluation.environments import (
    Mixture,
    compute_metrics,
    confounder_effect,
    environment_auc,
    environment_scores,
    flattened_auc,
    mixture_entries,
)
from srcmatters.evaluation.plan import AnalysisPlan
from srcmatters.evaluation.predictions import log_odds, prediction_table, read_predictions
from srcmatters.evaluation.verdicts import Verdict, verdicts

__all__ = [
    "Analysis",
    "AnalysisPlan",
    "Mixture",
    "StudyResults",
    "Verdict",
    "analyse",
    "compute_metrics",
    "confounder_effect",
    "environment_auc",
    "environment_scores",
    "flattened_auc",
    "log_odds",
    "mixture_entries",
    "prediction_table",
    "read_predictions",
    "read_results",
    "read_runs",
    "verdicts",
]
