"""Regions of a case: of a mask, a box, a nodule, and of the image alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage
from torch import Tensor

from srcmatters.cohorts.case_table import BOX, MASK_COLUMNS, POSITION
from srcmatters.errors import InputError
from srcmatters.images.pixel_spacing import known_spacing

#: Regions that every image has.
PLAIN = ("border", "corners", "centre", "upper left", "upper right", "lower left", "lower right")
_SIXTH, _QUARTER = 6, 4


def plain_region(shape: tuple[int, ...], name: str) -> np.ndarray:
    """(H, W[, D]) bool: a region of the image alone, the same in every slice.

    Args:
        shape: of the image.
        name: of :data:`PLAIN`; border and corners are a sixth a side, the centre is the middle half a side.
    """
    height, width = shape[:2]
    row, column = np.arange(height)[:, None], np.arange(width)[None]

    def ends(index: np.ndarray, length: int) -> np.ndarray:
        return (index < length // _SIXTH) | (index >= length - length // _SIXTH)

    def middle(index: np.ndarray, length: int) -> np.ndarray:
        return (index >= length // _QUARTER) & (index < length - length // _QUARTER)

    upper, left = row < height // 2, column < width // 2
    regions = {
        "border": ends(row, height) | ends(column, width),
        "corners": ends(row, height) & ends(column, width),
        "centre": middle(row, height) & middle(column, width),
        "upper left": upper & left,
        "upper right": upper & ~left,
        "lower left": ~upper & left,
        "lower right": ~upper & ~left,
    }
    plane = regions[name]
    return plane if len(shape) == 2 else np.repeat(plane[..., None], shape[2], axis=2)


def disease_column(cases: pd.DataFrame) -> str | None:
    """How a case table says where the disease is: "mask", "box", "nodule", or None."""
    if "mask" in cases and cases["mask"].notna().any():
        return "mask"
    if all(name in cases for name in BOX):
        return "box"
    return "nodule" if "diameter_mm" in cases else None


def region_of(
    image: Tensor,
    case: Mapping[Hashable, Any],
    row: pd.Series,
    kind: str,
    loader: MapTransform | None = None,
) -> np.ndarray | None:
    """(H, W[, D]) bool: where the region of a case is; None where its row says nothing.

    Args:
        image: (1, H, W[, D]) native.
        case: x_mm, y_mm and z_mm if known.
        row: of the case table.
        kind: "mask", "lungs_mask", "box" or "nodule".
        loader: reads a file of a mask in the form of the image, under the key ``image``.

    Raises:
        InputError: a mask that is no image of the same size, or a box outside the image.
    """
    shape = tuple(image.shape[1:])
    if kind in MASK_COLUMNS:
        if pd.isna(row[kind]):
            return None
        assert loader is not None
        mask = torch.as_tensor(loader({**case, "image": row[kind]})["image"]).as_subclass(Tensor)[0].numpy()
        if mask.shape != shape:
            raise InputError(f"{row[kind]}: a mask of {mask.shape}, expected {shape} as its image has")
        return mask > 0
    if kind == "box":
        return _box(shape, row)
    return _ball(image, case, row)


def _box(shape: tuple[int, ...], row: pd.Series) -> np.ndarray | None:
    if row[list(BOX)].isna().any():
        return None
    left, top, width, height = (float(row[name]) for name in BOX)
    inside = np.zeros(shape, dtype=bool)
    inside[round(top) : round(top + height), round(left) : round(left + width)] = True
    if left < 0 or top < 0 or not inside.any():
        raise InputError(
            f"cases, {row['case_id']}: a box of {width:g} x {height:g} at {left:g}, {top:g}, expected one"
            f" inside {shape[1]} x {shape[0]} pixels"
        )
    return inside


def _ball(image: Tensor, case: Mapping[Hashable, Any], row: pd.Series) -> np.ndarray | None:
    """A nodule: a ball about x_mm, y_mm, z_mm, or about the middle of a patch."""
    if pd.isna(row["diameter_mm"]):
        return None
    shape = tuple(image.shape[1:])
    spacing = _spacing(image, row, len(shape))
    centre = [(length - 1) / 2 for length in shape]
    if all(name in case for name in POSITION) and isinstance(image, MetaTensor):
        x, y, z = (float(case[name]) for name in POSITION)
        inverse = np.linalg.inv(np.asarray(image.affine, dtype=float))
        centre = [float(value) for value in (inverse @ [-x, -y, z, 1.0])[: len(shape)]]
    grid = np.meshgrid(*(np.arange(length) for length in shape), indexing="ij", sparse=True)
    distance = sum(
        ((index - middle) * step) ** 2 for index, middle, step in zip(grid, centre, spacing, strict=True)
    )
    return np.asarray(distance <= (float(row["diameter_mm"]) / 2) ** 2)


def _spacing(image: Tensor, row: pd.Series, dims: int) -> list[float]:
    """mm of a pixel along each axis: of the table, of the file, or refused."""
    if "pixel_spacing_mm" in row and pd.notna(row["pixel_spacing_mm"]):
        plane = float(row["pixel_spacing_mm"])
        return [plane, plane, float(row.get("slice_thickness_mm", plane))][:dims]
    spacing = known_spacing(image)
    if spacing is None:
        raise InputError(
            f"cases, {row['case_id']}: the size of a pixel is not known, expected it in the file or in a"
            " column pixel_spacing_mm, since diameter_mm is in mm"
        )
    return [float(step) for step in spacing][:dims]


def borrowed(region: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A region of another case at the same relative place, for a case that has none of its own."""
    if region.shape == shape:
        return region
    scale = [new / old for new, old in zip(shape, region.shape, strict=True)]
    return ndimage.zoom(region.astype(np.uint8), scale, order=0, grid_mode=True, mode="nearest") > 0


def dilated(region: np.ndarray, pixels: int) -> np.ndarray:
    """A region grown by a number of pixels, within each slice."""
    if pixels <= 0:
        return region
    near = ndimage.distance_transform_edt(
        ~region, sampling=(1, 1) if region.ndim == 2 else (1, 1, 2 * max(region.shape))
    )
    return np.asarray(near <= pixels)


def matched_region(region: np.ndarray, stream: np.random.Generator, tries: int = 200) -> np.ndarray | None:
    """The same shape elsewhere in the image, apart from the region: mirrored if that fits, else at random.

    Args:
        region: (H, W[, D]) bool.
        stream: random stream.
        tries: random places.

    Returns:
        (H, W[, D]) bool, or None where there is no room.
    """
    mirrored = region[:, ::-1]
    if not (mirrored & region).any():
        return mirrored
    occupied = np.argwhere(region)
    low, high = occupied.min(0), occupied.max(0)
    for _ in range(tries):
        shift = np.zeros(region.ndim, dtype=int)
        for axis in (0, 1):
            shift[axis] = stream.integers(-low[axis], region.shape[axis] - high[axis])
        moved = np.zeros_like(region)
        moved[tuple((occupied + shift).T)] = True
        if not (moved & region).any():
            return moved
    return None
