"""CheXpert (Irvin et al. 2019) and MIMIC-CXR-JPG (Johnson et al. 2019), which share one labeller."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from srcmatters.cohorts.published.labels import (
    NO_FINDING,
    LabelChoice,
    PublishedCohort,
    finding_column,
    labelled,
    read_label_file,
    sex_letter,
    years_or_nothing,
)
from srcmatters.errors import InputError

FINDINGS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)


def read_chexpert(labels: str | Path, choice: LabelChoice) -> PublishedCohort:
    """CheXpert's train.csv or valid.csv.

    The paths in it begin with the collection's own folder, in which the file lies: that part is dropped.

    Args:
        labels: the file, in the folder that it came in.
        choice: what makes a label; view is AP, PA or Lateral.

    Raises:
        InputError: see :func:`srcmatters.cohorts.published.labels.read_label_file`.
    """
    labels = Path(labels)
    table = read_label_file(
        labels, ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", NO_FINDING], "CheXpert"
    )
    parts = table["Path"].str.extract(r"((?:train|valid|test)/(patient\d+)/.*)$")
    unknown = table.index[parts[0].isna()]
    if len(unknown):
        raise InputError(
            f"{labels}, row {unknown[0] + 2}, column 'Path': {table['Path'][unknown[0]]!r}, expected"
            " .../train/patientNNNNN/studyN/viewN.jpg"
        )
    rows = pd.DataFrame(
        {
            "image": parts[0],
            "patient_id": parts[1],
            "sex": sex_letter(table["Sex"]),
            "age": years_or_nothing(table["Age"]),
            "view": table["AP/PA"].where(table["Frontal/Lateral"] == "Frontal", "Lateral"),
        }
    )
    state = finding_column(table, choice.finding, [name for name in FINDINGS if name in table], labels)
    return labelled(rows, state, table[NO_FINDING].astype(float) == 1, choice, labels)


def read_mimic(labels: str | Path, metadata: str | Path, choice: LabelChoice) -> PublishedCohort:
    """MIMIC-CXR-JPG's mimic-cxr-2.0.0-chexpert.csv.gz (or -negbio) with its -metadata file.

    Labels are of studies; every image of a study has them. Sex and age are not in these files.

    Args:
        labels: the label file; images are searched in files/pNN/pNNNNNNNN/sNNNNNNNN/ beside it.
        metadata: says which images belong to a study, and their views.
        choice: what makes a label.

    Raises:
        InputError: see :func:`srcmatters.cohorts.published.labels.read_label_file`.
    """
    findings = read_label_file(labels, ["subject_id", "study_id", NO_FINDING], "MIMIC-CXR-JPG")
    images = read_label_file(
        metadata, ["dicom_id", "subject_id", "study_id", "ViewPosition"], "MIMIC-CXR-JPG's metadata"
    )
    table = images[["dicom_id", "subject_id", "study_id", "ViewPosition"]].merge(
        findings.drop(columns="subject_id"), on="study_id", how="inner"
    )
    if table.empty:
        raise InputError(f"{labels}: none of its studies is in {metadata}, expected files of one release")
    subject = table["subject_id"]
    folder = "files/p" + subject.str[:2] + "/p" + subject + "/s" + table["study_id"]
    rows = pd.DataFrame(
        {
            "case_id": table["dicom_id"],
            "image": folder + "/" + table["dicom_id"] + ".jpg",
            "patient_id": subject,
            "study": table["study_id"],
            "view": table["ViewPosition"],
        }
    )
    state = finding_column(table, choice.finding, [name for name in FINDINGS if name in table], labels)
    cohort = labelled(rows, state, table[NO_FINDING].astype(float) == 1, choice, labels)
    unlabelled = len(images) - len(table)
    return PublishedCohort(
        cohort.cases, {**cohort.left_out, **({"of studies without labels": unlabelled} if unlabelled else {})}
    )
