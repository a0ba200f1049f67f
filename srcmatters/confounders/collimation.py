"""Collimation border: the edge of the field that the tube was set to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import LocalConfounder, Parameters
from srcmatters.confounders.curves import solid
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class CollimationBorder(LocalConfounder):
    r"""Collimate the field: a frame around the image.

    MICCAT: environment / external / collimation / local. With the coverage ``f`` of a pixel by the field
    (a rectangle, a little turned), ``t' = f t + (1 - f) value``. Inside the field, penumbra excepted, no
    pixel changes.

    Args:
        margin: Mean width of the frame as a fraction of the image height or width, (0, 0.5).
        spread: Standard deviation of the width of each of the four sides, same unit, >= 0.
        degrees: Standard deviation of the rotation of the field, in degrees.
        penumbra: Width of the soft edge as a fraction of the image height, [0, 0.2].
        value: What the frame shows, [0, 1]: 0 is the black of an electronic shutter, 0.9 the white of a film
            or detector that got no exposure.
        seed: Seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> framed = CollimationBorder(margin=0.1)(torch.ones(1, 256, 256), "case 7")
        >>> float(framed[0, 0, 0]), float(framed[0, 128, 128])
        (0.0, 1.0)

    Source: MICCAT of Juodelyte et al. 2024; DICOM PS3.3 C.8.7.3 (X-ray collimator) and C.7.6.11 (display
    shutter).
    """

    name = "collimation"
    miccat = Miccat("environment", "external", "collimation", "local")
    source = "MICCAT of Juodelyte et al. 2024; DICOM PS3.3 C.8.7.3, C.7.6.11"
    also_changes = frozenset({"brightness", "border", "clipping"})
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"margin": 0.04},
        "stress": {"margin": 0.15},
    }
    spatial_dims = (2,)
    modalities = ("radiograph",)

    def __init__(
        self,
        margin: float = 0.07,
        spread: float = 0.015,
        degrees: float = 1.0,
        penumbra: float = 0.004,
        value: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not 0 < margin < 0.5:
            raise InputError(f"collimation: margin {margin}, expected a fraction of the image in (0, 0.5)")
        if spread < 0 or degrees < 0:
            raise InputError(f"collimation: spread {spread}, degrees {degrees}, expected none below 0")
        if not 0 <= penumbra <= 0.2:
            raise InputError(f"collimation: penumbra {penumbra}, expected a fraction in [0, 0.2]")
        if not 0 <= value <= 1:
            raise InputError(f"collimation: value {value}, expected a grey value in [0, 1]")
        self.margin = margin
        self.spread = spread
        self.degrees = degrees
        self.penumbra = penumbra
        self.value = value

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw the four widths (top, bottom, left, right) and the rotation."""
        sides = np.clip(self.margin + self.spread * stream.standard_normal(4), 0.01, 0.45)
        return {"sides": sides, "degrees": self.degrees * float(stream.standard_normal())}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A frame of less than a pixel is none."""
        if self.margin * min(spatial_shape[:2]) < 1:
            return f"a margin of {self.margin:g} is less than a pixel"
        return None

    def field(self, spatial_shape: Sequence[int], drawn: Parameters) -> torch.Tensor:
        """(H, W) coverage of the pixels by the field, 0..1."""
        rows, columns = spatial_shape[:2]
        top, bottom, left, right = drawn["sides"]
        centre = np.array([(top + 1 - bottom) * rows, (left + 1 - right) * columns]) / 2 - 0.5
        half = ((1 - top - bottom) * rows / 2, (1 - left - right) * columns / 2)
        box, coverage = solid(
            centre, half, math.radians(drawn["degrees"]), 0.0, (rows, columns), self.penumbra * rows
        )
        field = torch.zeros(rows, columns)
        field[box] = coverage
        return field

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Put the frames around (B, C, H, W)."""
        fields = torch.stack([self.field(images.shape[2:], drawn) for drawn in parameters])
        cover = (1 - fields).to(images).unsqueeze(1)
        return images.addcmul_(self.value - images, cover)
