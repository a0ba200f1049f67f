"""Solids as intervals along the beam, thin structures as clouds of point masses.

Every large organ is *y-convex*: at each (x, z) it fills one interval ``[front, back]`` along the anterior-
posterior axis. A radiograph then needs interval lengths only (an exact line integral at any resolution), and
a CT volume paints the same intervals voxel by voxel. Thin structures (ribs, vessels, a nodule) are clouds of
points, each carrying an excess in HU mm^3: depositing them in two or in three dimensions conserves that
excess, so both agree by linearity.

Axes (DICOM's LPS), in mm: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Interval:
    """What one organ fills on each ray: ``front <= y <= back`` in mm, empty where ``back <= front``.

    Args:
        front: (...) first surface met from the front, mm.
        back: (...) last surface, mm, same shape.
        hounsfield: Homogeneous value inside, HU.
    """

    front: FloatArray
    back: FloatArray
    hounsfield: float = 0.0

    def length(self) -> FloatArray:
        """Path length inside, mm, never negative."""
        return np.maximum(self.back - self.front, 0.0)

    def clipped(self, other: Interval) -> Interval:
        """The part inside ``other``; the HU value stays."""
        return Interval(
            np.maximum(self.front, other.front), np.minimum(self.back, other.back), self.hounsfield
        )

    def contains(self, y: FloatArray) -> NDArray[np.bool_]:
        """Where the points at depth ``y`` (same shape, mm) lie inside."""
        return (y > self.front) & (y < self.back)


@dataclass(frozen=True)
class Cloud:
    """Point masses of excess attenuation.

    Args:
        points: (N, 3) x, y, z in mm.
        excess: (N,) HU mm^3 above the tissue that surrounds each point.
    """

    points: FloatArray
    excess: FloatArray

    def rotated(self, degrees: float) -> Cloud:
        """Turn about the y axis through the origin (in the coronal plane), towards the patient's left."""
        x, z = turn(self.points[:, 0], self.points[:, 2], degrees)
        return Cloud(np.stack([x, self.points[:, 1], z], axis=1).astype(np.float32), self.excess)


def turn(x: FloatArray | float, z: FloatArray | float, degrees: float) -> tuple[FloatArray, FloatArray]:
    """Rotate coronal coordinates (mm, any shape) about the origin."""
    x, z = np.asarray(x, np.float32), np.asarray(z, np.float32)
    cosine, sine = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    return x * cosine - z * sine, x * sine + z * cosine


def join(clouds: Sequence[Cloud]) -> Cloud:
    """One cloud out of several (an empty sequence gives an empty cloud)."""
    if not clouds:
        return Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    return Cloud(
        np.concatenate([cloud.points for cloud in clouds]).astype(np.float32),
        np.concatenate([cloud.excess for cloud in clouds]).astype(np.float32),
    )


def ellipsoid(
    x: FloatArray,
    z: FloatArray,
    centre: Sequence[float],
    half_axes: Sequence[float],
    degrees: float = 0.0,
    hounsfield: float = 0.0,
) -> Interval:
    """Ellipsoid with half axes (a, b, c) along x, y, z, turned by ``degrees`` in the coronal plane."""
    across, up = turn(x - np.float32(centre[0]), z - np.float32(centre[2]), -degrees)
    inside = 1 - (across / half_axes[0]) ** 2 - (up / half_axes[2]) ** 2
    return around(centre[1], half_axes[1] * np.sqrt(np.maximum(inside, 0)), hounsfield)


def capsule(
    x: FloatArray,
    z: FloatArray,
    start: Sequence[float],
    end: Sequence[float],
    radii: tuple[float, float],
    hounsfield: float = 0.0,
) -> Interval:
    """Round tube from ``start`` to ``end`` (x, y, z in mm), tapering, roughly in the coronal plane."""
    dx, dz = end[0] - start[0], end[2] - start[2]
    along = np.clip(((x - start[0]) * dx + (z - start[2]) * dz) / (dx * dx + dz * dz), 0, 1)
    distance_squared = (x - start[0] - along * dx) ** 2 + (z - start[2] - along * dz) ** 2
    radius = radii[0] + along * (radii[1] - radii[0])
    depth = start[1] + along * (end[1] - start[1])
    return around(depth, np.sqrt(np.maximum(radius * radius - distance_squared, 0)), hounsfield)


def around(centre: FloatArray | float, half: FloatArray, hounsfield: float) -> Interval:
    """Interval of half length ``half`` about ``centre`` (mm)."""
    return Interval((centre - half).astype(np.float32), (centre + half).astype(np.float32), hounsfield)


def union_length(intervals: Sequence[Interval], within: Interval) -> FloatArray:
    """Length of ``within`` covered by at least one of ``intervals``, mm, shape of ``within.front``.

    The intervals of each ray are sorted by their front and swept once, so that overlaps count once.
    """
    result = np.zeros(within.front.shape, np.float32)
    where = within.back > within.front
    low, high = within.front[where], within.back[where]
    fronts = np.stack([np.clip(one.front[where], low, high) for one in intervals], axis=-1)
    backs = np.stack([np.clip(one.back[where], low, high) for one in intervals], axis=-1)
    order = np.argsort(fronts, axis=-1)
    fronts, backs = np.take_along_axis(fronts, order, -1), np.take_along_axis(backs, order, -1)
    reach = np.concatenate([low[:, None], np.maximum.accumulate(backs, axis=-1)[:, :-1]], axis=-1)
    result[where] = np.maximum(backs - np.maximum(fronts, reach), 0).sum(axis=-1)
    return result


def deposit(coordinates: Sequence[FloatArray], weights: FloatArray, shape: Sequence[int]) -> FloatArray:
    """Share each weight among its neighbouring cells, linearly along every axis.

    Args:
        coordinates: One (N,) array of fractional cell indices per axis; points outside are dropped.
        weights: (N,) what is shared out; inside the grid the total is conserved.
        shape: Cells per axis.

    Returns:
        float32 array of ``shape``.
    """
    kept = np.ones(len(weights), bool)
    for position, size in zip(coordinates, shape, strict=True):
        kept &= (position >= 0) & (position < size - 1)
    index = np.zeros((1, int(kept.sum())), np.int64)
    share = weights[kept][None].astype(np.float32)
    for position, size in zip(coordinates, shape, strict=True):
        inside = position[kept]
        cell = inside.astype(np.int64)
        fraction = (inside - cell).astype(np.float32)
        index = np.concatenate([index * size + cell, index * size + cell + 1])
        share = np.concatenate([share * (1 - fraction), share * fraction])
    cells = int(np.prod(shape))
    total = np.bincount(index.ravel(), weights=share.ravel(), minlength=cells)
    return total.astype(np.float32).reshape(tuple(shape))
