"""Dependent: does the score go with an attribute beyond the label?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srcmatters.evaluation.attribute_arrangements import arrangements
from srcmatters.evaluation.attribute_groups import MISSING, AttributeGroups
from srcmatters.evaluation.resampling import PatientWeights

PERMUTATIONS = 1999


@dataclass(frozen=True)
class GroupEffect:
    """By how much the scores of a group differ, in SD of the score within a class.

    Args:
        group: which.
        value: weighted mean over the labels; above 0 the group scores higher.
        low: lower end of its interval, patients resampled.
        high: upper end.
    """

    group: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Dependence:
    """Whether the score is independent of an attribute given the label.

    Args:
        p_value: of the hypothesis that it is.
        permutations: number of arrangements that were compared.
        exact: whether these are all that there are.
        movable: patients whose value can change places with another's.
        effect: of the last group against the first where there are two or the groups are bands of numbers;
            else of the group that differs most, against all others.
        against: what ``effect`` is against.
        groups: each group against all others.
    """

    p_value: float
    permutations: int
    exact: bool
    movable: int
    effect: GroupEffect
    against: str
    groups: tuple[GroupEffect, ...]


def attribute_dependence(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    groups: AttributeGroups,
    weights: PatientWeights,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    confidence: float = 0.95,
) -> Dependence:
    """Permute an attribute between whole patients within the strata of the label.

    The statistic is that of a stratified analysis of variance on the mean score of a patient's images of one
    label: sum over the groups of S² / W, S the sum of the group's scores after subtracting the mean of the
    label, W its weight. Every patient weighs the same, however many images there are. All arrangements are
    compared where there are no more of them than ``permutations``; see
    :class:`srcmatters.evaluation.attribute_arrangements.Arrangements` for attributes that vary within a
    patient.

    Args:
        scores: (cases,) log-odds.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        groups: of the attribute; cases of groups that are too small are left out.
        weights: resampled patients, for the intervals.
        permutations: random arrangements.
        seed: of the random arrangements.
        confidence: of the intervals.
    """
    kept = groups.member >= 0
    scores, labels, patients, member = scores[kept], labels[kept], patients[kept], groups.member[kept]
    share = image_shares(labels, patients)
    residuals, spread = _within_labels(scores, labels, share)
    weighted, count = share * residuals / spread, len(groups.levels)
    ways = arrangements(member, labels, patients)
    observed = _statistic(member[None], weighted, share, count)[0]
    exact = ways.ways <= permutations
    if exact:
        compared = _statistic(ways.all(), weighted, share, count)
        p_value = float(np.mean(compared >= observed * (1 - 1e-9)))
    else:
        stream = np.random.default_rng([seed, len(member)])
        drawn = ways.sampled(permutations, stream)
        compared = np.concatenate([_statistic(one, weighted, share, count) for one in drawn])
        p_value = float((1 + np.sum(compared >= observed * (1 - 1e-9))) / (1 + permutations))
    contrasts = _Contrasts(scores, labels, member, share, weights.rows(patients), weights, confidence)
    each = tuple(
        contrasts.effect(name, member == place, member != place) for place, name in enumerate(groups.levels)
    )
    ends = [place for place, name in enumerate(groups.levels) if name != MISSING or count == 2]
    if count == 2 or (groups.numeric and len(ends) > 1):
        effect = contrasts.effect(groups.levels[ends[-1]], member == ends[-1], member == ends[0])
        against = groups.levels[ends[0]]
    else:
        effect, against = max(each, key=lambda one: np.nan_to_num(abs(one.value))), "the others"
    return Dependence(p_value, len(compared), exact, ways.movable, effect, against, each)


def image_shares(labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(cases,) 1 / number of the patient's images with the same label: every patient weighs the same."""
    _, cell, counts = np.unique(
        np.unique(patients, return_inverse=True)[1] * 2 + labels, return_inverse=True, return_counts=True
    )
    return 1 / counts[cell]


def _within_labels(scores: np.ndarray, labels: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores less the mean of their label, and their standard deviation."""
    residuals = np.empty(len(scores))
    for label in np.unique(labels):
        rows = labels == label
        residuals[rows] = scores[rows] - np.average(scores[rows], weights=share[rows])
    spread = float(np.sqrt(np.average(residuals**2, weights=share)))
    return residuals, spread or 1.0


def _statistic(members: np.ndarray, weighted: np.ndarray, share: np.ndarray, count: int) -> np.ndarray:
    """(arrangements,) the statistic; ``members`` is (arrangements, cases)."""
    total = np.zeros(len(members))
    for level in range(count):
        inside = (members == level).astype(float)
        weight = inside @ share
        total += np.divide((inside @ weighted) ** 2, weight, out=np.zeros(len(members)), where=weight > 0)
    return total


@dataclass(frozen=True)
class _Contrasts:
    """Differences of groups within labels, with intervals from resampled patients."""

    scores: np.ndarray
    labels: np.ndarray
    member: np.ndarray
    share: np.ndarray
    rows: np.ndarray
    weights: PatientWeights
    confidence: float

    def effect(self, name: str, inside: np.ndarray, outside: np.ndarray) -> GroupEffect:
        """Difference in SD: of each label, averaged with the weights of a stratified comparison."""
        drawn = np.column_stack([np.ones(len(self.weights.counts)), self.weights.counts])
        top, bottom, squares, mass = (np.zeros(drawn.shape[1]) for _ in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            for label in (0, 1):
                sums = {
                    place: self._sums((self.labels == label) & group, drawn)
                    for place, group in (("in", inside), ("out", outside), ("all", self.labels == label))
                }
                (w_in, s_in, _), (w_out, s_out, _) = sums["in"], sums["out"]
                weight = np.nan_to_num(w_in * w_out / (w_in + w_out))
                top += np.nan_to_num(weight * (s_in / w_in - s_out / w_out))
                bottom += weight
                total, first, second = sums["all"]
                squares += np.nan_to_num(second - first**2 / total)
                mass += total
            values = top / bottom / np.sqrt(squares / mass)
        tail = (1 - self.confidence) / 2
        resampled = values[1:][np.isfinite(values[1:])]
        if not len(resampled):
            return GroupEffect(name, float(values[0]), float("nan"), float("nan"))
        low, high = np.quantile(resampled, [tail, 1 - tail])
        return GroupEffect(name, float(values[0]), float(low), float(high))

    def _sums(self, selected: np.ndarray, drawn: np.ndarray) -> list[np.ndarray]:
        """(resamples,) sums of weights, weighted scores and weighted squares of some cases."""
        share, scores, rows = self.share[selected], self.scores[selected], self.rows[selected]
        terms = (share, share * scores, share * scores**2)
        return [np.bincount(rows, values, minlength=len(drawn)) @ drawn for values in terms]
