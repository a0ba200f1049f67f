"""A folder per class, as image classifiers of PyTorch and Keras are trained from, as a case table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from srcmatters.cohorts.case_table import check_cases
from srcmatters.cohorts.embedded import find_images
from srcmatters.cohorts.labelled_images import patients_of_files
from srcmatters.errors import InputError, did_you_mean

#: What folders above the classes are called, and the set that they mean.
_SETS = {"train": "train", "training": "train", "val": "validation"}
_SETS |= {"valid": "validation", "validation": "validation"}
_SETS |= {"test": "test", "testing": "test"}


def read_class_folders(
    folder: str | Path, positive: str, patient_pattern: str | None = None, modality: str = "xray"
) -> pd.DataFrame:
    r"""Every image below ``folder``, labelled by the folder that it lies in.

    Both ``folder/CLASS/...`` and ``folder/train/CLASS/...`` with ``folder/test/CLASS/...`` are read; what
    lies below val or validation is the validation set of every run. Without
    a test set the folders above the classes mean nothing: the test is cross-validated over all images.

    Args:
        folder: the folder.
        positive: name of the class with label 1; the other class has label 0.
        patient_pattern: regular expression whose first group is the patient in a file's name, such as
            ``person(\d+)``; None: every image is a patient of its own.
        modality: "xray" or "ct", see :func:`srcmatters.cohorts.find_images`.

    Returns:
        A checked case table; image paths are relative to ``folder``.

    Raises:
        InputError: not two classes, an image beside them, or a pattern that does not match.
    """
    root = Path(folder).absolute()
    rows = [_row(Path(image), root) for image in find_images(root, modality)]
    cases = pd.DataFrame(rows)
    classes = sorted(cases["class"].unique())
    if positive not in classes:
        raise InputError(f"positive: {root} has no class {positive!r}{did_you_mean(positive, classes)}")
    if len(classes) != 2:
        raise InputError(
            f"{root}: {len(classes)} classes ({', '.join(classes)}), expected two: targets are binary; leave"
            " out or join what is neither"
        )
    cases["label"] = (cases.pop("class") == positive).astype(int)
    cases["patient_id"] = patients_of_files(cases["image"], cases["image"], patient_pattern)
    if "test" not in set(cases["split"]):  # folds test every image in turn
        cases = cases.drop(columns="split")
    return check_cases(cases.assign(case_id=cases["image"]), root)


def _row(image: Path, root: Path) -> dict[str, str]:
    parts = image.relative_to(root).parts
    part_of = _SETS.get(parts[0].lower())
    where = 1 if part_of else 0
    if len(parts) < where + 2:
        raise InputError(f"{image}: an image beside the class folders, expected every image in one")
    return {"image": "/".join(parts), "class": parts[where], "split": part_of or "train"}
