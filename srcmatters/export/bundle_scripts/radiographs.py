"""Radiographs as a viewer displays them, which MONAI's readers do not do: they return stored values.

``configs/inference.yaml`` of this bundle names these parts. They need MONAI, NumPy, Pillow and pydicom.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
from monai.transforms import MapTransform
from PIL import Image, ImageOps
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def find_radiographs(folder: str | Path) -> list[dict[str, str]]:
    """Pictures and DICOM files below a folder, as items whose ``image`` and ``name`` are the path."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    images = sorted(str(path) for path in files if path.suffix.lower() in PICTURES or is_dicom(path))
    return [{"image": path, "name": path} for path in images]


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM, by its content: "DICM" after a preamble of 128 bytes."""
    with Path(path).open("rb") as file:
        return file.read(132)[128:] == b"DICM"


class LoadRadiographd(MapTransform):
    """Load files as (H, W) float32 in [0, 1], rows from head to foot, bone bright.

    Args:
        keys: whose values are paths of DICOM files, PNG, JPEG or TIFF (8 or 16 bit; colour becomes grey).
    """

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Apply to the image."""
        item = dict(data)
        for key in self.key_iterator(item):
            path = str(item[key])
            item[key] = displayed(pydicom.dcmread(path)) if is_dicom(path) else picture(path)
        return item


def picture(path: str | Path) -> np.ndarray:
    """A picture as (H, W) float32 in [0, 1]."""
    with Image.open(path) as opened:
        if opened.mode.startswith("I"):
            return np.asarray(opened, np.float32) / 65535
        # Pillow turns a TIFF as it loads it, and leaves the others as they are stored.
        upright = opened if opened.format == "TIFF" else ImageOps.exif_transpose(opened)
        return np.asarray(upright.convert("L"), np.float32) / 255


def displayed(header: Dataset) -> np.ndarray:
    """A DICOM radiograph as (H, W) float32 in [0, 1].

    Modality LUT and VOI LUT or window are applied, the range of the display becomes 0 to 1, and MONOCHROME1
    is inverted. An image of more than 8 bits without window or table is scaled by the values that it has;
    padding is left out of these and becomes black.

    Args:
        header: with its pixels.

    Source: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.3.1.2 (photometric interpretation),
        C.7.5.1.1.2 (pixel padding).
    """
    values = _through_voi_table(apply_modality_lut(header.pixel_array, header), header).astype(np.float32)
    if _has_display_range(header):
        low, high = _display_range(header)
    else:
        values = np.where(_is_padding(header), np.nan, values)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        high = high if high > low else low + 1
    shown = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.nan_to_num(shown)


def _through_voi_table(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Values after the VOI LUT or the window; of a table of 8 bits pydicom alone reads 256 entries."""
    if not header.get("VOILUTSequence"):
        return np.asarray(apply_voi_lut(values, header))
    table = deepcopy(header["VOILUTSequence"].value[0])
    entries, first, _ = table.LUTDescriptor
    table.LUTDescriptor = [entries, first, 16]
    wide = Dataset()
    wide.file_meta = header.file_meta
    wide.VOILUTSequence = [table]
    inside = np.clip(np.rint(values), first, first + (entries or 2**16) - 1)
    return np.asarray(apply_voi_lut(inside.astype(np.int32), wide))


def _has_display_range(header: Dataset) -> bool:
    window = header.get("WindowCenter") is not None and header.get("WindowWidth") is not None
    return bool(header.get("VOILUTSequence")) or window or int(header.BitsStored) <= 8


def _display_range(header: Dataset) -> tuple[float, float]:
    """What look-up tables or a window of this image make black and white."""
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if header.get(name):
            return 0.0, float(2 ** int(header[name].value[0].LUTDescriptor[2]) - 1)
    lowest = -(2 ** (int(header.BitsStored) - 1)) if int(header.PixelRepresentation) else 0
    stored = (lowest, lowest + 2 ** int(header.BitsStored) - 1)
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    low, high = (value * slope + intercept for value in stored)
    # pydicom's window follows a negative slope: its darkest value is then the highest one.
    windowed = header.get("WindowCenter") is not None
    return (low, high) if windowed else (min(low, high), max(low, high))


def _is_padding(header: Dataset) -> np.ndarray:
    """(H, W) bool: stored values from PixelPaddingValue to PixelPaddingRangeLimit."""
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    edges = [int(header[name].value) for name in names if header.get(name) is not None]
    stored = header.pixel_array
    if not edges:
        return np.zeros(stored.shape, bool)
    return (stored >= min(edges)) & (stored <= max(edges))
