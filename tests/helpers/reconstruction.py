"""Filtered back-projection and the noise that theory predicts for it: references of the CT dose tests."""

from __future__ import annotations

import math

import torch

from srcmatters.confounders.projection import (
    Interpolation,
    ParallelBeam,
    back_project_filtered,
    ramp_filter,
)

LINEAR_VARIANCE = 2 / 3 - 2 / math.pi**2  # .464, of ramp-filtered noise after linear interpolation


def filtered_back_projection(
    sinograms: torch.Tensor, scan: ParallelBeam, interpolation: Interpolation = "sinc"
) -> torch.Tensor:
    """Reconstruct slices from their line integrals with the Ram-Lak filter.

    Args:
        sinograms: (B, views, bins), dimensionless.
        scan: the geometry.
        interpolation: between the bins, see :func:`ramp_filter`.

    Returns:
        (B, size, size) float32, attenuation per mm.
    """
    return back_project_filtered(ramp_filter(sinograms, scan, interpolation), scan)


def reconstruction_variance(
    mean_variance: float, views: int, bin_mm: float, interpolation: Interpolation = "sinc"
) -> float:
    r"""Noise variance that theory predicts for filtered back-projection, in 1 / mm^2.

    .. math:: s^2 = \frac{\pi^2}{12 \tau^2 A} \langle \operatorname{var} p \rangle

    for the Ram-Lak filter with sinc interpolation; linear interpolation multiplies it by .464.

    Args:
        mean_variance: variance of the line integrals through the point, averaged over the views.
        views: A.
        bin_mm: tau.
        interpolation: between the bins.
    """
    factor = 1.0 if interpolation == "sinc" else LINEAR_VARIANCE
    return math.pi**2 / (12 * bin_mm**2 * views) * mean_variance * factor
