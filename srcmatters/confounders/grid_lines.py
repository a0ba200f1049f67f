"""Grid lines: the anti-scatter grid, or its beat with the pixels, on a radiograph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.devices import FILM_MM
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class GridLines(Confounder):
    r"""Let the anti-scatter grid show.

    MICCAT: environment / imaging / acquisition / global. A grid that does not move casts fine lines of 3 to 8
    per mm; sampled by pixels of another distance they beat, and wide stripes are left (moire). The stripes
    modulate the exposure by a share ``m``: ``t' = t - ln(1 + m s cos(2 pi x / P + phase)) / L`` with the
    period ``P`` of the stripes and what the width ``w`` of a pixel leaves of them, ``s = sinc(w / P)``. Black
    and white, which hold no exposure (shutters, letters), stay as they are.

    Args:
        period_mm: of the stripes in mm, > 0.
        modulation: ``m``, share of the exposure, (0, 0.5].
        degrees: 0: the lines run up and down; 90: from side to side.
        latitude: ``L``, natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        seed: seed of the per-case streams: the phase belongs to the case.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> stripes = GridLines()(torch.full((1, 128, 128), 0.5), "case 7")
        >>> bool(stripes.std() > 0.003), bool(stripes[0, :, 5].std() < 1e-6)
        (True, True)

    Source: the sampling theorem; MICCAT of Juodelyte et al. 2024.
    """

    name = "grid_lines"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "sampling theorem; MICCAT of Juodelyte et al. 2024"
    spatial_dims = (2,)
    modalities = ("radiograph",)
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"modulation": 0.01},
        "stress": {"modulation": 0.1},
    }

    def __init__(
        self,
        period_mm: float = 8.0,
        modulation: float = 0.03,
        degrees: float = 0.0,
        latitude: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        for field, value in (("period_mm", period_mm), ("latitude", latitude)):
            if not 0 < value < math.inf:
                raise InputError(f"grid_lines: {field} {value}, expected a positive number")
        if not 0 < modulation <= 0.5:
            raise InputError(f"grid_lines: modulation {modulation}, expected (0, 0.5]")
        if not -180 <= degrees <= 180:
            raise InputError(f"grid_lines: degrees {degrees}, expected [-180, 180]")
        self.period_mm = period_mm
        self.modulation = modulation
        self.degrees = degrees
        self.latitude = latitude

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw the phase of the stripes."""
        return {"phase": float(stream.uniform(0, 2 * math.pi))}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Periods for each pixel along rows and columns."""
        return {"rate": self._rate(spatial_shape, spacing_mm)}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Stripes that pixels average out."""
        passed = self._passed(self._rate(spatial_shape, spacing_mm))
        return f"pixels leave {passed:.2f} of the stripes" if abs(passed) < 0.05 else None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Put the stripes into (B, C, H, W)."""
        down, across = parameters[0]["rate"]
        rows = torch.arange(images.shape[2], dtype=torch.float64, device=images.device)
        columns = torch.arange(images.shape[3], dtype=torch.float64, device=images.device)
        turns = 2 * math.pi * (down * rows[:, None] + across * columns[None])
        phases = turns.new_tensor([known["phase"] for known in parameters])[:, None, None, None]
        exposure = 1 + self.modulation * self._passed((down, across)) * torch.cos(turns + phases)
        striped = (images - (exposure.log() / self.latitude).to(images)).clamp(0, 1)
        return torch.where((images > 0) & (images < 1), striped, images)

    def _rate(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> tuple[float, float]:
        rows, columns = (FILM_MM / spatial_shape[0],) * 2 if spacing_mm is None else spacing_mm[:2]
        angle = math.radians(self.degrees)
        down, across = math.sin(angle) * float(rows), math.cos(angle) * float(columns)
        return down / self.period_mm, across / self.period_mm

    @staticmethod
    def _passed(rate: tuple[float, float]) -> float:
        """What averaging over a pixel leaves of the stripes; none beyond the Nyquist frequency."""
        return float(np.prod(np.sinc(rate))) if max(map(abs, rate)) <= 0.5 else 0.0
