"""Parallel-beam projection and filtered back-projection by Fourier gridding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch

from srcmatters.confounders.projection_gridding import Gridding, gridding
from srcmatters.errors import InputError

Interpolation = Literal["sinc", "linear"]
IMAGES_AT_ONCE = 16  # on a GPU; on a CPU one at a time, where batched FFTs are slower (page faults)


@dataclass(frozen=True)
class ParallelBeam:
    """A parallel-beam scan of a square slice.

    A ray at view ``k`` and bin ``j`` is the line ``column * sin(t) + row * cos(t) = s`` with
    ``t = (k + 1/2) pi / views`` and ``s = (j - (bins - 1) / 2) bin_mm``; rows and columns are counted in mm
    from the centre of the slice.

    Args:
        size: rows and columns of the slice.
        pixel_mm: pixel spacing in mm.
        views: projection angles over 180 degrees.
        bins: detector bins per view; ``bins * bin_mm`` has to span the diagonal of the slice, because the
            detector is periodic.
        bin_mm: width of a bin in mm.
        pixel: what the image is between the pixel centres: "sinc", band-limited; "linear", bilinear
            interpolation, which is what upsampling before the projection (LoDoPaB-CT) amounts to.

    Raises:
        InputError: a size or width that is not positive, or a detector shorter than the diagonal.
    """

    size: int
    pixel_mm: float
    views: int
    bins: int
    bin_mm: float
    pixel: Interpolation = "sinc"

    def __post_init__(self) -> None:
        for name in ("size", "pixel_mm", "views", "bins", "bin_mm"):
            if not getattr(self, name) > 0:
                raise InputError(f"parallel beam: {name} is {getattr(self, name)}, expected more than 0")
        if self.pixel not in ("sinc", "linear"):
            raise InputError(f"parallel beam: pixel is {self.pixel!r}, expected 'sinc' or 'linear'")
        diagonal = math.sqrt(2) * (self.size - 1) * self.pixel_mm
        if self.bins * self.bin_mm < diagonal * (1 - 1e-9):
            raise InputError(
                f"parallel beam: {self.bins} bins of {self.bin_mm:g} mm, {self.bins * self.bin_mm:.1f} mm, "
                f"expected at least the diagonal of the slice, {diagonal:.1f} mm"
            )

    @classmethod
    def spanning(
        cls,
        size: int,
        pixel_mm: float,
        views: int,
        bin_mm: float | None = None,
        pixel: Interpolation = "sinc",
    ) -> ParallelBeam:
        """The shortest even detector that spans the slice; bins as wide as a pixel unless given."""
        width = pixel_mm if bin_mm is None else bin_mm
        bins = 2 * math.ceil(math.sqrt(2) * size * pixel_mm / width / 2)
        return cls(size, pixel_mm, views, bins, width, pixel)

    def gridding(self, device: torch.device | str = "cpu") -> Gridding:
        """The operator of this scan in units of a pixel: scans that differ in scale alone share it."""
        ratio = round(self.bin_mm / self.pixel_mm, 6)
        return gridding(self.size, self.views, self.bins, ratio, self.pixel, str(device))


def project(images: torch.Tensor, scan: ParallelBeam) -> torch.Tensor:
    r"""Line integrals of a batch of slices.

    Fourier slice theorem: the Fourier transform of a projection is a radial line of the image's. The image's
    is taken on a Cartesian grid 1.5 times as fine and read off at the radial points with a Kaiser-Bessel
    kernel four cells wide, which is one sparse matrix for all views.

    Args:
        images: (B, size, size), attenuation per mm.
        scan: the geometry.

    Returns:
        (B, views, bins) float32, dimensionless.
    """
    _check(images, (scan.size, scan.size), "images")
    operator = scan.gridding(images.device)
    parts = [operator.forward(part) for part in _parts(images.float())]
    return torch.cat(parts) * scan.pixel_mm


def back_project(sinograms: torch.Tensor, scan: ParallelBeam, fold: bool = False) -> torch.Tensor:
    """Back-project: the exact adjoint A* of :func:`project`, so that (A x, y) and (x, A* y) agree.

    Args:
        sinograms: (B, views, bins).
        scan: the geometry.
        fold: do not leave out what is finer than the pixels, but sample it at their centres: the noise of a
            detector whose bins are narrower than a pixel keeps its variance.

    Returns:
        (B, size, size) float32.
    """
    _check(sinograms, (scan.views, scan.bins), "sinograms")
    operator = scan.gridding(sinograms.device)
    parts = [operator.adjoint(part, fold) for part in _parts(sinograms.float())]
    return torch.cat(parts) * scan.pixel_mm


def ramp_filter(
    sinograms: torch.Tensor,
    scan: ParallelBeam,
    interpolation: Interpolation = "sinc",
    noise: bool = False,
    detector_mm: float | None = None,
    softness_lp_per_mm: float | None = None,
) -> torch.Tensor:
    r"""Filter projections for :func:`back_project_filtered`.

    Linear interpolation between the bins is a filter :math:`\operatorname{sinc}^2(f \tau)`. It also leaves
    copies of the spectrum beyond the Nyquist frequency, which a pixel grid cannot hold and folds back. Of an
    image there is next to nothing in them; of white noise there is 15 % of the variance. With ``noise`` the
    filter is therefore :math:`\sqrt{\sum_m \operatorname{sinc}^4(f \tau + m)} = \sqrt{(2 + \cos 2 \pi f
    \tau) / 3}`: the variance is that of linear interpolation, .464 of that of sinc interpolation; that the
    folded part comes to lie at the same radius is an approximation.

    Args:
        sinograms: (B, views, bins), dimensionless.
        scan: the geometry.
        interpolation: between the bins, "linear" or "sinc" (band-limited).
        noise: whether the sinograms are noise.
        detector_mm: width of the bins to imitate where it is not that of ``scan``: the filter then has the
            Nyquist frequency and the interpolation of such a detector.
        softness_lp_per_mm: ``s`` of a kernel with the modulation transfer ``exp(-f^2 / (2 s^2))`` besides;
            None: the bare ramp.

    Returns:
        (B, views, bins) float32.
    """
    _check(sinograms, (scan.views, scan.bins), "sinograms")
    detector = 1.0 if detector_mm is None else detector_mm / scan.bin_mm
    softness = math.inf if softness_lp_per_mm is None else softness_lp_per_mm * scan.bin_mm
    response = _ramp(scan.bins, interpolation, noise, detector, softness, sinograms.device)
    length = 2 * (response.shape[0] - 1)
    spectra = (torch.fft.rfft(part, length) for part in _parts(sinograms.float()))
    return torch.cat([torch.fft.irfft(one * response, length)[..., : scan.bins] for one in spectra])


def back_project_filtered(filtered: torch.Tensor, scan: ParallelBeam, fold: bool = False) -> torch.Tensor:
    """Sum filtered projections (B, views, bins) over the views: (B, size, size), attenuation per mm.

    ``fold`` as for :func:`back_project`.
    """
    # The adjoint weighs by pixel area over bin, whatever lies between the pixels; the filter carries 1 / bin.
    plain = replace(scan, pixel="sinc")
    return back_project(filtered, plain, fold) * (math.pi / scan.views / scan.pixel_mm**2)


@lru_cache(maxsize=64)
def _ramp(
    bins: int,
    interpolation: Interpolation,
    noise: bool,
    detector: float,
    softness: float,
    device: torch.device,
) -> torch.Tensor:
    """Frequency response of the band-limited ramp, per bin, for a zero-padded detector.

    Taken from its spatial form (Kak and Slaney 1988, eq. 3.61), not sampled in frequency: otherwise the
    reconstruction has a constant offset.
    """
    if interpolation not in ("sinc", "linear"):
        raise InputError(f"interpolation: got {interpolation!r}, expected 'sinc' or 'linear'")
    length = 2 * bins
    places = torch.arange(length)  # whole numbers: those of fftfreq are not, at some lengths
    distance = torch.minimum(places, length - places).double()
    kernel = torch.zeros(length, dtype=torch.float64)
    kernel[0] = 0.25
    odd = places % 2 == 1
    kernel[odd] = -1 / (math.pi * distance[odd]) ** 2
    frequency = torch.fft.rfftfreq(length, dtype=torch.float64)
    response = torch.fft.rfft(kernel).real
    if interpolation == "linear" and noise:
        response = response * ((2 + torch.cos(2 * math.pi * frequency * detector)) / 3).sqrt()
    elif interpolation == "linear":
        response = response * torch.sinc(frequency * detector) ** 2
    if detector > 1:
        response = response * (frequency <= 0.5 / detector)
    response = response * torch.exp(-frequency.square() / (2 * softness**2))
    return response.to(torch.float32).to(device)


def _parts(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return batch.split(IMAGES_AT_ONCE if batch.device.type != "cpu" else 1)


def _check(batch: torch.Tensor, shape: tuple[int, int], what: str) -> None:
    if batch.ndim != 3 or tuple(batch.shape[1:]) != shape or batch.shape[0] == 0:
        expected = f"(B, {shape[0]}, {shape[1]}) with B > 0"
        raise InputError(f"{what}: shape {tuple(batch.shape)}, expected {expected}")
    if not batch.is_floating_point():
        raise InputError(f"{what}: got {batch.dtype}, expected floating point")
