"""The pixel spacing that a DICOM header, or an image that was read, knows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from pydicom import Dataset
from pydicom.multival import MultiValue

#: Elements that may hold it; that of the detector counts where none is in the plane of the patient.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing")


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Mm between rows and between columns; None where neither element holds two positive, finite numbers."""
    for name in SPACINGS:
        steps = header.get(name)
        # Some devices write a spacing of 0 where they do not know it.
        if (
            isinstance(steps, MultiValue)
            and len(steps) == 2
            and all(0 < float(step) < math.inf for step in steps)
        ):
            return float(steps[0]), float(steps[1])
    return None


def known_spacing(image: torch.Tensor) -> tuple[float, ...] | None:
    """Mm along each spatial axis of an image; None where nobody knows them.

    The loaders of this package say in ``meta["spacing_known"]`` whether the file knew it. Other readers hand
    out the identity for images without any spacing (PNG, JPEG): without that word it counts as unknown.

    Args:
        image: (C, H, W) or (C, H, W, D); a plain tensor knows nothing.
    """
    if not isinstance(image, MetaTensor) or "affine" not in image.meta:
        return None
    affine = image.affine.double().cpu().numpy()
    if not image.meta.get("spacing_known", not np.array_equal(affine, np.eye(len(affine)))):
        return None
    # Not pixdim, which counts the axes of the affine by what it takes for the channel.
    steps = np.linalg.norm(affine[:-1, :-1], axis=0)
    return tuple(float(step) for step in steps[: image.ndim - 1])


def wrong_spacing(spacing_mm: Sequence[float] | None, dims: int) -> str | None:
    """What is wrong with the spacing of an image of so many dimensions, or None."""
    if spacing_mm is None or (len(spacing_mm) >= dims and all(0 < step < math.inf for step in spacing_mm)):
        return None
    return f"spacing {tuple(spacing_mm)} mm, expected {dims} positive numbers, or None where it is unknown"
