"""Low-dose CT: the noise of fewer photons, made where it arises, in the projections."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.ct_dose_base import DoseSimulation
from srcmatters.confounders.ct_dose_calibration import (
    detrended_share,
    deviation_in,
    mean_inverse_transmission,
    measured_slices,
    passed_variance,
    softness_for,
)
from srcmatters.confounders.ct_dose_quanta import (
    MU_WATER_PER_MM,
    added_variance,
    attenuation,
    hounsfield,
    hounsfield_per_attenuation,
    line_integral_noise,
)
from srcmatters.confounders.ct_dose_slices import completed_with_air, cropped, padding, stored_like
from srcmatters.confounders.projection import (
    Interpolation,
    ParallelBeam,
    back_project_filtered,
    project,
    ramp_filter,
)
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

CLINICAL_PHOTONS, CLINICAL_ELECTRONIC_NOISE, CLINICAL_VIEWS, CLINICAL_BIN_MM = 1e5, 10.0, 1000, 0.71676
STARVED = 20.0  # quanta per ray: below, the logarithm of a count is no longer unbiased


@dataclass(frozen=True)
class DoseRecord:
    """What a case got.

    Args:
        own_hu: standard deviation of the scan's own noise in calm soft tissue; None: it has none.
        added_hu: that of what was added, in the same blocks.
        photons: per unattenuated ray of the scan.
        softness_lp_per_mm: of the kernel, None: the bare ramp.
        starved: share of the rays with fewer than 20 quanta.
    """

    own_hu: float | None
    added_hu: float | None
    photons: float
    softness_lp_per_mm: float | None
    starved: float


class LowDoseCT(DoseSimulation):
    r"""Give a CT slice the noise of a scan with fewer photons.

    MICCAT: environment / imaging / acquisition / global. The slice is projected (parallel beam), the noise of
    the photon counts is drawn per ray, and filtered back-projection takes it into the image: noise is
    stronger behind bone, streaks along dense paths, and has the power spectrum of CT.

    Two methods. "delta" (default): image + reconstruction of the noise alone. The image itself is not
    resampled, and what is added is the variance that the scan, already noisy, lacks to be one with
    ``dose_factor`` of its dose. "full": project the image as if it were free of noise, count photons,
    reconstruct; blurs (16-19 HU on sharp edges).

    "delta" takes the dose of the scan from the scan: its noise is measured in calm soft tissue
    (:func:`~srcmatters.confounders.ct_dose_calibration.measure_noise`), and the number of photons is the one
    that makes such a noise, with a kernel that makes it as coarse. So a quarter of the dose adds
    ``sqrt(1 / a - 1)`` = 1.7 times the scan's own noise, whatever its kernel, slice thickness and mAs. A
    slice without noise of its own (a phantom) is taken for one of 1e5 photons and the bare ramp.

    The simulation uses 250 views, and bins no wider than a pixel or the detector's, with the same quanta per
    angle and mm and the filter of the scanner's detector. The result is stored as the slice is: not below
    -1024 HU, in whole HU where the slice is, and padding stays as it is.
    Not modelled: bow-tie filter, scatter, tube current modulation, beam hardening, fan geometry, iterative
    reconstruction. In a volume every slice gets noise of its own; real slices that overlap or are
    interpolated share quanta.

    Args:
        method: "delta" or "full".
        dose_factor: a in (0, 1], share of the photons that is left. With "delta", 1 changes nothing; with
            "full", 1 leaves the noise of ``photons``.
        photons: N_0 per unattenuated ray at full dose; None: measured ("delta"), else 1e5.
        electronic_noise: variance of the electronics in photons squared; of a scan whose noise is measured it
            is part of that.
        views: projection angles of the scanner over 180 degrees.
        bin_mm: detector bin of the scanner in mm. "full" simulates these bins and so needs one operator (100
            MB at 512 pixels) per pixel spacing, of which the last few are kept.
        simulated_views: angles that "delta" simulates.
        interpolation: between the bins in the reconstruction, "linear" (most programs) or "sinc", whose noise
            has 2.15 times the variance and reaches higher frequencies.
        mu_water: attenuation of water in 1 / mm (.0192 is common too).
        default_pixel_mm: pixel spacing of images that carry none.
        seed: seed of the per-case streams.

    Attributes:
        records: a :class:`DoseRecord` per case of the last batch; not in the image's ``meta``, where
            it would tell the state.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in HU, whole axial slices; the result has the same
        shape, dtype and device. Three channels (grey, repeated) share one noise. Slices that are not square
        are completed with air. Below -1000 HU is vacuum.

    Raises:
        InputError: a parameter out of range; no value below -200 HU, that is no air anywhere: windowed, 8-bit
            or [0, 1] images, of which the attenuation is unknown, or patches from inside the body; pixels
            that are not square; what every confounder refuses.

    Warns:
        UserWarning: The noise is off the dose by a factor of 2; rays have fewer than 20 quanta ("full" is
            for these).

    Example:
        >>> import torch
        >>> slice_hu = torch.full((1, 64, 64), -1000.0)
        >>> slice_hu[:, 16:48, 16:48] = 0
        >>> LowDoseCT(default_pixel_mm=5)(slice_hu, case_id="phantom").shape
        torch.Size([1, 64, 64])

    Source: Yu et al. 2012 (J Comput Assist Tomogr 36:477) and Zabic et al. 2013 (Med Phys 40:031102).
    """

    name = "low_dose_ct"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Yu et al. 2012; Leuschner et al. 2021 (LoDoPaB-CT)"
    strength_spread = 0.2  # it is fine: interpolation into a patch leaves less of it from coarse pixels
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"dose_factor": 0.5},  # from one protocol of a department to another
        "stress": {"dose_factor": 0.1},  # a screening scan against a diagnostic one
    }

    def __init__(
        self,
        method: Literal["delta", "full"] = "delta",
        dose_factor: float = 0.25,
        photons: float | None = None,
        electronic_noise: float = CLINICAL_ELECTRONIC_NOISE,
        views: int = CLINICAL_VIEWS,
        bin_mm: float = CLINICAL_BIN_MM,
        simulated_views: int = 250,
        interpolation: Interpolation = "linear",
        mu_water: float = MU_WATER_PER_MM,
        default_pixel_mm: float = 0.7,
        seed: int = 0,
    ) -> None:
        if method not in ("delta", "full"):
            raise InputError(f"{self.name}: method {method!r}, expected 'delta' or 'full'")
        assumed = CLINICAL_PHOTONS if photons is None else photons
        super().__init__(assumed, dose_factor, electronic_noise, views, interpolation, mu_water, seed)
        self.method = method
        self.measured = photons is None and method == "delta"
        self.bin_mm = bin_mm
        self.simulated_views = simulated_views
        self.default_pixel_mm = default_pixel_mm
        self._check_positive("bin_mm", "simulated_views", "default_pixel_mm")
        self.records: list[DoseRecord] = []

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The pixel spacing."""
        pixel_mm = self.default_pixel_mm
        if spacing_mm is not None:
            pixel_mm = float(spacing_mm[0])
            if not pixel_mm > 0 or abs(spacing_mm[1] / pixel_mm - 1) > 0.01:
                raise InputError(f"{self.name}: spacing {tuple(spacing_mm)} mm, expected square pixels")
        self._warn_of_field(spatial_shape, pixel_mm)
        return {"pixel_mm": pixel_mm}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A dose factor of 1 adds no noise."""
        if self.method == "delta" and self.dose_factor == 1:
            return "dose_factor is 1, so no quanta are taken away"
        return None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Noise for (B, C, H, W[, D]) in HU."""
        parameters = [dict(known) for known in parameters]
        for image, known in zip(images, parameters, strict=True):
            known |= {"photons": self.photons, "softness": None, "electronic": self.electronic_noise}
            if self.measured and self.does_nothing(images.shape[2:], None) is None:
                known |= self._calibration(image[0], known["pixel_mm"])
        self.records = []
        result = super().apply(images, parameters)
        self.records = [
            self._record(image[0], noisy[0], known)
            for image, noisy, known in zip(images, result, parameters, strict=True)
        ]
        return result

    def _scan(self, size: int, pixel_mm: float) -> ParallelBeam:
        """The simulated scan: bins a whole fraction of a pixel, no wider than the detector's."""
        fraction = max(math.ceil(pixel_mm / self.bin_mm - 1e-6), 1)
        return ParallelBeam.spanning(size, pixel_mm, self.simulated_views, pixel_mm / fraction)

    def _calibration(self, image: torch.Tensor, pixel_mm: float) -> dict[str, Any]:
        """Photons and kernel that make the noise that (H, W[, D]) has; nothing where it has none."""
        stack = image.movedim(-1, 0) if image.ndim == 3 else image.unsqueeze(0)
        blocks = measured_slices(stack, pixel_mm)
        if not blocks:
            return {}
        linear = self.interpolation == "linear"
        frequency = float(np.median([noise.frequency for noise in blocks.values()]))
        softness = softness_for(frequency, pixel_mm, self.bin_mm, linear)
        passed = passed_variance(softness, self.bin_mm, linear)
        # Filtered back-projection: s^2 = pi^2 / (12 tau^2 views) <e^p> / N_0, times what the kernel leaves.
        per_inverse = math.pi**2 / (12 * self.bin_mm**2 * self.views) * passed
        per_inverse *= hounsfield_per_attenuation(self.mu_water) ** 2
        per_inverse *= detrended_share(softness, pixel_mm, self.bin_mm, linear)
        photons = []
        for place, noise in blocks.items():
            square = completed_with_air(stack[place].float().unsqueeze(0))
            scan = self._scan(square.shape[-1], pixel_mm)
            p = project(attenuation(square, self.mu_water), scan)[0]
            inverse = mean_inverse_transmission(p, scan, noise, stack.shape[1:])
            photons.append(per_inverse * inverse / noise.deviation_hu**2)
        own = math.sqrt(np.mean([noise.deviation_hu**2 for noise in blocks.values()]))
        # Electronic noise is part of what was measured.
        known: dict[str, Any] = {"projected": p} if len(stack) == 1 else {}
        known |= {"photons": float(np.median(photons)), "softness": softness, "electronic": 0.0}
        return known | {"own": own, "blocks": blocks}

    def _simulate(
        self, hu: torch.Tensor, parameters: Sequence[Parameters], streams: Sequence[torch.Generator]
    ) -> torch.Tensor:
        pixel_mm = parameters[0]["pixel_mm"]
        square = completed_with_air(hu)
        mu = attenuation(square, self.mu_water)
        if self.method == "full":
            scan = ParallelBeam.spanning(square.shape[-1], pixel_mm, self.views, self.bin_mm)
            counted = self._counted(mu, scan, scan, self.photons * self.dose_factor, streams)
            return torch.where(padding(hu), hu, cropped(hounsfield(counted, self.mu_water), hu.shape))
        scan = self._scan(square.shape[-1], pixel_mm)
        projected = parameters[0].get("projected") if len(hu) == 1 else None
        line_integrals = project(mu, scan) if projected is None else projected[None]
        quanta = self.views / self.simulated_views * scan.bin_mm / self.bin_mm  # of one simulated ray
        noise = [
            self._noise(p, known, quanta, stream)
            for p, known, stream in zip(line_integrals, parameters, streams, strict=True)
        ]
        filtered = [
            ramp_filter(one.unsqueeze(0), scan, self.interpolation, True, self.bin_mm, known["softness"])
            for one, known in zip(noise, parameters, strict=True)
        ]
        mu_noise = cropped(back_project_filtered(torch.cat(filtered), scan, fold=True), hu.shape)
        return stored_like(hu + mu_noise * hounsfield_per_attenuation(self.mu_water), hu)

    def _noise(
        self, p: torch.Tensor, known: Parameters, quanta: float, stream: torch.Generator
    ) -> torch.Tensor:
        """Noise of the line integrals (views, bins) of one slice."""
        photons = known["photons"]
        least = STARVED / (self.dose_factor * photons)
        known["starved"] = max(known.get("starved", 0.0), float((p.neg().exp() < least).float().mean()))
        variance = added_variance(p, photons * quanta, self.dose_factor, known["electronic"] * quanta)
        return line_integral_noise(variance, stream)

    def _record(self, image: torch.Tensor, noisy: torch.Tensor, known: Parameters) -> DoseRecord:
        """What was added to (H, W[, D]), and warnings where it is not what the dose says."""
        added = None
        if known.get("own") is not None:
            change = noisy - image
            planes = change.movedim(-1, 0) if change.ndim == 3 else change.unsqueeze(0)
            deviations = [
                deviation_in(planes[place], noise, known["pixel_mm"])
                for place, noise in known["blocks"].items()
            ]
            added = math.sqrt(np.mean(np.square(deviations)))
            grown = math.hypot(known["own"], added) / known["own"] * math.sqrt(self.dose_factor)
            if not 0.5 < grown < 2:
                warnings.warn(
                    f"{self.name}: noise {grown:.1f} times what {self.dose_factor:g} of the dose gives",
                    stacklevel=5,
                )
        starved = known.get("starved", 0.0)
        if starved > 0:
            warnings.warn(
                f"{self.name}: rays have fewer than {STARVED:g} quanta, and 'delta' makes too little noise "
                "of them; method 'full' counts them",
                stacklevel=5,
            )
        return DoseRecord(known.get("own"), added, known["photons"], known["softness"], starved)
