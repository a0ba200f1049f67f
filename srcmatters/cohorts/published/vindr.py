"""VinDr-CXR (Nguyen et al. 2022): findings that radiologists marked, three readers per training image."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from srcmatters.cohorts.published.labels import LabelChoice, PublishedCohort, labelled, read_label_file
from srcmatters.errors import InputError, did_you_mean

_NO_FINDING = "No finding"


def read_vindr(
    labels: str | Path, choice: LabelChoice, images: str = "train", ending: str = ".dicom"
) -> PublishedCohort:
    """image_labels_train.csv or image_labels_test.csv.

    Where an image has several readers (column rad_id), a finding that all of them marked is present, one that
    none marked is absent, and one on which they differ is uncertain. The collection names no patients: every
    image is taken for a patient of its own.

    Args:
        labels: the label file.
        choice: what makes a label; the file has no views.
        images: folder of the images relative to the file's.
        ending: of the images' files.

    Raises:
        InputError: an unknown finding, and see :func:`srcmatters.cohorts.published.labels.read_label_file`.
    """
    labels = Path(labels)
    table = read_label_file(labels, ["image_id", _NO_FINDING], "VinDr-CXR")
    known = [name for name in table.columns if name not in ("image_id", "rad_id", "rad_ID", _NO_FINDING)]
    if choice.finding not in known:
        raise InputError(f"finding: {labels} has no {choice.finding!r}{did_you_mean(choice.finding, known)}")
    if choice.view is not None:
        raise InputError(f"view: got {choice.view!r}, but {labels} names no views, expected none")
    marks = table[[choice.finding, _NO_FINDING]].apply(pd.to_numeric, errors="coerce")
    wrong = table.index[~marks.isin([0, 1]).all(axis=1)]
    if len(wrong):
        raise InputError(f"{labels}, row {wrong[0] + 2}, column {choice.finding!r}: expected 0 or 1")
    share = marks.groupby(table["image_id"], sort=False).mean()
    state = share[choice.finding].where(share[choice.finding].isin([0, 1]), -1)
    image = share.index.to_series()
    rows = pd.DataFrame(
        {"case_id": image, "image": images.rstrip("/") + "/" + image + ending, "patient_id": image}
    ).reset_index(drop=True)
    healthy = (share[_NO_FINDING] == 1).reset_index(drop=True)
    return labelled(rows, state.reset_index(drop=True), healthy, choice, labels)
