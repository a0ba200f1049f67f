"""What the training images were: pixel spacing, size and views, read from the headers of their files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel
import pandas as pd
import pydicom
from PIL import Image

from srcmatters.images.digests import image_files
from srcmatters.images.pixel_spacing import SPACINGS, pixel_spacing
from srcmatters.images.reading import NIFTI, PICTURES, has_ending, is_dicom

_MOST = 1000  # files that are looked into


def input_ranges(cases: pd.DataFrame) -> dict[str, Any]:
    """Ranges of the training images; null where no file says it.

    Args:
        cases: rows of the case table; at most 1000 of them, evenly spread, are looked into.

    Returns:
        "spacing_mm": [low, high] of the pixel spacing in the plane; "size": [low, high] of rows and columns;
        "depth_mm": [low, high] of the extent of a volume's slices, of NIfTI; "views": the values of the
        column ``view``; "positions": whether the table says where to look in a CT.
    """
    step = max(1, len(cases) // _MOST)
    spacings: list[float] = []
    sizes: list[int] = []
    depths: list[float] = []
    for image in cases["image"].iloc[::step]:
        spacing, size, depth = _header(Path(image))
        spacings += spacing
        sizes += size
        depths += depth
    views = sorted({str(view) for view in cases["view"].dropna()}) if "view" in cases else []
    return {
        "spacing_mm": _ends(spacings),
        "size": _ends(sizes),
        "depth_mm": _ends(depths),
        "views": views or None,
        "positions": "x_mm" in cases and bool(cases["x_mm"].notna().any()),
    }


def _ends(values: Iterable[float]) -> list[float] | None:
    known = [value for value in values if value > 0]
    return [min(known), max(known)] if known else None


def _header(path: Path) -> tuple[list[float], list[int], list[float]]:
    """Spacing and size in the plane, and depth; empty where the file does not say it."""
    if path.is_dir():
        inside = [part for part in image_files(path) if is_dicom(part)]
        return _header(inside[0]) if inside else ([], [], [])
    if is_dicom(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*SPACINGS, "Rows", "Columns"])
        size = [int(header[name].value) for name in ("Rows", "Columns") if header.get(name)]
        return list(pixel_spacing(header) or []), size, []
    if has_ending(path, NIFTI):
        scan: Any = nibabel.load(path)
        placed = scan.header["qform_code"] or scan.header["sform_code"]
        steps = [float(zoom) for zoom in scan.header.get_zooms()[:3]] if placed else []
        depth = [steps[2] * scan.shape[2]] if len(steps) > 2 else []
        return steps[:2], list(scan.shape[:2]), depth
    if has_ending(path, PICTURES):
        with Image.open(path) as picture:
            return [], list(picture.size), []
    return [], [], []
