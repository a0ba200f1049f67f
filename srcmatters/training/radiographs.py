"""Radiographs from PNG, JPEG, TIFF or DICOM, as they are displayed: in [0, 1] and never transposed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from srcmatters.errors import InputError

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "I;16N")
_DICOM_MAGIC = (128, b"DICM")


def load_radiograph(path: str | Path) -> MetaTensor:
    """Read a radiograph as it is displayed.

    PNG, JPEG and TIFF (8 or 16 bit; colour becomes luminance) are scaled by their bit depth. DICOM passes
    through its modality and VOI look-up tables, is scaled by the range of the result, and MONOCHROME1 is
    inverted, so that bone is bright in either.

    Args:
        path: the file; DICOM is recognised by its content.

    Returns:
        (1, H, W) float32 in [0, 1], rows down and columns right; the affine holds the pixel spacing in mm
        where the file knows it.

    Raises:
        InputError: not readable, more than one frame, or no pixel data; the message names the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            file.seek(_DICOM_MAGIC[0])
            dicom = file.read(4) == _DICOM_MAGIC[1]
        pixels, spacing = _read_dicom(path) if dicom else (_read_picture(path), None)
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, AttributeError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path}: not a readable radiograph ({_first_line(error)})") from error
    image = torch.from_numpy(pixels).unsqueeze(0)
    if spacing is None:
        return MetaTensor(image, meta={"filename_or_obj": str(path)})
    affine = torch.diag(torch.tensor([spacing[0], spacing[1], 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(image, affine=affine, meta={"filename_or_obj": str(path)})


def _read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{path}: {frames} frames, expected one")
        if picture.mode not in _MODES:
            raise InputError(f"{path}: pixels of kind {picture.mode}, expected 8 or 16 bit grey or colour")
        deep = picture.mode.startswith("I")
        grey = picture if deep else picture.convert("L")
        pixels = np.asarray(grey, dtype=np.float32)
    if deep and 0 < pixels.max() < 65535 / 8:
        warnings.warn(
            f"{path}: 16 bit, but its brightest pixel is {pixels.max():.0f} of 65535; it will be almost"
            " black: rescale such images first",
            stacklevel=3,
        )
    return pixels / np.float32(65535 if deep else 255)


def _read_dicom(path: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    try:
        dataset = pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise InputError(f"{path}: not a readable DICOM file ({_first_line(error)})") from error
    if "PixelData" not in dataset:
        raise InputError(f"{path}: DICOM without pixel data, expected a radiograph")
    pixels = dataset.pixel_array
    if pixels.ndim != 2:
        raise InputError(
            f"{path}: pixel data of shape {pixels.shape}, expected one grey frame (rows, columns)"
        )
    values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float32)
    low, high = _display_range(dataset, values)
    values = np.clip((values - low) / (high - low), 0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = 1 - values
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    # Some devices write a spacing of 0 where they do not know it.
    known = spacing is not None and len(spacing) == 2 and all(float(step) > 0 for step in spacing)
    return values, (float(spacing[0]), float(spacing[1])) if known else None


def _display_range(dataset: pydicom.Dataset, values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value that the display shows."""
    if "VOILUTSequence" in dataset:
        return 0.0, float(2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    bits = int(dataset.BitsStored)
    if "WindowCenter" not in dataset and bits > 8:
        # Without a window the stored range says little about what was exposed: show what is there.
        low, high = float(values.min()), float(values.max())
        return low, high if high > low else low + 1
    if "ModalityLUTSequence" in dataset:
        return 0.0, float(2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    # pydicom spreads a window over the whole range that the stored bits can reach.
    lowest = -(2 ** (bits - 1)) if int(dataset.PixelRepresentation) else 0
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    edges = lowest * slope + intercept, (lowest + 2**bits - 1) * slope + intercept
    return min(edges), max(edges)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LoadRadiographd(MapTransform):
    """Dictionary form of :func:`load_radiograph`: replaces the paths under ``keys`` by images."""

    def __init__(self, keys: KeysCollection = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images loaded."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = load_radiograph(result[key])
        return result
