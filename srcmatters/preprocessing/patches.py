"""Boxes of a fixed size in mm out of CT, resampled to a fixed number of pixels."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from srcmatters.cohorts.case_table import POSITION
from srcmatters.errors import InputError
from srcmatters.images.pixel_spacing import known_spacing


class ResamplePatchd(MapTransform):
    """Cut a box around the case's position and resample it, in one antialiased step.

    Each axis is resampled with a triangle filter as wide as the reduction (bilinear where there is none), at
    continuous coordinates: no rounding to voxels, so a patch has the same mm in every case. What lies
    outside the scan repeats its border.

    Args:
        keys: which items are images.
        size: pixels of the result along (H, W) or (H, W, D). With two numbers the result is 2D: the slice
            nearest to the position, and nothing is interpolated between slices.
        extent_mm: mm of the box along the same axes, or one number for all of them; None or 0 takes the whole
            scan along every axis, wherever the case is (in 2D its position still chooses the slice).

    Shape:
        image: (C, H, W, D) floating point, or (C, H, W) for one slice; a MetaTensor with an affine (RAS, mm)
        where ``extent_mm`` is given. The result is a plain tensor (C, *size). The centre is at ``x_mm``,
        ``y_mm``, ``z_mm`` of the dictionary (LPS, mm), or in the middle of the scan where it has none.

    Raises:
        InputError: a position outside the scan, or an image whose spacing is unknown.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        extent_mm: float | Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = [int(length) for length in size]
        if len(self.size) not in (2, 3) or min(self.size) < 1:
            raise InputError(f"patch: size {self.size}, expected two or three whole numbers")
        self.extent_mm = _extent(extent_mm, len(self.size))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the patches."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._patch(result[key], result)
        return result

    def _patch(self, image: torch.Tensor, case: Mapping[Hashable, Any]) -> torch.Tensor:
        named = str(case.get("case_id", case.get("name", "image")))
        if image.ndim == 3:
            image = image.unsqueeze(-1)  # MetaTensor: the affine stays
        shape = list(image.shape[1:])
        centre = _centre(image, case, named)
        if self.extent_mm is None:  # the whole of every axis that is resampled; a position chooses the slice
            whole = [(length - 1) / 2 for length in shape]
            centre = [*whole[: len(self.size)], *centre[len(self.size) :]]
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        voxels = self._voxels(image, shape, named)
        if len(self.size) == 2:
            nearest = min(max(round(centre[2]), 0), shape[2] - 1)
            plain = plain[..., nearest]
        for axis, size in enumerate(self.size):
            weights = _weights(shape[axis], size, centre[axis], voxels[axis]).to(plain)
            plain = torch.movedim(torch.movedim(plain, axis + 1, -1) @ weights.T, -1, axis + 1)
        return plain.contiguous()

    def _voxels(self, image: torch.Tensor, shape: Sequence[int], named: str) -> list[float]:
        """Length of the box along each axis in voxels."""
        if self.extent_mm is None:
            return [float(length) for length in shape]
        spacing = known_spacing(image)
        if spacing is None:
            raise InputError(f"{named}: pixel spacing unknown, so no patch of {self.extent_mm} mm can be cut")
        return [length / step for length, step in zip(self.extent_mm, spacing, strict=False)]


def slab_to_read(slab_mm: Any, patch_mm: Any, spatial_dims: int) -> Any:
    """The slab along z that a patch is cut out of, so that no patch is filled up where the scan has tissue.

    Args:
        slab_mm: what is to be read around a candidate, mm; 0 or None: the whole scan.
        patch_mm: see :class:`ResamplePatchd`; 0 or None: everything, which in 3D needs the whole scan.
        spatial_dims: 2 or 3, of the patch.

    Raises:
        InputError: a 3D patch is higher than the slab.
    """
    extent = _extent(patch_mm, spatial_dims)
    if not slab_mm or spatial_dims == 2:
        return slab_mm or 0
    if extent is None:
        return 0
    if isinstance(slab_mm, int | float) and slab_mm < extent[2]:
        raise InputError(
            f"slab_mm: got {slab_mm:g}, expected {extent[2]:g} or more, the height of patch_mm; or 0"
        )
    return slab_mm


def _extent(extent_mm: object, dims: int) -> list[float] | None:
    if extent_mm is None or extent_mm == 0:  # no command line of MONAI can say None
        return None
    lengths = list(extent_mm) if isinstance(extent_mm, Sequence) else [extent_mm] * dims
    numbers = [length for length in lengths if isinstance(length, int | float) and 0 < length < math.inf]
    if len(lengths) != dims or len(numbers) != dims or isinstance(extent_mm, str):
        raise InputError(f"patch_mm: got {extent_mm!r}, expected a number of mm above 0, or {dims} of them")
    return [float(length) for length in numbers]


def _centre(image: torch.Tensor, case: Mapping[Hashable, Any], named: str) -> list[float]:
    """Voxel coordinates of the case, or of the middle of the scan."""
    shape = image.shape[1:]
    position = [case.get(name) for name in POSITION]
    coordinates = [float(place) for place in position if place is not None and np.isfinite(float(place))]
    if len(coordinates) < len(POSITION):
        return [(length - 1) / 2 for length in shape]
    if not isinstance(image, MetaTensor):
        raise InputError(f"{named}: a position in mm, but an image without an affine")
    # The affine maps voxels to RAS, DICOM's coordinates are LPS.
    world = np.array([-coordinates[0], -coordinates[1], coordinates[2], 1.0])
    voxel = (np.linalg.inv(np.asarray(image.affine, dtype=float)) @ world)[:3]
    if any(not -0.5 <= place <= length - 0.5 for place, length in zip(voxel, shape, strict=True)):
        place = ", ".join(f"{value:g}" for value in coordinates)
        raise InputError(f"{named}: x_mm, y_mm, z_mm = {place} lie outside the scan {tuple(shape)}")
    return [float(place) for place in voxel]


def _weights(length: int, size: int, centre: float, voxels: float) -> torch.Tensor:
    """(size, length) matrix that resamples ``voxels`` voxels around ``centre`` to ``size`` pixels."""
    step = voxels / size
    at = centre + (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * step
    width = max(step, 1.0)
    # Voxels beyond the border count for the border: as many as the filter may reach.
    reach = int(np.ceil(width + max(0.0, -float(at[0]), float(at[-1]) - (length - 1)))) + 1
    places = torch.arange(-reach, length + reach, dtype=torch.float64)
    weights = (1 - (places - at[:, None]).abs() / width).clamp(min=0)
    weights /= weights.sum(1, keepdim=True)
    inside = weights[:, reach : reach + length].clone()
    inside[:, 0] += weights[:, :reach].sum(1)
    inside[:, -1] += weights[:, reach + length :].sum(1)
    return inside
