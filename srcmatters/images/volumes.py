"""From a volume as it is stored to a MetaTensor as it is looked at; only what is asked for is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from srcmatters.errors import InputError
from srcmatters.images.orientation import place

Crop = tuple[slice, slice]
Fill = Callable[[np.ndarray, range, Crop], None]
Slab = Sequence[float]


@dataclass(frozen=True)
class StoredVolume:
    """A volume that was opened but not read.

    Args:
        path: what it is called in messages.
        shape: length of the stored axes.
        affine: (4, 4), from stored indices to RAS+ mm.
        fill: writes planes of the last stored axis, cropped, into (rows, columns, planes) float32.
        in_hounsfield: the file itself says that its values are HU.
        against_hu: why the file says that its values are no HU, and which file it is; empty if it does not.
        inverted: black and white are exchanged on display (MONOCHROME1).
        spacing_known: the file knows the spacing within its slices.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    fill: Fill
    in_hounsfield: bool = False
    against_hu: str = ""
    inverted: bool = False
    spacing_known: bool = True


def check_slab(slab_mm: Slab | None) -> tuple[float, float] | None:
    """The slab as two numbers.

    Raises:
        InputError: not two finite numbers in ascending order.
    """
    if slab_mm is None:
        return None
    try:
        low, high = (float(edge) for edge in slab_mm)
        valid = math.isfinite(low) and math.isfinite(high) and low <= high
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"slab_mm: got {slab_mm!r}, expected (low, high), two positions along z in mm")
    return low, high


def assemble(stored: StoredVolume, slab: tuple[float, float] | None) -> MetaTensor:
    """Read a volume, or the part of it that reaches into ``slab`` along z (mm), into (1, H, W, D).

    The array is laid out slice by slice: every slice of it is contiguous, and it exists in memory once.
    """
    placement = place(stored.path, stored.affine, stored.shape)
    height, width, depth = (stored.shape[axis] for axis in placement.order)
    first, end = (
        (0, depth) if slab is None else _within(stored.path, placement.affine, slab, height, width, depth)
    )
    crop = [slice(0, length) for length in stored.shape]
    span = (depth - end, depth - first) if placement.flipped[2] else (first, end)
    crop[placement.order[2]] = slice(*span)
    image = np.empty((end - first, height, width), np.float32).transpose(1, 2, 0)
    planes = range(crop[2].start, crop[2].stop)
    stored.fill(placement.stored_view(image), planes, (crop[0], crop[1]))
    affine = placement.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    meta = {"filename_or_obj": str(stored.path), "spacing_known": stored.spacing_known}
    return MetaTensor(torch.from_numpy(image).unsqueeze(0), affine=torch.from_numpy(affine), meta=meta)


def _within(
    path: Path, affine: np.ndarray, slab: tuple[float, float], height: int, width: int, depth: int
) -> tuple[int, int]:
    """First slice and end of those of which any voxel lies in the slab, half a slice of margin included."""
    rows, columns = (height - 1) * affine[2, 0], (width - 1) * affine[2, 1]
    below, above = min(rows, 0) + min(columns, 0), max(rows, 0) + max(columns, 0)
    middle = affine[2, 3] + np.arange(depth) * affine[2, 2]
    half = affine[2, 2] / 2
    inside = np.flatnonzero((middle + above >= slab[0] - half) & (middle + below <= slab[1] + half))
    if len(inside) == 0:
        raise outside_slab(path, slab, middle[0] + below, middle[-1] + above)
    return int(inside[0]), int(inside[-1]) + 1


def outside_slab(path: Path, slab: tuple[float, float], lowest: float, highest: float) -> InputError:
    """What is said where nothing lies in the slab."""
    got = f"slab_mm ({slab[0]:g}, {slab[1]:g})"
    return InputError(f"{path}: no slice within {got}, expected a part of z {lowest:g} to {highest:g} mm")
