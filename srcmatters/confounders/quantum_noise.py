"""X-ray quantum noise: a radiograph taken with fewer photons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.case_stream import torch_stream
from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.published_noise import published_noise
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

EXACT_BELOW = 50.0  # counts; above, a Gaussian of the same mean and variance cannot be told from Poisson
RUN = 4  # pixels: shorter runs of black or white are noise
RQA5_PHOTONS = 30174.0  # photons per mm^2 and uGy of air kerma, IEC 62220-1:2003, beam quality RQA5


def quantum_counts(mean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Photon counts: Poisson exactly below 50 expected counts, its Gaussian equivalent above.

    Args:
        mean: expected counts, any shape, contiguous floating point: draws come in the order of memory.
        generator: on the device of ``mean``.
    """
    counts = torch.empty_like(mean).normal_(generator=generator)
    torch.addcmul(mean, counts, mean.sqrt(), out=counts)
    if float(mean.amin()) < EXACT_BELOW:
        few = mean < EXACT_BELOW
        counts[few] = torch.poisson(mean[few], generator)
    return counts


class XrayQuantumNoise(Confounder):
    r"""Lower the dose of a radiograph.

    MICCAT: environment / imaging / acquisition / global. A display value ``t`` (0 black, 1 white) stands for
    the attenuation ``p = p_0 + L t`` with the latitude ``L``, so a pixel collected ``I = N e^{-L (t - m)}``
    photons. ``m`` is the image's median (saturated runs left out): the exposure index, and so the air kerma
    of a protocol, refers to the median of the relevant region, not to the darkest pixel.

    ``N = air kerma * 30174 /(mm^2 uGy) * pixel area * DQE``.

    At the dose factor ``a`` the variance of ``p`` grows from ``1/I`` to ``1/(a I)``. What is missing,
    ``(1 - a) / (a I)``, is what a Poisson count ``n`` of mean ``M = I a / (1 - a)`` has, so
    ``t' = t - (n / M - 1) / L``: exact counts below 50, Gaussian above. The logarithm of the count is
    linearised, because ``E[-ln(n / M)]`` is ``1 / (2 M)``: at the size of the detector, where a pixel has 1
    to 10 photons, it would brighten the image. For the same reason the result is *not* clipped to [0, 1]:
    resize first, then clip (:class:`srcmatters.confounders.ClipDisplayd`). Runs of four and more pixels that
    are black or white (shutters, letters) stay as they are. The noise is white: the blur of a detector and
    scatter are not modelled. Dense regions (mediastinum, diaphragm) get several times the noise of the lung,
    and since ``N`` follows the pixel area, a resized image gets the noise it would have after averaging.

    Args:
        dose_factor: ``a``, (0, 1]; 1 adds nothing to an image that has its own noise. The deviation index of
            such an exposure is ``10 log10 a``; a radiographer repeats an image beyond -3 or so.
        air_kerma_ugy: air kerma at the detector behind the median of the image in uGy at full dose, > 0; a
            chest radiograph takes 1 to 5.
        latitude: ``L``, natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        dqe: detective quantum efficiency, (0, 1]; 0.6 for a CsI flat panel at low frequencies.
        field_mm: height of the image in mm, used for the pixel area where the spacing is unknown.
        input_has_noise: False for a noiseless image (a phantom): it gets all the quanta of the dose ``a``, so
            that a dose factor of 1 changes nothing but quanta.
        published: the model of the paper, see :mod:`srcmatters.confounders.published_noise`. The unconfounded
            image then has noise of 2e7 photons per pixel, the confounded one of ``dose_factor`` times that;
            both come out at 512 x 512. Only ``dose_factor`` is used.
        seed: Seed of the per-case streams. A case has one noise field per kind of device: those of a CPU and
            of a GPU differ.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in [0, 1]; the result has the same shape and dtype
        (512 x 512 if ``published``) and leaves [0, 1] where the noise does. Three channels share one noise
        field. A volume is taken for a stack of pictures, each with noise of its own: the publication put this
        model on CT slices too, where :class:`srcmatters.confounders.LowDoseCT` is the physical one.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 64, 64), 0.5)
        >>> noisy = XrayQuantumNoise(dose_factor=0.1)(image, "case 7")
        >>> bool(torch.equal(noisy, XrayQuantumNoise(dose_factor=0.1)(image, "case 7")))
        True

    Source: Juodelyte et al. 2024 (published); IEC 62220-1:2003 (photons per air kerma); IEC 62494-1:2008
    (exposure index and deviation index).
    """

    name = "noise"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Juodelyte et al. 2024, arXiv 2403.04484; IEC 62220-1; IEC 62494-1"
    modalities = ("radiograph",)
    paper_parameters: ClassVar[Parameters] = {"published": True, "dose_factor": 0.75}
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"dose_factor": 0.5},  # the edge of what is accepted
        "stress": {"dose_factor": 0.02},  # nobody would accept it
    }

    def __init__(
        self,
        dose_factor: float = 0.02,
        air_kerma_ugy: float = 2.5,
        latitude: float = 4.0,
        dqe: float = 0.6,
        field_mm: float = 430.0,
        input_has_noise: bool = True,
        published: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        for field, value, most in (("dose_factor", dose_factor, 1), ("dqe", dqe, 1)):
            if not 0 < value <= most:
                raise InputError(f"noise: {field} {value}, expected a fraction in (0, 1]")
        for field, value in (
            ("air_kerma_ugy", air_kerma_ugy),
            ("latitude", latitude),
            ("field_mm", field_mm),
        ):
            if not 0 < value < float("inf"):
                raise InputError(f"noise: {field} {value}, expected a positive number")
        self.dose_factor = dose_factor
        self.air_kerma_ugy = air_kerma_ugy
        self.latitude = latitude
        self.dqe = dqe
        self.field_mm = field_mm
        self.input_has_noise = input_has_noise
        self.published = published

    @property
    def deviation_index(self) -> float:
        """``10 log10 a``: how far the exposure is from its target (IEC 62494-1)."""
        return 10 * math.log10(self.dose_factor)

    @property
    def facts(self) -> dict[str, str]:
        """The deviation index, for a table of parameters."""
        return {} if self.published else {"deviation index": f"{self.deviation_index:+.1f}"}

    def photons(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> float:
        """``N``: detected photons of a pixel at the image's median, at full dose."""
        pixel = (self.field_mm / spatial_shape[0],) * 2 if spacing_mm is None else spacing_mm
        return self.air_kerma_ugy * RQA5_PHOTONS * self.dqe * float(pixel[0] * pixel[1])

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A full dose changes an image only if the image had no noise yet."""
        if self.dose_factor == 1 and (self.input_has_noise or self.published):
            return "a dose factor of 1 is the dose that the image was taken with"
        return None

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw the seeds of the noise fields: the case's own, whatever else is in the batch."""
        if self.published:
            clean, confounded = (tuple(stream.integers(2**32, size=2).tolist()) for _ in range(2))
            return {"clean": clean, "confounded": confounded}
        return {"stream": stream}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The photons of a pixel."""
        return {} if self.published else {"photons": self.photons(spatial_shape, spacing_mm)}

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Add the noise that the lower dose would have added to (B, C, H, W[, D])."""
        if self.published:
            return published_noise(images, [drawn["confounded"] for drawn in parameters], self.dose_factor)
        if self.dose_factor == 1 and self.input_has_noise:
            return images.clone()
        share = self.dose_factor / (1 - self.dose_factor) if self.input_has_noise else self.dose_factor
        result = torch.empty_like(images)
        for image, noisy, drawn in zip(images, result, parameters, strict=True):
            # Contiguous and in single precision whatever the image is: draws come in the order of memory.
            grey = image[0].to(torch.float32).contiguous()
            runs = saturated_runs(grey)
            middle = exposure_reference(grey, runs)
            mean = torch.mul(grey, -self.latitude).add_(self.latitude * middle).exp_()
            mean.mul_(share * drawn["photons"])
            generator = torch_stream(drawn["stream"], image.device)
            counts = quantum_counts(mean, generator)
            # t - (n / M - 1) / L in two passes
            torch.add(image, 1 / self.latitude, out=noisy)
            noisy.addcdiv_(counts.to(image.dtype), mean.to(image.dtype), value=-1 / self.latitude)
            if runs is not None:
                noisy.copy_(torch.where(runs, image, noisy))
        return result

    def apply_clean(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """The images themselves; with the noise of a full dose if ``published``."""
        if not self.published:
            return images
        return published_noise(images, [drawn["clean"] for drawn in parameters], 1.0)


def saturated_runs(grey: torch.Tensor) -> torch.Tensor | None:
    """Pixels in a run of four or more black or white ones along a row or a column: shutters, letters.

    Args:
        grey: (H, W) or (H, W, D), display values.

    Returns:
        A mask of the same shape, None where there is no such pixel.
    """
    low, high = (float(edge) for edge in torch.aminmax(grey))
    if low > 0 and high < 1:
        return None
    saturated = (grey <= 0) | (grey >= 1)
    runs = None
    for axis in (0, 1):
        count = grey.shape[axis] - RUN + 1
        if count < 1:
            continue
        pairs = saturated.narrow(axis, 0, count + 2) & saturated.narrow(axis, 1, count + 2)
        whole = pairs.narrow(axis, 0, count) & pairs.narrow(axis, 2, count)
        if bool(whole.any()):
            runs = torch.zeros_like(saturated) if runs is None else runs
            for step in range(RUN):
                runs.narrow(axis, step, count).logical_or_(whole)
    return runs


def exposure_reference(grey: torch.Tensor, runs: torch.Tensor | None) -> float:
    """The median of an image (H, W[, D]), of every so many pixels, without saturated runs."""
    step = max(min(grey.shape[:2]) // 128, 1)
    values = grey[::step, ::step]
    kept = values if runs is None else values[~runs[::step, ::step]]
    return float((kept if kept.numel() else values).median())
