"""Motion: a patient who breathed or moved during the exposure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch

from srcmatters.confounders.base import LINEAR, Confounder, Parameters
from srcmatters.confounders.spectrum import filter_in_plane, mirror, trimmed
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class MotionBlur(Confounder):
    r"""Move the patient during the exposure.

    MICCAT: environment / imaging / acquisition / global. Uniform motion over ``length_mm`` along one axis:
    the image is averaged over the shifts, that is multiplied in the frequency domain with ``sinc(length *
    (f_row cos a + f_column sin a))``, edges mirrored; the mean is kept. On a radiograph this is the blur of a
    breath along the body axis. On CT it is the same directional blur of each reconstructed slice: the
    double contours and streaks of views that do not agree with each other are not modelled.

    Args:
        length_mm: how far everything moves in mm, > 0.
        degrees: direction, 0: along the rows' axis (up and down), 90: from side to side.
        field_mm: height of the image in mm, where the spacing is unknown.
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D; each slice), floating point, any linear unit; the result has the same
        shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> line = torch.zeros(1, 64, 64)
        >>> line[:, 32] = 1
        >>> 0.1 < float(MotionBlur(8, field_mm=64)(line).max()) < 0.15
        True

    Source: transfer function of uniform linear motion: Bushberg et al., The Essential Physics of Medical
    Imaging; MICCAT of Juodelyte et al. 2024.
    """

    name = "motion"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "transfer function of uniform motion; MICCAT of Juodelyte et al. 2024"
    unit = LINEAR
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"length_mm": 2.0},
        "stress": {"length_mm": 12.0},
    }

    def __init__(
        self, length_mm: float = 6.0, degrees: float = 0.0, field_mm: float = 430.0, seed: int = 0
    ) -> None:
        super().__init__(seed)
        for field, value in (("length_mm", length_mm), ("field_mm", field_mm)):
            if not 0 < value < math.inf:
                raise InputError(f"motion: {field} {value}, expected a positive size in mm")
        if not -180 <= degrees <= 180:
            raise InputError(f"motion: degrees {degrees}, expected [-180, 180]")
        self.length_mm = length_mm
        self.degrees = degrees
        self.field_mm = field_mm

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """How far it moves in pixels, along rows and columns."""
        return {"shift": self._shift(spatial_shape, spacing_mm)}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Less than a quarter of a pixel."""
        shift = math.hypot(*self._shift(spatial_shape, spacing_mm))
        return f"it moves by {shift:.2f} pixels" if shift < 0.25 else None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Blur (B, C, H, W[, D])."""
        down, across = parameters[0]["shift"]
        margin = math.ceil(max(abs(down), abs(across)) / 2) + 1
        shape = mirror((images.shape[2], images.shape[3]), min(margin, min(images.shape[2:4]) // 2))
        rows = torch.fft.fftfreq(shape[0], dtype=torch.float64, device=images.device)
        columns = torch.fft.rfftfreq(shape[1], dtype=torch.float64, device=images.device)
        response = torch.sinc(down * rows[:, None] + across * columns[None])
        blurred = filter_in_plane(images, trimmed(response, shape[1]))
        # A mean of values lies between them; the band-limited one overshoots at an edge.
        for one, image in zip(blurred, images, strict=True):
            one.clamp_(*torch.aminmax(image))
        return blurred

    def _shift(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> tuple[float, float]:
        rows, columns = (self.field_mm / spatial_shape[0],) * 2 if spacing_mm is None else spacing_mm[:2]
        angle = math.radians(self.degrees)
        down, across = math.cos(angle) / float(rows), math.sin(angle) / float(columns)
        return self.length_mm * down, self.length_mm * across
