"""Pixelation: an image that was small once, and enlarged without interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch.nn import functional

from srcmatters.confounders.base import LINEAR, Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class Pixelation(Confounder):
    r"""Show the image in large pixels.

    MICCAT: environment / imaging / reconstruction / global. Means over cells of ``cell_mm``, shown as cells:
    a thumbnail or a screenshot that was enlarged without interpolation. The mean is kept.

    Args:
        cell_mm: side of a cell, > 0.
        field_mm: height of the image in mm, where the spacing is unknown.
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D; each slice), floating point, any linear unit; the result has the same
        shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.arange(16.0).reshape(1, 4, 4)
        >>> Pixelation(2, field_mm=4)(image)[0, 0].tolist()
        [2.5, 2.5, 4.5, 4.5]

    Source: MICCAT of Juodelyte et al. 2024 (reconstruction).
    """

    name = "pixelation"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "MICCAT of Juodelyte et al. 2024"
    unit = LINEAR
    presets: ClassVar[dict[str, Parameters]] = {"plausible": {"cell_mm": 1.5}, "stress": {"cell_mm": 8.0}}

    def __init__(self, cell_mm: float = 5.0, field_mm: float = 430.0, seed: int = 0) -> None:
        super().__init__(seed)
        for field, value in (("cell_mm", cell_mm), ("field_mm", field_mm)):
            if not 0 < value < math.inf:
                raise InputError(f"pixelation: {field} {value}, expected a positive size in mm")
        self.cell_mm = cell_mm
        self.field_mm = field_mm

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Cells along rows and columns."""
        return {"cells": self._cells(spatial_shape, spacing_mm)}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Cells no larger than pixels."""
        if self._cells(spatial_shape, spacing_mm) == tuple(spatial_shape[:2]):
            return f"a cell of {self.cell_mm:g} mm is no larger than a pixel"
        return None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Show (B, C, H, W[, D]) in cells."""
        cells = parameters[0]["cells"]
        flat = images if images.ndim == 4 else images.movedim(-1, 2).flatten(1, 2)
        shown = flat
        for axis, (length, count) in enumerate(zip(flat.shape[2:], cells, strict=True)):
            # Cells are whole pixels: they differ by one in size where they do not divide the image.
            cell = torch.arange(length, device=images.device) * count // length
            share = functional.one_hot(cell, count).to(images)
            means = share / share.sum(0)
            shown = shown.movedim(2 + axis, -1) @ means @ share.T
            shown = shown.movedim(-1, 2 + axis)
        if images.ndim == 4:
            return shown
        return shown.unflatten(1, (images.shape[1], images.shape[-1])).movedim(2, -1)

    def _cells(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> tuple[int, int]:
        steps = (self.field_mm / spatial_shape[0],) * 2 if spacing_mm is None else spacing_mm[:2]
        pairs = zip(spatial_shape[:2], steps, strict=True)
        rows, columns = (min(max(round(n * float(step) / self.cell_mm), 1), n) for n, step in pairs)
        return rows, columns
