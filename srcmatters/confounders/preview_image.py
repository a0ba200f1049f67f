"""Reading one image, of whatever kind a user has at hand, for a preview of the confounders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from monai.data import MetaTensor

from srcmatters.errors import InputError
from srcmatters.images import load_ct, load_radiograph
from srcmatters.images.dicom_slices import read_header
from srcmatters.images.reading import as_input_error, is_dicom, is_volume

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
    """Read whatever training reads, with the values that training gets.

    Args:
        path: a radiograph (PNG, JPEG, TIFF, DICOM; see :func:`srcmatters.images.load_radiograph`), or CT
            (DICOM of that modality, a folder with one series, NIfTI, a format of ITK; see
            :func:`srcmatters.images.load_ct`): HU, or grey values where they cannot be HU.

    Raises:
        InputError: the file is missing, or what the loaders refuse; one line with its name.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file, expected an image or a folder with one DICOM series")
    if not _is_ct(path):
        image = load_radiograph(path)
        return PreviewImage(image.as_tensor(), False, _spacing(image), "radiograph")
    try:
        volume, hounsfield = load_ct(path), True
    except InputError as no_hounsfield:
        try:
            volume, hounsfield = load_ct(path, unit="display"), False
        except InputError:
            raise no_hounsfield from None
    spacing = _spacing(volume)
    if volume.shape[-1] == 1:
        return PreviewImage(volume.as_tensor()[..., 0], hounsfield, spacing and spacing[:2], "CT")
    return PreviewImage(volume.as_tensor(), hounsfield, spacing, "CT")


def _is_ct(path: Path) -> bool:
    if path.is_dir() or is_volume(path):
        return True
    with as_input_error(path, "image"):
        return is_dicom(path) and read_header(path).get("Modality") == "CT"


def _spacing(image: MetaTensor) -> tuple[float, ...] | None:
    """Of rows, columns (and slices) in mm, None where the file does not say."""
    steps = image.pixdim.tolist()[: image.ndim - 1]
    return tuple(float(step) for step in steps) if image.meta.get("spacing_known") else None
