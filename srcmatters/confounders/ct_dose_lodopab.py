"""LoDoPaB-CT: the published low-dose simulation, for ``protocol: paper``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.ct_dose_base import DoseSimulation
from srcmatters.confounders.ct_dose_quanta import (
    LODOPAB_MU_MAX_PER_MM,
    MU_WATER_PER_MM,
    attenuation,
    hounsfield,
)
from srcmatters.confounders.projection import Interpolation, ParallelBeam
from srcmatters.confounders.taxonomy import Miccat

SIZE, FIELD_MM, BINS, BIN_MM = 362, 260.0, 513, 0.71676
VIEWS, PHOTONS = 1000, 4096.0


class LoDoPaB(DoseSimulation):
    r"""Repeat LoDoPaB-CT on a slice.

    MICCAT: environment / imaging / acquisition / global. The central 362 x 362 pixels, whatever their
    spacing, are taken for 26 cm in vacuum, clipped to [0, 81.35858 / m], upsampled (bilinear), projected on
    513 bins, counted and reconstructed. What lies outside the crop is left as it is: crop both states to 362
    first. It has the name, and so the random streams, of the corrected
    :class:`~srcmatters.confounders.LowDoseCT`.

    Args:
        dose_factor: share of the photons that is left, (0, 1].
        photons: per unattenuated ray.
        electronic_noise: variance of the electronics in photons squared.
        views: projection angles over 180 degrees.
        interpolation: between the bins in the reconstruction, "linear" as published or "sinc".
        mu_water: attenuation of water in 1 / mm.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in HU, at least 362 x 362; the result has the same
        shape, dtype and device.

    Raises:
        InputError: a parameter out of range, an image smaller than 362 x 362, or one that is no slice in HU.

    Example:
        >>> import torch
        >>> slice_hu = torch.full((1, 362, 362), -1000.0)
        >>> slice_hu[:, 100:260, 100:260] = 0
        >>> bool((LoDoPaB(views=40)(slice_hu, "phantom") - slice_hu).std() > 20)
        True

    Source: Leuschner et al. 2021 (LoDoPaB-CT, Scientific Data 8:109) and its generation script.
    """

    name = "low_dose_ct"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Leuschner et al. 2021 (LoDoPaB-CT)"
    stored_as_its_scan = False

    def __init__(
        self,
        dose_factor: float = 1.0,
        photons: float = PHOTONS,
        electronic_noise: float = 0.0,
        views: int = VIEWS,
        interpolation: Interpolation = "linear",
        mu_water: float = MU_WATER_PER_MM,
        seed: int = 0,
    ) -> None:
        super().__init__(photons, dose_factor, electronic_noise, views, interpolation, mu_water, seed)

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The pixel spacing that the publication takes every slice for."""
        pixel_mm = FIELD_MM / SIZE
        self._warn_of_field(spatial_shape, pixel_mm)
        return {"pixel_mm": pixel_mm}

    def _simulate(
        self, hu: torch.Tensor, parameters: Sequence[Parameters], streams: Sequence[torch.Generator]
    ) -> torch.Tensor:
        reconstructed = ParallelBeam(SIZE, FIELD_MM / SIZE, self.views, BINS, BIN_MM)
        projected = replace(reconstructed, pixel="linear")
        top, left = ((length - SIZE) // 2 for length in hu.shape[1:])
        crop = (slice(None), slice(top, top + SIZE), slice(left, left + SIZE))
        mu = attenuation(hu[crop], self.mu_water).clamp(max=LODOPAB_MU_MAX_PER_MM)
        counted = self._counted(mu, projected, reconstructed, self.photons * self.dose_factor, streams)
        result = hu.clone()
        result[crop] = hounsfield(counted, self.mu_water)
        return result

    def _mistake(self, images: torch.Tensor, case_ids: Sequence[str]) -> str | None:
        mistake = super()._mistake(images, case_ids)
        if mistake is None and min(images.shape[2:4]) < SIZE:
            return f"shape {tuple(images.shape[1:])}, LoDoPaB needs {SIZE} x {SIZE} or more"
        return mistake
