"""What is to be scored: images without labels, of CT one item per candidate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from srcmatters.cohorts.case_table import POSITION
from srcmatters.cohorts.embedded import cohort_folder, find_images
from srcmatters.csv_tables import read_their_csv
from srcmatters.errors import InputError, did_you_mean


def images_to_score(
    dataset_dir: str | Path, modality: str = "xray", cases: str | None = None
) -> list[dict[str, Any]]:
    """The items that an inference reads.

    Args:
        dataset_dir: a folder, or "phantom".
        modality: see :func:`srcmatters.cohorts.find_images`.
        cases: CSV file in ``dataset_dir`` with the column image, and x_mm, y_mm, z_mm (LPS, mm) of its
            candidates; None: every image of the folder, scored once.

    Returns:
        Dictionaries with image (path), name (the same), and the position if there is one.

    Raises:
        InputError: no image; or the table cannot be read, or lacks a column or a value (named).
    """
    if not cases:
        return [{"image": path, "name": path} for path in find_images(dataset_dir, modality)]
    path = cohort_folder(dataset_dir, modality) / cases
    table = read_their_csv(path)
    if "image" not in table:
        raise InputError(f"{path}: no column 'image'{did_you_mean('image', table.columns)}")
    columns = ["image", *(name for name in POSITION if name in table)]
    if len(columns) not in (1, 1 + len(POSITION)):
        raise InputError(f"{path}: expected all of {', '.join(POSITION)} or none")
    if table.empty:
        raise InputError(f"{path}: no rows, expected one per candidate")
    items = []
    for row, candidate in table[columns].iterrows():
        image = path.parent / str(candidate["image"])
        if not image.exists():
            raise InputError(f"{path}, row {int(str(row)) + 2}, column 'image': {image} does not exist")
        where = {name: _number(path, int(str(row)) + 2, name, candidate[name]) for name in columns[1:]}
        items.append({"image": str(image), "name": str(image), **where})
    return items


def _number(path: Path, row: int, column: str, text: object) -> float:
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path}, row {row}, column {column!r}: got {text}, expected a number of mm")
    return number
