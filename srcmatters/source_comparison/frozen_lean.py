"""What a linear head on frozen features learns to lean on, and which images the features hold to be alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from srcmatters.case_stream import case_stream
from srcmatters.cohorts import split_cases
from srcmatters.evaluation.resampling import Ranking, auc, replicate_auc, resample_patients
from srcmatters.training.linear_head import fit_head

FOLDS, REPLICATES = 5, 1000
_ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class Estimated:
    """A value with the ends of its 95 % interval over patients."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FrozenLean:
    """Linear heads on the features of one source, tested on patients whom they have not seen.

    Args:
        clean: clean AUC of heads trained at p_art 0.
        learned: by confounder the learned lean at p_art 1: (aligned - o.o.d. AUC) less the same at p_art 0.
    """

    clean: Estimated
    learned: Mapping[str, Estimated]


def frozen_lean(
    clean: np.ndarray, confounded: Mapping[str, np.ndarray], cases: pd.DataFrame, seed: int = 0
) -> FrozenLean:
    """Fit and test as the screen depth does, on five folds of patients.

    Args:
        clean: (cases, F) features of the clean images.
        confounded: by confounder those of the confounded images.
        cases: case table: patient_id, label; a split in it is not looked at.
        seed: seed of folds and inner folds.

    Raises:
        InputError: too few patients for the folds.
    """
    table = cases[["patient_id", "label"]]
    labels, patients = table["label"].to_numpy(), table["patient_id"].to_numpy()
    folds = np.empty(len(table), dtype=int)
    before = {name: np.empty((2, len(table))) for name in confounded}
    after = {name: np.empty((2, len(table))) for name in confounded}
    own = np.empty(len(table))
    for fold in range(FOLDS):
        split = split_cases(table, fold, FOLDS, seed=seed)
        train, test = np.concatenate([split.train, split.validation]), split.test
        folds[test] = fold
        head = fit_head(clean[train], labels[train], patients[train], seed)
        own[test] = head.log_odds(clean[test])
        for name, moved in confounded.items():
            seen = np.where(labels[train, None] == 1, moved[train], clean[train])
            leaning = fit_head(seen, labels[train], patients[train], seed)
            for kept, one in ((before, head), (after, leaning)):
                kept[name][:, test] = one.log_odds(clean[test]), one.log_odds(moved[test])
    ranked = _Ranked(labels, patients, folds, seed)
    learned = {name: ranked.lean(after[name], before[name]) for name in confounded}
    return FrozenLean(ranked.area(own), learned)


class _Ranked:
    """AUCs within the folds, and their resamples over patients."""

    def __init__(self, labels: np.ndarray, patients: np.ndarray, folds: np.ndarray, seed: int) -> None:
        self.labels, self.folds = labels, folds
        self.weights = resample_patients(patients, REPLICATES, seed)
        self.rows = self.weights.rows(patients)
        # Folds share training cases, which resampling their scores cannot see (Nadeau and Bengio 2003).
        self.widen = np.sqrt(1 + FOLDS / (FOLDS - 1))

    def area(self, scores: np.ndarray) -> Estimated:
        return self._estimated(*self._areas(scores), 0.0, 1.0)

    def lean(self, after: np.ndarray, before: np.ndarray) -> Estimated:
        """Of (2, cases) scores, clean and confounded, by heads at p_art 1 and 0."""
        value, replicates = 0.0, np.zeros(REPLICATES)
        for sign, (clean, moved) in ((1, after), (-1, before)):
            aligned = self._areas(np.where(self.labels == 1, moved, clean))
            reversed_ = self._areas(np.where(self.labels == 0, moved, clean))
            value += sign * (aligned[0] - reversed_[0])
            replicates += sign * (aligned[1] - reversed_[1])
        return self._estimated(value, replicates, -2.0, 2.0)

    def _areas(self, scores: np.ndarray) -> tuple[float, np.ndarray]:
        ranking = Ranking(self.labels, scores, self.rows, strata=self.folds)
        return auc(ranking), replicate_auc(ranking, self.weights)

    def _estimated(self, value: float, replicates: np.ndarray, least: float, most: float) -> Estimated:
        ends = value + self.widen * (np.nanquantile(replicates - value, _ENDS))
        low, high = np.clip(ends, least, most)
        return Estimated(float(value), float(low), float(high))


def drawn_state(cases: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """(cases,) bool: half of the patients of each label carry a confounder, whatever their label."""
    labels, patients = cases["label"].to_numpy(), cases["patient_id"].astype(str).to_numpy()
    names = np.unique(patients)
    ranks = dict(zip(names, case_stream(seed, "", "state of a patient").random(len(names)), strict=True))
    carries = np.zeros(len(cases), dtype=bool)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        own = np.array([ranks[name] for name in patients[rows]])
        carries[rows] = own < np.median(own)
    return carries


def robustness_index(
    features: np.ndarray, labels: np.ndarray, other: np.ndarray, patients: np.ndarray, seed: int = 0
) -> Estimated:
    """Are two images nearer for the same label than for the same other property?

    For every image, each image of the same label and another property is compared with each image of another
    label and the same property, all of other patients: the index is the share of comparisons in which the
    first is the nearer one (cosine of centred features). 1: the label alone decides, .5: both count alike, 0:
    the property alone.

    Args:
        features: (cases, F).
        labels: (cases,) 0 or 1.
        other: (cases,) the confounder's state, or an attribute.
        patients: (cases,).
        seed: seed of the resampling.

    Source: after the robustness index of de Jong et al. 2025 (arXiv 2501.18055), which counts the k nearest.
    """
    centred = features - features.mean(0)
    centred = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    near = centred @ centred.T
    foreign = patients[:, None] != patients[None]
    same_label, same_other = labels[:, None] == labels[None], other[:, None] == other[None]
    shares = np.full(len(labels), np.nan)
    for row, values in enumerate(near):
        label = np.sort(values[foreign[row] & same_label[row] & ~same_other[row]])
        rival = values[foreign[row] & ~same_label[row] & same_other[row]]
        if len(label) and len(rival):
            beaten = len(label) - np.searchsorted(label, rival, "right")
            ties = np.searchsorted(label, rival, "right") - np.searchsorted(label, rival, "left")
            shares[row] = (beaten + ties / 2).mean() / len(label)
    kept = ~np.isnan(shares)
    weights = resample_patients(patients, REPLICATES, seed)
    drawn = weights.counts[weights.rows(patients[kept])].astype(float)
    replicates = (drawn * shares[kept, None]).sum(0) / drawn.sum(0)
    low, high = np.nanquantile(replicates, _ENDS)
    return Estimated(float(shares[kept].mean()), float(low), float(high))
