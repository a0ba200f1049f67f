"""A patient who moves while a CT is taken: the views do not agree with each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import convex_hull_image

from srcmatters.confounders.ct_dose_quanta import attenuation, hounsfield_per_attenuation
from srcmatters.confounders.ct_dose_slices import AIR_HU, completed_with_air, cropped, stored_like
from srcmatters.confounders.projection import ParallelBeam, back_project_filtered, project, ramp_filter

_VIEWS = 500
_BODY_HU = -300.0
_APART_MM = 3.0  # what hangs on the patient by less is the table, or the blanket
_CUT_OFF, _FADING_MM = 0.01, 40.0  # share of the border that is patient; over which he fades beyond it
_BEYOND_MM, _EDGE_MM = 2.5, 1.0  # how far the blurred skin reaches, and the soft edge of the share


def moved_during_scan(
    hu: torch.Tensor, pixel_mm: float, shift_mm: tuple[float, float], start: float
) -> torch.Tensor:
    r"""Scan a patient who moves uniformly while the tube turns by half a turn.

    The patient, without the table, is moved by ``(t - 1/2) shift`` at time ``t`` in 0 .. 1 of the scan. That
    shifts each of his parallel projections along the detector: ``p'_k(s) = p_k(s - n_k . d_k)``. What this
    changes is filtered, back-projected and added: ``HU' = HU + A^+ (p' - p)``. The first and the last view,
    which show the same rays, do not fit: double contours and streaks start at edges that lie along them.

    Args:
        hu: (H, W), whole axial slice, square pixels.
        pixel_mm: pixel spacing.
        shift_mm: (down, across), from the start to the end of the scan.
        start: angle of the first view as a share of half a turn, 0 .. 1.

    Returns:
        (H, W), stored as the slice is.
    """
    patient = torch.from_numpy(patient_share(hu.cpu().numpy(), pixel_mm)).to(hu)
    seen = continued_beyond(patient * (hu - AIR_HU), pixel_mm) + AIR_HU
    square = completed_with_air(seen[None])
    scan = ParallelBeam.spanning(square.shape[-1], pixel_mm, _VIEWS)
    p = project(attenuation(square), scan)
    share = (torch.arange(_VIEWS, dtype=torch.float64, device=hu.device) + 0.5) / _VIEWS
    when = (share - start) % 1 - 0.5
    turns = share * math.pi
    offset_mm = when * (shift_mm[0] * turns.cos() + shift_mm[1] * turns.sin())
    frequency = torch.fft.rfftfreq(scan.bins, scan.bin_mm, dtype=torch.float64, device=hu.device)
    phase = torch.polar(torch.ones_like(frequency), -2 * math.pi * frequency * offset_mm[:, None])
    moved = torch.fft.irfft(torch.fft.rfft(p[0].double()) * phase, scan.bins).to(p)
    change = back_project_filtered(ramp_filter((moved - p[0])[None], scan), scan)
    change = centred(cropped(change, (1, *seen.shape))[0], hu.shape) * hounsfield_per_attenuation()
    result = hu + change
    return stored_like(result[None], hu[None])[0]


def continued_beyond(above_air: torch.Tensor, pixel_mm: float) -> torch.Tensor:
    """Let a patient who is cut off by the border of (H, W) fade out beyond it, or his cut would streak."""
    border = torch.cat([above_air[0], above_air[-1], above_air[:, 0], above_air[:, -1]])
    if float((border > _BODY_HU - AIR_HU).float().mean()) < _CUT_OFF:
        return above_air
    margin = min(round(_FADING_MM / pixel_mm), *(length - 1 for length in above_air.shape))
    result = torch.nn.functional.pad(above_air[None, None], (margin,) * 4, mode="reflect")[0, 0]
    for axis, length in enumerate(above_air.shape):
        beyond = (torch.arange(length + 2 * margin, device=above_air.device) - margin).float()
        beyond = torch.maximum(-beyond, beyond - length + 1).clamp(min=0) / (margin + 1)
        fading = torch.cos(math.pi / 2 * beyond).square()
        result = result * (fading[:, None] if axis == 0 else fading)
    return result


def centred(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The middle of (H, W)."""
    top, left = ((long - short) // 2 for long, short in zip(image.shape, shape, strict=True))
    return image[top : top + shape[0], left : left + shape[1]]


def patient_share(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """(H, W) 0 .. 1: the convex hull of the largest connected part of a slice, with a soft edge."""
    reach = max(round(_APART_MM / pixel_mm), 1)
    body = hu > _BODY_HU
    kept = ndimage.distance_transform_edt(body) > reach
    parts, count = ndimage.label(kept)
    if count == 0:
        return np.ones_like(hu)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    hull = convex_hull_image(largest)  # type: ignore[no-untyped-call]
    whole = ndimage.distance_transform_edt(~hull) <= reach + _BEYOND_MM / pixel_mm
    return np.asarray(ndimage.gaussian_filter(whole.astype(np.float32), _EDGE_MM / pixel_mm))
