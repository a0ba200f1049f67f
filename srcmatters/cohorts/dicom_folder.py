"""A folder of DICOM radiographs: the case table comes from the headers, pixel data is not touched."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pydicom
from pydicom.errors import InvalidDicomError

from srcmatters.cohorts.case_table import check_cases
from srcmatters.cohorts.identifiers import years
from srcmatters.csv_tables import read_their_csv
from srcmatters.errors import InputError, did_you_mean
from srcmatters.images.declarations import MODALITIES

_TAGS = [
    "PatientID",
    "PatientSex",
    "PatientAge",
    "ViewPosition",
    "Manufacturer",
    "Modality",
    "BodyPartExamined",
    "SOPInstanceUID",
]


def read_dicom_folder(folder: str | Path, labels: str | Path, modality: str = "radiograph") -> pd.DataFrame:
    """Build a case table from DICOM headers and a table of labels.

    Args:
        folder: searched through all its levels; files that are not DICOM are passed over.
        labels: CSV file with a column label (0 or 1) and one of patient_id (PatientID), image (path relative
            to ``folder``) or case_id (SOPInstanceUID) to match by; a patient_id beside one of the others
            replaces PatientID, which de-identified files often lack; rows of the folder without a label are
            left out.

        modality: "radiograph", or "CT" for files of single slices (a whole series is a folder, which this
            reader does not put together).

    Returns:
        A case table with sex, age (years), view, manufacturer, modality, body_part; image paths are relative
        to ``folder``. Warnings count what was left out: other modalities, images without a label.

    Raises:
        InputError: no DICOM file, no radiograph, no usable column in ``labels``, or no file with a label.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder")
    rows = [row for path in sorted(root.rglob("*")) if path.is_file() and (row := _header(path, root))]
    if not rows:
        raise InputError(f"{root}: no DICOM file in this folder")
    headers = pd.DataFrame(rows)
    cases, others = _of_modality(headers, modality, root)
    table = read_their_csv(labels)
    key = next((name for name in ("case_id", "image", "patient_id") if name in table), None)
    if key is None or "label" not in table:
        raise InputError(f"{labels}: expected the columns label and one of case_id, image, patient_id")
    repeated = table.index[table[key].duplicated()]
    if len(repeated):
        row = repeated[0]
        raise InputError(f"{labels}, row {row + 2}, column {key!r}: {table[key][row]!r} is there twice")
    added = [key, "label"]
    if key != "patient_id" and "patient_id" in table:
        cases = cases.drop(columns="patient_id")
        added.append("patient_id")
    labelled = table[added].reset_index(names="row")
    images = len(cases)
    cases = cases.merge(labelled, on=key, how="inner").set_index("row")
    _warn_of_left_out(root, others, images - len(cases))
    if cases.empty:
        raise InputError(f"{labels}: no {key} of {root} has a label")
    copies = cases["image"][cases["case_id"].duplicated()]
    if len(copies):
        raise InputError(
            f"{root / copies.iloc[0]}: its SOPInstanceUID is another file's too; expected every image once"
        )
    nameless = cases["image"][cases["patient_id"].isna()]
    if len(nameless):
        raise InputError(
            f"{root / nameless.iloc[0]}: no PatientID, as in {len(nameless)} files; expected a column"
            f" patient_id in {labels}, because the images of a patient must stay together"
        )
    return check_cases(cases, labels)


def _of_modality(images: pd.DataFrame, modality: str, root: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """The images of a modality, and how many there are of each other one."""
    if modality not in MODALITIES:
        raise InputError(f"modality: {modality!r} is unknown{did_you_mean(modality, MODALITIES)}")
    expected = MODALITIES[modality]
    others = {
        str(name): int(n) for name, n in images["modality"].value_counts().items() if name not in expected
    }
    cases = images[images["modality"].isin(expected)]
    if cases.empty:
        raise InputError(
            f"{root}: no {modality} ({', '.join(expected)}) among {len(images)} DICOM images, which are of"
            f" modality {', '.join(others)}; --modality takes {' or '.join(MODALITIES)}"
        )
    return cases, others


def _warn_of_left_out(root: Path, others: dict[str, int], unlabelled: int) -> None:
    reasons = [f"{count} of modality {name}" for name, count in others.items()]
    reasons += [f"{unlabelled} without a label"] if unlabelled else []
    if reasons:
        warnings.warn(f"{root}: images left out: {', '.join(reasons)}", stacklevel=3)


def _header(path: Path, root: Path) -> dict[str, object] | None:
    """What a case table wants to know of one file, None if it is not a DICOM image."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, OSError):
        return None
    if "SOPInstanceUID" not in header or "Modality" not in header:
        return None
    sex = str(header.get("PatientSex") or "")
    return {
        "case_id": str(header.SOPInstanceUID),
        "patient_id": str(header.get("PatientID") or "") or None,
        "image": path.relative_to(root).as_posix(),
        "sex": sex if sex in ("F", "M") else None,
        "age": _age(str(header.get("PatientAge") or "")),
        "view": str(header.get("ViewPosition") or "") or None,
        "manufacturer": str(header.get("Manufacturer") or "") or None,
        "modality": str(header.Modality),
        "body_part": str(header.get("BodyPartExamined") or "") or None,
    }


def _age(text: str) -> float | None:
    """A DICOM age string in years; None if it is none, or no one's age."""
    age = years(text)
    return age if isinstance(age, float) and age <= 120 else None
