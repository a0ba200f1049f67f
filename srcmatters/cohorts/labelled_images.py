"""Images of any number of classes, to pre-train on: a folder per class, or a table."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from srcmatters.cohorts.case_table import FOLDER_NAME
from srcmatters.cohorts.embedded import PHANTOM, find_images, folder_setting, open_cohort
from srcmatters.csv_tables import read_their_csv
from srcmatters.errors import InputError, did_you_mean

_UNLABELLED = "unlabelled"

#: What the columns of a table of images are called elsewhere, by what they are called here.
_SYNONYMS = {"image": "file", "label": "class", "patient_id": "group", "data_set": "source"}
_COLUMNS = ("case_id", "patient_id", "image", "label", "split", "data_set")


@dataclass(frozen=True)
class LabelledImages:
    """What a source is pre-trained on.

    Args:
        cases: case_id, patient_id, image (absolute path), label (0 .. classes - 1), and ``split`` and
            ``data_set`` where the table has them.
        classes: names of the classes; ``classes[label]`` is that of a case.
    """

    cases: pd.DataFrame
    classes: tuple[str, ...]


def open_labelled_images(
    dataset_dir: str | Path,
    cases: str | None = None,
    patient_pattern: str | None = None,
    labels_needed: bool = True,
    rows: Mapping[str, Sequence[object]] | None = None,
) -> LabelledImages:
    r"""Read a folder of class folders, or a table of images.

    Args:
        dataset_dir: holds one folder of images per class, or the table; "phantom" is the embedded cohort.
        cases: table (CSV) in ``dataset_dir`` with the columns image (or file) and label (or class; any names
            of classes), and if it has them patient_id (or group; where it is empty the image is a patient of
            its own), case_id, split (train/validation) and data_set (or source), from which a row was taken.
            None: cases.csv if it is there, otherwise class folders.
        patient_pattern: regular expression whose first group is the patient in a file's name, such as
            ``person(\\d+)``; without it and without patient_id every image is a patient of its own.
        labels_needed: False for self-supervised training, which also takes one folder of images.
        rows: values that rows of the table must have, by column: ``{"modality": ["CT", "MR"]}``; None: all.

    Raises:
        InputError: no images, a missing column, one class only, no such rows, or a pattern that does not
            match.
    """
    if str(dataset_dir) == PHANTOM:
        table = open_cohort(dataset_dir)
        named = table["label"].map({0: "negative", 1: "positive"})
        return _numbered(table.assign(label=named), labels_needed)
    folder = folder_setting("dataset_dir", dataset_dir)
    if not folder.is_dir():
        raise InputError(f"dataset_dir: {folder} is not a folder")
    if cases is None and not (folder / "cases.csv").is_file():
        if rows:
            raise InputError(f"rows: {folder} has class folders and no table whose rows could be selected")
        table = _class_folders(folder, labels_needed)
    else:
        table = _read_table(folder, folder / (cases or "cases.csv"), rows or {})
    if "patient_id" not in table:
        table["patient_id"] = patients_of_files(table["image"], table["case_id"], patient_pattern)
    table.attrs[FOLDER_NAME] = folder.absolute().name
    return _numbered(table, labels_needed)


def split_labelled_images(
    images: LabelledImages, validation_folds: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Row positions of the training and the validation cases, by patient and stratified by class.

    Args:
        images: a column ``split`` (train/validation) decides where there is one.
        validation_folds: one part in this many validates.
        seed: seed of the shuffling.

    Raises:
        InputError: a class of one patient, or without training cases.
    """
    cases = images.cases
    if "split" in cases:
        validating = (cases["split"] == "validation").to_numpy()
        return np.flatnonzero(~validating), np.flatnonzero(validating)
    patients = cases.groupby("label")["patient_id"].nunique()
    if patients.min() < 2:
        name = images.classes[int(patients.to_numpy().argmin())]  # by label, from 0 on
        raise InputError(
            f"validation_folds: class {name!r} has one patient (or group), expected two or more: one side of"
            " the split would not know it"
        )
    if patients.max() < validation_folds:
        raise InputError(
            f"validation_folds: got {validation_folds}, but no class has more than {patients.max()} patients"
            " to divide; expected no more parts than that"
        )
    folds = StratifiedGroupKFold(validation_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer patients than parts may have no validation cases: its recall is not given.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        train, validation = next(folds.split(cases, cases["label"], cases["patient_id"]))
    unseen = sorted(set(cases["label"]) - set(cases["label"].iloc[train]))
    if unseen:
        raise InputError(
            f"validation_folds: all of class {images.classes[unseen[0]]!r} would validate; expected another"
            " seed, fewer parts, or a column split"
        )
    return train, validation


def _class_folders(folder: Path, labels_needed: bool) -> pd.DataFrame:
    rows = []
    for path in map(Path, find_images(folder)):
        parts = path.relative_to(folder).parts
        if len(parts) < 2 and labels_needed:
            raise InputError(f"{path}: an image beside the class folders, expected every image in one")
        label = parts[0] if len(parts) > 1 else _UNLABELLED
        rows.append({"image": str(path.absolute()), "label": label, "case_id": "/".join(parts)})
    return pd.DataFrame(rows)


def _read_table(folder: Path, path: Path, rows: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    table = read_their_csv(path)
    numbered = _selected(path, table, rows)
    table = numbered.rename(columns={there: here for here, there in _SYNONYMS.items() if here not in table})
    for column in ("image", "label"):
        if column not in table:
            synonym = _SYNONYMS[column]
            raise InputError(
                f"{path}: no column {column!r} (or {synonym!r}){did_you_mean(column, table.columns)}"
            )
    kept = [name for name in _COLUMNS if name in table]
    table = table[kept]
    if "group" in numbered and "patient_id" in table:
        # A manifest leaves the group empty where no two images belong together.
        table = table.assign(patient_id=table["patient_id"].fillna(table["image"]))
    for column in kept:
        empty = np.flatnonzero(table[column].isna())
        if len(empty):
            raise InputError(
                f"{path}, row {table.index[empty[0]] + 2}, column {column!r}: empty, expected a value"
            )
    wrong = sorted(set(table.get("split", pd.Series(dtype=str))) - {"train", "validation"})
    if wrong:
        raise InputError(f"{path}, column 'split': {wrong[0]!r}, expected train or validation")
    names = table["image"]
    table = table.assign(image=[str((folder / name).absolute()) for name in names])
    if "case_id" not in table:
        table = table.assign(case_id=names)
    missing = [image for image in table["image"] if not Path(image).is_file()]
    if missing:
        raise InputError(f"{path}, column 'image': {missing[0]} does not exist ({len(missing)} such rows)")
    return table


def _selected(path: Path, table: pd.DataFrame, rows: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    """The rows that have one of the values in each of the columns."""
    for column, values in rows.items():
        if column not in table:
            raise InputError(f"rows: {path} has no column {column!r}{did_you_mean(column, table.columns)}")
        known = set(table[column].dropna())
        for value in map(str, values):
            if value not in known:
                raise InputError(f"rows: no row has {column} {value!r}{did_you_mean(value, sorted(known))}")
        table = table[table[column].isin([str(value) for value in values])]
    if table.empty and rows:
        raise InputError(f"rows: no row of {path} has {dict(rows)!r}")
    return table


def patients_of_files(images: pd.Series, case_ids: pd.Series, pattern: str | None) -> pd.Series:
    """Patients by the names of their files.

    Args:
        images: paths.
        case_ids: the patient of each image where there is no pattern.
        pattern: regular expression whose first group is the patient in a file's name, or None.

    Raises:
        InputError: no such expression, or a name that it does not match.
    """
    if pattern is None:
        return case_ids
    try:
        matches = images.map(lambda image: re.search(pattern, Path(image).name))
        patients = matches.map(lambda match: match[1] if match else None)
    except (re.error, IndexError) as error:
        raise InputError(
            f"patient_pattern: {pattern!r} is no regular expression with a group ({error})"
        ) from error
    if patients.isna().any():
        name = Path(images[patients.isna()].iloc[0]).name
        raise InputError(f"patient_pattern: {pattern!r} does not match {name}")
    return patients


def _numbered(table: pd.DataFrame, labels_needed: bool) -> LabelledImages:
    classes = tuple(sorted(table["label"].unique()))
    if len(classes) < 2 and labels_needed:
        raise InputError(f"dataset_dir: every image is of class {classes[0]!r}, expected two classes or more")
    if table["case_id"].duplicated().any():
        raise InputError(
            f"case_id: {table['case_id'][table['case_id'].duplicated()].iloc[0]!r} appears twice"
        )
    number = {name: label for label, name in enumerate(classes)}
    numbered = table.assign(label=table["label"].map(number).astype(int)).reset_index(drop=True)
    return LabelledImages(numbered, classes)
