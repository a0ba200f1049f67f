"""Test environments: recombinations of the two columns of a prediction table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from srcmatters.errors import InputError
from srcmatters.evaluation.predictions import log_odds

Environment = Literal["iid", "ood", "clean", "confounded"]


def environment_scores(predictions: pd.DataFrame, environment: Environment) -> np.ndarray:
    """Scores of the test set in one environment.

    Args:
        predictions: prediction table.
        environment: "iid" (confounded as the training set is: those that ``carries`` marks), "ood" (the
            correlation reversed: every negative carries the confounder, no positive does), "clean" (nobody),
            "confounded" (everybody).

    Returns:
        (cases,) probabilities of label 1.
    """
    if environment not in get_args(Environment):
        raise InputError(f"environment: got {environment!r}, expected one of {get_args(Environment)}")
    carrying = {
        "iid": predictions["carries"].to_numpy(dtype=bool),
        "ood": (predictions["label"] == 0).to_numpy(),
        "clean": np.zeros(len(predictions), dtype=bool),
        "confounded": np.ones(len(predictions), dtype=bool),
    }[environment]
    return np.where(carrying, predictions["score_confounded"], predictions["score_clean"])


def environment_auc(predictions: pd.DataFrame, environment: Environment) -> float:
    """ROC-AUC of the test set in one environment."""
    return float(roc_auc_score(predictions["label"], environment_scores(predictions, environment)))


def flattened_auc(predictions: pd.DataFrame, environment: Environment) -> float:
    """The number that the publication calls AUC: over flattened one-hot labels and softmax columns.

    It is no ROC-AUC (a constant majority predictor scores above .5); only for comparison with the paper.
    """
    scores = environment_scores(predictions, environment)
    labels = predictions["label"].to_numpy()
    return float(roc_auc_score(np.concatenate([1 - labels, labels]), np.concatenate([1 - scores, scores])))


@dataclass(frozen=True)
class ConfounderEffect:
    """Mean change of the score that the confounder causes, in log-odds, and its standard error."""

    mean: float
    standard_error: float


def confounder_effect(predictions: pd.DataFrame) -> ConfounderEffect:
    """What the confounder alone does to the score of a case, averaged over the test set.

    Each case is compared with itself, so the mean is causal. The standard error is clustered by patient:
    images of one patient do not count as independent.
    """
    shift = log_odds(predictions["score_confounded"]) - log_odds(predictions["score_clean"])
    mean = float(shift.mean())
    residuals = pd.Series(shift - mean).groupby(predictions["patient_id"].to_numpy()).sum().to_numpy()
    clusters = len(residuals)
    if clusters < 2:
        return ConfounderEffect(mean, float("nan"))
    variance = clusters / (clusters - 1) * float((residuals**2).sum()) / len(shift) ** 2
    return ConfounderEffect(mean, float(np.sqrt(variance)))


@dataclass(frozen=True)
class Metrics:
    """The figures of one run."""

    clean_auc: float
    iid_auc: float
    ood_auc: float
    iid_minus_ood_auc: float
    confounder_effect: float
    confounder_effect_standard_error: float
    cases: int
    positives: int
    patients: int


def compute_metrics(predictions: pd.DataFrame, protocol: str = "corrected") -> dict[str, float]:
    """The figures of one run; ``protocol`` "paper" adds the flattened one-hot AUC of the publication."""
    iid, ood = environment_auc(predictions, "iid"), environment_auc(predictions, "ood")
    effect = confounder_effect(predictions)
    metrics = asdict(
        Metrics(
            clean_auc=environment_auc(predictions, "clean"),
            iid_auc=iid,
            ood_auc=ood,
            iid_minus_ood_auc=iid - ood,
            confounder_effect=effect.mean,
            confounder_effect_standard_error=effect.standard_error,
            cases=len(predictions),
            positives=int(predictions["label"].sum()),
            patients=int(predictions["patient_id"].nunique()),
        )
    )
    if protocol == "paper":
        for environment in ("clean", "iid", "ood"):
            metrics[f"{environment}_auc_flattened"] = flattened_auc(predictions, environment)
    return metrics
