"""Folds: whole patients, every case tested once, both classes everywhere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from srcmatters.cohorts import Split, split_cases
from srcmatters.errors import InputError

FOLDS = 4


def cohort(patients: int = 90, positive: float = 0.3, seed: int = 0, images: int = 4) -> pd.DataFrame:
    """Patients with 1 to ``images`` images, some of them with both labels, in no order."""
    stream = np.random.default_rng(seed)
    rows = [
        {"patient_id": f"p{patient}", "label": int(stream.random() < positive), "ward": patient // 2}
        for patient in range(patients)
        for _ in range(stream.integers(1, images + 1))
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def with_split(cases: pd.DataFrame) -> pd.DataFrame:
    """A quarter of the patients is the test set by decree."""
    tested = cases["patient_id"].str.removeprefix("p").astype(int) % 4 == 0
    return cases.assign(split=np.where(tested, "test", "train"))


def parts(split: Split) -> dict[str, np.ndarray]:
    return {"train": split.train, "validation": split.validation, "test": split.test}


TABLES = [cohort, lambda: with_split(cohort())]
BOTH_KINDS = pytest.mark.parametrize("table", TABLES, ids=["cross-validated", "fixed-test"])


@BOTH_KINDS
@pytest.mark.parametrize("fold", range(FOLDS))
@pytest.mark.parametrize("seed", [0, 1])
def test_a_patient_is_never_in_two_sets(table: Callable[[], pd.DataFrame], fold: int, seed: int) -> None:
    cases = table()
    sets = parts(split_cases(cases, fold, FOLDS, seed=seed))
    patients = {name: set(cases["patient_id"].iloc[rows]) for name, rows in sets.items()}
    for one, other in combinations(patients, 2):
        assert not patients[one] & patients[other], (one, other)


@BOTH_KINDS
@pytest.mark.parametrize("fold", range(FOLDS))
def test_every_case_is_in_one_set(table: Callable[[], pd.DataFrame], fold: int) -> None:
    cases = table()
    rows = np.concatenate(list(parts(split_cases(cases, fold, FOLDS)).values()))
    assert sorted(rows) == list(range(len(cases)))


def test_every_case_is_tested_exactly_once_over_the_folds() -> None:
    cases = cohort()
    tested = np.concatenate([split_cases(cases, fold, FOLDS).test for fold in range(FOLDS)])
    assert sorted(tested) == list(range(len(cases)))


def test_a_fixed_test_set_is_that_of_every_fold_and_the_rest_validates_once() -> None:
    cases = with_split(cohort())
    splits = [split_cases(cases, fold, FOLDS) for fold in range(FOLDS)]
    fixed_test = np.flatnonzero(cases["split"] == "test")
    for split in splits:
        np.testing.assert_array_equal(np.sort(split.test), fixed_test)
    validated = np.concatenate([split.validation for split in splits])
    np.testing.assert_array_equal(np.sort(validated), np.flatnonzero(cases["split"] == "train"))


def test_sets_have_the_sizes_that_were_asked_for() -> None:
    cases = cohort(200, images=1)
    split = split_cases(cases, 0, num_folds=5, validation_folds=4)
    assert len(split.test) == pytest.approx(200 / 5, abs=1)
    assert len(split.validation) == pytest.approx(160 / 4, abs=1)


def test_classes_are_divided_evenly() -> None:
    cases = cohort(200, images=1)
    positives = int(cases["label"].sum())
    for fold in range(5):
        labels = cases["label"].iloc[split_cases(cases, fold, 5).test]
        assert labels.sum() == pytest.approx(positives / 5, abs=1)


@BOTH_KINDS
def test_the_same_seed_gives_the_same_folds_and_another_seed_others(
    table: Callable[[], pd.DataFrame],
) -> None:
    cases = table()
    np.random.seed(1)  # noqa: NPY002  what is global must not matter
    first = parts(split_cases(cases, 1, FOLDS, seed=3))
    np.random.seed(2)  # noqa: NPY002  what is global must not matter
    again = parts(split_cases(cases, 1, FOLDS, seed=3))
    other = parts(split_cases(cases, 1, FOLDS, seed=4))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert set(first["validation"]) != set(other["validation"])


def test_a_fixed_validation_set_is_that_of_every_fold() -> None:
    cases = with_split(cohort())
    training = cases.loc[cases["split"] == "train", "patient_id"].unique()
    cases.loc[cases["patient_id"].isin(training[::3]), "split"] = "validation"
    for fold in (0, 2):
        split = split_cases(cases, fold, FOLDS)
        for name, rows in parts(split).items():
            assert set(cases["split"].iloc[rows]) == {name}


# What is refused


def test_a_patient_in_both_parts_of_a_fixed_split_is_refused_by_name() -> None:
    cases = with_split(cohort())
    patient = cases["patient_id"].value_counts().index[0]
    rows = cases.index[cases["patient_id"] == patient]
    cases.loc[rows, "split"] = ["train"] + ["test"] * (len(rows) - 1)
    expected = rf"column 'split': 1 patients are in several sets, such as {patient} in train and test;"
    with pytest.raises(InputError, match=expected):
        split_cases(cases, 0, FOLDS)


@pytest.mark.parametrize(("fold", "num_folds"), [(4, 4), (-1, 4), (0, 1), (0, 0)])
def test_a_fold_that_is_not_there_is_refused(fold: int, num_folds: int) -> None:
    with pytest.raises(InputError, match=rf"fold: got {fold} of num_folds {num_folds}, expected 0 <= fold"):
        split_cases(cohort(), fold, num_folds)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_refused(label: int) -> None:
    with pytest.raises(InputError, match=f"every label is {label}, expected both 0 and 1"):
        split_cases(cohort().assign(label=label))


def test_more_folds_than_patients_of_a_class_are_refused_with_their_number() -> None:
    cases = pd.DataFrame({"patient_id": list("aaabcdefg"), "label": [1, 1, 1, 1, 0, 0, 0, 0, 0]})
    there = "5 patients of label 0 and 2 of label 1"
    with pytest.raises(InputError, match=f"num_folds: got 3, but the cases are of {there}; expected 3 or"):
        split_cases(cases, 0, 3)


def test_more_validation_folds_than_patients_are_refused_under_their_own_name() -> None:
    cases = pd.DataFrame({"patient_id": list("abcdefgh"), "label": [1, 1, 1, 1, 0, 0, 0, 0]})
    expected = "expected 8 or more of either label, or --validation_folds 2"
    with pytest.raises(InputError, match=rf"validation_folds: got 8, .*{expected}"):
        split_cases(cases, 0, 2, validation_folds=8)


def test_a_fixed_test_set_of_one_class_is_refused_by_the_name_of_the_set() -> None:
    cases = with_split(cohort())
    cases = cases[(cases["split"] == "train") | (cases["label"] == 0)]
    with pytest.raises(InputError, match=r"the test set of \d+ cases has no positive case"):
        split_cases(cases, 0, FOLDS)
