"""An estimate over several trainings and the interval that covers both: other images, other trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit

#: Of the spread that images alone explain, below and from 5 trainings: chosen by simulation, see
#: scripts/benchmarks/inference.py.
_ALLOWANCE = (1.0, 1.1)


@dataclass(frozen=True)
class Estimate:
    """A figure averaged over trainings, with its uncertainty.

    Args:
        value: the mean.
        standard_error: of the mean, images and trainings together.
        degrees_of_freedom: of the t distribution that value / standard_error follows.
        trainings: number of trainings it is the mean of.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float
    trainings: int

    def interval(self, confidence: float = 0.95, low: float = -1.0, high: float = 1.0) -> tuple[float, float]:
        """Interval around the value, cut off at ``low`` and ``high``."""
        half = self._quantile((1 + confidence) / 2) * self.standard_error
        return float(np.maximum(self.value - half, low)), float(np.minimum(self.value + half, high))

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p of the hypothesis that the value is ``null``; agrees with :meth:`interval`."""
        if not np.isfinite(self.value) or not np.isfinite(self.standard_error):
            return float("nan")
        if self.standard_error == 0:
            return 1.0 if self.value == null else 0.0
        return float(2 * stats.t.sf(abs(self.value - null) / self.standard_error, self.degrees_of_freedom))

    def p_equivalence(self, margin: float) -> float:
        """p of two one-sided tests (TOST) that the value lies outside -margin .. margin.

        Source: Schuirmann 1987.
        """
        if self.standard_error == 0:
            return 0.0 if abs(self.value) < margin else 1.0
        distance = (margin - abs(self.value)) / self.standard_error
        return float(stats.t.sf(distance, self.degrees_of_freedom))

    def detectable_difference(self, confidence: float = 0.95, power: float = 0.8) -> float:
        """The true value that a study of this size would have told from 0 with the given power."""
        quantiles = self._quantile((1 + confidence) / 2) + self._quantile(power)
        return float(quantiles * self.standard_error)

    def _quantile(self, probability: float) -> float:
        return float(stats.t.ppf(probability, self.degrees_of_freedom))


def image_freedom(positives: int, negatives: int) -> float:
    """Degrees of freedom of the resampled variance of an AUC.

    Each class adds a variance in inverse proportion to its patients, known with one degree less than these;
    their sum after Welch and Satterthwaite. With few of one class it is near theirs.

    Args:
        positives: patients with a positive case.
        negatives: patients with a negative case.
    """
    if min(positives, negatives) < 2:
        return 1.0
    shares = [other / (positives + negatives) for other in (negatives, positives)]
    counts = (positives, negatives)
    return 1 / sum(share**2 / (count - 1) for share, count in zip(shares, counts, strict=True))


def estimate(values: np.ndarray, covariance: np.ndarray, freedom: float) -> Estimate:
    """Mean over trainings of a figure, and a standard error for images and trainings.

    The trainings are those of the folds and seeds. They differ because they met other test images, which the
    ``covariance`` knows from resampled patients, and because a network never turns out the same twice. What
    they differ by beyond the former is therefore the latter:

        variance = images + max(0, between - 1.1 expected) / n

    with ``images`` the resampled variance of the mean, ``between`` the variance of the n values, and
    ``expected`` what it would be if only the images differed: mean variance less mean covariance. (The cut at
    0 makes the variance too large on average, which the factor takes back; below 5 trainings it is 1.) That
    holds whether every fold tests other images (cross-validation), all test the same (a fixed test set), or
    each is tested once per seed. Degrees of freedom after Satterthwaite.

    Args:
        values: (trainings,) figure of each.
        covariance: (trainings, trainings) of their errors under resampling of patients.
        freedom: degrees of freedom of the images' part, see :func:`image_freedom`.

    Returns:
        The estimate; from a single training it is for these weights only: other images, not other trainings.
    """
    count = len(values)
    if not count:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    images = max(float(covariance.mean()), 0.0)
    value = float(np.mean(values))
    if count == 1:
        return Estimate(value, float(np.sqrt(images)), freedom, 1)
    between = float(np.var(values, ddof=1))
    trace = float(np.trace(covariance))
    expected = trace / count - (float(covariance.sum()) - trace) / (count * (count - 1))
    training = max(between - _ALLOWANCE[count >= 5] * expected, 0.0) / count
    variance = images + training
    if training > 0:
        uncertain = images**2 / freedom + (between / count) ** 2 / (count - 1)
        freedom = min(max(variance**2 / uncertain, count - 1.0), freedom)
    return Estimate(value, float(np.sqrt(variance)), freedom, count)


def newcombe_interval(area: float, positives: int, negatives: int, confidence: float) -> tuple[float, float]:
    """Interval of an AUC from its value and the number of cases alone.

    It has a length even where every positive is above every negative and resampling therefore finds no
    spread at all.

    Args:
        area: AUC, 0..1.
        positives: positive patients.
        negatives: negative patients.
        confidence: of the interval, (0, 1).

    Source: Newcombe 2006, method 5.
    """
    quantile = float(stats.norm.ppf((1 + confidence) / 2))

    def excess(true: float) -> float:
        pairs = 1 + ((positives + negatives) / 2 - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(area - true) - quantile * float(
            np.sqrt(true * (1 - true) * pairs / (positives * negatives))
        )

    ends = (0.0, 1.0)
    low = ends[0] if area <= 0 else brentq(excess, 1e-12, area - 1e-9)
    high = ends[1] if area >= 1 else brentq(excess, area + 1e-9, 1 - 1e-12)
    return float(low), float(high)


def boundary_error(area: float, positives: int, negatives: int) -> float:
    """What takes the place of the standard error of an AUC of exactly 0 or 1; 0 for any other."""
    if not (area <= 1e-12 or area >= 1 - 1e-12) or not positives or not negatives:
        return 0.0
    low, high = newcombe_interval(round(area), positives, negatives, 0.95)
    return (high - low) / float(stats.norm.ppf(0.975))


def auc_interval(
    area: Estimate, positives: int, negatives: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of an AUC on the logit scale, which keeps it between 0 and 1; Newcombe's at 0 and 1."""
    if not np.isfinite(area.value) or not np.isfinite(area.standard_error):
        return float("nan"), float("nan")
    if boundary_error(area.value, positives, negatives):
        return newcombe_interval(round(area.value), positives, negatives, confidence)
    slope = area.value * (1 - area.value)
    if slope <= 0:
        return float("nan"), float("nan")
    scaled = Estimate(
        float(logit(area.value)), area.standard_error / slope, area.degrees_of_freedom, area.trainings
    )
    low, high = scaled.interval(confidence, -np.inf, np.inf)
    return float(expit(low)), float(expit(high))


def widened(given: Estimate, errors: Sequence[float]) -> Estimate:
    """The estimate with further, independent standard errors added to its own."""
    error = float(np.sqrt(given.standard_error**2 + sum(other**2 for other in errors)))
    return replace(given, standard_error=error)
