"""A folder of DICOM radiographs: the case table comes from the headers, pixel data is not touched."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pydicom
from pydicom.errors import InvalidDicomError

from srcmatters.cohorts.case_table import check_cases
from srcmatters.cohorts.identifiers import years
from srcmatters.errors import UNREADABLE_CSV, InputError

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


def read_dicom_folder(folder: str | Path, labels: str | Path) -> pd.DataFrame:
    """Build a case table from DICOM headers and a table of labels.

    Args:
        folder: searched through all its levels; files that are not DICOM are passed over.
        labels: CSV file with a column label (0 or 1) and one of patient_id (PatientID), image (path relative
            to ``folder``) or case_id (SOPInstanceUID) to match by; a patient_id beside one of the others
            replaces PatientID, which de-identified files often lack; rows of the folder without a label are
            left out.

    Returns:
        A case table with sex, age (years), view, manufacturer, modality, body_part; image paths are relative
        to ``folder``.

    Raises:
        InputError: no DICOM file, no usable column in ``labels``, or no file with a label.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder")
    rows = [row for path in sorted(root.rglob("*")) if path.is_file() and (row := _header(path, root))]
    if not rows:
        raise InputError(f"{root}: no DICOM file in this folder")
    cases = pd.DataFrame(rows)
    try:
        table = pd.read_csv(labels, dtype=str)
    except UNREADABLE_CSV as error:
        raise InputError(f"{labels}: not a readable CSV file ({str(error).splitlines()[0]})") from error
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
    cases = cases.merge(labelled, on=key, how="inner").set_index("row")
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
