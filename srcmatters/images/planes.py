"""Radiographs in the formats of volumes: one plane in NIfTI or a file of ITK, the way it is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import io_orientation

from srcmatters.errors import InputError
from srcmatters.images.orientation import LPS_TO_RAS
from srcmatters.images.pictures import warn_if_dark
from srcmatters.images.reading import NIFTI, has_ending
from srcmatters.images.volume_files import itk_knows_spacing, nifti_affine, nifti_knows_spacing, read_itk

Spacing = tuple[float, float]
_LENGTH = {"uint8": 255, "uint16": 65535, "int16": 32767}  # what is white, by the type of the pixels


def read_plane(path: Path) -> tuple[np.ndarray, Spacing | None]:
    """One plane, rows down and columns right, scaled to [0, 1] by the type of its pixels.

    The file's axes in the patient decide: down is inferior, or posterior in a plane that has no up and down;
    right is the patient's left, or posterior in a lateral one. So a picture that a tool converted by giving
    it the axes x and y comes out as the picture was, and one that was placed in the patient as it is viewed.

    Returns:
        (rows, columns) float32 in [0, 1], and the pixel spacing of rows and columns in mm; None where the
        file does not know it.

    Raises:
        InputError: more than one plane, or values of an unknown scale.
    """
    array, affine, known = _read_nifti(path) if has_ending(path, NIFTI) else _read_itk(path)
    shape = (*array.shape, 1, 1)[:3]
    long = [axis for axis in range(3) if shape[axis] != 1]
    if array.ndim < 2 or array.size != np.prod(shape) or len(long) != 2 or not np.isfinite(affine).all():
        raise InputError(f"{path}: shape {array.shape}, expected one plane of rows and columns")
    rows, columns, signs = _axes(affine, long)
    plane = array.reshape(shape).transpose(rows, columns, 3 - rows - columns)[:, :, 0]
    plane = plane[:: signs[0], :: signs[1]]
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    return _scaled(path, plane), (float(steps[rows]), float(steps[columns])) if known else None


def _axes(affine: np.ndarray, long: list[int]) -> tuple[int, int, tuple[int, int]]:
    """Which stored axes are rows and columns, and whether they run (1) or have to be turned (-1)."""
    turn = io_orientation(affine)
    world = {axis: int(turn[axis, 0]) for axis in long}
    rows = max(long, key=lambda axis: world[axis])  # z is up and down, else y
    columns = long[0] if rows == long[1] else long[1]
    # Down is -z or -y of RAS+, right is -x or -y.
    return rows, columns, (-int(turn[rows, 1]), -int(turn[columns, 1]))


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    array, affine = read_itk(path)
    return array, affine, itk_knows_spacing(path, affine)


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    image: Any = nibabel.load(path)
    affine = nifti_affine(path, image)
    if not (image.header["qform_code"] or image.header["sform_code"]):
        # It has no axes in a patient: columns and rows as a picture's.
        zooms = (*image.header.get_zooms(), 1.0, 1.0)[:3]
        affine = LPS_TO_RAS @ np.diag([*map(float, zooms), 1.0])
    return np.asanyarray(image.dataobj), affine, nifti_knows_spacing(image.header)


def _scaled(path: Path, plane: np.ndarray) -> np.ndarray:
    if plane.dtype.kind not in "iuf":
        raise InputError(f"{path}: pixels of type {plane.dtype}, expected real numbers")
    low, high = float(plane.min()), float(plane.max())
    white = _LENGTH.get(plane.dtype.name, 1 if plane.dtype.kind == "f" else 0)
    if not (white and low >= 0 and high <= white):
        raise InputError(
            f"{path}: {plane.dtype} values from {low:g} to {high:g}, expected {', '.join(_LENGTH)} from 0, or"
            " fractions from 0 to 1"
        )
    if white > 255:
        warn_if_dark(path, high, white)
    return plane.astype(np.float32) / np.float32(white)
