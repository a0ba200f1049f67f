"""Low-pass denoising: an image that reconstruction or processing has smoothed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageDraw

from srcmatters.confounders.base import DISPLAY, LINEAR, Confounder, Parameters
from srcmatters.confounders.published_noise import to_eight_bit
from srcmatters.confounders.spectrum import Response, filter_in_plane, frequencies, mirror, trimmed
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

Profile = Literal["gaussian", "butterworth", "ideal"]
_PROFILES = get_args(Profile)
Boundary = Literal["mirror", "wrap"]
_BOUNDARIES = get_args(Boundary)
Pixel = tuple[float, float]
DEFAULT_LP_PER_MM = 50 / 430  # 50 cycles on the height of a chest radiograph


class LowPassDenoising(Confounder):
    r"""Remove the high spatial frequencies.

    MICCAT: environment / imaging / reconstruction / global. With ``r`` the spatial frequency over the
    cut-off: ideal ``H = [r <= 1]``, gaussian ``H = 2^{-r^2}``, butterworth ``H = 1 / (1 + r^{2 n})``; the
    last two are 1/2 at the cut-off; the gaussian does not ring. Filtered in the plane (each slice of a
    volume); no value leaves the range of its image. The spectrum beyond a response of 1e-4 is never computed.
    Both axes are filtered in line pairs per mm: pixels that are not square get a round response on the
    patient. On CT it acts on HU, before the window cuts anything off.

    The published disc, 250 cycles per image, lies above the Nyquist frequency of any input of up to 500
    pixels: after resizing it has changed nothing. The default, 0.116 line pairs per mm (50 cycles on 430 mm),
    survives 160 pixels on a chest (Nyquist frequency 0.19 lp/mm). It blurs edges: what scanners call
    denoising keeps them, see :class:`srcmatters.confounders.NonLocalMeans`.

    Args:
        cutoff: cut-off in cycles per image height, > 0, whatever the field; None: ``cutoff_lp_per_mm``.
        cutoff_lp_per_mm: cut-off in line pairs per mm, > 0; None: 0.116.
        field_mm: height of the image in mm, where the spacing is unknown.
        profile: "gaussian", "butterworth" or "ideal".
        order: ``n`` of the Butterworth profile, 1..20.
        boundary: "mirror" continues the image at its edges by its mirror image; "wrap" by its opposite edge,
            as a bare Fourier transform does: the bottom then shines into the top, a confounder of its own,
            but no frequency above an ideal cut-off is left.
        published: as in the paper (and so "wrap"): a disc as PIL draws it, of ``2 * cutoff`` pixels on the
            shifted spectrum of a square image, and the result truncated to 8 bit, which darkens it by half a
            grey level.
        seed: Seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point, any linear unit (display values, HU); [0, 1] if
        ``published``. The result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range; both cut-offs; ``published`` and an image that is not
            square.

    Example:
        >>> import torch
        >>> stripes = (torch.arange(64) % 2).float().expand(1, 64, 64)
        >>> LowPassDenoising(cutoff=8)(stripes).std() < 1e-4
        tensor(True)

    Source: Juodelyte et al. 2024, arXiv 2403.04484, section on synthetic confounders.
    """

    name = "denoise"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "Juodelyte et al. 2024, arXiv 2403.04484"
    unit = LINEAR
    paper_parameters: ClassVar[Parameters] = {"published": True, "cutoff": 250.0, "profile": "ideal"}
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"cutoff_lp_per_mm": 0.5},  # a strong noise filter of a radiography system
        "stress": {"cutoff_lp_per_mm": 0.116},
    }

    def __init__(
        self,
        cutoff: float | None = None,
        cutoff_lp_per_mm: float | None = None,
        field_mm: float = 430.0,
        profile: Profile = "gaussian",
        order: int = 2,
        boundary: Boundary = "mirror",
        published: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        _check_choice("profile", profile, _PROFILES)
        _check_choice("boundary", boundary, _BOUNDARIES)
        numbers = (("cutoff", cutoff), ("cutoff_lp_per_mm", cutoff_lp_per_mm), ("field_mm", field_mm))
        for field, value in numbers:
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"denoise: {field} {value}, expected a positive number")
        if cutoff is not None and cutoff_lp_per_mm is not None:
            raise InputError("denoise: cutoff and cutoff_lp_per_mm, expected one of them")
        if not 1 <= order <= 20:
            raise InputError(f"denoise: order {order}, expected 1..20")
        if published and (cutoff is None or profile != "ideal"):
            raise InputError("denoise: published takes an ideal profile and a cutoff in cycles per image")
        if published:
            self.unit = DISPLAY  # type: ignore[misc]
        self.cutoff = cutoff
        self.cutoff_lp_per_mm = DEFAULT_LP_PER_MM if cutoff_lp_per_mm is None else cutoff_lp_per_mm
        self.field_mm = field_mm
        self.profile = profile
        self.order = order
        self.boundary = boundary
        self.published = published

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A cut-off at which every frequency of the image passes, by 99 % where the profile is smooth."""
        pixel = self._pixel(spatial_shape, spacing_mm)
        rows, columns = (int(size) for size in spatial_shape[:2])
        if _least_passing(self.profile, self.order, (rows, columns), pixel) > 0.99:
            nyquist = [0.5 / size for size in pixel]
            return f"the cut-off lies {1 / max(nyquist):.2f} times above the Nyquist frequency of the image"
        return None

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The size of a pixel in periods of the cut-off frequency."""
        return {"pixel": self._pixel(spatial_shape, spacing_mm)}

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Filter (B, C, H, W[, D])."""
        shape = (images.shape[2], images.shape[3])
        if self.published:
            return filter_in_plane(images, _disc(shape, self.cutoff, images.device), to_eight_bit, _truncated)
        pixel = parameters[0]["pixel"]
        if self.boundary == "mirror":
            shape = mirror(shape, min(math.ceil(1 / min(pixel)), max(shape) // 4))
        response = _trimmed_response(self.profile, self.order, shape, pixel, images.device)
        return _within_range(filter_in_plane(images, response), images)

    def _pixel(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Pixel:
        if self.published and spatial_shape[0] != spatial_shape[1]:
            raise InputError(
                f"denoise: the published filter takes square images, got {tuple(spatial_shape[:2])}"
            )
        if spacing_mm is None:
            spacing_mm = (self.field_mm / spatial_shape[0],) * 2
        per_mm = self.cutoff_lp_per_mm
        if self.cutoff is not None:
            per_mm = self.cutoff / (spatial_shape[0] * spacing_mm[0])
        return per_mm * spacing_mm[0], per_mm * spacing_mm[1]


def _check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"denoise: {field} {value!r} is unknown{did_you_mean(str(value), choices)}")


def _within_range(filtered: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Filtered images without the overshoot of a profile that rings, in place."""
    for one, image in zip(filtered, images, strict=True):
        low, high = torch.aminmax(image)
        one.clamp_(low, high)
    return filtered


def _truncated(grey: torch.Tensor) -> torch.Tensor:
    """What a cast to 8 bit leaves of grey values, as display values."""
    return grey.clamp_(0, 255).floor_().div_(255)


@lru_cache(maxsize=32)
def _response(
    profile: str, order: int, shape: tuple[int, int], pixel: Pixel, device: torch.device
) -> torch.Tensor:
    """(H, W // 2 + 1): what passes at each frequency of the half spectrum."""
    ratio = frequencies(shape, pixel, device)
    if profile == "ideal":
        return (ratio <= 1 + 1e-9).double()
    return torch.exp2(-ratio.square()) if profile == "gaussian" else 1 / (1 + ratio ** (2 * order))


@lru_cache(maxsize=256)
def _least_passing(profile: str, order: int, shape: tuple[int, int], pixel: Pixel) -> float:
    """How much passes of the frequency that suffers most."""
    return float(_response(profile, order, shape, pixel, torch.device("cpu")).min())


@lru_cache(maxsize=32)
def _trimmed_response(
    profile: str, order: int, shape: tuple[int, int], pixel: Pixel, device: torch.device
) -> Response:
    return trimmed(_response(profile, order, shape, pixel, device), shape[1])


@lru_cache(maxsize=8)
def _disc(shape: tuple[int, int], cutoff: float, device: torch.device) -> Response:
    """The published disc, drawn by PIL around the middle of the shifted spectrum.

    The real part that is taken afterwards makes its response the mean of the disc and its mirror image.
    """
    size = shape[0]
    canvas = Image.new("L", (size, size))
    box = (size / 2 - cutoff, size / 2 - cutoff, size / 2 + cutoff, size / 2 + cutoff)
    ImageDraw.Draw(canvas).ellipse(box, fill=1)
    disc = np.fft.ifftshift(np.asarray(canvas, dtype=np.float64))
    mirrored = np.roll(disc[::-1, ::-1], (1, 1), (0, 1))
    response = torch.from_numpy((disc + mirrored) / 2)[:, : size // 2 + 1]
    return trimmed(response.to(device), size)


def gaussian_blur(images: torch.Tensor, sigma_mm: float, spacing_mm: Sequence[float]) -> torch.Tensor:
    """A Gaussian of ``sigma_mm`` over the plane of (B, C, H, W[, D]), edges mirrored."""
    half = math.sqrt(math.log(2) / 2) / (math.pi * sigma_mm)  # lp/mm at which a half of a frequency passes
    pixel = (half * float(spacing_mm[0]), half * float(spacing_mm[1]))
    shape = (images.shape[2], images.shape[3])
    shape = mirror(shape, min(math.ceil(1 / min(pixel)), max(shape) // 4))
    response = _trimmed_response("gaussian", 1, shape, pixel, images.device)
    return filter_in_plane(images, response)
