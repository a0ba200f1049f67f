"""A statistic of one training run with its replicates; sums, differences and means of such statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.estimates import Estimate, estimate
from srcmatters.evaluation.resampling import PatientWeights, Ranking, auc, auc_influence, replicate_auc
from srcmatters.runs.prediction_table import log_odds


@dataclass(frozen=True)
class ResampledStatistic:
    """A statistic of one training run, with what it would have been for other images.

    Args:
        value: as measured; NaN where it does not exist.
        replicates: (replicates,) of the patient-clustered bootstrap.
        influence: (patients,) of each patient on it, which is the analytic counterpart.
        refitted: whether each replicate trained a head of its own on the resampled patients.
    """

    value: float
    replicates: np.ndarray
    influence: np.ndarray
    refitted: bool = False


def combine(coefficients: Sequence[float], statistics: Sequence[ResampledStatistic]) -> ResampledStatistic:
    """A weighted sum of statistics of the same patients; paired, since the resamples are the same."""
    terms = list(zip(coefficients, statistics, strict=True))
    return ResampledStatistic(
        float(sum(factor * statistic.value for factor, statistic in terms)),
        np.sum([factor * statistic.replicates for factor, statistic in terms], axis=0),
        np.sum([factor * statistic.influence for factor, statistic in terms], axis=0),
        all(statistic.refitted for statistic in statistics),
    )


def difference(first: ResampledStatistic, second: ResampledStatistic) -> ResampledStatistic:
    """First minus second."""
    return combine((1, -1), (first, second))


def mean_over_trainings(
    statistics: Sequence[ResampledStatistic], freedom: float, seeds: Sequence[int] | None = None
) -> Estimate:
    """Mean of a statistic over several training runs, with an error for other images and other training runs.

    Args:
        statistics: one per run; those that do not exist (NaN) are left out.
        freedom: of the images, see :func:`srcmatters.evaluation.estimates.image_freedom`.
        seeds: of the runs; None: all have the same.
    """
    kept = [place for place, one in enumerate(statistics) if np.isfinite(one.value)]
    values = np.array([statistics[place].value for place in kept])
    if not kept:
        return estimate(values, np.zeros((0, 0)), freedom)
    replicates = np.array([statistics[place].replicates for place in kept])
    drawn = replicates[:, np.isfinite(replicates).all(axis=0)]
    enough = drawn.shape[1] > 1
    covariance = np.atleast_2d(np.cov(drawn)) if enough else np.full((len(values), len(values)), np.nan)
    refits = drawn.shape[1] if all(statistics[place].refitted for place in kept) and enough else 0
    named = None if seeds is None else np.asarray(seeds)[kept]
    return estimate(values, covariance, freedom, named, refits)


def refitted_statistic(value: float, refits: np.ndarray, influence: np.ndarray) -> ResampledStatistic:
    """A statistic whose replicates come from heads that were fitted again on resampled patients.

    Args:
        value: of the run itself.
        refits: (refits,) the same of each refit, on the resampled test patients.
        influence: (patients,) of the run itself.
    """
    return ResampledStatistic(value, np.asarray(refits, dtype=float), influence, refitted=True)


def resampled_auc(
    ranking: Ranking, weights: PatientWeights, with_influence: bool = True
) -> ResampledStatistic:
    """AUC of a test set with its replicates; the influence of the patients is 0 where it is not needed."""
    patients = len(weights.counts)
    influence = auc_influence(ranking, patients) if with_influence else np.zeros(patients)
    value = auc(ranking) if len(ranking.labels) else float("nan")
    return ResampledStatistic(value, replicate_auc(ranking, weights), influence)


def resampled_effect(table: pd.DataFrame, weights: PatientWeights) -> ResampledStatistic:
    """Mean change of the log-odds that the confounder causes, with its replicates."""
    shift = log_odds(table["score_confounded"]) - log_odds(table["score_clean"])
    return resampled_mean(shift, weights.rows(table["patient_id"]), weights)


def resampled_superiority(table: pd.DataFrame, weights: PatientWeights) -> ResampledStatistic:
    """P(a case with the confounder scores higher than another, clean case of the same label), ties half.

    It depends on the order of the scores alone, so sources whose scores have another temperature can be
    compared: .5 is no effect. A case is not compared with itself.
    """
    rows = weights.rows(table["patient_id"])
    labels = table["label"].to_numpy()
    clean, confounded = (table[f"score_{name}"].to_numpy() for name in ("clean", "confounded"))
    states = np.repeat([1, 0], len(table))
    ranking = Ranking(
        states, np.concatenate([confounded, clean]), np.tile(rows, 2), strata=np.tile(labels, 2)
    )
    people, member = np.unique(rows, return_inverse=True)
    itself = np.bincount(member, (confounded > clean) + 0.5 * (confounded == clean))
    images = [np.bincount(member[labels == label], minlength=len(people)) for label in (0, 1)]

    def among_others(share: Any, counts: np.ndarray) -> Any:
        pairs = sum((one @ counts) ** 2 for one in images)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (share * pairs - itself @ counts**2) / (pairs - sum(images) @ counts**2)

    return ResampledStatistic(
        float(among_others(auc(ranking), np.ones(len(people)))),
        among_others(replicate_auc(ranking, weights), weights.counts[people].astype(float)),
        np.full(len(weights.counts), np.nan),  # no analytic error is asked of it
    )


def resampled_mean(values: np.ndarray, rows: np.ndarray, weights: PatientWeights) -> ResampledStatistic:
    """Mean over cases of any number, such as "its decision flips", with its replicates.

    Args:
        values: (cases,).
        rows: (cases,) rows of ``weights.counts``.
        weights: resampled patients.
    """
    if not len(values):
        nothing = np.full(weights.replicates, np.nan)
        return ResampledStatistic(float("nan"), nothing, np.full(len(weights.counts), np.nan))
    people, member = np.unique(rows, return_inverse=True)
    of_patient, images = np.bincount(member, values), np.bincount(member)
    mean = float(np.mean(values))
    drawn = weights.counts[people].astype(float)
    with np.errstate(invalid="ignore"):
        replicates = (of_patient @ drawn) / (images @ drawn)
    influence = np.zeros(len(weights.counts))
    influence[people] = (of_patient - mean * images) / len(values)
    return ResampledStatistic(mean, replicates, influence)
