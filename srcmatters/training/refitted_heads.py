"""Heads that are fitted again within a second: on resampled patients, and to permuted labels.

Frozen features make a new training run so cheap that what other training patients would have given need not
be guessed. The head is the ridge regression on labels of -1 and 1, in the dual: the first Newton step of the
logistic regression with the same penalty (lambda = 4 / C, since the curvature of the logistic loss is 1 / 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata

from srcmatters.case_stream import case_stream
from srcmatters.cohorts.null_controls import shuffled_by_patient
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.evaluation.resampling import Ranking, replicate_auc, resample_patients

REFITS, PERMUTATIONS = 50, 999
_ENVIRONMENTS = ("clean", "iid", "ood", "confounded", "aligned")


@dataclass(frozen=True)
class FrozenCell:
    """What a head of one cell is fitted and tested on.

    Args:
        clean: (cases, F) standardised features of all cases of the table.
        confounded: (cases, F) of the other state; the same array where nobody has two states.
        cases: case table: case_id, patient_id, label.
        chosen: who trains, tests and carries the confounder.
        strength: C of the logistic regression.
        p_art: share of the positives that carry it.
        seed: of the cell.
        fold: of the cell.
        unit: "image" or "patient", see :func:`srcmatters.cohorts.assignment.assign`.
        p_neg: share of the negatives that carry it.
    """

    clean: np.ndarray
    confounded: np.ndarray
    cases: pd.DataFrame
    chosen: StudyCases
    strength: float
    p_art: float
    seed: int = 0
    fold: int = 0
    unit: str = "image"
    p_neg: float = 0.0

    @property
    def sampled(self) -> bool:
        """Whether the confounder is a property of the patients: then nobody's carrying can be redrawn."""
        return self.chosen.environments is not None


def refitted_aucs(cell: FrozenCell, refits: int = REFITS) -> pd.DataFrame:
    """The AUCs that other patients, other carriers and the head fitted to them would have given.

    The same patients are drawn for all cells of a data set, so that sources, folds, seeds and p_art are
    paired. All images of a patient, drawn any number of times, stay on one side of the split.

    Args:
        cell: features and cases.
        refits: number of resamples.

    Returns:
        refit, clean_auc, iid_auc, ood_auc and (unless the confounder is sampled) confounded_auc and
        aligned_auc (every positive carries it, no negative does): one row each; NaN where a resample holds
        one class only.
    """
    labels = cell.cases["label"].to_numpy().astype(int)
    weights = resample_patients(cell.cases["patient_id"], refits)
    times = weights.counts[weights.rows(cell.cases["patient_id"])]
    train, test = cell.chosen.split.train, cell.chosen.split.test
    states = np.concatenate([cell.clean[train], cell.confounded[train]])
    kernel = states @ states.T
    crossed = [features[test] @ states.T for features in (cell.clean, cell.confounded)]
    rows: list[dict[str, float]] = []
    for number in range(refits):
        carries = _redrawn(cell, labels, number)
        drawn = np.flatnonzero(times[train, number])
        own = drawn + len(train) * carries[train][drawn]
        if len(set(labels[train][drawn])) < 2:
            rows.append({})
            continue
        scores = _scores(
            kernel[np.ix_(own, own)],
            [one[:, own] for one in crossed],
            2.0 * labels[train][drawn] - 1,
            times[train, number][drawn].astype(float),
            cell.strength,
        )
        rows.append(_areas(cell, scores, labels[test], carries[test], times[test, number]))
    columns = [f"{name}_auc" for name in _ENVIRONMENTS[: 3 if cell.sampled else 5]]
    return pd.DataFrame(rows, columns=columns).assign(refit=np.arange(refits))[["refit", *columns]]


def _redrawn(cell: FrozenCell, labels: np.ndarray, number: int) -> np.ndarray:
    """(cases,) bool: other carriers of the same share in the training and in the test set."""
    if cell.sampled or {cell.p_art, cell.p_neg} <= {0, 1}:
        return cell.chosen.carries
    stream = case_stream(cell.seed, "", f"carriers of refit {number}, fold {cell.fold}")
    names, member = np.unique(cell.cases["patient_id"], return_inverse=True)
    ranks = stream.random(len(names))[member] if cell.unit == "patient" else stream.random(len(labels))
    carries = np.zeros(len(labels), dtype=bool)
    for rows in (cell.chosen.split.train, cell.chosen.split.test):
        for label, share in ((1, cell.p_art), (0, cell.p_neg)):
            members = rows[labels[rows] == label]
            order = members[np.argsort(ranks[members], kind="stable")]
            carries[order[: round(share * len(members))]] = True
    return carries


