"""Who is trained on, who validates, who tests: always whole patients."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from srcmatters.cohorts.case_table import SPLIT_OF_FOLD, SPLITS
from srcmatters.errors import InputError
from srcmatters.numbers import counted


@dataclass(frozen=True)
class Split:
    """Row positions of a case table; the three share no patient."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_cases(
    cases: pd.DataFrame,
    fold: int = 0,
    num_folds: int = 5,
    validation_folds: int = 8,
    seed: int = 0,
) -> Split:
    """Split a case table for one fold, by patient and stratified by label.

    Without a column ``split`` the test set is cross-validated: fold ``fold`` of ``num_folds`` is the test
    set and one part in ``validation_folds`` of the rest validates. With a column ``split`` the rows "test"
    are the test set of every fold, and fold ``fold`` of ``num_folds`` of the rows "train" validates, as in
    the paper; rows "validation", where there are any, are the validation set of every fold. Columns
    ``split_fold0``, ``split_fold1``, ... say the set of each case in each fold; where one is empty the case
    is not used. Where labels were shuffled (column ``true_label``) the true ones divide the cases.

    Args:
        cases: case table.
        fold: which fold, 0 .. num_folds - 1.
        num_folds: number of folds, at least 2.
        validation_folds: the validation set is one part in this many of what is not tested, at least 2.
        seed: seed of the shuffling.

    Raises:
        InputError: ``fold`` out of range, one class only, a patient in two sets, or too few patients for a
            set to hold both classes.
    """
    if num_folds < 2 or not 0 <= fold < num_folds:
        raise InputError(f"fold: got {fold} of num_folds {num_folds}, expected 0 <= fold < num_folds >= 2")
    if cases["label"].nunique() < 2:
        only = cases["label"].iloc[0]
        raise InputError(f"cases: every label is {only}, expected both 0 and 1")
    # A chance draw of shuffled labels may leave a small set with one class; that refuses no fold of a study.
    labels = cases["true_label" if "true_label" in cases else "label"]
    everyone = np.arange(len(cases))
    column = split_column(cases, fold)
    if column is not None:
        train, validation, test = (np.flatnonzero(cases[column] == name) for name in SPLITS)
        if not len(validation):
            train, validation = _part(cases, train, fold, num_folds, seed)
        _check_apart(cases, column)
    else:
        rest, test = _part(cases, everyone, fold, num_folds, seed)
        train, validation = _part(cases, rest, 0, validation_folds, seed, "validation_folds")
    for name, rows in (("training", train), ("validation", validation), ("test", test)):
        present = set(labels.iloc[rows])
        for label, word in ((1, "positive"), (0, "negative")):
            if label not in present:
                raise InputError(
                    f"fold {fold}: the {name} set of {len(rows)} cases has no {word} case;"
                    " expected both classes: use fewer folds or more patients"
                )
    return Split(train, validation, test)


def split_column(cases: pd.DataFrame, fold: int) -> str | None:
    """The column that says the set of each case in a fold; None where folds are drawn.

    Raises:
        InputError: there are such columns, and none of this fold.
    """
    column = f"{SPLIT_OF_FOLD}{fold}"
    if column in cases:
        return column
    others = [str(name) for name in cases if str(name).startswith(SPLIT_OF_FOLD)]
    if others:
        raise InputError(f"fold: got {fold}, expected one of the {len(others)} folds of {', '.join(others)}")
    return "split" if "split" in cases else None


def _check_apart(cases: pd.DataFrame, column: str) -> None:
    """Refuse a column with the sets that has a patient in two of them."""
    sets = cases.dropna(subset=column).groupby("patient_id")[column].unique()
    shared = sets[sets.map(len) > 1]
    if len(shared):
        names = " and ".join(sorted(shared.iloc[0], key=SPLITS.index))
        raise InputError(
            f"cases, column {column!r}: {len(shared)} patients are in several sets, such as {shared.index[0]}"
            f" in {names}; expected every patient in one of them"
        )


def _check_divisible(patients: Sequence[int], num_folds: int, setting: str) -> None:
    """Refuse to divide few patients by saying how many of either label it takes.

    Args:
        patients: with an image of label 0, and of label 1.
        num_folds: wanted.
        setting: that says so.
    """
    rarest = min(patients)
    if rarest >= num_folds:
        return
    there = f"{counted(patients[0], 'patient')} of label 0 and {patients[1]} of label 1"
    fewer = f", or --{setting} {rarest}" if rarest > 1 else ""
    raise InputError(
        f"{setting}: got {num_folds}, but the cases are of {there}; expected {num_folds} or more of either"
        f" label{fewer}"
    )


def _part(
    cases: pd.DataFrame,
    rows: np.ndarray,
    fold: int,
    num_folds: int,
    seed: int,
    setting: str = "num_folds",
) -> tuple[np.ndarray, np.ndarray]:
    """Divide ``rows`` into (the others, fold ``fold``)."""
    labels = cases["true_label" if "true_label" in cases else "label"].to_numpy()[rows]
    patients = cases["patient_id"].to_numpy()[rows]
    _check_divisible([len(set(patients[labels == label])) for label in (0, 1)], num_folds, setting)
    owners = np.unique(patients, return_inverse=True)[1]
    part_of = _divided(labels.astype(np.int64).tobytes(), owners.astype(np.int64).tobytes(), num_folds, seed)
    return rows[part_of != fold], rows[part_of == fold]


@functools.lru_cache(maxsize=64)
def _divided(labels: bytes, owners: bytes, num_folds: int, seed: int) -> np.ndarray:
    """Fold of every case; the cells of a study ask for the same division again and again.

    Args:
        labels: (cases,) int64, as bytes.
        owners: (cases,) int64, number of the patient, likewise.
        num_folds: number of folds.
        seed: seed of the shuffling.
    """
    truth, groups = (np.frombuffer(values, dtype=np.int64) for values in (labels, owners))
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    part_of = np.empty(len(truth), dtype=np.int64)
    for fold, (_, rows) in enumerate(folds.split(truth, truth, groups)):
        part_of[rows] = fold
    part_of.flags.writeable = False
    return part_of
