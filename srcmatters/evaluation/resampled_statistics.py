"""A figure of one training with its replicates; sums, differences and means of such figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from srcmatters.evaluation.estimates import Estimate, estimate
from srcmatters.evaluation.resampling import PatientWeights, Ranking, auc, auc_influence, replicate_auc
from srcmatters.runs.prediction_table import log_odds


@dataclass(frozen=True)
class Figure:
    """One figure of one training, with what it would have been for other images.

    Args:
        value: as measured; NaN where it does not exist.
        replicates: (replicates,) of the patient-clustered bootstrap.
        influence: (patients,) of each patient on it, which is the analytic counterpart.
    """

    value: float
    replicates: np.ndarray
    influence: np.ndarray


def combine(coefficients: Sequence[float], figures: Sequence[Figure]) -> Figure:
    """A weighted sum of figures of the same patients; paired, since the resamples are the same."""
    terms = list(zip(coefficients, figures, strict=True))
    return Figure(
        float(sum(factor * figure.value for factor, figure in terms)),
        np.sum([factor * figure.replicates for factor, figure in terms], axis=0),
        np.sum([factor * figure.influence for factor, figure in terms], axis=0),
    )


def difference(first: Figure, second: Figure) -> Figure:
    """First minus second."""
    return combine((1, -1), (first, second))


def mean_over_trainings(figures: Sequence[Figure], freedom: float) -> Estimate:
    """Mean of a figure over several trainings, with an error for other images and other trainings.

    Args:
        figures: one per training; those that do not exist (NaN) are left out.
        freedom: of the images, see :func:`srcmatters.evaluation.estimates.image_freedom`.
    """
    existing = [figure for figure in figures if np.isfinite(figure.value)]
    values = np.array([figure.value for figure in existing])
    if not existing:
        return estimate(values, np.zeros((0, 0)), freedom)
    replicates = np.array([figure.replicates for figure in existing])
    drawn = replicates[:, np.isfinite(replicates).all(axis=0)]
    enough = drawn.shape[1] > 1
    covariance = np.atleast_2d(np.cov(drawn)) if enough else np.full((len(values), len(values)), np.nan)
    return estimate(values, covariance, freedom)


def resampled_auc(ranking: Ranking, weights: PatientWeights) -> Figure:
    """AUC of a test set with its replicates."""
    influence = auc_influence(ranking, len(weights.counts))
    return Figure(
        auc(ranking) if len(ranking.labels) else float("nan"), replicate_auc(ranking, weights), influence
    )


def resampled_effect(table: pd.DataFrame, weights: PatientWeights) -> Figure:
    """Mean change of the log-odds that the confounder causes, with its replicates."""
    shift = log_odds(table["score_confounded"]) - log_odds(table["score_clean"])
    rows = weights.rows(table["patient_id"])
    of_patient = np.bincount(rows, shift, minlength=len(weights.counts))
    images = np.bincount(rows, minlength=len(weights.counts))
    mean = float(shift.mean())
    with np.errstate(invalid="ignore"):
        replicates = (of_patient @ weights.counts) / (images @ weights.counts)
    return Figure(mean, replicates, (of_patient - mean * images) / len(shift))
