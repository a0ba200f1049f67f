"""How good probabilities are beyond their order: precision, calibration, decisions at a fixed threshold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm
from sklearn.metrics import average_precision_score, roc_curve

from srcmatters.errors import InputError
from srcmatters.runs.prediction_table import log_odds


def average_precision(labels: np.ndarray, scores: np.ndarray, shares: np.ndarray | None = None) -> float:
    """Area under the precision-recall curve (average precision); of a score without information it is the
    share of positives. NaN without a positive.

    Args:
        labels: (cases,) 0 or 1.
        scores: (cases,) probabilities of label 1.
        shares: (cases,) weights; None: 1.
    """
    if not (labels == 1).any():
        return float("nan")
    return float(average_precision_score(labels, scores, sample_weight=shares))


def brier_score(labels: np.ndarray, scores: np.ndarray, shares: np.ndarray | None = None) -> float:
    """Mean squared difference of probability and label: 0 is perfect, always saying .5 gives .25."""
    return float(np.average((scores - labels) ** 2, weights=shares))


@dataclass(frozen=True)
class Calibration:
    """Logistic recalibration.

    Args:
        slope: of the true log-odds over the predicted ones: 1 is perfect, below 1 the scores are too extreme,
            below 0 turned round.
        intercept: by how much the true log-odds exceed the predicted ones on average (slope held at 1): 0 is
            perfect, below 0 the scores are too high.
    """

    slope: float
    intercept: float


def calibration(labels: np.ndarray, scores: np.ndarray, shares: np.ndarray | None = None) -> Calibration:
    """Slope and intercept of the logistic recalibration of probabilities.

    Args:
        labels: (cases,) 0 or 1.
        scores: (cases,) probabilities of label 1.
        shares: (cases,) weights; None: 1.

    Returns:
        NaN where a figure does not exist: one class only, or scores that separate the classes, whose slope is
        infinite.

    Source: Van Calster et al. 2019, "Calibration: the Achilles heel of predictive analytics".
    """
    if len(np.unique(labels)) < 2:
        return Calibration(float("nan"), float("nan"))
    predicted = log_odds(pd.Series(scores))
    intercept = logistic_coefficients(labels, np.ones((len(labels), 1)), predicted, shares)[0]
    positive, negative = predicted[labels == 1], predicted[labels == 0]
    separated = positive.min() >= negative.max() or positive.max() <= negative.min()
    if separated or np.ptp(predicted) == 0:
        return Calibration(float("nan"), intercept)
    design = np.column_stack([np.ones(len(labels)), predicted])
    return Calibration(logistic_coefficients(labels, design, None, shares)[1], intercept)


def logistic_coefficients(
    labels: np.ndarray, design: np.ndarray, offset: np.ndarray | None, shares: np.ndarray | None = None
) -> list[float]:
    """Coefficients of a logistic regression, NaN if it does not converge.

    Args:
        labels: (cases,) 0 or 1.
        design: (cases, coefficients).
        offset: (cases,) log-odds with the coefficient 1; None: 0.
        shares: (cases,) weights; None: 1.
    """
    model = sm.GLM(labels, design, family=sm.families.Binomial(), offset=offset, freq_weights=shares)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fitted = model.fit(maxiter=100)
    return [float(value) if fitted.converged else float("nan") for value in fitted.params]


def fix_threshold(labels: np.ndarray, scores: np.ndarray, sensitivity: float | None = None) -> float:
    """Choose a threshold on validation cases; a score at or above it is called positive.

    Args:
        labels: (cases,) 0 or 1, of the validation cases.
        scores: (cases,) probabilities of label 1.
        sensitivity: the highest threshold that finds this share of the positives, (0, 1]; None: where
            sensitivity + specificity is largest (Youden); of several such thresholds the highest, which calls
            the fewest positive.

    Returns:
        The threshold; NaN if a class is missing.

    Raises:
        InputError: ``sensitivity`` out of range.
    """
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise InputError(f"sensitivity: got {sensitivity!r}, expected a share above 0 and up to 1")
    if len(np.unique(labels)) < 2:
        return float("nan")
    false_positives, true_positives, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    if sensitivity is not None:
        return float(thresholds[np.argmax(true_positives >= sensitivity - 1e-12)])
    youden = true_positives - false_positives
    # The curve begins with a threshold above every score, which is no threshold to deploy.
    # Rounding must not decide between equals: .6 - .2 is less than .8 - .4 in floating point.
    return float(thresholds[1:][np.argmax(youden[1:] >= youden[1:].max() - 1e-12)])


@dataclass(frozen=True)
class Decisions:
    """Share of the positives, and of the negatives, that are decided rightly."""

    sensitivity: float
    specificity: float


def decide(
    labels: np.ndarray, scores: np.ndarray, threshold: float, shares: np.ndarray | None = None
) -> Decisions:
    """Sensitivity and specificity at a threshold that was fixed elsewhere.

    Args:
        labels: (cases,) 0 or 1.
        scores: (cases,) probabilities of label 1; at or above the threshold a case is called positive.
        threshold: NaN gives NaN.
        shares: (cases,) weights; None: 1.
    """
    if np.isnan(threshold):
        return Decisions(float("nan"), float("nan"))
    weights = np.ones(len(labels)) if shares is None else shares
    called = scores >= threshold
    rates = [
        float(np.average(right[labels == label], weights=weights[labels == label]))
        if (labels == label).any()
        else float("nan")
        for label, right in ((1, called), (0, ~called))
    ]
    return Decisions(*rates)
