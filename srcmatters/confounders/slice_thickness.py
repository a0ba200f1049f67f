"""Slice thickness: the same volume, reconstructed in thicker slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from srcmatters.confounders.base import LINEAR, Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class SliceThickness(Confounder):
    r"""Reconstruct a volume in thicker slices.

    MICCAT: environment / imaging / reconstruction / global. Slices of ``thickness_mm`` every ``increment_mm``
    are means of the thin slices, weighted with the share of each that lies in them (a rectangular slice
    sensitivity profile; at the ends, what there is of them), then interpolated linearly back to the grid of
    the
    volume: partial volume in z, less noise, and steps, as a study gets it that resamples its scans to one
    spacing. A volume that is constant stays as it is.

    Args:
        thickness_mm: thickness of the new slices in mm, > 0; 5 is common in clinical routine.
        increment_mm: their distance in mm, > 0; None: the thickness (no overlap).
        slice_mm: distance of the given slices in mm, used where the spacing is unknown.
        seed: Seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W, D), floating point, HU or any unit linear in it; slices along the last dimension,
            taken
        to be as thick as they are apart. The result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range, or no known slice distance.

    Example:
        >>> import torch
        >>> SliceThickness(5, slice_mm=1)(torch.randn(1, 8, 8, 40)).std() < 0.6
        tensor(True)

    Source: rectangular slice profile, as for multi-planar reformats; MICCAT of Juodelyte et al. 2024.
    """

    name = "slice_thickness"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "rectangular slice profile; MICCAT of Juodelyte et al. 2024"
    unit = LINEAR
    spatial_dims = (3,)
    modalities = ("CT",)

    def __init__(
        self,
        thickness_mm: float = 5.0,
        increment_mm: float | None = None,
        slice_mm: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        for field, value in (
            ("thickness_mm", thickness_mm),
            ("increment_mm", increment_mm),
            ("slice_mm", slice_mm),
        ):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"slice_thickness: {field} {value}, expected a positive size in mm")
        self.thickness_mm = thickness_mm
        self.increment_mm = thickness_mm if increment_mm is None else increment_mm
        self.slice_mm = slice_mm

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """One slice, or slices that are as thick already."""
        given = self._slice(spacing_mm)
        if spatial_shape[2] == 1:
            return "the volume has one slice"
        if max(self.thickness_mm, self.increment_mm) <= given:
            return f"the slices are {given:g} mm thick and apart already"
        return None

    def draw(
        self, stream: np.random.Generator, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None
    ) -> Parameters:
        """Nothing random: the distance of the given slices."""
        return {"slice": self._slice(spacing_mm)}

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Average and resample (B, C, H, W, D) along D."""
        given = parameters[0]["slice"]
        weights = thick_slices(
            images.shape[4], max(self.thickness_mm / given, 1.0), max(self.increment_mm / given, 1.0)
        )
        return images @ torch.from_numpy(weights).to(images).T

    def _slice(self, spacing_mm: Sequence[float] | None) -> float:
        if spacing_mm is not None:
            return float(spacing_mm[2])
        if self.slice_mm is None:
            raise InputError("slice_thickness: the slice distance of the volume is unknown; give slice_mm")
        return self.slice_mm


@lru_cache(maxsize=64)
def thick_slices(depth: int, thickness: float, increment: float) -> np.ndarray:
    """What each given slice contributes to each slice of the result.

    Args:
        depth: number of slices.
        thickness, increment: of the thick slices, in given slices, >= 1.

    Returns:
        (depth, depth); rows sum to 1. The thick slices lie symmetrically in the volume.
    """
    count = max(round(depth / increment), 1)
    centres = (depth - 1) / 2 + (np.arange(count) - (count - 1) / 2) * increment
    slices = np.arange(depth)
    low, high = centres[:, None] - thickness / 2, centres[:, None] + thickness / 2
    overlap = np.clip(np.minimum(high, slices + 0.5) - np.maximum(low, slices - 0.5), 0, 1)
    mean = overlap / overlap.sum(axis=1, keepdims=True)
    place = np.clip((slices - centres[0]) / increment, 0, count - 1)
    lower = np.minimum(place.astype(int), max(count - 2, 0))
    share = (place - lower)[:, None]
    return (1 - share) * mean[lower] + share * mean[np.minimum(lower + 1, count - 1)]
