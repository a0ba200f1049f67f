"""Truncated field of view: a patient who is wider than the field of the scanner."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.ct_dose_quanta import MU_WATER_PER_MM, attenuation, hounsfield_per_attenuation
from srcmatters.confounders.ct_dose_slices import FLOOR_HU, completed_with_air, cropped
from srcmatters.confounders.ct_slices import BODY_HU, SliceArtefact
from srcmatters.confounders.projection import ParallelBeam, back_project_filtered, project, ramp_filter
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

_VIEWS = 360


class TruncatedField(SliceArtefact):
    r"""Scan a patient who is wider than the field of view.

    MICCAT: environment / imaging / acquisition / global. The detector ends at the field: line integrals
    beyond it are missing. The scanner continues each view smoothly, by its last value ``c`` (mm of water)
    times ``cos^2`` over ``c^2 / (6 R)`` mm, which has the mass that a round patient has beyond the radius
    ``R`` of the field, but not over more than ``extrapolation_mm``, and reconstructs. What that is off,
    ``A^+ (p' - p)`` by filtered back-projection, is added to the image: bright towards the edge of the field
    where the patient goes on. Outside the field nothing is reconstructed: -1024 HU.

    Args:
        share: diameter of the field over the width of the patient, [0.3, 1.5].
        extrapolation_mm: how far a view is continued at most in mm, > 0.
        off_centre_mm: standard deviation of the middle of the field from that of the image, [0, 100].
        default_pixel_mm: pixel spacing of images that carry none.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D; each slice), whole axial slices, floating point in HU; the result has
        the same shape and dtype.

    Raises:
        InputError: an argument outside its range, pixels that are not square, or no air in the image.

    Example:
        >>> import torch
        >>> body = torch.full((1, 64, 64), -1000.0)
        >>> body[:, 16:48, 8:56] = 0
        >>> float(TruncatedField(0.8, off_centre_mm=0)(body, "case 7")[0, 32, 9])
        -1024.0

    Source: Ohnesorge et al. 2000 (Med Phys 27:39); Barrett and Keat 2004 (RadioGraphics 24:1679).
    """

    name = "truncated_field"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Ohnesorge et al. 2000 (Med Phys 27:39)"
    also_changes = frozenset({"brightness", "border", "clipping"})
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"share": 0.95},
        "stress": {"share": 0.7},
    }

    def __init__(
        self,
        share: float = 0.85,
        extrapolation_mm: float = 8.0,
        off_centre_mm: float = 5.0,
        default_pixel_mm: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(default_pixel_mm, seed)
        if not 0.3 <= share <= 1.5:
            raise InputError(f"truncated_field: share {share}, expected [0.3, 1.5]")
        if not 0 <= off_centre_mm <= 100:
            raise InputError(f"truncated_field: off_centre_mm {off_centre_mm}, expected [0, 100]")
        self.check_positive(extrapolation_mm=extrapolation_mm)
        self.share = share
        self.extrapolation_mm = extrapolation_mm
        self.off_centre_mm = off_centre_mm

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw where the middle of the field is."""
        return {"middle": stream.normal(0, 1, 2).clip(-2, 2) * self.off_centre_mm}

    def changed(self, hu: torch.Tensor, known: Parameters) -> torch.Tensor:
        """Scan (H, W) HU with too small a field."""
        pixel_mm = known["pixel_mm"]
        body = (hu > BODY_HU).any(0).nonzero()
        width = float(body[-1] - body[0] + 1) if len(body) else float(hu.shape[1])
        radius = self.share * width * pixel_mm / 2
        square = completed_with_air(hu[None])
        scan = ParallelBeam.spanning(square.shape[-1], pixel_mm, _VIEWS)
        p = project(attenuation(square), scan)
        turns = (torch.arange(_VIEWS) + 0.5) * math.pi / _VIEWS
        down, across = (float(offset) for offset in known["middle"])
        middle = across * turns.sin() + down * turns.cos()
        missing = continued(p[0], scan, middle, radius, self.extrapolation_mm) - p[0]
        change = back_project_filtered(ramp_filter(missing[None], scan, "linear"), scan)
        result = hu + cropped(change, (1, *hu.shape))[0] * hounsfield_per_attenuation()
        rows, columns = (
            (torch.arange(length) - (length - 1) / 2) * pixel_mm - offset
            for length, offset in zip(hu.shape, (down, across), strict=True)
        )
        outside = torch.hypot(rows[:, None], columns[None]) > radius
        return torch.where(outside.to(hu.device), hu.new_full((), FLOOR_HU), result)


def continued(
    p: torch.Tensor, scan: ParallelBeam, middle: torch.Tensor, radius: float, length: float
) -> torch.Tensor:
    """Line integrals (views, bins) of a detector that ends ``radius`` mm from ``middle`` of each view."""
    places = (torch.arange(scan.bins) - (scan.bins - 1) / 2) * scan.bin_mm - middle[:, None]
    beyond = (places.abs() - radius).clamp(min=0)
    # The last channels that measure anything.
    nearest = (places.sign() * places.abs().clamp(max=radius) + middle[:, None]) / scan.bin_mm
    index = (nearest + (scan.bins - 1) / 2).round().long().clamp(0, scan.bins - 1)
    last = p.gather(1, index.to(p.device))
    beyond = beyond.to(p.device)
    reach = ((last / MU_WATER_PER_MM).square() / (6 * radius)).clamp(min=scan.bin_mm, max=length)
    fading = torch.cos(math.pi / 2 * (beyond / reach).clamp(max=1)).square()
    return torch.where(beyond > 0, last * fading, p)
