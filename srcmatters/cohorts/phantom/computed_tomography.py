"""CT volumes of the phantom: the same intervals and clouds as the radiograph, painted into voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from srcmatters.cohorts.phantom.anatomy import random_stream
from srcmatters.cohorts.phantom.geometry import Cloud, FloatArray, Interval, deposit, join, turn
from srcmatters.cohorts.phantom.organs import AIR, BLOOD, ENHANCED_BLOOD, SOFT, chest_organs
from srcmatters.cohorts.phantom.parenchyma import lesion, texture, vessels
from srcmatters.cohorts.phantom.patient import PhantomPatient, require
from srcmatters.cohorts.phantom.skeleton import skeleton

FIELD_MM = ((-192.0, 192.0), (-168.0, 138.0), (-168.0, 168.0))
"""Extent of every volume along x, y and z, scanner coordinates (LPS)."""
NOISE_HOUNSFIELD = 14.0
"""Standard deviation of the noise at 2 mm isotropic, HU."""
DENSEST = 1400.0


def voxel_axes(spacing_mm: Sequence[float]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Voxel centres along x, y and z in mm, for spacings along (H, W, D) = (y, x, z)."""
    ordered = (spacing_mm[1], spacing_mm[0], spacing_mm[2])
    axes = []
    for (low, high), step in zip(FIELD_MM, ordered, strict=True):
        count = int((high - low) // step)
        axes.append(((low + high) / 2 + (np.arange(count) - (count - 1) / 2) * step).astype(np.float32))
    return axes[0], axes[1], axes[2]


def ct_volume(patient: PhantomPatient, spacing_mm: Sequence[float] = (2.0, 2.0, 2.0)) -> np.ndarray:
    """The patient's chest CT, arms raised, without the table.

    Args:
        patient: From :func:`draw_patient`.
        spacing_mm: Voxel size along H, W and D, each 0.5 to 10 mm.
    Returns:
        (H, W, D) int16, HU. H runs from anterior to posterior, W from the patient's right to the left, D from
        inferior to superior; voxel centres are those of :func:`voxel_axes`.
    Raises:
        ValueError: ``spacing_mm`` is not three numbers in range.
    """
    valid = len(spacing_mm) == 3 and all(0.5 <= step <= 10 for step in spacing_mm)
    require("spacing_mm", spacing_mm, valid, "three numbers from 0.5 to 10 mm")
    volume = noiseless_volume(patient, spacing_mm)
    stream = random_stream(patient.seed, patient.index, "ct_noise")
    noise = gaussian_filter(stream.standard_normal(volume.shape, dtype=np.float32), 0.6, truncate=2.0)
    deviation = NOISE_HOUNSFIELD * (8.0 / float(np.prod(spacing_mm))) ** 0.5
    volume += noise * np.float32(deviation / 0.36)
    return np.clip(np.rint(volume), -1024, 3071).astype(np.int16)


def noiseless_volume(patient: PhantomPatient, spacing_mm: Sequence[float]) -> FloatArray:
    """(H, W, D) float32, HU, before noise and rounding."""
    anatomy = patient.anatomy
    columns, depths, slices = voxel_axes(spacing_mm)
    across, up = np.meshgrid(columns, slices, indexing="ij")
    x, z = turn(across, up, -anatomy.tilt)
    organs = chest_organs(anatomy, x, z, enhanced=patient.contrast_agent)
    volume = np.full((len(depths), len(columns), len(slices)), AIR, np.float32)
    for organ in (organs.breast, organs.body, organs.muscle, organs.lung, *organs.soft, *organs.inner):
        paint(volume, organ, depths, spacing_mm[0])
    blood = ENHANCED_BLOOD if patient.contrast_agent else BLOOD
    nodule = patient.nodule
    lung = anatomy.lung_hounsfield
    add(volume, join([vessels(patient, blood), texture(patient)]), patient, spacing_mm, blood)
    if nodule:
        dense = lung + nodule.contrast * (SOFT - lung)
        add(volume, lesion(patient), patient, spacing_mm, max(dense, SOFT))
    add(volume, skeleton(anatomy), patient, spacing_mm, DENSEST)
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


def add(
    volume: FloatArray, cloud: Cloud, patient: PhantomPatient, spacing_mm: Sequence[float], densest: float
) -> None:
    """Add a cloud's excess in place; overlapping structures do not exceed ``densest`` (HU)."""
    points = cloud.rotated(patient.anatomy.tilt).points
    steps = (spacing_mm[1], spacing_mm[0], spacing_mm[2])
    cells = [
        (points[:, axis] - centres[0]) / np.float32(step)
        for axis, (centres, step) in enumerate(zip(voxel_axes(spacing_mm), steps, strict=True))
    ]
    excess = deposit((cells[1], cells[0], cells[2]), cloud.excess, volume.shape)
    excess /= np.float32(np.prod(spacing_mm))
    np.minimum(excess, np.maximum(np.float32(densest) - volume, 0), out=excess)
    volume += excess
