"""What the simulations of CT dose share: whole slices in HU, a noise for each, and their refusals."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.ct_dose_quanta import noisy_line_integrals
from srcmatters.confounders.ct_dose_slices import runs_of_one_spacing
from srcmatters.confounders.projection import (
    IMAGES_AT_ONCE,
    Interpolation,
    ParallelBeam,
    back_project_filtered,
    project,
    ramp_filter,
)
from srcmatters.errors import InputError

AIR_BELOW_HU = -200.0  # every whole slice has some: around the patient, in the lung, in the bowel


class DoseSimulation(Confounder):
    """Noise that is made in the projections of whole axial slices.

    Args:
        photons: per unattenuated ray at full dose.
        dose_factor: share of them that is left, (0, 1].
        electronic_noise: variance of the electronics in photons squared.
        views: projection angles of the scanner over 180 degrees.
        interpolation: between the bins in the reconstruction.
        mu_water: attenuation of water in 1 / mm.
        seed: seed of the per-case streams.
    """

    unit = "HU"
    modalities = ("CT",)

    def __init__(
        self,
        photons: float,
        dose_factor: float,
        electronic_noise: float,
        views: int,
        interpolation: Interpolation,
        mu_water: float,
        seed: int,
    ) -> None:
        super().__init__(seed)
        self.photons = photons
        self.dose_factor = dose_factor
        self.electronic_noise = electronic_noise
        self.views = views
        self.interpolation: Interpolation = interpolation
        self.mu_water = mu_water
        if interpolation not in ("linear", "sinc"):
            raise InputError(f"{self.name}: interpolation {interpolation!r}, expected 'linear' or 'sinc'")
        if not 0 < dose_factor <= 1:
            raise InputError(f"{self.name}: dose_factor {dose_factor}, expected a share in (0, 1]")
        if not 0 <= electronic_noise < math.inf:
            raise InputError(f"{self.name}: electronic_noise {electronic_noise}, expected 0 or more")
        self._check_positive("photons", "views", "mu_water")

    def _check_positive(self, *parameters: str) -> None:
        for parameter in parameters:
            value = getattr(self, parameter)
            if not 0 < value < math.inf:
                raise InputError(f"{self.name}: {parameter} {value}, expected more than 0")

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Seed of the noise of one case."""
        return {"noise_seed": int(stream.integers(2**63 - 1))}

    def _warn_of_field(self, spatial_shape: Sequence[int], pixel_mm: float) -> None:
        field_mm = pixel_mm * max(spatial_shape[:2])
        if not 150 <= field_mm <= 700:
            warnings.warn(
                f"{self.name}: the image is {field_mm:.0f} mm wide ({pixel_mm:g} mm a pixel); the simulation "
                "takes its edge for the end of the patient, so a slice of a body needs 150 to 700 mm",
                stacklevel=4,
            )

    @abstractmethod
    def _simulate(
        self, hu: torch.Tensor, parameters: Sequence[Parameters], streams: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """Slices (n, H, W) of one spacing with their noise.

        Args:
            hu: (n, H, W).
            parameters: of the case of each slice.
            streams: of the case of each slice.
        """

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Noise for (B, C, H, W[, D]) in HU; slices one at a time on a CPU, several on a GPU."""
        if self.does_nothing(images.shape[2:], None) is not None:
            return images.clone()
        slices = images[:, 0].unsqueeze(-1) if images.ndim == 4 else images[:, 0]
        stack = slices.movedim(-1, 1).flatten(0, 1)
        depth = slices.shape[-1]
        streams = [torch.Generator(images.device).manual_seed(drawn["noise_seed"]) for drawn in parameters]
        per_slice = [stream for stream in streams for _ in range(depth)]
        of_case = [known for known in parameters for _ in range(depth)]
        spacings = [known["pixel_mm"] for known in of_case]
        parts = [
            self._simulate(stack[run].float(), of_case[run], per_slice[run])
            for run in runs_of_one_spacing(spacings, IMAGES_AT_ONCE if images.device.type != "cpu" else 1)
        ]
        noisy = torch.cat(parts).to(images.dtype).unflatten(0, (len(images), depth)).movedim(1, -1)
        return noisy.reshape(len(images), 1, *images.shape[2:]).repeat_interleave(images.shape[1], dim=1)

    def _counted(
        self,
        mu: torch.Tensor,
        projected: ParallelBeam,
        reconstructed: ParallelBeam,
        photons: float,
        streams: Sequence[torch.Generator],
    ) -> torch.Tensor:
        """Reconstruction of the counts of ``photons`` per unattenuated ray, attenuation per mm."""
        truth = project(mu, projected)
        pairs = zip(truth, streams, strict=True)
        counted = [noisy_line_integrals(p, photons, self.electronic_noise, stream) for p, stream in pairs]
        filtered = ramp_filter(truth, reconstructed, self.interpolation)
        noise = torch.stack(counted).sub_(truth)
        filtered += ramp_filter(noise, reconstructed, self.interpolation, noise=True)
        return back_project_filtered(filtered, reconstructed)

    def _wrong_values(self, images: torch.Tensor) -> str | None:
        mistake = super()._wrong_values(images)
        if mistake is not None:
            return mistake
        for number, low in enumerate(images.flatten(1).amin(1).tolist(), start=1):
            if low > AIR_BELOW_HU:
                return (
                    f"image {number} of {len(images)} has values from {low:g} on and so no air (nothing "
                    f"below {AIR_BELOW_HU:g} HU): a dose simulation needs whole slices in HU, not windowed, "
                    "8-bit or [0, 1] images, whose attenuation is unknown"
                )
        return None
