"""Null controls of a study: runs in which there is nothing to find."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd

from srcmatters.case_stream import case_stream
from srcmatters.cohorts.folds import split_column

#: Null controls: what a study must find nothing in. "shuffled_labels": labels that have nothing to do with
#: the images; "independent_confounder": as many negatives carry the confounder as positives. In both the
#: confounder says nothing about the label in training, so it cannot be learnt in its place.
Control = Literal["none", "shuffled_labels", "independent_confounder"]
CONTROLS: tuple[str, ...] = get_args(Control)


def control_labels(cases: pd.DataFrame, control: str = "none", seed: int = 0, fold: int = 0) -> pd.DataFrame:
    """The case table with shuffled labels for the control "shuffled_labels", as it is otherwise.

    Labels change hands between patients: each patient takes those of another one, repeated or cut to its own
    number of images, so that images of one patient agree as much as before. A fixed test set (column
    ``split``) shuffles among its own. The true labels stay in the column ``true_label``, by which folds are
    divided: the split is that of the study, only what is learnt in it is meaningless. Every fold shuffles
    anew, so that a mean over folds averages over shuffles as well.

    Args:
        cases: case table.
        control: see :data:`CONTROLS`.
        seed: seed of the shuffling.
        fold: number of the fold.
    """
    if control != "shuffled_labels":
        return cases
    labels = cases["label"].to_numpy().copy()
    column = split_column(cases, fold)
    parts = np.zeros(len(cases)) if column is None else cases[column].fillna("").to_numpy()
    stream = case_stream(seed, "", f"shuffled labels, fold {fold}")
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        labels[rows] = shuffled_by_patient(labels[rows], cases["patient_id"].to_numpy()[rows], stream)
    return cases.assign(label=labels, true_label=cases["label"])


def shuffled_by_patient(labels: np.ndarray, patients: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Labels of which every patient has those of another one, repeated or cut to its number of images.

    Args:
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        stream: random stream.
    """
    _, member, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    order = np.argsort(member, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    donor = stream.permutation(len(sizes))[member[order]]
    place = np.arange(len(labels)) - starts[member[order]]
    shuffled = np.empty_like(labels)
    shuffled[order] = labels[order][starts[donor] + place % sizes[donor]]
    return shuffled
