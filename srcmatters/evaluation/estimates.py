"""An estimate over several training runs and the interval that covers other images and other runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, logit

#: Of the spread that images alone explain, below and from 5 trainings: chosen by simulation, see
#: scripts/benchmarks/intervals.py.
_ALLOWANCE = (1.0, 1.1)
#: With fewer training runs nothing is said of others. With two, the fold term has one degree of freedom: the
#: true lean lay outside .14 of the intervals, with three outside .06 (scripts/benchmarks/inference.py).
LEAST_TRAININGS = 3
#: Where a difference of two differences of AUCs can lie.
LEAN_RANGE = (-2.0, 2.0)


@dataclass(frozen=True)
class Estimate:
    """A statistic averaged over training runs, with its uncertainty.

    Args:
        value: the mean.
        standard_error: of the mean, all sources of variance together.
        degrees_of_freedom: of the t distribution that value / standard_error follows.
        trainings: number of training runs it is the mean of.
        of_patients: standard error from the patients alone; with refitted heads also of those trained on.
        of_folds: standard error that the differences between folds add; NaN where they cannot be told.
        of_seeds: likewise between seeds.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float
    trainings: int
    of_patients: float = float("nan")
    of_folds: float = float("nan")
    of_seeds: float = float("nan")

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

    def p_beyond(self, margin: float) -> float:
        """Two-sided p of the hypothesis that the value lies within -margin .. margin."""
        if not np.isfinite(self.value) or not np.isfinite(self.standard_error):
            return float("nan")
        if self.standard_error == 0:
            return 0.0 if abs(self.value) > margin else 1.0
        distance = (abs(self.value) - margin) / self.standard_error
        return min(1.0, float(2 * stats.t.sf(distance, self.degrees_of_freedom)))

    def p_equivalence(self, margin: float) -> float:
        """p of two one-sided tests (TOST) that the value lies outside -margin .. margin.

        Source: Schuirmann 1987.
        """
        if not np.isfinite(self.value) or not np.isfinite(self.standard_error):
            return float("nan")
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


def estimate(
    values: np.ndarray,
    covariance: np.ndarray,
    freedom: float,
    seeds: np.ndarray | None = None,
    refits: int = 0,
) -> Estimate:
    """Mean of a statistic over training runs, and a standard error for images and training runs.

    The runs are those of the folds and seeds. They differ because they met other test images, which the
    ``covariance`` knows from resampled patients, and because a network never turns out the same twice. What
    they differ by beyond the former is therefore the latter:

        variance = images + max(fold term, seed term)
        fold term = max(0, between - 1.1 expected) / n

    with ``images`` the resampled variance of the mean, ``between`` the variance of the n values, and
    ``expected`` what it would be if only the images differed: mean variance less mean covariance. (The cut at
    0 makes the variance too large on average, which the factor takes back; below 5 runs it is 1.) That
    holds whether every fold tests other images (cross-validation), all test the same (a fixed test set), or
    each is tested once per seed. What all folds of a seed have in common (how the patients were divided, the
    initial weights of an untrained network) shows between seeds only, so the seed term is the same of the
    means of the S seeds, m_s, whose covariance C follows from that of the runs:

        seed term = max(0, var(m_s) - (mean diagonal of C - mean off-diagonal of C)) / S

    Where the heads were refitted on resampled patients, carriers drawn anew, the covariance holds other
    training patients as well and the fold term falls away. Degrees of freedom after Satterthwaite. Fewer than
    :data:`LEAST_TRAININGS` runs do not tell how runs differ: neither term is taken.

    Args:
        values: (runs,) statistic of each.
        covariance: (runs, runs) of their errors under resampling of patients.
        freedom: degrees of freedom of the images' part, see :func:`image_freedom`.
        seeds: (runs,) seed of each; None: one seed.
        refits: number of refits that ``covariance`` was computed from; 0: the runs' own models were kept.

    Returns:
        The estimate; from one run or two it is for these weights only: other images, not other training runs.
    """
    count = len(values)
    if not count:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    images = max(float(covariance.mean()), 0.0)
    value = float(np.mean(values))
    if refits:
        freedom = 1 / (1 / freedom + 1 / (refits - 1))
    terms = {"of_folds": (float("nan"), 0), "of_seeds": (float("nan"), 0)}
    if count >= LEAST_TRAININGS and not refits:
        allowance = _ALLOWANCE[count >= 5]
        terms["of_folds"] = (_excess(values, covariance, allowance), count)
    means, among = _of_seeds(values, covariance, seeds)
    if len(means) > 1 and count >= LEAST_TRAININGS:
        terms["of_seeds"] = (_excess(means, among, 1.0), len(means))
    errors = {name: float(np.sqrt(max(term, 0.0) / n)) if n else term for name, (term, n) in terms.items()}
    errors_by_kind = {"of_patients": float(np.sqrt(images)), **errors}
    name = max(terms, key=lambda name: np.nan_to_num(errors[name]))
    excess, groups = terms[name]
    if not groups or excess <= 0:
        return Estimate(value, float(np.sqrt(images)), freedom, count, **errors_by_kind)
    variance = images + excess / groups
    spread = float(np.var(values if name == "of_folds" else means, ddof=1)) / groups
    uncertain = images**2 / freedom + spread**2 / (groups - 1)
    freedom = min(max(variance**2 / uncertain, groups - 1.0), freedom)
    return Estimate(value, float(np.sqrt(variance)), freedom, count, **errors_by_kind)


