"""Quanta behind a CT slice: attenuation, counts, and the noise they leave in the line integrals."""

from __future__ import annotations

import math

import torch

MU_WATER_PER_MM = 0.02  # LoDoPaB-CT
AIR_TO_WATER = 1e-3  # mu of air over mu of water, LoDoPaB-CT: .02 / 20 per m
LODOPAB_MU_MAX_PER_MM = 0.08135858  # 3071 HU
LEAST_COUNT = 0.1  # what LoDoPaB-CT takes for a ray that no photon survived
GAUSSIAN_ABOVE = 50.0  # counts; above, a Poisson draw cannot be told from a Gaussian one


def attenuation(hu: torch.Tensor, mu_water: float = MU_WATER_PER_MM) -> torch.Tensor:
    """Hounsfield units to attenuation per mm; what would be negative (below air) is vacuum."""
    return (hu * ((1 - AIR_TO_WATER) * mu_water / 1000) + mu_water).clamp(min=0)


def hounsfield(mu: torch.Tensor, mu_water: float = MU_WATER_PER_MM) -> torch.Tensor:
    """Attenuation per mm to Hounsfield units."""
    return (mu - mu_water) * hounsfield_per_attenuation(mu_water)


def hounsfield_per_attenuation(mu_water: float = MU_WATER_PER_MM) -> float:
    """HU that one unit of attenuation (1 / mm) makes."""
    return 1000 / ((1 - AIR_TO_WATER) * mu_water)


def added_variance(
    line_integrals: torch.Tensor, photons: float, dose_factor: float, electronic_noise: float = 0.0
) -> torch.Tensor:
    r"""Variance that a scan lacks to look like one with a fraction of its dose.

    .. math:: \frac{1-a}{a} \frac{e^p}{N_0} \left[1 + \frac{1+a}{a} \frac{N_e e^p}{N_0}\right]

    Args:
        line_integrals: p, dimensionless.
        photons: N_0 per unattenuated ray of the scan at hand.
        dose_factor: a in (0, 1].
        electronic_noise: N_e, variance of the electronics in photons squared.
    """
    inverse_count = line_integrals.exp() / photons
    quanta = (1 - dose_factor) / dose_factor * inverse_count
    return quanta * (1 + (1 + dose_factor) / dose_factor * electronic_noise * inverse_count)


def line_integral_noise(variance: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw the error of line integrals whose variance is known.

    A ray with variance v carries as much information as 1 / v counts n: exact Poisson below
    :data:`GAUSSIAN_ABOVE` counts, Gaussian above. The error is linearised, ``1 - n v``. That of the logarithm
    has a mean of v / 2, which depends on the width of the simulated bins and would make the slice brighter.

    Args:
        variance: (views, bins), of one slice.
        generator: on the device of ``variance``.
    """
    normal = torch.randn(variance.shape, generator=generator, device=variance.device)
    few = variance > 1 / GAUSSIAN_ABOVE
    counts = few / variance.clamp(min=1e-30)  # 0 where there are many: drawing a 0 is free
    drawn = torch.poisson(counts, generator=generator)
    return torch.where(few, 1 - drawn * variance, normal * variance.sqrt())


def noisy_line_integrals(
    line_integrals: torch.Tensor, photons: float, electronic_noise: float, generator: torch.Generator
) -> torch.Tensor:
    r"""Count photons: Y ~ Poisson(N_0 e^{-p}) + N(0, N_e), p^ = -ln(max(Y, .1) / N_0).

    Args:
        line_integrals: (views, bins), of one slice.
        photons: N_0 per unattenuated ray.
        electronic_noise: N_e, variance of the electronics in photons squared.
        generator: on the device of ``line_integrals``.
    """
    counts = torch.poisson(photons * (-line_integrals).exp(), generator=generator)
    if electronic_noise > 0:
        normal = torch.randn(counts.shape, generator=generator, device=counts.device)
        counts = counts + math.sqrt(electronic_noise) * normal
    return -(counts.clamp(min=LEAST_COUNT) / photons).log()
