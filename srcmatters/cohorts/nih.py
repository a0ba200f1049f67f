"""NIH ChestX-ray14 (Wang et al. 2017) from the dataset's own Data_Entry CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from srcmatters.cohorts.case_table import check_cases
from srcmatters.cohorts.identifiers import years
from srcmatters.errors import UNREADABLE_CSV, InputError, did_you_mean

NO_FINDING = "No Finding"
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
_COLUMNS = {
    "Image Index": "image",
    "Patient ID": "patient_id",
    "Patient Gender": "sex",
    "Patient Age": "age",
    "View Position": "view",
    "Finding Labels": "findings",
}


def read_nih(
    data_entry: str | Path,
    finding: str,
    negatives: str | Sequence[str] = NO_FINDING,
    view: str | None = None,
    images: str = "images",
) -> pd.DataFrame:
    """Read a binary cohort from Data_Entry_2017*.csv (112,120 rows; .csv.gz is read as well).

    Args:
        data_entry: the CSV file.
        finding: label 1 are the images whose findings include this one.
        negatives: label 0 are the images whose findings are exactly one of these; the others are left out.
        view: "PA" or "AP" keeps one view position only.
        images: folder of the images relative to the CSV file, put before each file name.

    Returns:
        A case table with sex, age (years), view, findings, and image paths relative to the CSV's folder.

    Raises:
        InputError: not such a CSV file, or an unknown finding or view.
    """
    path = Path(data_entry)
    for name in [finding, *([negatives] if isinstance(negatives, str) else negatives)]:
        if name not in (*FINDINGS, NO_FINDING):
            raise InputError(f"finding: {name!r} is unknown{did_you_mean(name, (*FINDINGS, NO_FINDING))}")
    if view not in (None, "PA", "AP"):
        raise InputError(f"view: got {view!r}, expected PA or AP")
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected the Data_Entry CSV file of ChestX-ray14")
    try:
        entries = pd.read_csv(path, usecols=list(_COLUMNS), dtype={"Patient ID": str})
    except UNREADABLE_CSV as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}; expected ChestX-ray14's columns") from error
    entries = entries.rename(columns=_COLUMNS)
    positive = ("|" + entries["findings"] + "|").str.contains(f"|{finding}|", regex=False)
    negative_labels = [negatives] if isinstance(negatives, str) else list(negatives)
    negative = entries["findings"].isin(negative_labels) & ~positive
    kept = entries[(positive | negative) & ((entries["view"] == view) | (view is None))].copy()
    if kept.empty:
        raise InputError(f"{path}: no image with {finding} or {negatives}" + (f" in {view}" if view else ""))
    kept["label"] = positive[kept.index].astype(int)
    kept["age"] = kept["age"].map(years)
    # A few ages in the published file are impossible (up to 414 years): unknown is truer than wrong.
    kept["age"] = kept["age"].mask(pd.to_numeric(kept["age"], errors="coerce") > 120)
    kept["image"] = [f"{images}/{name}" for name in kept["image"]]
    return check_cases(kept, path)
