"""The case table: one row per image, the only thing that passes from a cohort to everything after it."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa

from srcmatters.cohorts.identifiers import check_one_spelling, without_blanks, years
from srcmatters.csv_tables import read_their_csv, write_csv
from srcmatters.errors import InputError, did_you_mean
from srcmatters.files import atomic_path

#: Environment variable: a case table may name images outside of its folder.
OUTSIDE = "SRCMATTERS_IMAGES_OUTSIDE"
#: Columns of a place in the patient: all three of them or none.
POSITION = ("x_mm", "y_mm", "z_mm")

#: Sets that a column ``split`` can name.
SPLITS = ("train", "validation", "test")

#: Begins the name of a column with the set of each case in one fold, for a split that was published.
SPLIT_OF_FOLD = "split_fold"

_FINITE = pa.Check(np.isfinite, error="a finite number")

#: Columns that every case table has once it is read, and what they hold. Any other column (sex, age, view,
#: manufacturer, site, ...) is kept as it is and becomes a group that results can be split by.
SCHEMA = pa.DataFrameSchema(
    {
        "case_id": pa.Column(str, pa.Check.str_length(min_value=1), unique=True, coerce=True),
        "patient_id": pa.Column(str, pa.Check.str_length(min_value=1), coerce=True),
        "image": pa.Column(str, pa.Check.str_length(min_value=1), coerce=True),
        "label": pa.Column(float, pa.Check.isin([0, 1], error="0 or 1"), coerce=True),
        "sex": pa.Column(
            str, pa.Check.isin(["F", "M"], error="F or M"), nullable=True, required=False, coerce=True
        ),
        "age": pa.Column(float, pa.Check.in_range(0, 120), nullable=True, required=False, coerce=True),
        "split": pa.Column(str, pa.Check.isin(SPLITS, error=" or ".join(SPLITS)), required=False),
        rf"^{SPLIT_OF_FOLD}\d+$": pa.Column(
            str, pa.Check.isin(SPLITS, error=" or ".join(SPLITS)), nullable=True, required=False, regex=True
        ),
        # Where to look in a volume, DICOM patient coordinates (LPS, mm).
        **{
            name: pa.Column(
                float, pa.Check(np.isfinite, error="a finite number"), required=False, coerce=True
            )
            for name in POSITION
        },
    },
    index=pa.Index(int),
)

#: Folder of masks beside the images: what is in it is no image of its own.
MASKS = "masks"
#: Columns that say where in an image something is: files of masks, and a box (left, top) in pixels.
MASK_COLUMNS = ("mask", "lungs_mask")
BOX = ("box_x", "box_y", "box_width", "box_height")
REGION = (*MASK_COLUMNS, *BOX)

#: Columns of the prediction table and of shuffled labels, which a case table would overwrite.
RESERVED = ("true_label", "fold", "carries", "environment", "score_clean", "score_confounded")
#: Columns that describe the table itself; all others are groups.
STRUCTURE = ("case_id", "patient_id", "image", "label", "true_label", "split", *POSITION, *REGION)


_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


def is_structure(column: object) -> bool:
    """Whether a column describes the table itself, so that it is no group."""
    return column in STRUCTURE or str(column).startswith(SPLIT_OF_FOLD)


def check_cases(cases: pd.DataFrame, origin: str | Path) -> pd.DataFrame:  # noqa: C901
    """Check a case table against :data:`SCHEMA`.

    Args:
        cases: any table with at least image, patient_id and label; case_id defaults to the image's name
            without its extension, or to its whole path where names repeat. An index of integers says where
            in the file each row was, 0 being the first after the header.
        origin: file the table came from, for error messages.

    Returns:
        The table with a fresh index, checked types, a case_id, no blanks around identifiers, and ages in
        years (DICOM's 058Y is 58).

    Raises:
        InputError: a missing column, or the first wrong value with file, row (as an editor counts, the
            header being row 1), column, what was found and what was expected.
    """
    counted = pd.api.types.is_integer_dtype(cases.index)
    rows = np.asarray(cases.index if counted else range(len(cases))) + 2
    cases = cases.reset_index(drop=True)
    for column in ("image", "patient_id", "label"):
        if column not in cases:
            raise InputError(_no_column(column, cases, origin))
    for column in RESERVED:
        if column in cases:
            raise InputError(f"{origin}: column {column!r} is the name of a result, expected another name")
    absent = [column for column in POSITION if column not in cases]
    if absent and len(absent) < len(POSITION):
        raise InputError(f"{origin}: no column {absent[0]!r}, expected all of {', '.join(POSITION)} or none")
    if cases.empty:
        raise InputError(f"{origin}: no rows, expected one per image")
    _check_labels(cases["label"], rows, origin)
    for column in ("case_id", "patient_id"):
        if column in cases:
            cases[column] = without_blanks(cases[column])
    if "age" in cases:
        cases["age"] = cases["age"].map(years)
    if "case_id" not in cases:
        _check_images_once(cases["image"], rows, origin)
        stems = cases["image"].map(lambda path: Path(str(path)).name.split(".")[0])
        cases.insert(0, "case_id", stems if stems.is_unique else cases["image"].astype(str))
    for column in ("case_id", "patient_id", "image", "label"):
        missing = cases.index[cases[column].isna()]
        if len(missing):
            raise InputError(f"{origin}, row {rows[missing[0]]}, column {column!r}: empty, expected a value")
    try:
        # Labels are checked as floats: as integers 1.5 would be coerced to 1 in silence.
        checked = SCHEMA.validate(cases, lazy=True).astype({"label": int})
    except pandera.errors.SchemaErrors as error:
        raise InputError(_first_failure(error, origin, rows)) from None
    check_one_spelling(checked["patient_id"], rows, origin)
    return checked


def _check_images_once(images: pd.Series, rows: np.ndarray, origin: str | Path) -> None:
    """Refuse a file in two rows of a table whose cases have no names of their own."""
    again = np.flatnonzero(images.notna() & images.duplicated())
    if len(again):
        first = int(np.flatnonzero(images == images[again[0]])[0])
        raise InputError(
            f"{origin}, row {rows[again[0]]}, column 'image': {images[again[0]]} is that of row"
            f" {rows[first]}, expected another file, or a column 'case_id'"
        )


def _no_column(column: str, cases: pd.DataFrame, origin: str | Path) -> str:
    """A table without a column that it must have, and how one of another name becomes it."""
    names = list(map(str, cases.columns))
    if difflib.get_close_matches(column, names, n=1):
        return f"{origin}: no column {column!r}{did_you_mean(column, names)}"
    option = column.removesuffix("_id")
    return (
        f"{origin}: no column {column!r}, its columns are {', '.join(names)}; `srcmatters cohorts table FILE"
        f" --{option} NAME` takes another one for it"
    )


def _check_labels(labels: pd.Series, rows: np.ndarray, origin: str | Path) -> None:
    """Refuse labels that are no 0 and 1 by saying what to do about what they are."""
    values = sorted(str(value).removesuffix(".0") for value in labels.dropna().unique())
    if set(values) <= {"0", "1"}:
        return
    if len(values) > 2 and len(values) < min(len(labels) / 2, 30):
        raise InputError(
            f"{origin}, column 'label': {len(values)} values ({', '.join(values[:5])}), expected 0 and 1:"
            " targets are binary; make one table per finding with `srcmatters cohorts table FILE --positive"
            f" {values[-1]}`"
        )
    if len(values) == 2 and pd.to_numeric(pd.Series(values), errors="coerce").isna().all():
        row = rows[int(np.flatnonzero(labels.notna())[0])]
        raise InputError(
            f"{origin}, row {row}, column 'label': got {labels.dropna().iloc[0]}, expected 0 or 1;"
            f" `srcmatters cohorts table FILE --positive {values[-1]}` writes {values[-1]} as 1"
        )


def _first_failure(error: pandera.errors.SchemaErrors, origin: str | Path, rows: np.ndarray) -> str:
    """One line for the first thing that the schema refuses."""
    failures = error.failure_cases
    in_rows = failures[failures["index"].notna()]
    failure = (in_rows if len(in_rows) else failures).iloc[0]
    where = f"{origin}, row {rows[int(failure['index'])]}" if pd.notna(failure["index"]) else f"{origin}"
    check = str(failure["check"])
    expected = {
        "field_uniqueness": "a value that no other row has",
        "in_range(0, 120)": "a number between 0 and 120",
        "not_nullable": "a value",
        "str_length(1, None)": "a value",
        "coerce_dtype('float64')": "a number",
    }.get(check, check)
    if expected.startswith("a number") and _DECIMAL_COMMA.fullmatch(str(failure["failure_case"])):
        expected += " with a point instead of a comma"
    return f"{where}, column {failure['column']!r}: got {failure['failure_case']}, expected {expected}"


#: Key of a table's ``attrs`` under which the name of the folder that it was read from stands.
FOLDER_NAME = "folder_name"


def read_cases(dataset_dir: str | Path, cases: str | Path = "cases.csv") -> pd.DataFrame:
    """Read a case table from a CSV file.

    Args:
        dataset_dir: folder that relative image paths start from.
        cases: the CSV file (also .csv.gz), absolute or relative to ``dataset_dir``.

    Returns:
        A checked case table (see :data:`SCHEMA`) whose ``image`` column holds absolute paths, and whose
        ``attrs`` name the folder.

    Raises:
        InputError: the folder, the table or an image does not exist, or the table is not a case table.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise InputError(f"dataset_dir: {folder} is not a folder")
    path = folder / cases
    if not path.is_file():
        raise InputError(f"cases: {path} does not exist, expected a CSV file with image, patient_id, label")
    text = {"patient_id": str, "case_id": str, "image": str}
    table = read_their_csv(path, text)
    rows = table.index + 2
    table = check_cases(table, path)
    _check_inside(table["image"], rows, folder, path)
    table["image"] = [str(folder.absolute() / image) for image in table["image"]]
    for row, image in zip(rows, table["image"], strict=True):
        if not os.path.exists(image):  # a Path raises where a name is too long
            raise InputError(f"{path}, row {row}, column 'image': {image} does not exist")
    for column in table.columns.intersection(list(MASK_COLUMNS)):
        named = table[column].notna()
        _check_inside(table[column][named], rows[named.to_numpy()], folder, path)
        table[column] = [
            str(folder.absolute() / str(mask)) if known else None
            for mask, known in zip(table[column], named, strict=True)
        ]
    table.attrs[FOLDER_NAME] = folder.absolute().name
    return table


def _check_inside(column: pd.Series, rows: pd.Index, folder: Path, path: Path) -> None:
    """Refuse a table that somebody sent and that leads out of its folder (``../``); warn of absolute paths.

    An absolute path is of this machine: whoever writes one means it. Symbolic links in the folder are the
    user's own and may lead anywhere.

    Args:
        column: names as the table has them.
        rows: of the file.
        folder: that relative names start from.
        path: of the table.
    """
    root = os.path.abspath(folder)
    outside = [
        (row, str(name))
        for row, name in zip(rows, column, strict=True)
        if not os.path.abspath(folder / str(name)).startswith(root + os.sep)
    ]
    relative = [(row, name) for row, name in outside if not os.path.isabs(name)]
    if relative and not os.environ.get(OUTSIDE):
        row, name = relative[0]
        raise InputError(
            f"{path}, row {row}, column {column.name!r}: {name} leads out of {root}, as do {len(relative)} of"
            f" {len(column)}, expected files in the table's folder; if you trust the table, set {OUTSIDE}=1"
        )
    if outside:
        warnings.warn(
            f"{path}, column {column.name!r}: {len(outside)} of {len(column)} files lie outside of its"
            f" folder, such as {outside[0][1]}",
            stacklevel=3,
        )


def write_cases(cases: pd.DataFrame, path: str | Path) -> Path:
    """Write a checked case table as CSV; under its final name there is either all of it or nothing."""
    path = Path(path)
    check_cases(cases, path)
    with atomic_path(path) as place:  # has the name of the path: its ending .gz is what compresses
        write_csv(cases, place)
    return path
