"""The RSNA Pneumonia Detection Challenge (Shih et al. 2019): lung opacity, normal, or neither."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from srcmatters.cohorts.published.labels import LabelChoice, PublishedCohort, labelled, read_label_file
from srcmatters.errors import InputError

FINDING = "Lung Opacity"
_CLASSES = (FINDING, "No Lung Opacity / Not Normal", "Normal")


def read_rsna(
    classes: str | Path, choice: LabelChoice, images: str = "stage_2_train_images"
) -> PublishedCohort:
    """stage_2_detailed_class_info.csv: an image with several boxes has several rows.

    Its ``patientId`` names an image. The challenge's images are of ChestX-ray14, where patients have several:
    who must keep them apart needs the organisers' mapping to ChestX-ray14 as a column patient_id.

    Args:
        classes: the file of classes; a column patient_id of yours is taken for the patient.
        choice: finding is "Lung Opacity"; the file has no views.
        images: folder of the images relative to the file's.

    Raises:
        InputError: another finding or class, and see
            :func:`srcmatters.cohorts.published.labels.read_label_file`.
    """
    classes = Path(classes)
    table = read_label_file(classes, ["patientId", "class"], "the RSNA challenge")
    if choice.finding != FINDING:
        raise InputError(f"finding: {classes} knows {FINDING!r} only, got {choice.finding!r}")
    if choice.view is not None:
        raise InputError(f"view: got {choice.view!r}, but {classes} names no views, expected none")
    unknown = table.index[~table["class"].isin(_CLASSES)]
    if len(unknown):
        got = table["class"][unknown[0]]
        raise InputError(
            f"{classes}, row {unknown[0] + 2}, column 'class': got {got!r}, expected one of {list(_CLASSES)}"
        )
    once = table.drop_duplicates("patientId").reset_index(drop=True)
    rows = pd.DataFrame(
        {
            "case_id": once["patientId"],
            "image": images.rstrip("/") + "/" + once["patientId"] + ".dcm",
            "patient_id": once.get("patient_id", once["patientId"]),
        }
    )
    state = (once["class"] == FINDING).astype(float)
    return labelled(rows, state, once["class"] == "Normal", choice, classes)
