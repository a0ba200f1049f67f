"""Reading one image, of whatever kind a user has at hand, for a preview of the confounders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from srcmatters.errors import InputError

LUNG_WINDOW = (-1350.0, 150.0)  # HU shown as black and white: centre -600, width 1500


@dataclass(frozen=True)
class PreviewImage:
    """An image as it was read.

    Args:
        values: (1, H, W) or (1, H, W, D) float32: HU if ``hounsfield``, else display values in [0, 1].
        hounsfield: whether the values are HU.
        spacing_mm: of rows, columns (and slices), None where the file does not say.
        modality: "radiograph" or "CT".
    """

    values: torch.Tensor
    hounsfield: bool
    spacing_mm: tuple[float, ...] | None
    modality: str

    def display(self, values: torch.Tensor | None = None) -> torch.Tensor:
        """Values (those of the image unless given) as display values: HU through a lung window."""
        values = self.values if values is None else values
        if not self.hounsfield:
            return values
        low, high = LUNG_WINDOW
        return ((values - low) / (high - low)).clamp(0, 1)


def read_image(path: Path | str) -> PreviewImage:
    """Read a PNG, JPEG, DICOM or NIfTI file.

    Args:
        path: .png, .jpg, .jpeg (8 or 16 bit; colour becomes grey), .nii, .nii.gz (2D or 3D; values below -200
            make it HU), .dcm or any other name (DICOM, one frame; MONOCHROME1 is inverted).

    Raises:
        InputError: the file is missing or cannot be read as what its name says; one line with its name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    name = path.name.lower()
    reader: Callable[[Path], PreviewImage] = _read_dicom
    if name.endswith((".png", ".jpg", ".jpeg")):
        reader = _read_picture
    elif name.endswith((".nii", ".nii.gz")):
        reader = _read_nifti
    try:
        return reader(path)
    except InputError:
        raise
    except Exception as error:  # a reader raises whatever its library does: the user needs one line
        kind = reader.__name__.removeprefix("_read_")
        detail = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path}: cannot be read as a {kind} file ({type(error).__name__}: {detail})"
        ) from error


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).unsqueeze(0)


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _read_picture(path: Path) -> PreviewImage:
    from PIL import Image

    with Image.open(path) as picture:
        deep = picture.mode.startswith(("I", "F"))
        values = np.asarray(picture if deep else picture.convert("L"), dtype=np.float32)
    return PreviewImage(_tensor(_stretched(values) if deep else values / 255), False, None, "radiograph")


def _read_nifti(path: Path) -> PreviewImage:
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(path))
    # Canonical axes run to the right, to the front and up; shown are front at the top, right on the left.
    volume = np.asarray(image.dataobj, dtype=np.float32)
    volume = volume[..., 0] if volume.ndim == 4 and volume.shape[3] == 1 else volume
    if volume.ndim not in (2, 3) or volume.size == 0:
        raise InputError(f"{path}: shape {volume.shape}, expected one image or volume")
    volume = np.swapaxes(volume[::-1, ::-1], 0, 1)
    x, y, *z = (float(step) for step in image.header.get_zooms()[: volume.ndim])
    if volume.ndim == 3 and volume.shape[2] == 1:
        volume, z = volume[..., 0], []
    hounsfield = float(volume.min()) < -200
    values = volume if hounsfield else _stretched(volume)
    spacing = (y, x, *z) if min(y, x, *z) > 0 else None
    return PreviewImage(_tensor(values), hounsfield, spacing, "CT")


def _read_dicom(path: Path) -> PreviewImage:
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi

    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        raise InputError(f"{path}: no pixel data, expected an image")
    pixels = dataset.pixel_array
    if pixels.ndim != 2:
        raise InputError(f"{path}: pixel data of shape {pixels.shape}, expected one grey frame")
    values = np.asarray(apply_modality_lut(pixels, dataset), dtype=np.float32)
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    # Some devices write 0 where they do not know it.
    known = bool(spacing) and all(float(step) > 0 for step in spacing)
    spacing_mm = tuple(float(step) for step in spacing) if known else None
    if dataset.get("Modality") == "CT":
        return PreviewImage(_tensor(values), True, spacing_mm, "CT")
    shown = _stretched(np.asarray(apply_voi(values, dataset), dtype=np.float32))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1 - shown
    return PreviewImage(_tensor(shown), False, spacing_mm, "radiograph")
