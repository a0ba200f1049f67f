"""Motion: a patient who breathed or moved during the exposure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import LINEAR, Confounder, Parameters
from srcmatters.confounders.ct_dose_base import AIR_BELOW_HU
from srcmatters.confounders.scan_motion import moved_during_scan
from srcmatters.confounders.spectrum import filter_in_plane, mirror, trimmed
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class PatientMotion(Confounder):
    r"""Move the patient during the exposure.

    MICCAT: environment / imaging / acquisition / global. On a radiograph and on images that are no whole
    slices in HU: uniform motion over ``length_mm`` along one axis, that is the mean over the shifts, in the
    frequency domain ``sinc(length * (f_row cos a + f_column sin a))``, edges mirrored; the mean is kept. On
    whole axial slices in HU (something is below -200 HU): the patient moves by ``length_mm`` while the tube
    turns by half a turn, so that the views do not agree, see
    :func:`~srcmatters.confounders.scan_motion.moved_during_scan`: double contours and streaks. The table
    stands still; the view at which the scan starts belongs to the case. All of the patient moves as one: that
    ribs and diaphragm move otherwise than the spine is not modelled, nor motion along the body axis on CT.

    Args:
        length_mm: how far everything moves in mm, > 0.
        degrees: direction, 0: along the rows' axis (up and down in the image), 90: from side to side.
        field_mm: height of the image in mm, where the spacing is unknown.
        seed: seed of the per-case streams: the view at which a scan starts belongs to the case.

    Shape:
        image: (C, H, W) or (C, H, W, D; each slice), floating point, any linear unit; the result has the same
        shape and dtype.

    Raises:
        InputError: an argument outside its range, or pixels of a slice in HU that are not square.

    Example:
        >>> import torch
        >>> line = torch.zeros(1, 64, 64)
        >>> line[:, 32] = 1
        >>> 0.1 < float(PatientMotion(8, field_mm=64)(line).max()) < 0.15
        True

    Source: the mean over the shifts of a uniform motion; shift of parallel projections: Kak and Slaney 1988,
    chapter 3; MICCAT of Juodelyte et al. 2024.
    """

    name = "motion"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Kak and Slaney 1988, chapter 3; MICCAT of Juodelyte et al. 2024"
    unit = LINEAR
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"length_mm": 2.0},
        "stress": {"length_mm": 12.0},
    }

    def __init__(
        self, length_mm: float = 6.0, degrees: float = 0.0, field_mm: float = 430.0, seed: int = 0
    ) -> None:
        super().__init__(seed)
        for field, value in (("length_mm", length_mm), ("field_mm", field_mm)):
            if not 0 < value < math.inf:
                raise InputError(f"motion: {field} {value}, expected a positive size in mm")
        if not -180 <= degrees <= 180:
            raise InputError(f"motion: degrees {degrees}, expected [-180, 180]")
        self.length_mm = length_mm
        self.degrees = degrees
        self.field_mm = field_mm

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw the view at which a scan starts, as a share of half a turn."""
        return {"start": float(stream.uniform())}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """How far it moves in pixels, along rows and columns, and their spacing."""
        step = self.field_mm / spatial_shape[0]
        spacing = (step, step) if spacing_mm is None else tuple(map(float, spacing_mm[:2]))
        return {"shift": self._shift(spatial_shape, spacing_mm), "spacing_mm": spacing}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Less than a quarter of a pixel."""
        shift = math.hypot(*self._shift(spatial_shape, spacing_mm))
        return f"it moves by {shift:.2f} pixels" if shift < 0.25 else None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Move (B, C, H, W[, D])."""
        scans = images.flatten(1).amin(1) < AIR_BELOW_HU
        if not scans.any():
            return self._blurred(images, parameters[0])
        moved = [
            self._scanned(image, known) if scan else self._blurred(image[None], known)[0]
            for image, known, scan in zip(images, parameters, scans.tolist(), strict=True)
        ]
        return torch.stack(moved)

    def _scanned(self, image: torch.Tensor, known: Parameters) -> torch.Tensor:
        """(C, H, W[, D]) in HU, slice by slice."""
        rows, columns = known["spacing_mm"]
        if abs(columns / rows - 1) > 0.01:
            raise InputError(f"motion: spacing {known['spacing_mm']} mm of a CT, expected square pixels")
        angle = math.radians(self.degrees)
        shift_mm = self.length_mm * math.cos(angle), self.length_mm * math.sin(angle)
        stack = image[0].float()[None] if image.ndim == 3 else image[0].float().movedim(-1, 0)
        moved = torch.stack([moved_during_scan(hu, rows, shift_mm, known["start"]) for hu in stack])
        result = moved[0] if image.ndim == 3 else moved.movedim(0, -1)
        return result.to(image).expand_as(image)

    @staticmethod
    def _blurred(images: torch.Tensor, known: Parameters) -> torch.Tensor:
        """The mean of (B, C, H, W[, D]) over the shifts."""
        down, across = known["shift"]
        margin = math.ceil(max(abs(down), abs(across)) / 2) + 1
        shape = mirror((images.shape[2], images.shape[3]), min(margin, min(images.shape[2:4]) // 2))
        rows = torch.fft.fftfreq(shape[0], dtype=torch.float64, device=images.device)
        columns = torch.fft.rfftfreq(shape[1], dtype=torch.float64, device=images.device)
        response = torch.sinc(down * rows[:, None] + across * columns[None])
        blurred = filter_in_plane(images, trimmed(response, shape[1]))
        # A mean of values lies between them; the band-limited one overshoots at an edge.
        for one, image in zip(blurred, images, strict=True):
            one.clamp_(*torch.aminmax(image))
        return blurred

    def _shift(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> tuple[float, float]:
        rows, columns = (self.field_mm / spatial_shape[0],) * 2 if spacing_mm is None else spacing_mm[:2]
        angle = math.radians(self.degrees)
        down, across = math.cos(angle) / float(rows), math.sin(angle) / float(columns)
        return self.length_mm * down, self.length_mm * across
