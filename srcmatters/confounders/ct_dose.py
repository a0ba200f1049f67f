"""Low-dose CT: the noise of fewer photons, made where it arises, in the projections."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.ct_dose_quanta import (
    LODOPAB_MU_MAX_PER_MM,
    MU_WATER_PER_MM,
    added_variance,
    attenuation,
    hounsfield,
    hounsfield_per_attenuation,
    line_integral_noise,
    noisy_line_integrals,
)
from srcmatters.confounders.ct_dose_slices import completed_with_air, cropped, runs_of_one_spacing
from srcmatters.confounders.projection import (
    IMAGES_AT_ONCE,
    Interpolation,
    ParallelBeam,
    back_project_filtered,
    project,
    ramp_filter,
)
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

PADDING_BELOW_HU = -1500.0  # not tissue but a scanner's filling outside its field of view
AIR_BELOW_HU = -200.0  # every whole slice has some: around the patient, in the lung, in the bowel
LODOPAB_SIZE, LODOPAB_FIELD_MM, LODOPAB_BINS, LODOPAB_BIN_MM = 362, 260.0, 513, 0.71676
LODOPAB_VIEWS, LODOPAB_PHOTONS = 1000, 4096.0
CLINICAL_PHOTONS, CLINICAL_ELECTRONIC_NOISE = 1e5, 10.0


class LowDoseCT(Confounder):
    r"""Give a CT slice the noise of a scan with fewer photons.

    MICCAT: environment / imaging / acquisition / global. The slice is projected (parallel beam), the noise of
    the photon counts is drawn per ray, and filtered back-projection (Ram-Lak) takes it into the image: noise
    is stronger behind bone, streaks along dense paths, and has the power spectrum of CT.

    Two methods. "delta" (default): image + reconstruction of the noise alone. The image itself is not
    resampled, and what is added is the variance that the scan, already noisy, lacks to be one with
    ``dose_factor`` of its dose. 250 views with the quanta of ``views`` are enough for noise. "full": project
    the image as if it were free of noise, count photons, reconstruct; blurs (16-19 HU on sharp edges).

    ``photons``, ``views`` and ``bin_mm`` describe the scanner. The "delta" simulation uses its own views, and
    bins as wide as a pixel, with the same quanta per angle and mm and the filter of the scanner's detector:
    the noise has the same power spectrum, and one operator serves every spacing. What linear interpolation
    folds back from beyond the Nyquist frequency (15 % of the variance) stays at its radius, see
    :func:`srcmatters.confounders.projection.ramp_filter`.

    In a volume every slice gets noise of its own. Real slices that overlap or are interpolated share quanta:
    that correlation along z is not modelled.

    Args:
        method: "delta" or "full".
        dose_factor: a in (0, 1], share of the photons that is left; None: .25, with ``lodopab`` 1. With
            "delta", 1 changes nothing; with "full", 1 leaves the noise of ``photons``.
        photons: N_0 per unattenuated ray at full dose; None: 1e5 (clinical), with ``lodopab`` 4096. LoDoPaB's
            4096 on a whole slice with its true spacing would starve most rays.
        electronic_noise: variance of the electronics in photons squared; None: 10, with ``lodopab`` 0.
        views: projection angles of the scanner over 180 degrees (LoDoPaB: 1000).
        bin_mm: detector bin of the scanner in mm (LoDoPaB: .71676). "full" simulates these bins and so needs
            one operator (100 MB at 512 pixels) per pixel spacing, of which the last few are kept.
        simulated_views: angles that "delta" simulates; fewer are faster.
        interpolation: between the bins in the reconstruction, "linear" (LoDoPaB, most programs) or "sinc",
            whose noise has 2.15 times the variance and reaches higher frequencies.
        mu_water: attenuation of water in 1 / mm (LoDoPaB: .02; .0192 is common too).
        lodopab: repeat LoDoPaB-CT, with method "full" only: the central 362 x 362 pixels, whatever their
            spacing, are taken for 26 cm in vacuum, clipped to [0, 81.35858 / m], and upsampled (bilinear)
            before they are projected on 513 bins. What lies outside the crop is left as it is: crop both
            arms to 362 first.
        default_pixel_mm: pixel spacing in mm of images that carry none.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in HU, whole axial slices; the result has the same
        shape, dtype and device. Three channels (grey, repeated) share one noise. Slices that are not square
        are completed with air. Below -1000 HU is vacuum; pixels below -1500 HU (padding) stay as they are.

    Raises:
        InputError: a parameter out of range; no value below -200 HU, that is no air anywhere: windowed, 8-bit
            or [0, 1] images, of which the attenuation is unknown, or patches from inside the body; pixels
            that are not square; with ``lodopab``, an image smaller than 362; what every confounder refuses.

    Example:
        >>> import torch
        >>> slice_hu = torch.full((1, 64, 64), -1000.0)
        >>> slice_hu[:, 16:48, 16:48] = 0
        >>> LowDoseCT(default_pixel_mm=5)(slice_hu, case_id="phantom").shape
        torch.Size([1, 64, 64])

    Source: Leuschner et al. 2021 (LoDoPaB-CT, Scientific Data 8:109) for geometry and counts; Yu et al. 2012
    (J Comput Assist Tomogr 36:477) and Zabic et al. 2013 (Med Phys 40:031102) for adding noise to a noisy
    scan; Kak and Slaney 1988 for the reconstruction.
    """

    name = "low_dose_ct"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Leuschner et al. 2021 (LoDoPaB-CT); Yu et al. 2012"
    unit = "HU"
    modalities = ("CT",)
    paper_parameters: ClassVar[Parameters] = {"method": "full", "lodopab": True}

    def __init__(
        self,
        method: Literal["delta", "full"] = "delta",
        dose_factor: float | None = None,
        photons: float | None = None,
        electronic_noise: float | None = None,
        views: int = LODOPAB_VIEWS,
        bin_mm: float = LODOPAB_BIN_MM,
        simulated_views: int = 250,
        interpolation: Interpolation = "linear",
        mu_water: float = MU_WATER_PER_MM,
        lodopab: bool = False,
        default_pixel_mm: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.method = method
        self.lodopab = lodopab
        self.dose_factor = (1.0 if lodopab else 0.25) if dose_factor is None else dose_factor
        self.photons = (LODOPAB_PHOTONS if lodopab else CLINICAL_PHOTONS) if photons is None else photons
        usual = 0.0 if lodopab else CLINICAL_ELECTRONIC_NOISE
        self.electronic_noise = usual if electronic_noise is None else electronic_noise
        self.views = views
        self.bin_mm = bin_mm
        self.simulated_views = simulated_views
        self.interpolation: Interpolation = interpolation
        self.mu_water = mu_water
        self.default_pixel_mm = default_pixel_mm
        self._check_parameters()

    def draw(
        self, stream: np.random.Generator, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None
    ) -> Parameters:
        """Seed of the noise and pixel spacing of one case."""
        pixel_mm = self.default_pixel_mm
        if self.lodopab:
            pixel_mm = LODOPAB_FIELD_MM / LODOPAB_SIZE
        elif spacing_mm is not None:
            pixel_mm = float(spacing_mm[0])
            if not pixel_mm > 0 or abs(spacing_mm[1] / pixel_mm - 1) > 0.01:
                raise InputError(f"{self.name}: spacing {tuple(spacing_mm)} mm, expected square pixels")
        field_mm = pixel_mm * max(spatial_shape[:2])
        if not 150 <= field_mm <= 700:
            warnings.warn(
                f"{self.name}: the image is {field_mm:.0f} mm wide ({pixel_mm:g} mm a pixel); the simulation "
                "takes its edge for the end of the patient, so a slice of a body needs 150 to 700 mm",
                stacklevel=4,
            )
        return {"noise_seed": int(stream.integers(2**63 - 1)), "pixel_mm": pixel_mm}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A dose factor of 1 adds no noise."""
        if self.method == "delta" and self.dose_factor == 1:
            return "dose_factor is 1, so no quanta are taken away"
        return None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Noise for (B, C, H, W[, D]) in HU; slices one at a time on a CPU, several on a GPU."""
        if self.does_nothing(images.shape[2:], None) is not None:
            return images.clone()
        slices = images[:, 0].unsqueeze(-1) if images.ndim == 4 else images[:, 0]
        stack = slices.movedim(-1, 1).flatten(0, 1)
        depth = slices.shape[-1]
        streams = [torch.Generator(images.device).manual_seed(drawn["noise_seed"]) for drawn in parameters]
        per_slice = [stream for stream in streams for _ in range(depth)]
        spacings = [drawn["pixel_mm"] for drawn in parameters for _ in range(depth)]
        simulate = self._full if self.method == "full" else self._delta
        parts = [
            simulate(stack[chosen].float(), spacings[chosen.start], per_slice[chosen])
            for chosen in runs_of_one_spacing(spacings, IMAGES_AT_ONCE if images.is_cuda else 1)
        ]
        noisy = torch.cat(parts).to(images.dtype).unflatten(0, (len(images), depth)).movedim(1, -1)
        return noisy.reshape(len(images), 1, *images.shape[2:]).repeat_interleave(images.shape[1], dim=1)

    def _delta(self, hu: torch.Tensor, pixel_mm: float, streams: Sequence[torch.Generator]) -> torch.Tensor:
        """Image plus reconstructed noise, (n, H, W)."""
        square = completed_with_air(hu)
        scan = ParallelBeam.spanning(square.shape[-1], pixel_mm, self.simulated_views)
        line_integrals = project(attenuation(square, self.mu_water), scan)
        quanta = self.views / self.simulated_views * pixel_mm / self.bin_mm  # photons of one simulated ray
        variance = added_variance(
            line_integrals, self.photons * quanta, self.dose_factor, self.electronic_noise * quanta
        )
        pairs = zip(variance, streams, strict=True)
        noise = torch.stack([line_integral_noise(of_slice, stream) for of_slice, stream in pairs])
        filtered = ramp_filter(noise, scan, self.interpolation, noise=True, detector_mm=self.bin_mm)
        mu = back_project_filtered(filtered, scan)
        noisy = hu + cropped(mu, hu.shape) * hounsfield_per_attenuation(self.mu_water)
        return torch.where(hu < PADDING_BELOW_HU, hu, noisy)

    def _full(self, hu: torch.Tensor, pixel_mm: float, streams: Sequence[torch.Generator]) -> torch.Tensor:
        """Reconstruction of the counted photons, (n, H, W)."""
        if self.lodopab:
            return self._lodopab(hu, streams)
        square = completed_with_air(hu)
        scan = ParallelBeam.spanning(square.shape[-1], pixel_mm, self.views, self.bin_mm)
        mu = self._counted(attenuation(square, self.mu_water), scan, scan, streams)
        return torch.where(hu < PADDING_BELOW_HU, hu, cropped(hounsfield(mu, self.mu_water), hu.shape))

    def _lodopab(self, hu: torch.Tensor, streams: Sequence[torch.Generator]) -> torch.Tensor:
        """LoDoPaB-CT on the central 362 x 362 pixels, (n, H, W)."""
        pixel_mm = LODOPAB_FIELD_MM / LODOPAB_SIZE
        detector = (self.views, LODOPAB_BINS, LODOPAB_BIN_MM)
        reconstructed = ParallelBeam(LODOPAB_SIZE, pixel_mm, *detector)
        projected = replace(reconstructed, pixel="linear")
        top, left = ((length - LODOPAB_SIZE) // 2 for length in hu.shape[1:])
        crop = (slice(None), slice(top, top + LODOPAB_SIZE), slice(left, left + LODOPAB_SIZE))
        mu = attenuation(hu[crop], self.mu_water).clamp(max=LODOPAB_MU_MAX_PER_MM)
        result = hu.clone()
        result[crop] = hounsfield(self._counted(mu, projected, reconstructed, streams), self.mu_water)
        return result

    def _counted(
        self,
        mu: torch.Tensor,
        projected: ParallelBeam,
        reconstructed: ParallelBeam,
        streams: Sequence[torch.Generator],
    ) -> torch.Tensor:
        photons = self.photons * self.dose_factor
        truth = project(mu, projected)
        pairs = zip(truth, streams, strict=True)
        counted = [noisy_line_integrals(p, photons, self.electronic_noise, stream) for p, stream in pairs]
        filtered = ramp_filter(truth, reconstructed, self.interpolation)
        noise = torch.stack(counted).sub_(truth)
        filtered += ramp_filter(noise, reconstructed, self.interpolation, noise=True)
        return back_project_filtered(filtered, reconstructed)

    def _mistake(self, images: torch.Tensor, case_ids: Sequence[str]) -> str | None:
        mistake = super()._mistake(images, case_ids)
        if mistake is None and self.lodopab and min(images.shape[2:4]) < LODOPAB_SIZE:
            return f"shape {tuple(images.shape[1:])}, LoDoPaB needs {LODOPAB_SIZE} x {LODOPAB_SIZE} or more"
        return mistake

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

    def _check_parameters(self) -> None:
        for parameter, known in (("method", ("delta", "full")), ("interpolation", ("linear", "sinc"))):
            if getattr(self, parameter) not in known:
                value = getattr(self, parameter)
                raise InputError(
                    f"{self.name}: {parameter} {value!r}, expected {' or '.join(map(repr, known))}"
                )
        if self.lodopab and self.method != "full":
            raise InputError(f"{self.name}: lodopab goes with method 'full', got {self.method!r}")
        if not 0 < self.dose_factor <= 1:
            raise InputError(f"{self.name}: dose_factor {self.dose_factor}, expected a share in (0, 1]")
        if not 0 <= self.electronic_noise < math.inf:
            raise InputError(f"{self.name}: electronic_noise {self.electronic_noise}, expected 0 or more")
        for parameter in ("photons", "views", "bin_mm", "simulated_views", "mu_water", "default_pixel_mm"):
            if not 0 < getattr(self, parameter) < math.inf:
                value = getattr(self, parameter)
                raise InputError(f"{self.name}: {parameter} {value}, expected more than 0")
