"""Vendor processing: the edge enhancement and band equalisation of a radiography system."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.low_pass import gaussian_blur
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

_FINEST_MM = 0.6
_SCALE = 0.25  # contrast of a band at which the power law changes nothing


class VendorProcessing(Confounder):
    r"""Process the image as another vendor's system does.

    MICCAT: environment / imaging / reconstruction / global. Unsharp masking, ``t' = t + k (t - G * t)`` with
    a Gaussian ``G`` of ``radius_mm``, and a multi-band power law: the image is split into bands of octaves,
    ``b = G_i * t - G_{i+1} * t``, and each becomes ``sign(b) m |b / m|^p`` with ``m = 0.25``: ``p < 1`` lifts
    faint structure and noise. The mean is kept but for what is clipped; black and white
    areas stay as they are.

    Args:
        unsharp: ``k``, 0 .. 5.
        radius_mm: standard deviation of ``G``, > 0.
        power: ``p``, [0.5, 1.5]; 1 leaves the bands alone.
        bands: octaves of the power law from 0.6 mm on, 1 .. 8.
        field_mm: height of the image in mm, where the spacing is unknown.
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 64, 64) * 0.2 + 0.4
        >>> VendorProcessing()(image).std() > image.std()
        tensor(True)

    Source: unsharp masking and the multi-scale power law of Vuylsteke and Schoeters 1994, SPIE 2167:551.
    """

    name = "vendor_processing"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "Vuylsteke and Schoeters 1994, SPIE 2167:551"
    also_changes = frozenset({"brightness", "border"})
    spatial_dims = (2,)
    modalities = ("radiograph",)
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"unsharp": 0.5, "power": 0.9},
        "stress": {"unsharp": 1.5, "power": 0.75},
    }

    def __init__(
        self,
        unsharp: float = 1.0,
        radius_mm: float = 5.0,
        power: float = 0.85,
        bands: int = 5,
        field_mm: float = 430.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not 0 <= unsharp <= 5:
            raise InputError(f"vendor_processing: unsharp {unsharp}, expected 0..5")
        if not 0.5 <= power <= 1.5:
            raise InputError(f"vendor_processing: power {power}, expected 0.5..1.5")
        if not 1 <= bands <= 8:
            raise InputError(f"vendor_processing: bands {bands}, expected 1..8")
        for field, value in (("radius_mm", radius_mm), ("field_mm", field_mm)):
            if not 0 < value < math.inf:
                raise InputError(f"vendor_processing: {field} {value}, expected a positive size in mm")
        self.unsharp = unsharp
        self.radius_mm = radius_mm
        self.power = power
        self.bands = bands
        self.field_mm = field_mm

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The pixel spacing."""
        step = self.field_mm / spatial_shape[0]
        return {"spacing_mm": (step, step) if spacing_mm is None else tuple(spacing_mm[:2])}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Neither unsharp masking nor a power law."""
        return "unsharp is 0 and power is 1" if self.unsharp == 0 and self.power == 1 else None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Process (B, C, H, W)."""
        spacing = parameters[0]["spacing_mm"]
        result = images + self.unsharp * (images - gaussian_blur(images, self.radius_mm, spacing))
        if self.power != 1:
            finer = gaussian_blur(images, _FINEST_MM, spacing)
            for octave in range(1, self.bands + 1):
                coarser = gaussian_blur(images, _FINEST_MM * 2**octave, spacing)
                band = finer - coarser
                result += band.sign() * _SCALE * (band.abs() / _SCALE) ** self.power - band
                finer = coarser
        return torch.where((images <= 0) | (images >= 1), images, result.clamp_(0, 1))
