"""Rings: detector channels of a CT scanner that measure too much or too little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.ct_dose_quanta import MU_WATER_PER_MM, hounsfield_per_attenuation
from srcmatters.confounders.ct_slices import SliceArtefact
from srcmatters.confounders.projection import ParallelBeam, ramp_filter
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

_OFF_CENTRE_MM = 8.0  # of the axis of rotation from the middle of the image
_RADII_MM = (6.0, 200.0)  # a channel closer to the axis is a dot; the field of a scanner ends at 250 mm


class RingArtefact(SliceArtefact):
    r"""Let channels of the detector drift.

    MICCAT: environment / imaging / acquisition / global. A channel whose gain is off by ``g`` adds ``-ln(1 +
    g)`` to its line integrals in all views. The filtered back-projection of that is a ring around the axis of
    rotation; being linear it is added to the image: ``HU' = HU + 1000 / mu_water sum_j R_j(r)``. All slices
    have the same rings, as in an axial scan by one row of detectors. Channels lie 6 to 200 mm from the axis
    whatever field is reconstructed: a small field shows fewer of them.

    Args:
        rings: number of drifting channels, 1 .. 200.
        gain: standard deviation of the error of their gain, (0, 0.2]; .002 is seen in a narrow window.
        channel_mm: width of a channel at the axis in mm, > 0.
        default_pixel_mm: pixel spacing of images that carry none.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D), whole axial slices, floating point in HU; the result has the same
        shape and dtype.

    Raises:
        InputError: an argument outside its range, pixels that are not square, or no air in the image.

    Example:
        >>> import torch
        >>> air = torch.full((1, 64, 64), -1000.0)
        >>> bool((RingArtefact(default_pixel_mm=5)(air, "case 7") != air).any())
        True

    Source: Barrett and Keat 2004 (RadioGraphics 24:1679); Kak and Slaney 1988, chapter 3.
    """

    name = "rings"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Barrett and Keat 2004 (RadioGraphics 24:1679)"
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"rings": 4, "gain": 0.003},
        "stress": {"rings": 20, "gain": 0.02},
    }

    def __init__(
        self,
        rings: int = 8,
        gain: float = 0.008,
        channel_mm: float = 0.6,
        default_pixel_mm: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(default_pixel_mm, seed)
        if not 1 <= rings <= 200:
            raise InputError(f"rings: rings {rings}, expected 1..200")
        if not 0 < gain <= 0.2:
            raise InputError(f"rings: gain {gain}, expected (0, 0.2]")
        self.check_positive(channel_mm=channel_mm)
        self.rings = rings
        self.gain = gain
        self.channel_mm = channel_mm

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw which channels drift, by how much, and where the axis is."""
        return {
            "radii_mm": stream.uniform(*_RADII_MM, self.rings),
            "errors": np.log1p((self.gain * stream.standard_normal(self.rings)).clip(-0.9, None)),
            "axis": stream.normal(0, _OFF_CENTRE_MM, 2).clip(-3 * _OFF_CENTRE_MM, 3 * _OFF_CENTRE_MM),
        }

    def changed(self, hu: torch.Tensor, known: Parameters) -> torch.Tensor:
        """Add the rings to (H, W) HU."""
        return hu + self.ring_hu(hu.shape, known).to(hu)

    def ring_hu(self, shape: Sequence[int], known: Parameters) -> torch.Tensor:
        """(H, W) HU: the rings of one case."""
        pixel_mm, size = known["pixel_mm"], max(shape)
        # A detector that reaches beyond the image and beyond the outermost channel.
        reach = max(size + 60 / pixel_mm, (2 * _RADII_MM[1] + 60) / pixel_mm / math.sqrt(2))
        scan = ParallelBeam.spanning(math.ceil(reach), pixel_mm, 1, self.channel_mm / 3)
        radii = np.abs(np.arange(scan.bins) - (scan.bins - 1) / 2) * scan.bin_mm
        sinogram = np.zeros(scan.bins)
        for radius, error in zip(known["radii_mm"], known["errors"], strict=True):
            # A channel that sees a line on one side of the axis sees it from the other half a turn later.
            inside = (radius + self.channel_mm / 2 - (radii - scan.bin_mm / 2)) / scan.bin_mm
            inside = np.minimum(
                inside, (radii + scan.bin_mm / 2 - radius + self.channel_mm / 2) / scan.bin_mm
            )
            sinogram -= error * inside.clip(0, 1)
        filtered = ramp_filter(torch.from_numpy(sinogram)[None, None], scan, softness_lp_per_mm=0.5)
        places = (np.arange(scan.bins) - (scan.bins - 1) / 2) * scan.bin_mm
        profile = _back_projected(filtered[0, 0].double().numpy(), places)
        rows, columns = (
            (np.arange(length) - (length - 1) / 2) * pixel_mm - offset
            for length, offset in zip(shape, known["axis"], strict=True)
        )
        per_hu = hounsfield_per_attenuation(MU_WATER_PER_MM) / scan.bin_mm
        apart = np.hypot(rows[:, None], columns)
        return torch.from_numpy(np.interp(apart, places[places > 0], profile) * per_hu)


def _back_projected(filtered: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sum over all views of what they show at the distances ``places`` > 0 from the axis."""
    radii = places[places > 0]
    turns = (np.arange(1440) + 0.5) * math.pi / 1440
    shown = [np.interp(radii * math.cos(turn), places, filtered) for turn in turns]
    return np.asarray(np.mean(shown, axis=0) * math.pi)
