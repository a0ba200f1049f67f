"""PadChest (Bustos et al. 2020): findings of radiologists and of a network that read their reports."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from srcmatters.cohorts.published.labels import (
    LabelChoice,
    PublishedCohort,
    labelled,
    read_label_file,
    sex_letter,
    years_or_nothing,
)
from srcmatters.errors import InputError, did_you_mean

_COLUMNS = ["ImageID", "ImageDir", "PatientID", "PatientSex_DICOM", "Projection", "Labels"]
_LABEL = re.compile(r"'([^']*)'")
_NORMAL = "normal"
_UNUSABLE = ("exclude", "suboptimal study")


def read_padchest(labels: str | Path, choice: LabelChoice, images: str = ".") -> PublishedCohort:
    """PADCHEST_chest_x_ray_images_labels_160K_*.csv.

    Images whose report could not be read ("exclude", "suboptimal study", no label) are left out; "suspect"
    is not a finding of its own: it stands beside the finding that is suspected, which is then uncertain.

    Args:
        labels: the label file.
        choice: what makes a label; views are PA, L, AP, AP_horizontal, COSTAL, ...
        images: folder that holds the numbered folders of images, relative to the file's.

    Raises:
        InputError: an unknown finding, and see :func:`srcmatters.cohorts.published.labels.read_label_file`.
    """
    labels = Path(labels)
    table = read_label_file(labels, _COLUMNS, "PadChest")
    words = (
        table["Labels"].fillna("").map(lambda text: {word.strip() for word in _LABEL.findall(text)} - {""})
    )
    known = sorted(set().union(*words) - {_NORMAL, *_UNUSABLE}) if len(words) else []
    if choice.finding not in known:
        raise InputError(f"finding: {labels} has no {choice.finding!r}{did_you_mean(choice.finding, known)}")
    usable = words.map(lambda labels_of_image: bool(labels_of_image) and not labels_of_image & set(_UNUSABLE))
    rows = pd.DataFrame(
        {
            "case_id": table["ImageID"].str.rsplit(".", n=1).str[0],
            "image": images.rstrip("/") + "/" + table["ImageDir"] + "/" + table["ImageID"],
            "patient_id": table["PatientID"],
            "sex": sex_letter(table["PatientSex_DICOM"]),
            "age": _ages(table),
            "view": table["Projection"],
        }
    )
    rows["image"] = rows["image"].str.removeprefix("./")
    if "Manufacturer_DICOM" in table:
        rows["manufacturer"] = table["Manufacturer_DICOM"]
    state = words.map(lambda labels_of_image: _state(labels_of_image, choice.finding))
    cohort = labelled(rows[usable], state[usable], words[usable].map({_NORMAL}.__eq__), choice, labels)
    unusable = int((~usable).sum())
    return PublishedCohort(
        cohort.cases, {**cohort.left_out, **({"without a usable report": unusable} if unusable else {})}
    )


def _state(labels_of_image: set[str], finding: str) -> int:
    if finding not in labels_of_image:
        return 0
    return -1 if "suspect" in labels_of_image else 1


def _ages(table: pd.DataFrame) -> pd.Series:
    """Years between birth and study, both of which the file gives as numbers."""
    if "PatientBirth" not in table or "StudyDate_DICOM" not in table:
        return pd.Series(float("nan"), index=table.index)
    study = pd.to_numeric(table["StudyDate_DICOM"].str[:4], errors="coerce")
    return years_or_nothing(study - pd.to_numeric(table["PatientBirth"], errors="coerce"))
