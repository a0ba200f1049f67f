"""Who trains, who validates, who tests, and who carries the confounder: the cases of one cell of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from srcmatters.case_stream import case_stream
from srcmatters.cohorts.assignment import assign
from srcmatters.cohorts.duplicates import patients_of_one_image
from srcmatters.cohorts.folds import Split, split_cases, split_column
from srcmatters.cohorts.pair_carriers import second_carriers
from srcmatters.cohorts.sampled import sample_cohort
from srcmatters.confounders.pair_names import PairNames
from srcmatters.errors import InputError


@dataclass(frozen=True)
class CaseChoice:
    """How the cases of one cell are chosen.

    Args:
        sampled: column of the case table (sex, age, view, ...) that is sampled so that it goes with the
            label; None for a confounder that is put into images, or for none.
        confounder_args: for a sampled confounder ``value`` (such as "F" or ">=60") and any other argument of
            :func:`srcmatters.cohorts.sampled.sample_cohort`; otherwise not read.
        p_art: share of the positives that carry it.
        fold: number of the fold.
        num_folds: see :func:`srcmatters.cohorts.split_cases`; a sampled confounder has one test set and
            ``num_folds`` validation sets.
        validation_folds: see :func:`srcmatters.cohorts.split_cases`.
        seed: seed of folds, ranks and samples; ranks are drawn anew for every fold.
        assignment: "image" or "patient", see :func:`srcmatters.cohorts.assignment.assign`.
        protocol: "paper" draws over all cases together and anew for every ``p_art``, as the published code
            does; otherwise the share holds in each of the three sets.
        control: see :data:`srcmatters.cohorts.null_controls.CONTROLS`; with one, ``p_art`` of the negatives
            of each set carry it as well, whatever ``p_neg``.
        p_neg: share of the negatives that carry it; 0 for a sampled confounder.
        train_size: training cases, in the labels' proportion; 0: all. Those of a smaller size are among those
            of a larger one.
        pair: of two confounders, the one that ``p_art`` is of being the first; None: there is one.
    """

    sampled: str | None = None
    confounder_args: Mapping[str, Any] = field(default_factory=dict)
    p_art: float = 0.0
    fold: int = 0
    num_folds: int = 5
    validation_folds: int = 8
    seed: int = 0
    assignment: Literal["image", "patient"] = "image"
    protocol: str = "corrected"
    control: str = "none"
    p_neg: float = 0.0
    train_size: int = 0
    pair: PairNames | None = None

    @property
    def carrying_negatives(self) -> float:
        """The share of the negatives that carry it, of a null control that of the positives."""
        return self.p_neg if self.control == "none" else self.p_art


@dataclass(frozen=True)
class StudyCases:
    """The cases of one cell.

    Args:
        split: row positions in the case table.
        carries: (rows of the table,) bool.
        environments: (rows of the table,) "iid", "ood", "iid+ood", "clean" (a test case of neither) or "" for
            each row, for a confounder that is sampled and whose environments are therefore different cases;
            None where every test case is in every environment.
        realised_p_art: share of the positives of each set ("train", "validation", "test") that carry it.
            Whole patients, or few of them, do not always allow the p_art that was asked for.
        realised_p_neg: likewise of the negatives.
        choice: how they were chosen.
        second: (rows of the table,) bool, who carries the second confounder of a pair; None: there is none.
    """

    split: Split
    carries: np.ndarray
    environments: np.ndarray | None = None
    realised_p_art: Mapping[str, float] = field(default_factory=dict)
    choice: CaseChoice | None = None
    realised_p_neg: Mapping[str, float] = field(default_factory=dict)
    second: np.ndarray | None = None

    def states(self, rows: np.ndarray, count: int) -> np.ndarray:
        """(rows,) int64, which of ``count`` states each case is in: the last where it carries.

        Of a pair they are clean, first, second, both.
        """
        carries = self.carries[rows].astype(np.int64)
        return carries * (count - 1) if self.second is None else carries + 2 * self.second[rows]


def choose_cases(cases: pd.DataFrame, choice: CaseChoice) -> StudyCases:
    """Split a case table and decide who carries the confounder.

    Args:
        cases: case table.
        choice: how.

    Raises:
        InputError: a share, fold or size that the table cannot give; see
            :func:`srcmatters.cohorts.split_cases` and :func:`srcmatters.cohorts.sampled.sample_cohort`.
    """
    return replace(_with_shares(_chosen(cases, choice), cases), choice=choice)


def _chosen(cases: pd.DataFrame, choice: CaseChoice) -> StudyCases:
    if choice.sampled is not None:
        return _sampled(cases, choice.sampled, choice)
    split = split_cases(cases, choice.fold, choice.num_folds, choice.validation_folds, choice.seed)
    split = replace(split, train=drawn_training(cases, split.train, choice))
    if choice.protocol == "paper" and choice.control == "none":
        drawn = assign(cases, choice.p_art, choice.seed, choice.assignment, nested=False, p_neg=choice.p_neg)
        return StudyCases(split, drawn)
    carries = np.zeros(len(cases), dtype=bool)
    for rows in (split.train, split.validation, split.test):
        carries[rows] = assign(
            cases.iloc[rows],
            choice.p_art,
            choice.seed,
            choice.assignment,
            fold=choice.fold,
            p_neg=choice.carrying_negatives,
        )
    return StudyCases(split, carries, second=_second(cases, choice, split, carries))


def _second(cases: pd.DataFrame, choice: CaseChoice, split: Split, carries: np.ndarray) -> np.ndarray | None:
    """(rows of the table,) bool, who carries the second confounder of a pair."""
    if choice.pair is None:
        return None
    second = np.zeros(len(cases), dtype=bool)
    share = choice.p_art if choice.pair.p_art_second is None else choice.pair.p_art_second
    negatives = choice.p_neg if choice.control == "none" else share
    for rows in (split.train, split.validation, split.test):
        second[rows] = second_carriers(
            cases.iloc[rows],
            carries[rows],
            choice.pair.carriers,
            (choice.p_art, share),
            (choice.carrying_negatives, negatives),
            choice.seed,
            choice.assignment,
            choice.fold,
        )
    return second


def drawn_training(cases: pd.DataFrame, rows: np.ndarray, choice: CaseChoice) -> np.ndarray:
    """The training rows of ``train_size``: by the ranks of their patients, nested, in the labels' proportion.

    Raises:
        InputError: more than there are, or too few for both labels.
    """
    if not choice.train_size:
        return rows
    labels = cases["label"].to_numpy()[rows]
    positives = round(choice.train_size * float(labels.mean()))
    if choice.train_size > len(rows) or not 0 < positives < choice.train_size:
        raise InputError(
            f"train_size: got {choice.train_size}, expected 0 or up to {len(rows)}, with cases of both labels"
        )
    purpose = f"training cases, fold {choice.fold}"
    patients = cases["patient_id"].to_numpy()[rows]
    rank = {name: case_stream(choice.seed, str(name), purpose).random() for name in np.unique(patients)}
    order = np.argsort([rank[name] for name in patients], kind="stable")
    kept = [
        order[labels[order] == label][:count]
        for label, count in ((1, positives), (0, choice.train_size - positives))
    ]
    return rows[np.sort(np.concatenate(kept))]


def _with_shares(study_cases: StudyCases, cases: pd.DataFrame) -> StudyCases:
    labels = cases["label"].to_numpy()
    iid = np.ones(len(cases), dtype=bool)
    if study_cases.environments is not None:
        iid = np.char.find(study_cases.environments.astype(str), "iid") >= 0
        iid[np.concatenate([study_cases.split.train, study_cases.split.validation])] = True
    positives, negatives = (
        {
            name: float(study_cases.carries[rows[(labels[rows] == label) & iid[rows]]].mean())
            for name, rows in vars(study_cases.split).items()
            if ((labels[rows] == label) & iid[rows]).any()
        }
        for label in (1, 0)
    )
    return replace(study_cases, realised_p_art=positives, realised_p_neg=negatives)


def choose_readable(
    planned: StudyCases,
    cases: pd.DataFrame,
    readable: pd.DataFrame,
    choice: CaseChoice,
    digests: Sequence[str] | None = None,
    hashes: np.ndarray | None = None,
) -> StudyCases:
    """The choice among the cases whose images can be read; the planned one where that is all of them.

    Patients who share an image are kept in one set, see
    :func:`srcmatters.cohorts.duplicates.patients_of_one_image`.

    Args:
        planned: :func:`choose_cases` of ``cases``.
        cases: case table.
        readable: the same without the cases that were left out.
        choice: how they are chosen.
        digests: of each readable case, a hash of its image file; None: duplicates are not looked for.
        hashes: of each readable case, a perceptual hash; None: near duplicates are not looked for.

    Raises:
        InputError: one image with both labels, and see :func:`choose_cases`.
    """
    if digests is not None:
        patients = patients_of_one_image(readable, digests, hashes)
        if not patients.equals(readable["patient_id"]):
            return choose_cases(readable.assign(patient_id=patients), choice)
    return planned if len(readable) == len(cases) else choose_cases(readable, choice)


def _sampled(cases: pd.DataFrame, column: str, choice: CaseChoice) -> StudyCases:
    if choice.train_size:
        raise InputError(
            f"train_size: got {choice.train_size}, but {column} is sampled, which chooses its training cases;"
            " expected 0, or train_size in confounder_args"
        )
    if choice.p_neg:
        raise InputError(
            f"p_neg: got {choice.p_neg}, but {column} is sampled, which chooses negatives without it;"
            " expected 0"
        )
    args = {**choice.confounder_args, "independent": choice.control != "none"}
    entries = cases[column].dropna()
    if entries.empty:
        raise InputError(f"confounder: the column {column!r} of the case table is empty")
    if split_column(cases, choice.fold) is not None:
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
        cohort = sample_cohort(
            cases,
            column,
            p_art=choice.p_art,
            fold=choice.fold,
            num_folds=choice.num_folds,
            seed=choice.seed,
            **args,
        )
    except TypeError as error:
        raise InputError(f"confounder_args: {error}") from error
    position = {case_id: row for row, case_id in enumerate(cases["case_id"])}

    def rows(table: pd.DataFrame) -> np.ndarray:
        return np.array([position[case_id] for case_id in table["case_id"]], dtype=int)

    carries = np.zeros(len(cases), dtype=bool)
    environments = np.full(len(cases), "", dtype=object)
    for table in (cohort.train, cohort.validation, cohort.test_pool):
        carries[rows(table)] = table["carries"].to_numpy()
    test, iid, ood = (rows(table) for table in (cohort.test_pool, cohort.iid_test, cohort.ood_test))
    environments[test] = "clean"
    environments[iid] = "iid"
    environments[ood] = "ood"
    environments[np.intersect1d(iid, ood)] = "iid+ood"
    return StudyCases(Split(rows(cohort.train), rows(cohort.validation), test), carries, environments)
