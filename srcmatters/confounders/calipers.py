"""Caliper crosses: a measurement that a reader left in the pixels of a saved image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import LocalConfounder, Parameters
from srcmatters.confounders.devices import Shadow
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class CaliperCrosses(LocalConfounder):
    r"""Leave the calipers of a measurement in the image.

    MICCAT: environment / external / text / local. A plus at both ends of each measurement and a dotted line
    between them, painted over the finished image: ``t' = (1 - a) t + a * intensity`` with the coverage ``a``
    of a pixel. A saved screen or key image has them; that somebody measured says that there was a finding.
    Place, direction and length are drawn; they do not know where a finding is.

    Args:
        pairs: number of measurements, 1 .. 6.
        length_mm: median distance of the two crosses in mm, > 0; each is drawn within a factor of about 1.5.
        arm_mm: width of a cross in mm, > 0.
        line_mm: width of its lines in mm, > 0.
        dotted: whether a dotted line joins the crosses.
        intensity: grey value of the lines, [0, 1].
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> measured = CaliperCrosses()(torch.zeros(1, 256, 256), "case 7")
        >>> bool(0 < measured.mean() < 0.01)
        True

    Source: marks drawn beside a finding as a shortcut: Winkler et al. 2019 (JAMA Dermatology 155:1135, pen
    marks on skin); MICCAT of Juodelyte et al. 2024.
    """

    name = "calipers"
    miccat = Miccat("environment", "external", "text", "local")
    source = "Winkler et al. 2019; MICCAT of Juodelyte et al. 2024"
    spatial_dims = (2,)
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"dotted": False},
        "stress": {"pairs": 4, "arm_mm": 12.0, "line_mm": 2.0},
    }

    def __init__(
        self,
        pairs: int = 1,
        length_mm: float = 40.0,
        arm_mm: float = 8.0,
        line_mm: float = 1.0,
        dotted: bool = True,
        intensity: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not 1 <= pairs <= 6:
            raise InputError(f"calipers: pairs {pairs}, expected 1..6")
        for field, value in (("length_mm", length_mm), ("arm_mm", arm_mm), ("line_mm", line_mm)):
            if not 0 < value < math.inf:
                raise InputError(f"calipers: {field} {value}, expected a positive size in mm")
        if not 0 <= intensity <= 1:
            raise InputError(f"calipers: intensity {intensity}, expected a grey value in [0, 1]")
        self.pairs = pairs
        self.length_mm = length_mm
        self.arm_mm = arm_mm
        self.line_mm = line_mm
        self.dotted = dotted
        self.intensity = intensity

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw the middle, the direction and the length of each measurement."""
        return {
            "middles": stream.uniform(0.3, 0.7, (self.pairs, 2)),
            "angles": stream.uniform(0, math.pi, self.pairs),
            "lengths": self.length_mm * np.exp(stream.normal(0, 0.2, self.pairs)),
        }

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The pixel spacing: lines and crosses have a size in mm."""
        return {"spacing_mm": spacing_mm}

    def coverage(self, spatial_shape: Sequence[int], drawn: Parameters) -> torch.Tensor:
        """(H, W): share of each pixel that the lines cover, 0 .. 1."""
        drawing = Shadow((int(spatial_shape[0]), int(spatial_shape[1])), drawn["spacing_mm"])
        scale = np.array([drawing.shape[0] - 1, drawing.shape[1] - 1])
        half, thin = self.arm_mm * drawing.mm / 2, self.line_mm * drawing.mm / 2
        for middle, angle, length in zip(drawn["middles"], drawn["angles"], drawn["lengths"], strict=True):
            reach = np.array([math.sin(angle), math.cos(angle)]) * length * drawing.mm / 2
            for end in (middle * scale - reach, middle * scale + reach):
                drawing.block(end, (thin, half), 1.0)
                drawing.block(end, (half, thin), 1.0)
            if self.dotted:
                dots = max(round(length / (4 * self.line_mm)), 2)
                for place in np.linspace(-1, 1, dots + 1)[1:-1]:
                    drawing.block(middle * scale + place * reach, (thin, thin), 1.0, angle, thin)
        return drawing.on_image().clamp(0, 1)

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Paint the measurements over (B, C, H, W)."""
        for image, drawn in zip(images, parameters, strict=True):
            cover = self.coverage(image.shape[1:], drawn).to(image)
            image.lerp_(cover.new_full((), self.intensity), cover.expand_as(image))
        return images
