"""What is to be scored: images without labels, of CT one item per candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from srcmatters.cohorts.case_table import POSITION
from srcmatters.cohorts.embedded import find_images
from srcmatters.errors import UNREADABLE_CSV, InputError, did_you_mean


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
    path = Path(dataset_dir) / cases
    try:
        table = pd.read_csv(path, dtype={"image": str})
    except UNREADABLE_CSV as error:
        raise InputError(f"{path}: not a readable CSV file ({str(error).splitlines()[0]})") from error
    if "image" not in table:
        raise InputError(f"{path}: no column 'image'{did_you_mean('image', table.columns)}")
    columns = ["image", *(name for name in POSITION if name in table)]
    if len(columns) not in (1, 1 + len(POSITION)):
        raise InputError(f"{path}: expected all of {', '.join(POSITION)} or none")
    missing = table.index[table[columns].isna().any(axis=1)]
    if len(missing):
        raise InputError(f"{path}, row {missing[0] + 2}: empty, expected {', '.join(columns)}")
    items = []
    for row in table[columns].to_dict("records"):
        image = str(Path(dataset_dir) / row["image"])
        items.append({**{str(name): value for name, value in row.items()}, "image": image, "name": image})
    return items
