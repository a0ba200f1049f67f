"""The noise that a CT slice has of its own: how strong it is, and how coarse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from srcmatters.confounders.projection import ParallelBeam

MEASURED_SLICES = 5  # of a volume: a scan has one dose
BLOCK_MM = 9.0
CALM_HU = (-60.0, 160.0)  # mean of a block of soft tissue, water or blood
SPREAD_HU = 150.0  # of a block without an edge in it, standard deviation at most
LEAST_HU = 0.5  # less is rounding, or what a lossy compression left of the noise
LOSSY = 0.1  # share of blocks without noise beyond which the file was compressed with losses
LOSSY_SPREAD_HU = 40.0
FEWEST = 6  # calm blocks that a measurement needs
GRID = 32  # frequencies along an axis
NEIGHBOURHOOD = 1.3  # blocks whose noise is at most this much above the usual one are calm


@dataclass(frozen=True)
class OwnNoise:
    """Noise of a slice in calm soft tissue.

    Args:
        deviation_hu: standard deviation.
        frequency: mean spatial frequency of the noise, weighted with its power, in cycles per pixel.
        rows, columns: middle of the calm blocks in pixels.
    """

    deviation_hu: float
    frequency: float
    rows: np.ndarray
    columns: np.ndarray


def measure_noise(hu: torch.Tensor, pixel_mm: float) -> OwnNoise | None:
    """Measure the noise of a slice in blocks of 9 mm of soft tissue.

    A quadratic surface is taken out of each block, which leaves noise, texture and edges; the mode of the
    standard deviations of the blocks is the noise (Christianson et al. 2015 take the mode over a map), since
    texture and edges lie in some blocks and noise in all. A lossy compression (JPEG 2000, JPEG) takes the
    noise out of some blocks altogether; of such a slice the median of the other blocks is taken.

    Args:
        hu: (H, W).
        pixel_mm: pixel spacing.

    Returns:
        None where fewer than six blocks are calm and have a deviation of half a HU or more.

    Source: Christianson et al. 2015, AJR 205:W93 (global noise level).
    """
    size = max(round(BLOCK_MM / pixel_mm), 5)
    rows, columns = (length // size for length in hu.shape)
    if rows == 0 or columns == 0:
        return None
    cut = hu[: rows * size, : columns * size].double().cpu().numpy()
    blocks = cut.reshape(rows, size, columns, size).transpose(0, 2, 1, 3).reshape(-1, size * size)
    means = blocks.mean(1)
    soft = np.flatnonzero((means > CALM_HU[0]) & (means < CALM_HU[1]) & (blocks.std(1) < SPREAD_HU))
    if len(soft) < FEWEST:
        return None
    residuals = blocks[soft] - blocks[soft] @ _quadratic(size)
    deviations = residuals.std(1) * size / math.sqrt(size**2 - 6)
    noisy = deviations > LEAST_HU
    if noisy.sum() < FEWEST:
        return None
    if noisy.mean() < 1 - LOSSY:
        usual = float(np.median(deviations[noisy & (blocks[soft].std(1) < LOSSY_SPREAD_HU)]))
    else:
        usual = half_sample_mode(deviations[noisy])
    calm = (deviations < usual * NEIGHBOURHOOD) & (deviations > usual / NEIGHBOURHOOD)
    if not calm.sum() >= FEWEST:
        return None
    power = np.abs(np.fft.fft2(residuals[calm].reshape(-1, size, size) * _window(size))) ** 2
    spectrum = power.mean(0)
    return OwnNoise(
        deviation_hu=float(np.sqrt((deviations[calm] ** 2).mean())),
        frequency=float((spectrum * _radius(size)).sum() / spectrum.sum()),
        rows=(soft[calm] // columns + 0.5) * size - 0.5,
        columns=(soft[calm] % columns + 0.5) * size - 0.5,
    )


def measured_slices(stack: torch.Tensor, pixel_mm: float) -> dict[int, OwnNoise]:
    """The noise of up to five slices of a scan (D, H, W), by slice; those without calm tissue are missing."""
    last = len(stack) - 1
    places = np.unique(np.linspace(0, last, MEASURED_SLICES + 2).round()[1:-1].astype(int)).tolist()
    noises = {place: measure_noise(stack[place], pixel_mm) for place in places}
    return {place: noise for place, noise in noises.items() if noise is not None}


def mean_inverse_transmission(
    p: torch.Tensor, scan: ParallelBeam, noise: OwnNoise, shape: Sequence[int]
) -> float:
    """Mean of e^p over the rays through the calm blocks of a slice.

    Args:
        p: (views, bins), line integrals of the slice in the middle of a square.
        scan: its geometry.
        noise: of the slice.
        shape: (H, W) of the slice.
    """
    rows, columns = (
        torch.as_tensor((place - (length - 1) / 2) * scan.pixel_mm, device=p.device)
        # A square completed by an odd number of pixels has its middle half a pixel off: of no account here.
        for place, length in zip((noise.rows, noise.columns), shape, strict=True)
    )
    views = torch.arange(scan.views, device=p.device)
    angles = (views.to(rows.dtype) + 0.5) * (math.pi / scan.views)
    s = rows[:, None] * angles.cos() + columns[:, None] * angles.sin()
    bins = (s / scan.bin_mm + (scan.bins - 1) / 2).round().long().clamp(0, scan.bins - 1)
    return float(p[views, bins].double().exp().mean())


def deviation_in(hu: torch.Tensor, noise: OwnNoise, pixel_mm: float) -> float:
    """Standard deviation of a slice (H, W) in the blocks in which its noise was measured."""
    size = max(round(BLOCK_MM / pixel_mm), 5)
    values = hu.double().cpu().numpy()
    corners = zip(noise.rows - (size - 1) / 2, noise.columns - (size - 1) / 2, strict=True)
    blocks = np.stack([values[int(r) : int(r) + size, int(c) : int(c) + size].ravel() for r, c in corners])
    residuals = blocks - blocks @ _quadratic(size)
    return float(np.sqrt((residuals**2).sum() / (len(blocks) * (size**2 - 6))))


def half_sample_mode(values: np.ndarray) -> float:
    """Where values lie most densely (Robertson and Cryer 1974): the densest half of them, again and again."""
    values = np.sort(values)
    while len(values) > 3:
        half = (len(values) + 1) // 2
        widths = values[half - 1 :] - values[: len(values) - half + 1]
        first = int(widths.argmin())
        values = values[first : first + half]
    return float(values.mean())


def softness_for(frequency: float, pixel_mm: float, detector_mm: float, linear: bool) -> float | None:
    """The kernel that gives noise a mean frequency.

    Args:
        frequency: as :class:`OwnNoise` has it, cycles per pixel.
        pixel_mm: pixel spacing.
        detector_mm: width of a detector bin.
        linear: whether the reconstruction interpolates linearly between the bins.

    Returns:
        ``s`` of the modulation transfer ``exp(-f^2 / (2 s^2))`` in line pairs per mm, by which the ramp is
        multiplied; None where the bare ramp is as coarse already.
    """
    candidates = np.geomspace(0.02, 4.0, 160)  # lp/mm
    means = np.array([_mean_frequency(s * pixel_mm, pixel_mm / detector_mm, linear) for s in candidates])
    if frequency >= means[-1]:
        return None
    return float(np.interp(frequency, means, candidates))


def passed_variance(softness: float | None, detector_mm: float, linear: bool) -> float:
    """Variance that interpolation and kernel leave of ramp-filtered noise; 1 for the bare ramp."""
    per_bin = math.inf if softness is None else softness * detector_mm
    f = np.linspace(0, 0.5, 2001)
    passed = f**2 * np.exp(-((f / per_bin) ** 2))
    if linear:
        passed *= (2 + np.cos(2 * np.pi * f)) / 3
    return float(passed.sum() / (f**2).sum())


def detrended_share(softness: float | None, pixel_mm: float, detector_mm: float, linear: bool) -> float:
    """What :func:`measure_noise` sees of the variance of ramp-filtered noise: 1 for white noise.

    Coarse noise looks like a quadratic surface in part. Arguments as those of :func:`softness_for`.
    """
    size = max(round(BLOCK_MM / pixel_mm), 5)
    per_pixel = math.inf if softness is None else softness * pixel_mm
    power = _noise_spectrum(per_pixel, pixel_mm / detector_mm, linear)
    taken = _surface_spectrum(size) / size**2
    kept = (power * (1 - taken)).sum() / power.sum()
    return float(kept * size**2 / (size**2 - 6))


@lru_cache(maxsize=4096)
def _mean_frequency(per_pixel: float, bins_per_pixel: float, linear: bool) -> float:
    power = _noise_spectrum(per_pixel, bins_per_pixel, linear)
    return float((power * _radius(GRID)).sum() / power.sum())


def _noise_spectrum(per_pixel: float, bins_per_pixel: float, linear: bool) -> np.ndarray:
    """(GRID, GRID) power of ramp-filtered noise as its pixels show it (aliased), in cycles per pixel."""
    order = np.arange(-2, 3)
    shifted = (np.fft.fftfreq(GRID)[:, None] + order[None, :]).reshape(-1)
    f = np.hypot(shifted[:, None], shifted[None, :])
    power = f * np.exp(-((f / per_pixel) ** 2)) * (f <= bins_per_pixel / 2)
    if linear:
        power = power * (2 + np.cos(2 * np.pi * f / bins_per_pixel)) / 3
    return power.reshape(GRID, len(order), GRID, len(order)).sum((1, 3))


@lru_cache(maxsize=16)
def _surface_spectrum(size: int) -> np.ndarray:
    """(GRID, GRID) power of an orthonormal basis of the quadratic surfaces of a block."""
    basis = np.linalg.qr(_surfaces(size))[0].T.reshape(-1, size, size)
    angles = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(GRID), np.arange(size)))
    return (np.abs(angles @ basis @ angles.T) ** 2).sum(0)


def _surfaces(size: int) -> np.ndarray:
    row, column = (axis.ravel() for axis in np.mgrid[:size, :size] / max(size - 1, 1) - 0.5)
    return np.stack([np.ones_like(row), row, column, row * column, row**2, column**2], axis=1)


@lru_cache(maxsize=16)
def _quadratic(size: int) -> np.ndarray:
    """(size^2, size^2) projection on quadratic surfaces; symmetric."""
    basis = _surfaces(size)
    return basis @ np.linalg.pinv(basis)


@lru_cache(maxsize=16)
def _window(size: int) -> np.ndarray:
    return np.outer(np.hanning(size + 2)[1:-1], np.hanning(size + 2)[1:-1])


@lru_cache(maxsize=16)
def _radius(size: int) -> np.ndarray:
    frequency = np.fft.fftfreq(size)
    return np.hypot(frequency[:, None], frequency[None, :])
