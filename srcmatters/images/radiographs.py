"""Radiographs from any file that holds one, as they are displayed: in [0, 1] and never transposed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from srcmatters.errors import InputError
from srcmatters.images.declarations import check_declared
from srcmatters.images.dicom_slices import read_dicom
from srcmatters.images.display import displayed
from srcmatters.images.pictures import check_not_constant, read_picture
from srcmatters.images.pixel_spacing import pixel_spacing
from srcmatters.images.planes import Spacing, read_plane
from srcmatters.images.reading import ITK, NIFTI, as_input_error, has_ending, is_dicom


def load_radiograph(
    path: str | Path, modality: str | None = None, body_part: str | None = None
) -> MetaTensor:
    """Read a radiograph as it is displayed.

    PNG, JPEG and TIFF (8 or 16 bit; colour becomes luminance, an orientation is applied) are scaled by their
    bit depth, as is one plane in NIfTI or a file of ITK (.mha, .nrrd, ...), which is turned by its axes in
    the patient. DICOM passes through its modality and VOI look-up tables, is scaled by the range of the
    result, and MONOCHROME1 is inverted, so that bone is bright in either; PALETTE COLOR becomes the luminance
    of its colours. Where DICOM of more than 8 bits has no window, padding is left out of that range, and is
    black.

    Args:
        path: the file; DICOM is recognised by its content.
        modality: "radiograph" refuses DICOM of any other kind; None takes what comes.
        body_part: what DICOM must show if it says so, "CHEST" for instance; None or empty for any.

    Returns:
        (1, H, W) float32 in [0, 1], rows down and columns right; the affine holds the pixel spacing in mm
        where the file knows it. ``meta["spacing_known"]`` is False where it does not (a picture, DICOM with
        neither PixelSpacing nor ImagerPixelSpacing, ...): the affine then counts a pixel as 1 mm.

    Raises:
        InputError: not readable, more than one frame, no pixel data, the same value everywhere, or of another
            modality or body part; the message names the file.
    """
    path = Path(path)
    with as_input_error(path, "radiograph"):
        pixels, spacing = _read(path, modality, body_part)
    check_not_constant(path, float(pixels.min()), float(pixels.max()))
    image = torch.from_numpy(pixels).unsqueeze(0)
    # The affine cannot say it: that of a known 1 mm is the same.
    meta = {"filename_or_obj": str(path), "spacing_known": spacing is not None}
    rows, columns = spacing or (1.0, 1.0)
    affine = torch.diag(torch.tensor([rows, columns, 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(image, affine=affine, meta=meta)


def _read(path: Path, modality: str | None, body_part: str | None) -> tuple[np.ndarray, Spacing | None]:
    if is_dicom(path):
        return _read_dicom(path, modality, body_part)
    if has_ending(path, NIFTI + ITK):
        return read_plane(path)
    return read_picture(path), None


def _read_dicom(path: Path, modality: str | None, body_part: str | None) -> tuple[np.ndarray, Spacing | None]:
    dataset = read_dicom(path)
    check_declared(dataset, path, modality, body_part)
    if "PixelData" not in dataset:
        raise InputError(f"{path}: DICOM without pixel data, expected a radiograph")
    pixels = dataset.pixel_array
    if pixels.ndim != 2:
        raise InputError(
            f"{path}: pixel data of shape {pixels.shape}, expected one grey frame (rows, columns)"
        )
    return displayed(dataset), pixel_spacing(dataset)


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
