"""Is the confounder still there? A small probe tells clean from confounded images after all preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from srcmatters.errors import InputError
from srcmatters.images.description import BLOCKS, describe

MINIMUM_DETECTABILITY = 0.6
FEW_CASES = 100  # below which an interval that holds the minimum decides nothing
CASES_USED = 400  # more would cost time and narrow an interval that is narrow enough
PENALTY = 0.03  # C of the logistic regression
RESAMPLINGS = 500


def visibility(auc: float, low: float, high: float, cases: float = float("nan")) -> str:
    """Say "yes", "hardly", or "not decided" where the interval holds the minimum and there are few cases.

    Args:
        auc: of the probe.
        low: lower end of its interval.
        high: upper end.
        cases: that were used; NaN: not known, taken to be few.
    """
    if low <= MINIMUM_DETECTABILITY <= high and not cases >= FEW_CASES:
        return "not decided"
    return "yes" if auc >= MINIMUM_DETECTABILITY else "hardly"


@dataclass(frozen=True)
class Detectability:
    """How well the probe tells the two states apart.

    Args:
        auc: area under the ROC curve over all cases, each scored by a probe that has not seen its patient;
            .5 is chance.
        low: lower end of the 95 % interval: patients resampled, widened for the training cases that the
            folds share.
        high: upper end.
        cases: cases that were used.
    """

    auc: float
    low: float
    high: float
    cases: int

    def __str__(self) -> str:
        return f"AUC {self.auc:.2f} (95 % interval {self.low:.2f} to {self.high:.2f}, {self.cases} cases)"


def detectability(
    clean: torch.Tensor | np.ndarray,
    confounded: torch.Tensor | np.ndarray,
    patient_ids: Sequence[str],
    seed: int = 0,
    folds: int = 5,
) -> Detectability:
    """Measure whether a confounder survives the preprocessing.

    The probe is the same for every study: :func:`srcmatters.images.description.describe` turns an image into
    about 300 numbers, which are standardised and given to a logistic regression (L2, C = .03). It is
    cross-validated by patient; both
    states of a case are in the same fold. A network may see more than the probe: .5 does not prove that
    nothing is left, but a confounder that such statistics miss is not worth a study.

    Args:
        clean: (N, C, H, W[, D]), one image per case as the network would get it.
        confounded: the same cases in the same order, with the confounder.
        patient_ids: N patients.
        seed: seed of folds, resampling, and of the choice of 400 cases where there are more.
        folds: parts of the cross-validation, at least 2.

    Raises:
        InputError: shapes that differ or are not those above, NaN, images below 8 pixels, or fewer patients
            than folds.
    """
    clean, confounded = (torch.as_tensor(images).as_subclass(torch.Tensor) for images in (clean, confounded))
    patients = np.asarray([str(name) for name in patient_ids])
    _check(clean, confounded, patients, folds)
    stream = np.random.default_rng(seed)
    selected = np.arange(len(patients))
    if len(selected) > CASES_USED:
        selected = np.sort(stream.choice(selected, CASES_USED, replace=False))
    patients = patients[selected]
    for name, images in (("clean", clean), ("confounded", confounded)):
        if not torch.isfinite(images[torch.from_numpy(selected)]).all():
            raise InputError(f"detectability: the {name} images hold NaN or infinite values")
    if len(set(patients)) < folds:
        raise InputError(
            f"detectability: {len(set(patients))} patients, expected {folds} (one per fold) or more"
        )
    features = np.concatenate([_describe_selected(images, selected) for images in (clean, confounded)])
    state = np.repeat([0, 1], len(selected))
    scores = _cross_validated(features, state, np.tile(patients, 2), folds, seed)
    auc = _auc(scores, state)
    low, high = _interval(scores, state, patients, stream)
    # The folds share training cases, which resampling their scores cannot see: without this factor one null
    # comparison in four missed .5, with it one in ten (Nadeau and Bengio 2003).
    widen = float(np.sqrt(1 + folds / (folds - 1)))
    low, high = max(0.0, auc - widen * (auc - low)), min(1.0, auc + widen * (high - auc))
    return Detectability(auc, low, high, len(selected))


def require_detectable(result: Detectability, confounder: str, force: bool = False) -> None:
    """Stop before the training if the confounder is not there.

    Args:
        result: what :func:`detectability` measured.
        confounder: its name, for the message.
        force: train all the same.

    Raises:
        InputError: an AUC below :data:`MINIMUM_DETECTABILITY` and no ``force``.
    """
    if result.auc >= MINIMUM_DETECTABILITY or force:
        return
    raise InputError(
        f"{confounder}: not detectable after the preprocessing: a probe tells clean from confounded images "
        f"with {result}, expected at least {MINIMUM_DETECTABILITY}; resizing has most likely erased it: use "
        "a larger image_size or stronger parameters in confounder_args, or force the training"
    )


def _describe_selected(images: torch.Tensor, selected: np.ndarray) -> np.ndarray:
    return torch.stack([describe(images[int(case)].cpu()) for case in selected]).numpy()


def _cross_validated(
    features: np.ndarray, state: np.ndarray, patients: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Log-odds of being confounded, each from a probe that has not seen the patient."""
    scores = np.empty(len(state))
    parts = GroupKFold(folds, shuffle=True, random_state=seed)
    for seen, unseen in parts.split(features, state, patients):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
        probe.fit(features[seen], state[seen])
        scores[unseen] = probe.decision_function(features[unseen])
    return scores


def _auc(scores: np.ndarray, state: np.ndarray) -> float:
    """Share of pairs in which the confounded image has the higher score, ties counting one half."""
    positives = int(state.sum())
    ranks = rankdata(scores)
    rank_sum = ranks[state == 1].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * (len(state) - positives)))


def _interval(
    scores: np.ndarray, state: np.ndarray, patients: np.ndarray, stream: np.random.Generator
) -> tuple[float, float]:
    """95 % interval by resampling patients, each with both states of all its cases."""
    names, member = np.unique(patients, return_inverse=True)
    cases_of = [np.flatnonzero(member == number) for number in range(len(names))]
    resampled = []
    for _ in range(RESAMPLINGS):
        cases = np.concatenate([cases_of[n] for n in stream.integers(len(names), size=len(names))])
        both = np.concatenate([cases, cases + len(patients)])
        resampled.append(_auc(scores[both], state[both]))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def _check(clean: torch.Tensor, confounded: torch.Tensor, patients: np.ndarray, folds: int) -> None:
    shape, other = tuple(clean.shape), tuple(confounded.shape)
    if shape != other:
        raise InputError(f"detectability: the shapes of clean {shape} and confounded {other} differ")
    if clean.ndim not in (4, 5) or clean.numel() == 0:
        raise InputError(f"detectability: shape {shape}, expected (N, C, H, W) or (N, C, H, W, D)")
    if min(shape[2:4]) <= BLOCKS:
        raise InputError(f"detectability: images of {shape[2:]}, expected more than {BLOCKS} pixels a side")
    if len(patients) != len(clean):
        raise InputError(f"detectability: {len(patients)} patients for {len(clean)} cases")
    if folds < 2:
        raise InputError(f"detectability: {folds} folds, expected 2 or more")
