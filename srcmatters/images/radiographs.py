"""Radiographs from any file that holds one, as they are displayed: in [0, 1] and never transposed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from srcmatters.errors import InputError
from srcmatters.images.declarations import check_declared
from srcmatters.images.dicom_slices import read_dicom
from srcmatters.images.pictures import read_picture
from srcmatters.images.planes import read_plane
from srcmatters.images.reading import ITK, NIFTI, has_ending, is_dicom, said_in_one_line


def load_radiograph(
    path: str | Path, modality: str | None = None, body_part: str | None = None
) -> MetaTensor:
    """Read a radiograph as it is displayed.

    PNG, JPEG and TIFF (8 or 16 bit; colour becomes luminance) are scaled by their bit depth, as is one plane
    in NIfTI or a file of ITK (.mha, .nrrd, ...), which is turned by its axes in the patient. DICOM passes
    through its modality and VOI look-up tables, is scaled by the range of the result, and MONOCHROME1 is
    inverted, so that bone is bright in either.

    Args:
        path: the file; DICOM is recognised by its content.
        modality: "radiograph" refuses DICOM of any other kind; None takes what comes.
        body_part: what DICOM must show if it says so, "CHEST" for instance; None or empty for any.

    Returns:
        (1, H, W) float32 in [0, 1], rows down and columns right; the affine holds the pixel spacing in mm
        where the file knows it.

    Raises:
        InputError: not readable, more than one frame, no pixel data, or of another modality or body part;
            the message names the file.
    """
    path = Path(path)
    with said_in_one_line(path, "radiograph"):
        pixels, spacing = _read(path, modality, body_part)
    image = torch.from_numpy(pixels).unsqueeze(0)
    if spacing is None:
        return MetaTensor(image, meta={"filename_or_obj": str(path)})
    affine = torch.diag(torch.tensor([spacing[0], spacing[1], 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(image, affine=affine, meta={"filename_or_obj": str(path)})


def _read(
    path: Path, modality: str | None, body_part: str | None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    if is_dicom(path):
        return _read_dicom(path, modality, body_part)
    if has_ending(path, NIFTI + ITK):
        return read_plane(path)
    return read_picture(path), None


def _read_dicom(
    path: Path, modality: str | None, body_part: str | None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    dataset = read_dicom(path)
    check_declared(dataset, path, modality, body_part)
    if "PixelData" not in dataset:
        raise InputError(f"{path}: DICOM without pixel data, expected a radiograph")
    pixels = dataset.pixel_array
    if pixels.ndim != 2:
        raise InputError(
            f"{path}: pixel data of shape {pixels.shape}, expected one grey frame (rows, columns)"
        )
    values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float32)
    low, high = _display_range(dataset, values)
    # In place: every new array of this size costs as much as decoding.
    values -= low
    values /= high - low
    np.clip(values, 0, 1, out=values)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(1, values, out=values)
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


class LoadRadiographd(MapTransform):
    """Dictionary form of :func:`load_radiograph`: replaces the paths under ``keys`` by images.

    Args:
        keys: which items are paths.
        modality: see :func:`load_radiograph`.
        body_part: see :func:`load_radiograph`.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        modality: str | None = None,
        body_part: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modality = modality
        self.body_part = body_part

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images loaded."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = load_radiograph(result[key], self.modality, self.body_part)
        return result
