"""How much do features tell of the label? A linear probe, tested on patients whom it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from srcmatters.errors import InputError
from srcmatters.evaluation.resampling import Ranking, auc, replicate_auc, resample_patients

#: C of the logistic regression, chosen by log loss in an inner cross-validation of the training patients.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS, INNER_FOLDS = 5, 3
RESAMPLINGS = 1000


@dataclass(frozen=True)
class LinearProbe:
    """What a linear classifier reads from features.

    Args:
        auc: area under the ROC curve within each fold, averaged by number of pairs; .5 is chance.
        low: lower end of the 95 % interval: patients resampled, widened for the training cases that the
            folds share.
        high: upper end.
        scores: (cases,) log-odds of label 1, each of the probe that has not seen the patient.
        folds: (cases,) number of its fold.
        resampled: (resamplings,) the AUC of each resampling, as far from ``auc`` as the interval is wide;
            probes of the same patients and seed draw the same ones, so that the difference of two is paired.
    """

    auc: float
    low: float
    high: float
    scores: np.ndarray = field(repr=False)
    folds: np.ndarray = field(repr=False)
    resampled: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class ProbeDifference:
    """AUC of one probe minus that of another on the same patients, with its 95 % interval."""

    auc: float
    low: float
    high: float


def linear_probe(
    features: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    patients: Sequence[str],
    seed: int = 0,
    tuned: bool = True,
) -> LinearProbe:
    """Cross-validate a logistic regression on features by patient.

    Features are standardised; C is chosen anew for every fold by the log loss of an inner cross-validation of
    its training patients, or is 1 / p: a prior under which the log-odds have a standard deviation of 1.
    Scores of different folds come from different probes, so only cases of the same fold are compared.

    Args:
        features: (n, p), one row per case.
        labels: (n,) 0 or 1.
        patients: (n,) whose case it is.
        seed: seed of folds and resampling.
        tuned: choose C; False is one fixed classifier, fifteen times faster.

    Raises:
        InputError: lengths that differ, NaN, or fewer than 4 patients in a class.
    """
    features = np.asarray(features, dtype=np.float64)
    truth, names = np.asarray(labels), np.asarray([str(name) for name in patients])
    folds = _possible_folds(features, truth, names)
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    scores, fold_of = np.empty(len(truth)), np.empty(len(truth), dtype=int)
    for number, (seen, unseen) in enumerate(parts.split(features, truth, names)):
        scores[unseen] = _scores(features[seen], truth[seen], names[seen], features[unseen], seed, tuned)
        fold_of[unseen] = number
    weights = resample_patients(names, RESAMPLINGS, seed)
    ranking = Ranking(truth, scores, weights.rows(names), strata=fold_of)
    area = auc(ranking)
    # The folds share training cases, which resampling their scores cannot see: without this factor one null
    # probe in six missed .5, with it one in thirty (Nadeau and Bengio 2003).
    widen = np.sqrt(1 + folds / (folds - 1))
    resampled = area + widen * (replicate_auc(ranking, weights) - area)
    low, high = np.clip(np.nanquantile(resampled, [0.025, 0.975]), 0, 1)
    return LinearProbe(area, float(low), float(high), scores, fold_of, resampled)


def probe_difference(one: LinearProbe, other: LinearProbe) -> ProbeDifference:
    """``one`` minus ``other``; both of the same cases and seed."""
    low, high = np.nanquantile(one.resampled - other.resampled, [0.025, 0.975])
    return ProbeDifference(one.auc - other.auc, float(low), float(high))


def _possible_folds(features: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> int:
    if not len(features) == len(labels) == len(patients):
        raise InputError(
            f"probe: {len(features)} rows of features, {len(labels)} labels and {len(patients)} patients,"
            " expected as many of each"
        )
    if not np.isfinite(features).all():
        raise InputError("probe: the features hold NaN or infinite values")
    rarest = min(len(set(patients[labels == label])) for label in (0, 1))
    if rarest < INNER_FOLDS + 1:
        raise InputError(
            f"probe: the rarer label has {rarest} patients, expected {INNER_FOLDS + 1} or more for"
            " cross-validation"
        )
    # Of every part that is trained on, the inner folds need a patient of each label as well.
    return min(FOLDS, rarest)


def _scores(
    features: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    unseen: np.ndarray,
    seed: int,
    tuned: bool,
) -> np.ndarray:
    """Log-odds of label 1 of unseen cases."""
    scaler = StandardScaler().fit(features)
    # An L2 penalty is blind to rotation: in a basis of the training cases there are no more dimensions than
    # cases, and the solution is the same.
    basis, _ = np.linalg.qr(scaler.transform(features).T)
    if not tuned:
        fixed = LogisticRegression(C=1 / features.shape[1], max_iter=1000)
        fixed.fit(scaler.transform(features) @ basis, labels)
        return fixed.decision_function(scaler.transform(unseen) @ basis)
    search = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": STRENGTHS},
        scoring="neg_log_loss",
        cv=StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed),
    )
    search.fit(scaler.transform(features) @ basis, labels, groups=patients)
    return search.decision_function(scaler.transform(unseen) @ basis)