def _excess(values: np.ndarray, covariance: np.ndarray, allowance: float) -> float:
    """By how much the variance of some values exceeds what their covariance leads one to expect."""
    count, trace = len(values), float(np.trace(covariance))
    expected = trace / count - (float(covariance.sum()) - trace) / (count * (count - 1))
    return float(np.var(values, ddof=1)) - allowance * expected


def _of_seeds(
    values: np.ndarray, covariance: np.ndarray, seeds: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each seed's folds, and the covariance of these means."""
    names, member = np.unique(np.zeros(len(values)) if seeds is None else seeds, return_inverse=True)
    averaging = (member == np.arange(len(names))[:, None]) / np.bincount(member)[:, None]
    return averaging @ values, averaging @ covariance @ averaging.T


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
    low = ends[0] if area <= 1e-9 else brentq(excess, 1e-12, area - 1e-10)
    high = ends[1] if area >= 1 - 1e-9 else brentq(excess, area + 1e-10, 1 - 1e-12)
    return float(low), float(high)


def is_near_boundary(area: float, positives: int, negatives: int) -> bool:
    """Whether an AUC lies within one case of the rarer class of 0 or 1.

    There hardly a pair is in the wrong order, and resampling finds too little spread or none.
    """
    rarer = min(positives, negatives)
    return rarer > 0 and min(area, 1 - area) < 1 / rarer


def boundary_error(area: float, positives: int, negatives: int) -> float:
    """Standard error that is added to that of an AUC near 0 or 1 (see :func:`is_near_boundary`); 0 elsewhere.

    It is half the longer side of Newcombe's interval, which has a length even at exactly 0 or 1.
    """
    if not is_near_boundary(area, positives, negatives):
        return 0.0
    low, high = newcombe_interval(min(max(area, 0.0), 1.0), positives, negatives, 0.95)
    return max(high - area, area - low) / float(stats.norm.ppf(0.975))


def auc_interval(
    area: Estimate, positives: int, negatives: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of an AUC on the logit scale, which keeps it between 0 and 1; Newcombe's near 0 and 1."""
    if not np.isfinite(area.value) or not np.isfinite(area.standard_error):
        return float("nan"), float("nan")
    if is_near_boundary(area.value, positives, negatives):
        return newcombe_interval(min(max(area.value, 0.0), 1.0), positives, negatives, confidence)
    slope = area.value * (1 - area.value)
    if slope <= 0:
        return float("nan"), float("nan")
    scaled = Estimate(
        float(logit(area.value)), area.standard_error / slope, area.degrees_of_freedom, area.trainings
    )
    low, high = scaled.interval(confidence, -np.inf, np.inf)
    return float(expit(low)), float(expit(high))


def widened(estimate: Estimate, errors: Sequence[float]) -> Estimate:
    """The estimate with further, independent standard errors added to its own."""
    error = float(np.sqrt(estimate.standard_error**2 + sum(other**2 for other in errors)))
    return replace(estimate, standard_error=error)
