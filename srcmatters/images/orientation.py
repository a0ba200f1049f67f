"""Which way round an image is: from the axes it was stored in to those in which it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from srcmatters.errors import InputError

#: H runs to the patient's posterior, W to the left, D to superior: rows down, left on the right.
DISPLAY_AXES = ("P", "L", "S")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Placement:
    """How stored axes become (H, W, D).

    Args:
        order: the stored axis that becomes H, W and D.
        flipped: whether H, W and D run against the stored axis.
        affine: (4, 4), from indices of (H, W, D) to RAS+ mm.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    affine: np.ndarray

    def stored_view(self, image: np.ndarray) -> np.ndarray:
        """A view of an (H, W, D) array in the axes that the file stores."""
        turned = image[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        return turned.transpose(np.argsort(self.order))


@lru_cache(maxsize=256)
def _turn(directions: bytes) -> np.ndarray:
    """Which display axis every stored axis is nearest to, and which way it runs; most images share one."""
    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(directions).reshape(3, 3)
    return ornt_transform(io_orientation(affine), axcodes2ornt(DISPLAY_AXES))


def place(path: str | Path, affine: np.ndarray, shape: tuple[int, int, int]) -> Placement:
    """Find the axes of the patient that are nearest to the stored ones.

    Args:
        path: named in the message.
        affine: (4, 4), from stored indices to RAS+ mm; may be oblique, and stays so.
        shape: of the stored array.

    Raises:
        InputError: the affine is singular or not finite.
    """
    affine = np.asarray(affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path}: orientation and spacing span no volume, affine {affine[:3].tolist()}")
    turn = _turn(affine[:3, :3].tobytes())
    order = [int(axis) for axis in np.argsort(turn[:, 0])]
    flips = [bool(turn[axis, 1] < 0) for axis in order]
    turned = affine @ inv_ornt_aff(turn, shape)
    return Placement((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]), turned)
