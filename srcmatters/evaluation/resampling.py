"""Resampled patients, and areas under the ROC curve of many resamples at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

_BLOCK = 2_000_000  # numbers in one array: keeps a resampling of 10,000 inside the processor's caches


@dataclass(frozen=True)
class PatientWeights:
    """How often every patient was drawn in every resample.

    Patients are what is independent: all images of one are drawn together, and for all sources, folds and
    environments alike, which is what makes a comparison paired.

    Args:
        position: row of each patient in ``counts``.
        counts: (patients, replicates), uint8: nobody is drawn 256 times, and the patients of a large data set
            would fill gigabytes in double precision.
    """

    position: dict[str, int]
    counts: np.ndarray

    @property
    def replicates(self) -> int:
        """Number of resamples."""
        return self.counts.shape[1]

    def rows(self, patient_ids: pd.Series | np.ndarray) -> np.ndarray:
        """Rows of ``counts`` for a list of patients."""
        return np.array([self.position[str(name)] for name in patient_ids], dtype=int)


def resample_patients(patient_ids: pd.Series | np.ndarray, replicates: int, seed: int = 0) -> PatientWeights:
    """Draw as many patients as there are, with replacement, again and again.

    Args:
        patient_ids: one entry per case; repetitions count once.
        replicates: number of resamples.
        seed: the same seed and patients give the same resamples, whatever their order.
    """
    names = sorted({str(name) for name in patient_ids})
    stream = np.random.default_rng([seed, len(names)])
    counts = np.empty((len(names), replicates), dtype=np.uint8)
    for start in range(0, replicates, step := max(_BLOCK // len(names), 1)):
        stop = min(start + step, replicates)
        drawn = stream.multinomial(len(names), np.full(len(names), 1 / len(names)), size=stop - start)
        counts[:, start:stop] = drawn.T
    return PatientWeights({name: row for row, name in enumerate(names)}, counts)


@dataclass(frozen=True)
class Ranking:
    """A test set in one environment, in the form in which its AUC is a sum over pairs.

    Args:
        labels: (cases,) 0 or 1.
        scores: (cases,) any scale.
        patients: (cases,) rows of a :class:`PatientWeights`.
        strata: (cases,) only cases of one stratum are compared with each other; None: all are.
        shares: (cases,) weight of each entry, for a test set whose carriers are only known in share; None: 1.
    """

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    strata: np.ndarray | None = None
    shares: np.ndarray | None = None

    def parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of the positives and of the negatives, by stratum; strata of one class alone are left out."""
        strata = np.zeros(len(self.labels), dtype=int) if self.strata is None else self.strata
        positive = self.labels == 1
        pairs = [
            (np.flatnonzero((strata == name) & positive), np.flatnonzero((strata == name) & ~positive))
            for name in np.unique(strata)
        ]
        return [(positives, negatives) for positives, negatives in pairs if len(positives) and len(negatives)]

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Weights of some rows."""
        return np.ones(len(rows)) if self.shares is None else self.shares[rows]


def replicate_auc(ranking: Ranking, weights: PatientWeights) -> np.ndarray:
    """ROC-AUC of a test set in every resample.

    Both classes are sorted once; a resample then is a running sum of the weights of the negatives, looked up
    at every positive. Ties count one half.

    Args:
        ranking: the test set.
        weights: resampled patients.

    Returns:
        (replicates,) AUC; NaN in a resample that holds no pair.
    """
    right, pairs = np.zeros(weights.replicates), np.zeros(weights.replicates)
    for positives, negatives in ranking.parts():
        order = negatives[np.argsort(ranking.scores[negatives], kind="stable")]
        below = np.searchsorted(ranking.scores[order], ranking.scores[positives], "left")
        not_above = np.searchsorted(ranking.scores[order], ranking.scores[positives], "right")
        step = max(_BLOCK // (len(positives) + len(negatives)), 1)
        for start in range(0, weights.replicates, step):
            block = slice(start, start + step)
            drawn = weights.counts[:, block]
            of_positives = drawn[ranking.patients[positives]] * ranking.share(positives)[:, None]
            of_negatives = drawn[ranking.patients[order]] * ranking.share(order)[:, None]
            running = np.zeros((len(order) + 1, drawn.shape[1]))
            np.cumsum(of_negatives, axis=0, out=running[1:])
            beaten = running[below]
            beaten += running[not_above]
            right[block] += np.einsum("pr,pr->r", of_positives, beaten) / 2
            pairs[block] += of_positives.sum(0) * running[-1]
    with np.errstate(invalid="ignore"):
        return right / pairs


def auc(ranking: Ranking) -> float:
    """ROC-AUC of a test set; NaN where it holds no pair of a positive and a negative."""
    everyone = PatientWeights({}, np.ones((int(ranking.patients.max()) + 1, 1)))
    return float(replicate_auc(ranking, everyone)[0])


def auc_influence(ranking: Ranking, patients: int) -> np.ndarray:
    """By how much the AUC moves with the weight of each patient (DeLong's structural components).

    The sum of squares is DeLong's variance if every patient has one image, and Obuchowski's for clustered
    data if not: with G patients of a class it is G / (G - 1) times the raw one. For sums and differences of
    AUCs add and subtract the vectors first.

    Args:
        ranking: the test set.
        patients: number of patients in the whole design.

    Returns:
        (patients,) influence; NaN where the AUC is not defined.

    Source: DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997.
    """
    moved = np.zeros(patients)
    pairs = sum(ranking.share(p).sum() * ranking.share(n).sum() for p, n in ranking.parts())
    if not pairs:
        return np.full(patients, np.nan)
    area = auc(ranking)
    for positives, negatives in ranking.parts():
        for own, other, sign in ((positives, negatives, 1), (negatives, positives, -1)):
            beaten = _share_beaten(ranking, own, other, sign)
            part = ranking.share(own) * (beaten - area * ranking.share(other).sum()) / pairs
            # The area that is subtracted was estimated from the same patients, which are what is independent.
            clusters = len(np.unique(ranking.patients[own]))
            part *= np.sqrt(clusters / max(clusters - 1, 1))
            np.add.at(moved, ranking.patients[own], part)
    return moved


def _share_beaten(ranking: Ranking, own: np.ndarray, other: np.ndarray, sign: int) -> np.ndarray:
    """Weight of the cases of the other class that each case is on the right side of, ties counting half."""
    order = other[np.argsort(sign * ranking.scores[other], kind="stable")]
    running = np.concatenate([[0.0], np.cumsum(ranking.share(order))])
    ladder, places = sign * ranking.scores[order], sign * ranking.scores[own]
    return (
        running[np.searchsorted(ladder, places, "left")] + running[np.searchsorted(ladder, places, "right")]
    ) / 2
