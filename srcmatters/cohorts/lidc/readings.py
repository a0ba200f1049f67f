"""Records of what a radiologist drew: contours of a nodule in pixels of the slice they were drawn in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.distance import pdist


@dataclass(frozen=True)
class Contour:
    """One closed outline in one slice.

    Args:
        z_mm: z of the slice's ImagePositionPatient.
        points: (N, 2) column and row, in pixels from the centre of the first pixel.
    """

    z_mm: float
    points: np.ndarray


@dataclass(frozen=True)
class Reading:
    """One nodule of 3 mm or more as one radiologist saw it.

    Args:
        malignancy: 1 (highly unlikely) to 5 (highly suspicious).
        contours: one or more; outlines of holes are among them, as they are in pylidc's measures.
    """

    malignancy: int
    contours: tuple[Contour, ...]

    @property
    def heights_mm(self) -> np.ndarray:
        """z of the slices that it has contours in, ascending."""
        return np.unique([contour.z_mm for contour in self.contours])

    def diameter_px(self) -> float:
        """Greatest distance between two points of a contour, pixels; 0 where every contour is one point."""
        return max(
            (float(pdist(one.points).max()) for one in self.contours if len(one.points) > 1), default=0
        )


@dataclass(frozen=True)
class AnnotatedScan:
    """One CT series and what was drawn in it.

    Args:
        series_uid: SeriesInstanceUID.
        patient_id: PatientID.
        slice_thickness_mm: as stated in the headers; the tolerance of the clustering.
        pixel_spacing_mm: of the square pixels.
        heights_mm: z of every slice, ascending.
        contrast: whether a contrast agent is mentioned in the headers; None where it is not known.
        readings: of all radiologists, in the order of the file.
    """

    series_uid: str
    patient_id: str
    slice_thickness_mm: float
    pixel_spacing_mm: float
    heights_mm: np.ndarray
    contrast: bool | None
    readings: tuple[Reading, ...]

    def slice_numbers(self, heights: np.ndarray) -> np.ndarray:
        """The slice nearest to each z (mm)."""
        return np.abs(self.heights_mm[:, None] - np.asarray(heights)[None]).argmin(axis=0)

    @cached_property
    def slice_spacing_mm(self) -> float:
        """Median distance of neighbouring slices, mm; the thickness where there is one slice only."""
        steps = np.diff(self.heights_mm)
        return float(np.median(steps)) if len(steps) else self.slice_thickness_mm
