"""Unequal: AUC, sensitivity, specificity and calibration of every group, and whether they differ at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from srcmatters.evaluation.attribute_groups import LEAST_PATIENTS, AttributeGroups
from srcmatters.evaluation.estimates import Estimate, auc_interval, boundary_error, image_freedom
from srcmatters.evaluation.recalibration import recalibrate
from srcmatters.evaluation.resampling import Ranking, auc, auc_influence

#: In words, in the order of the tables; the first three are worse where they are lower.
METRIC_WORDS = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "calibration_intercept": "calibration (intercept)",
    "calibration_slope": "calibration (slope)",
}
METRICS = tuple(METRIC_WORDS)


@dataclass(frozen=True)
class Ends:
    """A number with its interval; NaN where it does not exist."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupPerformance:
    """What a model does on one group.

    Args:
        group: which.
        cases: images.
        positives: of them.
        patients: of whom they are.
        metrics: by name of :data:`METRICS`.
    """

    group: str
    cases: int
    positives: int
    patients: int
    metrics: Mapping[str, Ends]


@dataclass(frozen=True)
class Heterogeneity:
    """Whether a metric differs between groups, and by how much.

    Args:
        metric: of :data:`METRICS`.
        p_value: of the hypothesis that all groups have the same; NaN where fewer than two have it.
        lowest: group with the lowest value.
        highest: group with the highest.
        gap: of the highest less the lowest; the interval is wide enough for the choice among all pairs.
    """

    metric: str
    p_value: float
    lowest: str
    highest: str
    gap: Ends


@dataclass(frozen=True)
class _Measured:
    """A metric of a group: the influence of every patient, its freedom, and a variance that these miss."""

    value: float
    influence: np.ndarray
    interval: tuple[float, float]
    freedom: float = float("nan")
    extra: float = 0.0


def group_performance(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    groups: AttributeGroups,
    threshold: float | np.ndarray,
    *,
    confidence: float = 0.95,
    least_patients: int = LEAST_PATIENTS,
    runs: np.ndarray | None = None,
) -> tuple[tuple[GroupPerformance, ...], tuple[Heterogeneity, ...], dict[str, str]]:
    """Metrics of every group with intervals, and a test of heterogeneity of each.

    Standard errors come from the influence of patients, all of whose images are taken together; groups that
    share patients are compared with the covariance that this brings (Wald test, F distribution).

    Args:
        scores: (cases,) log-odds.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        groups: of the attribute.
        threshold: log-odds at or above which a case is called positive, or (cases,) of them; NaN: the case is
            not decided.
        confidence: of the intervals.
        least_patients: with positive and with negative images; a group with fewer is not tested.
        runs: (cases,) which network scored the case; only scores of one network are ranked against each
            other. None: one network.

    Returns:
        Groups that are large enough, heterogeneity by metric, and why others are not tested, by group.
    """
    owner = np.unique(patients, return_inverse=True)[1]
    scored = _Scored(
        scores,
        labels,
        owner,
        np.broadcast_to(np.asarray(threshold, dtype=float), scores.shape),
        np.zeros(len(scores), dtype=int) if runs is None else runs,
    )
    rows, measured, small = [], [], {}
    for place, name in enumerate(groups.levels):
        inside = groups.member == place
        of_label = [len(set(owner[inside & (labels == label)])) for label in (1, 0)]
        if min(of_label) < least_patients:
            small[name] = f"{of_label[0]} patients with positive and {of_label[1]} with negative images"
            continue
        metrics = _metrics(scored, inside, confidence)
        measured.append(metrics)
        values = {key: Ends(one.value, *one.interval) for key, one in metrics.items()}
        counts = (int(inside.sum()), int(labels[inside].sum()), len(set(owner[inside])))
        rows.append(GroupPerformance(name, *counts, values))
    names = [row.group for row in rows]
    tests = tuple(
        _heterogeneity(metric, names, [one[metric] for one in measured], confidence) for metric in METRICS
    )
    return tuple(rows), tests, small


@dataclass(frozen=True)
class _Scored:
    """(cases,) of each: log-odds, label, number of the patient, threshold, and which network scored it."""

    scores: np.ndarray
    labels: np.ndarray
    owner: np.ndarray
    threshold: np.ndarray
    runs: np.ndarray


