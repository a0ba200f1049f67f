"""Tests between two sources besides the primary one: DeLong's, Nadeau and Bengio's, the publication's."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import stats

_RESAMPLES = 9_999  # permutations where not all can be tried


def delong_p_value(differences: np.ndarray, influence: np.ndarray) -> float:
    """Two-sided p that the mean difference of correlated AUCs is 0, for these networks: only images vary.

    Args:
        differences: (trainings,) AUC of one source less that of the other.
        influence: (trainings, patients) of each patient on each difference, as
            :func:`srcmatters.evaluation.resampling.auc_influence` gives it; clustered by patient.

    Returns:
        p; NaN if nothing varies.

    Source: DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997 for several images of a patient.
    """
    variance = float((influence.mean(axis=0) ** 2).sum())
    if not variance > 0:
        return float("nan")
    return float(2 * stats.norm.sf(abs(float(np.mean(differences))) / np.sqrt(variance)))


def nadeau_bengio_p_value(differences: np.ndarray, test_to_train: float) -> float:
    """Corrected resampled t test: two-sided p that the mean difference over folds is 0.

    The folds share training cases, so their mean varies more than their spread says: the variance is
    multiplied by 1 / n + test_to_train instead of 1 / n.

    Args:
        differences: (folds,) figure of one source less that of the other.
        test_to_train: test cases per training case: 1 / (K - 1) in K-fold cross-validation.

    Returns:
        p; NaN for a single fold, or if all differences are the same.

    Source: Nadeau and Bengio 2003; Bouckaert and Frank 2004 for repeated cross-validation.
    """
    count = len(differences)
    spread = float(np.var(differences, ddof=1)) if count > 1 else 0.0
    if not spread > 0:
        return float("nan")
    statistic = float(np.mean(differences)) / np.sqrt((1 / count + test_to_train) * spread)
    return float(2 * stats.t.sf(abs(statistic), count - 1))


@dataclass(frozen=True)
class PermutationTest:
    """The p of a permutation test, and the lowest that it could have had whatever the data."""

    p_value: float
    attainable: float


def permutation_test_over_folds(first: np.ndarray, second: np.ndarray, seed: int = 0) -> PermutationTest:
    """The publication's test: unpaired, over the fold values of two sources.

    It takes folds for independent and ignores that both sources were tested on the same images. With 5
    against 5 there are 252 ways to divide the ten, so no p below 2 / 252 = .0079 can come out.

    Args:
        first: (folds,) figure of one source.
        second: (folds,) of the other.
        seed: where there are too many ways to try them all.
    """
    ways = comb(len(first) + len(second), len(first))
    lowest = 2 / ways if ways <= _RESAMPLES else 2 / (_RESAMPLES + 1)
    if not len(first) or not len(second):
        return PermutationTest(float("nan"), float("nan"))
    if ways <= 2:
        return PermutationTest(1.0, 1.0)
    tested = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        vectorized=True,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return PermutationTest(float(min(tested.pvalue, 1.0)), min(lowest, 1.0))
