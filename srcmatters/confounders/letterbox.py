"""Letterbox: the picture with bars around it, as a viewer or a slide exports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch.nn import functional

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class Letterbox(Confounder):
    r"""Put the image between bars.

    MICCAT: environment / external / padding / local. The image is made smaller along one or both axes
    (antialiased) and lies in the middle of a frame of one grey value, as screenshots, slides and exports with
    a fixed aspect ratio have it.

    Args:
        rows: share of the height that the bars at top and bottom take together, [0, 0.8].
        columns: share of the width that those at the sides take, [0, 0.8].
        value: their grey value, [0, 1].
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> Letterbox(rows=0.5)(torch.ones(1, 8, 8))[0, :, 0].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]

    Source: MICCAT of Juodelyte et al. 2024 (external); padding as a site's mark: Zech et al. 2018.
    """

    name = "letterbox"
    miccat = Miccat("environment", "external", "padding", "local")
    source = "MICCAT of Juodelyte et al. 2024; Zech et al. 2018"
    also_changes = frozenset({"brightness", "border", "clipping", "everywhere"})
    spatial_dims = (2,)
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"columns": 0.06},
        "stress": {"columns": 0.25},
    }

    def __init__(self, rows: float = 0.0, columns: float = 0.12, value: float = 0.0, seed: int = 0) -> None:
        super().__init__(seed)
        for field, share in (("rows", rows), ("columns", columns)):
            if not 0 <= share <= 0.8:
                raise InputError(f"letterbox: {field} {share}, expected a share in [0, 0.8]")
        if not 0 <= value <= 1:
            raise InputError(f"letterbox: value {value}, expected a grey value in [0, 1]")
        self.rows = rows
        self.columns = columns
        self.value = value

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Bars of less than a pixel."""
        if self._inner(spatial_shape) == tuple(spatial_shape[:2]):
            return "the bars are less than a pixel"
        return None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Put (B, C, H, W) between bars."""
        inner = self._inner(images.shape[2:])
        top, left = ((length - kept) // 2 for length, kept in zip(images.shape[2:], inner, strict=True))
        framed = torch.full_like(images, self.value)
        smaller = functional.interpolate(images, size=inner, mode="bilinear", antialias=True)
        framed[:, :, top : top + inner[0], left : left + inner[1]] = smaller.clamp(0, 1)
        return framed

    def _inner(self, spatial_shape: Sequence[int]) -> tuple[int, int]:
        shares = zip(spatial_shape[:2], (self.rows, self.columns), strict=True)
        rows, columns = (max(length - 2 * round(length * share / 2), 1) for length, share in shares)
        return rows, columns