def _metrics(scored: _Scored, inside: np.ndarray, confidence: float) -> dict[str, _Measured]:
    everyone = int(scored.owner.max()) + 1
    own, truth, patient = scored.scores[inside], scored.labels[inside], scored.owner[inside]
    threshold = scored.threshold[inside]
    called, decided = own >= threshold, np.isfinite(threshold)
    return {
        "auc": _area(own, truth, patient, scored.runs[inside], everyone, confidence),
        "sensitivity": _share(called, decided & (truth == 1), patient, everyone, confidence),
        "specificity": _share(~called, decided & (truth == 0), patient, everyone, confidence),
        **_calibration(own, truth, patient, everyone, confidence),
    }


def _area(
    scores: np.ndarray,
    labels: np.ndarray,
    patient: np.ndarray,
    runs: np.ndarray,
    everyone: int,
    confidence: float,
) -> _Measured:
    ranking = Ranking(labels, scores, patient, strata=runs)
    area, influence = auc(ranking), auc_influence(ranking, everyone)
    positives, negatives = (len(set(patient[labels == label])) for label in (1, 0))
    estimated = Estimate(area, float(np.linalg.norm(influence)), image_freedom(positives, negatives), 1)
    extra = boundary_error(area, positives, negatives) ** 2
    ends = auc_interval(estimated, positives, negatives, confidence)
    return _Measured(area, influence, ends, estimated.degrees_of_freedom, extra)


def _share(
    right: np.ndarray, counted: np.ndarray, patient: np.ndarray, everyone: int, confidence: float
) -> _Measured:
    """Share of right decisions; Wilson's interval with the effective number of images."""
    values, owners = right[counted].astype(float), patient[counted]
    count, clusters = len(values), len(set(owners))
    if clusters < 2:
        return _Measured(float("nan"), np.full(everyone, np.nan), (float("nan"), float("nan")))
    value = float(values.mean())
    influence = np.bincount(owners, (values - value) / count, minlength=everyone)
    influence *= np.sqrt(clusters / (clusters - 1))
    error = float(influence @ influence)
    effective = min(value * (1 - value) / error, float(count)) if error > 0 else float(clusters)
    interval = proportion_confint(value * effective, effective, alpha=1 - confidence, method="wilson")
    shrunk = (value * effective + 0.5) / (effective + 1)
    extra = 0.0 if error > 0 else shrunk * (1 - shrunk) / effective
    return _Measured(value, influence, (float(interval[0]), float(interval[1])), clusters - 1.0, extra)


def _calibration(
    scores: np.ndarray, labels: np.ndarray, patient: np.ndarray, everyone: int, confidence: float
) -> dict[str, _Measured]:
    return {
        name: _Measured(one.value, one.influence, one.interval(confidence), one.freedom)
        for name, one in recalibrate(scores, labels, patient, everyone).items()
    }


def _heterogeneity(
    metric: str, names: list[str], measured: list[_Measured], confidence: float
) -> Heterogeneity:
    known = [(name, one) for name, one in zip(names, measured, strict=True) if np.isfinite(one.value)]
    nothing = Ends(float("nan"), float("nan"), float("nan"))
    if len(known) < 2:
        return Heterogeneity(metric, float("nan"), "", "", nothing)
    values = np.array([one.value for _, one in known])
    influence = np.array([one.influence for _, one in known])
    covariance = influence @ influence.T + np.diag([one.extra for _, one in known])
    contrast = np.column_stack([-np.ones(len(values) - 1), np.eye(len(values) - 1)])
    apart = contrast @ values
    spread = contrast @ covariance @ contrast.T
    statistic = float(apart @ np.linalg.pinv(spread) @ apart) / (len(values) - 1)
    # The variance of the smallest group is the least certain: chi-square called 6 to 10 % of equal groups
    # of 30 to 70 patients different.
    freedom = min(one.freedom for _, one in known)
    p_value = float(stats.f.sf(statistic, len(values) - 1, freedom))
    low, high = int(np.argmin(values)), int(np.argmax(values))
    if low == high:  # all the same
        low, high = 0, 1
    pairs = len(list(combinations(range(len(values)), 2)))
    error = np.sqrt(covariance[low, low] + covariance[high, high] - 2 * covariance[low, high])
    half = float(stats.t.ppf(1 - (1 - confidence) / 2 / pairs, freedom) * error)
    gap = float(values[high] - values[low])
    return Heterogeneity(metric, p_value, known[low][0], known[high][0], Ends(gap, gap - half, gap + half))
