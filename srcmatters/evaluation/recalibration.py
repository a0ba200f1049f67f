"""Intervals of calibration: slope and intercept of the logistic recalibration, patients as clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from srcmatters.evaluation.classification import logistic_coefficients
from srcmatters.evaluation.estimates import Estimate


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of the recalibration.

    Args:
        value: NaN where it does not exist.
        influence: (everyone,) of each patient on it; their squares add up to its variance.
        freedom: degrees of freedom.
    """

    value: float
    influence: np.ndarray
    freedom: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of Student's t; NaN where the value does not exist."""
        error = float(np.linalg.norm(self.influence))
        return Estimate(self.value, error, self.freedom, 1).interval(confidence, -np.inf, np.inf)


def recalibrate(
    predicted: np.ndarray, labels: np.ndarray, owner: np.ndarray, everyone: int | None = None
) -> dict[str, Coefficient]:
    """``calibration_intercept`` (slope held at 1) and ``calibration_slope`` with sandwich errors.

    Args:
        predicted: (cases,) log-odds of label 1.
        labels: (cases,) 0 or 1.
        owner: (cases,) number of the patient whose case it is.
        everyone: number of patients; None: as many as ``owner`` names.

    Returns:
        Both, NaN where a figure does not exist: one class only, or scores that separate the classes.

    Source: Van Calster et al. 2019, "Calibration: the Achilles heel of predictive analytics"; the variance is
    that of Liang and Zeger 1986 with the factor G / (G - 1) for G patients.
    """
    everyone = int(owner.max()) + 1 if everyone is None else everyone
    nothing = Coefficient(float("nan"), np.full(everyone, np.nan), float("nan"))
    results = {"calibration_intercept": nothing, "calibration_slope": nothing}
    positive, negative = predicted[labels == 1], predicted[labels == 0]
    clusters = len(np.unique(owner))
    if not len(positive) or not len(negative) or clusters < 3:
        return results
    ones = np.ones((len(predicted), 1))
    designs: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"calibration_intercept": (ones, predicted)}
    separated = positive.min() >= negative.max() or positive.max() <= negative.min()
    if not separated and np.ptp(predicted) > 0:
        designs["calibration_slope"] = (np.column_stack([ones, predicted]), None)
    for name, (design, offset) in designs.items():
        fitted = np.array(logistic_coefficients(labels, design, offset))
        if not np.isfinite(fitted).all():
            continue
        expected = expit(design @ fitted + (0.0 if offset is None else offset))
        information = design.T @ (design * (expected * (1 - expected))[:, None])
        moved = (labels - expected)[:, None] * (design @ np.linalg.pinv(information))
        influence = np.bincount(owner, moved[:, -1], minlength=everyone)
        influence *= np.sqrt(clusters / (clusters - 1))
        results[name] = Coefficient(float(fitted[-1]), influence, float(clusters - design.shape[1]))
    return results
