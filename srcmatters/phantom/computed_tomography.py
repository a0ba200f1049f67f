"""CT volumes of the phantom: the same intervals and clouds as the radiograph, painted into voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from srcmatters.phantom.anatomy import random_stream
from srcmatters.phantom.geometry import Cloud, FloatArray, Interval, deposit, join, turn
from srcmatters.phantom.organs import AIR, BLOOD, ENHANCED_BLOOD, SOFT, chest_organs
from srcmatters.phantom.parenchyma import lesion, texture, vessels
from srcmatters.phantom.patient import PhantomPatient, require
from srcmatters.phantom.skeleton import skeleton

FIELD_MM = ((-192.0, 192.0), (-168.0, 138.0), (-168.0, 168.0))
"""Extent of every volume along x, y and z, scanner coordinates (LPS)."""
NOISE_HOUNSFIELD = 14.0
"""Standard deviation of the noise at 2 mm isotropic, HU."""
DENSEST = 1400.0
WHOLE = slice(None)


def voxel_axes(spacing_mm: Sequence[float]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Voxel centres along x, y and z in mm, for spacings along (H, W, D) = (y, x, z)."""
    ordered = (spacing_mm[1], spacing_mm[0], spacing_mm[2])
    axes = []
    for (low, high), step in zip(FIELD_MM, ordered, strict=True):
        count = int((high - low) // step)
        axes.append(((low + high) / 2 + (np.arange(count) - (count - 1) / 2) * step).astype(np.float32))
    return axes[0], axes[1], axes[2]


def slab_slices(z_mm: float, slab_mm: float, spacing_mm: Sequence[float]) -> slice:
    """The slices of a slab of ``slab_mm`` around ``z_mm``, moved inwards where the field ends.

    Args:
        z_mm: Middle of the slab, scanner coordinates.
        slab_mm: Extent along D, at least one slice and at most the whole field.
        spacing_mm: Voxel size along H, W and D.
    """
    heights = voxel_axes(spacing_mm)[2]
    count = round(slab_mm / spacing_mm[2])
    require("slab_mm", slab_mm, 1 <= count <= len(heights), f"{spacing_mm[2]:g} mm to the whole field")
    first = round((z_mm - float(heights[0])) / spacing_mm[2] - (count - 1) / 2)
    first = min(max(first, 0), len(heights) - count)
    return slice(first, first + count)


def ct_volume(
    patient: PhantomPatient,
    spacing_mm: Sequence[float] = (2.0, 2.0, 2.0),
    slices: slice = WHOLE,
) -> np.ndarray:
    """The patient's chest CT, arms raised, without the table.

    Args:
        patient: From :func:`draw_patient`.
        spacing_mm: Voxel size along H, W and D, each 0.5 to 10 mm.
        slices: Consecutive slices along D; they are those of the whole volume to the last bit, and only they
            are painted.

    Returns:
        (H, W, D) int16, HU. H runs from anterior to posterior, W from the patient's right to the left, D from
        inferior to superior; voxel centres are those of :func:`voxel_axes`.

    Raises:
        ValueError: ``spacing_mm`` is not three numbers in range, or ``slices`` is empty or leaves some out.
    """
    valid = len(spacing_mm) == 3 and all(0.5 <= step <= 10 for step in spacing_mm)
    require("spacing_mm", spacing_mm, valid, "three numbers from 0.5 to 10 mm")
    depth = len(voxel_axes(spacing_mm)[2])
    first, last, step = slices.indices(depth)
    require("slices", slices, step == 1 and last > first, f"consecutive ones out of {depth}")
    # A point mass and the grain of the noise reach into the next slice: one more on either side.
    painted = slice(max(first - 1, 0), min(last + 1, depth))
    volume = noiseless_volume(patient, spacing_mm, painted)
    deviation = NOISE_HOUNSFIELD * (8.0 / float(np.prod(spacing_mm))) ** 0.5
    grain = gaussian_filter(white_noise(patient, volume.shape, painted.start), 0.6, truncate=2.0)
    volume += grain * np.float32(deviation / 0.36)
    volume = volume[:, :, first - painted.start : last - painted.start]
    return np.clip(np.rint(volume), -1024, 3071).astype(np.int16)


def white_noise(patient: PhantomPatient, shape: Sequence[int], first: int) -> FloatArray:
    """(H, W, D) float32 standard normal; each slice has a stream of its own, ``first`` being the first's."""
    planes = [
        random_stream(patient.seed, patient.index, "ct_noise", number).standard_normal(
            tuple(shape[:2]), dtype=np.float32
        )
        for number in range(first, first + shape[2])
    ]
    return np.stack(planes, axis=-1)


def noiseless_volume(
    patient: PhantomPatient, spacing_mm: Sequence[float], slices: slice = WHOLE
) -> FloatArray:
    """(H, W, D) float32, HU, before noise and rounding.

    Where ``slices`` cut the body, the outermost ones lack what point masses beyond them would add.
    """
    anatomy = patient.anatomy
    columns, depths, heights = voxel_axes(spacing_mm)
    heights = heights[slices]
    across, up = np.meshgrid(columns, heights, indexing="ij")
    x, z = turn(across, up, -anatomy.tilt)
    organs = chest_organs(anatomy, x, z, enhanced=patient.contrast_agent)
    volume = np.full((len(depths), len(columns), len(heights)), AIR, np.float32)
    for organ in (organs.breast, organs.body, organs.muscle, organs.lung, *organs.soft, *organs.inner):
        paint(volume, organ, depths, spacing_mm[0])
    blood = ENHANCED_BLOOD if patient.contrast_agent else BLOOD
    clouds = [(join([vessels(patient, blood), texture(patient)]), blood)]
    if patient.nodule:
        lung = anatomy.lung_hounsfield
        dense = lung + patient.nodule.contrast * (SOFT - lung)
        clouds.append((lesion(patient), max(dense, SOFT)))
    clouds.append((skeleton(anatomy), DENSEST))
    for cloud, densest in clouds:
        add(volume, cloud.rotated(anatomy.tilt), spacing_mm, slices.start or 0, densest)
    return volume


def paint(volume: FloatArray, organ: Interval, depths: FloatArray, step: float) -> None:
    """Paint one organ over ``volume`` in place, with exact partial volumes along y."""
    filled = organ.back > organ.front
    if not filled.any():
        return
    columns, slices = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    window = (slice(columns[0], columns[-1] + 1), slice(slices[0], slices[-1] + 1))
    front, back, inside = organ.front[window], organ.back[window], filled[window]
    rows = np.flatnonzero((depths > front[inside].min() - step) & (depths < back[inside].max() + step))
    if len(rows) == 0:
        return
    part = volume[(slice(rows[0], rows[-1] + 1), *window)]
    edge = depths[rows[0] : rows[-1] + 1, None, None]
    half = np.float32(step / 2)
    cover = np.minimum(edge + half, back)
    cover -= np.maximum(edge - half, front)
    np.clip(cover, 0, step, out=cover)
    cover /= np.float32(step)
    part += cover * (np.float32(organ.hounsfield) - part)


def add(volume: FloatArray, cloud: Cloud, spacing_mm: Sequence[float], first: int, densest: float) -> None:
    """Add a cloud's excess in place; overlapping structures do not exceed ``densest`` (HU).

    ``first`` is the place of the volume's first slice among those of :func:`voxel_axes`.
    """
    steps = (spacing_mm[1], spacing_mm[0], spacing_mm[2])
    cells = [
        (cloud.points[:, axis] - centres[0]) / np.float32(step)
        for axis, (centres, step) in enumerate(zip(voxel_axes(spacing_mm), steps, strict=True))
    ]
    # Whole slices are subtracted last, so that a slab rounds as the whole volume does.
    excess = deposit((cells[1], cells[0], cells[2] - np.float32(first)), cloud.excess, volume.shape)
    excess /= np.float32(np.prod(spacing_mm))
    np.minimum(excess, np.maximum(np.float32(densest) - volume, 0), out=excess)
    volume += excess
