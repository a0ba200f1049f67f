"""Slice thickness: the same volume, reconstructed in thicker slices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Literal, get_args

import numpy as np
import torch

from srcmatters.confounders.base import LINEAR, Acquisition, Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

Phase = Literal["case", "random"]
_PHASES = get_args(Phase)


class SliceThickness(Confounder):
    r"""Reconstruct a volume in thicker slices.

    MICCAT: environment / imaging / reconstruction / global. Slices of ``thickness_mm`` every ``increment_mm``
    are means of the thin slices, weighted with the share of each that lies in them (a rectangular slice
    sensitivity profile; at the ends, what there is of them), then interpolated linearly back to the grid of
    the volume: partial volume in z, less noise, and steps, as a study gets it that resamples its scans to one
    spacing. A volume that is constant stays as it is.

    Where the thick slices lie decides how much of a small nodule is left: with ``phase`` "case" one is
    centred on the case (``x_mm``, ``y_mm``, ``z_mm`` of the table; the middle of the volume without them),
    with "random" each case has its own, uniform over one increment, as real scans have.

    A slice has a thickness of its own: with ``w`` the SliceThickness of the header (the slice distance ``d``
    where it does not say), the box that is averaged has the width ``sqrt(thickness^2 + d^2 - w^2)``, so that
    the profile of the result has the variance of a box of ``thickness_mm``.

    Args:
        thickness_mm: thickness of the new slices in mm, > 0; 5 is common in clinical routine.
        increment_mm: their distance in mm, > 0; None: the thickness (no overlap).
        slice_mm: distance of the slices in mm, used where the spacing is unknown.
        phase: "case" or "random".
        seed: Seed of the per-case streams.

    Shape:
        image: (C, H, W, D), floating point, HU or any unit linear in it; slices along the last dimension. The
        result has the same shape and dtype.

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
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"thickness_mm": 3.0},
        "stress": {"thickness_mm": 5.0},
    }

    def __init__(
        self,
        thickness_mm: float = 5.0,
        increment_mm: float | None = None,
        slice_mm: float | None = None,
        phase: Phase = "case",
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
        if phase not in _PHASES:
            raise InputError(
                f"slice_thickness: phase {phase!r} is unknown{did_you_mean(str(phase), _PHASES)}"
            )
        self.thickness_mm = thickness_mm
        self.increment_mm = thickness_mm if increment_mm is None else increment_mm
        self.slice_mm = slice_mm
        self.phase = phase

    @property
    def is_random(self) -> bool:
        """Only a random phase is drawn."""
        return self.phase == "random"

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw by what part of an increment the thick slices are shifted, -1/2 .. 1/2."""
        return {"shift": float(stream.uniform(-0.5, 0.5))}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """One slice, or slices that are as thick already."""
        distance = self._slice(spacing_mm)
        if spatial_shape[2] == 1:
            return "the volume has one slice"
        if max(self.thickness_mm, self.increment_mm) <= distance:
            return f"the slices are {distance:g} mm thick and apart already"
        return None

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Distance and thickness of the slices, and the middle of the volume."""
        distance = self._slice(spacing_mm)
        return {"slice": distance, "own": distance, "centre": (spatial_shape[2] - 1) / 2, "shift": 0.0}

    def acquisition_parameters(self, acquisition: Acquisition, known: Parameters) -> Parameters:
        """The thickness that the header knows, and the slice of the case."""
        result = {}
        own = acquisition.get("SliceThickness")
        if own is not None and 0 < float(own) < math.inf:
            result["own"] = float(own)
            if result["own"] >= self.thickness_mm and self.increment_mm <= known["slice"]:
                warnings.warn(
                    f"SliceThickness changes nothing: the header says {own:g} mm already", stacklevel=4
                )
        if acquisition.get("position") is not None:
            result["centre"] = float(acquisition["position"][2])
        return result

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Average and resample (B, C, H, W, D) along D."""
        slabs = [self._thick(image, known) for image, known in zip(images, parameters, strict=True)]
        return torch.stack(slabs)

    def _thick(self, image: torch.Tensor, known: Parameters) -> torch.Tensor:
        distance, increment = known["slice"], max(self.increment_mm / known["slice"], 1.0)
        wider = self.thickness_mm**2 + distance**2 - known["own"] ** 2
        thickness = max(math.sqrt(max(wider, 0.0)) / distance, 1.0)
        if thickness == increment == 1:
            return image.clone()
        centre = known["centre"] + known["shift"] * increment
        weights = thick_slices(image.shape[3], thickness, increment, centre)
        return image @ torch.from_numpy(weights).to(image).T

    def _slice(self, spacing_mm: Sequence[float] | None) -> float:
        if spacing_mm is not None:
            return float(spacing_mm[2])
        if self.slice_mm is None:
            raise InputError("slice_thickness: the slice distance of the volume is unknown; give slice_mm")
        return self.slice_mm


@lru_cache(maxsize=64)
def thick_slices(depth: int, thickness: float, increment: float, centre: float | None = None) -> np.ndarray:
    """What each slice of a volume contributes to each slice of the result.

    Args:
        depth: number of slices.
        thickness, increment: of the thick slices, in slices of the volume, >= 1.
        centre: where the middle of one thick slice lies; None: in the middle of the volume.

    Returns:
        (depth, depth); rows sum to 1.
    """
    centre = (depth - 1) / 2 if centre is None else centre
    first = math.ceil((-0.5 - centre) / increment)
    last = max(math.floor((depth - 0.5 - centre) / increment), first)
    centres = centre + np.arange(first, last + 1) * increment
    slices = np.arange(depth)
    low, high = centres[:, None] - thickness / 2, centres[:, None] + thickness / 2
    overlap = np.clip(np.minimum(high, slices + 0.5) - np.maximum(low, slices - 0.5), 0, 1)
    mean = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1e-12)
    count = len(centres)
    place = np.clip((slices - centres[0]) / increment, 0, count - 1)
    lower = np.minimum(place.astype(int), max(count - 2, 0))
    share = (place - lower)[:, None]
    return (1 - share) * mean[lower] + share * mean[np.minimum(lower + 1, count - 1)]