def _scores(
    kernel: np.ndarray, crossed: list[np.ndarray], targets: np.ndarray, times: np.ndarray, strength: float
) -> list[np.ndarray]:
    """Scores of the test cases, by state, of a ridge regression in which case i counts ``times[i]`` times."""
    shares = times / times.sum()
    means = kernel @ shares
    centred = kernel - means[:, None] - means + shares @ means
    system = cho_factor(centred + np.diag(4 / strength / times), check_finite=False)
    dual = cho_solve(system, targets - shares @ targets, check_finite=False)
    # The dual coefficients add up to 0, so that centring the test cases changes nothing.
    return [(one - means) @ dual for one in crossed]


def _areas(
    cell: FrozenCell, scores: list[np.ndarray], labels: np.ndarray, carries: np.ndarray, times: np.ndarray
) -> dict[str, float]:
    carrying = {
        "clean": np.zeros(len(labels), dtype=bool),
        "iid": carries,
        "ood": labels == 0,
        "confounded": np.ones(len(labels), dtype=bool),
        "aligned": labels == 1,
    }
    areas = {}
    weights = resample_patients(np.arange(1), 1)
    for name in _ENVIRONMENTS[: 3 if cell.sampled else 5]:
        rows = np.arange(len(labels))
        if cell.sampled and name != "clean":
            assert cell.chosen.environments is not None
            named = cell.chosen.environments[cell.chosen.split.test].astype(str)
            rows = np.flatnonzero(np.char.find(named, name) >= 0)
        ranking = Ranking(
            labels[rows],
            np.where(carrying[name], scores[1], scores[0])[rows],
            np.zeros(len(rows), dtype=int),
            strata=carries[rows].astype(int) if cell.sampled and name == "clean" else None,
            shares=times[rows].astype(float),
        )
        areas[f"{name}_auc"] = float(replicate_auc(ranking, weights)[0])
    return areas


def permuted_aucs(cell: FrozenCell, permutations: int = PERMUTATIONS) -> pd.DataFrame:
    """The AUCs of heads fitted to labels that were permuted by patient: an exact reference.

    Who carries the confounder stays, so this is for cells in which that says nothing of the label. Labels of
    the test cases are permuted with those of the training cases.

    Args:
        cell: features and cases.
        permutations: number of permutations.

    Returns:
        permutation (0: the labels as they are, fitted in the same way), clean_auc, iid_auc and ood_auc.
    """
    split = cell.chosen.split
    train, test = split.train, split.test
    everyone = np.concatenate([train, test])
    labels = cell.cases["label"].to_numpy().astype(int)[everyone]
    patients = cell.cases["patient_id"].to_numpy()[everyone]
    stream = case_stream(cell.seed, "", f"permutations, fold {cell.fold}")
    permuted = np.array(
        [labels, *(shuffled_by_patient(labels, patients, stream) for _ in range(permutations))]
    ).T
    seen, unseen = permuted[: len(train)], permuted[len(train) :]
    carries = cell.chosen.carries
    own = np.where(carries[train, None], cell.confounded[train], cell.clean[train])
    kernel = own @ own.T
    means = kernel.mean(axis=0)
    centred = kernel - means[:, None] - means + means.mean()
    targets = 2.0 * seen - 1
    system = cho_factor(centred + np.eye(len(train)) * 4 / cell.strength, check_finite=False)
    dual = cho_solve(system, targets - targets.mean(axis=0), check_finite=False)
    clean, confounded = (features[test] @ own.T @ dual for features in (cell.clean, cell.confounded))
    areas = {
        "clean_auc": columnwise_auc(unseen, clean),
        "iid_auc": columnwise_auc(unseen, np.where(carries[test, None], confounded, clean)),
        "ood_auc": columnwise_auc(unseen, np.where(unseen == 0, confounded, clean)),
    }
    return pd.DataFrame({"permutation": np.arange(permutations + 1), **areas})


def columnwise_auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(columns,) AUC of each column of labels and scores (cases, columns); NaN where a class is missing."""
    positives = labels.sum(axis=0)
    negatives = len(labels) - positives
    ranks = (rankdata(scores, axis=0) * labels).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (ranks - positives * (positives + 1) / 2) / (positives * negatives)
