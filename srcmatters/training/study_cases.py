"""Who trains, who validates, who tests, and who carries the confounder: the cases of one cell of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from srcmatters.cohorts import Split, split_cases
from srcmatters.cohorts.sampled import sample_cohort
from srcmatters.confounders import Confounder, assign, create_confounder, known_confounders
from srcmatters.confounders.base import DISPLAY
from srcmatters.confounders.streams import case_stream
from srcmatters.errors import InputError, did_you_mean

#: Null controls: what a study must find nothing in. "shuffled_labels": labels that have nothing to do with
#: the images; "independent_confounder": as many negatives carry the confounder as positives. In both the
#: confounder says nothing about the label in training, so it cannot be learnt in its place.
Control = Literal["none", "shuffled_labels", "independent_confounder"]
CONTROLS: tuple[str, ...] = get_args(Control)


@dataclass(frozen=True)
class StudyCases:
    """The cases of one cell.

    Args:
        split: row positions in the case table.
        carries: (rows of the table,) bool.
        environments: (rows of the table,) "iid", "ood", "iid+ood" or "" for each row, for a confounder that
            is sampled and whose environments are therefore different cases; None where every test case is in
            every environment.
    """

    split: Split
    carries: np.ndarray
    environments: np.ndarray | None = None


def control_labels(cases: pd.DataFrame, control: str = "none", seed: int = 0) -> pd.DataFrame:
    """The case table with permuted labels for the control "shuffled_labels", as it is otherwise.

    Labels are permuted over images, so their number stays; a fixed test set keeps its own (column ``split``).
    Images of one patient need not agree any more.

    Args:
        cases: case table.
        control: see :data:`CONTROLS`.
        seed: seed of the permutation.
    """
    if control != "shuffled_labels":
        return cases
    labels = cases["label"].to_numpy().copy()
    parts = cases["split"].to_numpy() if "split" in cases else np.zeros(len(cases))
    stream = case_stream(seed, "", "shuffled labels")
    for part in np.unique(parts):
        labels[parts == part] = stream.permutation(labels[parts == part])
    return cases.assign(label=labels)


def choose_cases(
    cases: pd.DataFrame,
    confounder: str = "tag",
    confounder_args: Mapping[str, Any] | None = None,
    p_art: float = 0.0,
    fold: int = 0,
    num_folds: int = 5,
    validation_folds: int = 8,
    seed: int = 0,
    assignment: Literal["image", "patient"] = "image",
    protocol: str = "corrected",
    control: str = "none",
) -> StudyCases:
    """Split a case table and decide who carries the confounder.

    Args:
        cases: case table.
        confounder: name of an image confounder, "none", or a column of the table (sex, age, view, ...), which
            is then sampled so that it goes with the label.
        confounder_args: for a sampled confounder ``value`` (such as "F" or ">=60") and any other argument of
            :func:`srcmatters.cohorts.sampled.sample_cohort`.
        p_art: share of the positives that carry it.
        fold: number of the fold.
        num_folds: see :func:`srcmatters.cohorts.split_cases`; a sampled confounder has one test set and
            ``num_folds`` validation sets.
        validation_folds: see :func:`srcmatters.cohorts.split_cases`.
        seed: seed of folds, ranks and samples.
        assignment: "image" or "patient", see :func:`srcmatters.confounders.assign`.
        protocol: "paper" draws over all cases together and anew for every ``p_art``, as the published code
            does; otherwise the share holds in each of the three sets.
        control: see :data:`CONTROLS`; with one, ``p_art`` of the negatives of each set carry it as well.

    Raises:
        InputError: neither a confounder nor a column, or what the functions above refuse.
    """
    if is_sampled(confounder, cases):
        args = {**(confounder_args or {}), "independent": control != "none"}
        return _sampled(cases, confounder, args, p_art, fold, num_folds, seed)
    split = split_cases(cases, fold, num_folds, validation_folds, seed)
    if protocol == "paper" and control == "none":
        return StudyCases(split, assign(cases, p_art, seed, assignment, nested=False))
    carries = np.zeros(len(cases), dtype=bool)
    for rows in (split.train, split.validation, split.test):
        members = cases.iloc[rows]
        carries[rows] = assign(members, p_art, seed, assignment)
        if control != "none":
            carries[rows] |= assign(members.assign(label=1 - members["label"]), p_art, seed, assignment)
    return StudyCases(split, carries)


def choose_readable(
    planned: StudyCases, cases: pd.DataFrame, readable: pd.DataFrame, **choice: Any
) -> StudyCases:
    """The choice among the cases whose images can be read; the planned one where that is all of them.

    Args:
        planned: :func:`choose_cases` of ``cases``.
        cases: case table.
        readable: the same without the cases that were left out.
        choice: further arguments of :func:`choose_cases`.

    Raises:
        InputError: see :func:`choose_cases`.
    """
    return planned if len(readable) == len(cases) else choose_cases(readable, **choice)


def is_sampled(confounder: str, cases: pd.DataFrame) -> bool:
    """Whether the name is a column of the case table and no confounder that changes the image.

    Raises:
        InputError: it is neither.
    """
    names = [*known_confounders(), "none"]
    if confounder in names:
        return False
    columns = [
        str(column) for column in cases if column not in ("case_id", "patient_id", "image", "label", "split")
    ]
    if confounder not in columns:
        known = [*names, *columns]
        raise InputError(f"confounder: {confounder!r} is unknown{did_you_mean(str(confounder), known)}")
    return True


def create_image_confounder(
    name: str, cases: pd.DataFrame, protocol: Any = "corrected", seed: int = 0, **parameters: Any
) -> Confounder | None:
    """The transform that a study names; None for "none" and for a sampled confounder, which changes nothing.

    Raises:
        InputError: see :func:`srcmatters.confounders.create_confounder`.
    """
    if is_sampled(name, cases):
        return None
    return create_confounder(name, protocol, seed, **parameters)


def confounder_place(confounder: Confounder | None, unit: str = "HU") -> str:
    """Where in the preprocessing of CT a confounder belongs.

    What the scanner does to the whole slice (dose, kernel, filters) happens before anything is cut out of it,
    in HU where it needs them; what is put on a picture by hand (a letter) goes where the network can see it.

    Args:
        confounder: of the study, or None.
        unit: of the images, "HU" or "display".

    Returns:
        "scan": before windowing; "windowed": on whole slices in display values; "patch": on the patch;
        "nowhere" for None.

    Raises:
        InputError: it needs HU, and the images have none.
    """
    if confounder is None:
        return "nowhere"
    if confounder.unit == "HU" and unit != "HU":
        raise InputError(
            f"confounder: {confounder.name} needs HU of whole slices, and the images are declared `unit:"
            f" {unit}`; of 8-bit values noise and denoise are the nearest"
        )
    if confounder.miccat.extent == "local":
        return "patch"
    return "windowed" if confounder.unit == DISPLAY else "scan"


def _sampled(
    cases: pd.DataFrame, column: str, args: dict[str, Any], p_art: float, fold: int, num_folds: int, seed: int
) -> StudyCases:
    entries = cases[column].dropna()
    if entries.empty:
        raise InputError(f"confounder: the column {column!r} of the case table is empty")
    if "split" in cases:
        raise InputError(
            f"confounder: {column} is sampled and chooses its own test patients, which the column 'split' of"
            " the case table forbids; expected a table without it"
        )
    if "value" not in args:
        raise InputError(
            f"confounder_args: {column} is sampled from the case table, expected a value that goes with the"
            f" label, such as {{'value': {str(entries.iloc[0])!r}}}"
        )
    try:
        chosen = sample_cohort(cases, column, p_art=p_art, fold=fold, num_folds=num_folds, seed=seed, **args)
    except TypeError as error:
        raise InputError(f"confounder_args: {error}") from error
    position = {case_id: row for row, case_id in enumerate(cases["case_id"])}

    def rows(table: pd.DataFrame) -> np.ndarray:
        return np.array([position[case_id] for case_id in table["case_id"]], dtype=int)

    carries = np.zeros(len(cases), dtype=bool)
    environments = np.full(len(cases), "", dtype=object)
    for table in (chosen.train, chosen.validation, chosen.iid_test, chosen.ood_test):
        carries[rows(table)] = table["carries"].to_numpy()
    iid, ood = rows(chosen.iid_test), rows(chosen.ood_test)
    environments[iid] = "iid"
    environments[ood] = "ood"
    environments[np.intersect1d(iid, ood)] = "iid+ood"
    test = np.union1d(iid, ood)
    return StudyCases(Split(rows(chosen.train), rows(chosen.validation), test), carries, environments)
