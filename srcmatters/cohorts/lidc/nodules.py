"""One nodule, several radiologists: which of their readings mean the same one, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from srcmatters.cohorts.lidc.readings import AnnotatedScan, Reading

MOST_READERS = 4
SHRINK, SMALLEST_TOLERANCE = 0.9, 0.1


@dataclass(frozen=True)
class Nodule:
    """A physical nodule: the readings of those who saw it.

    Args:
        scan: where it is.
        readings: one per reader; more than four where neighbouring nodules could not be told apart.
    """

    scan: AnnotatedScan
    readings: tuple[Reading, ...]

    @property
    def readers(self) -> int:
        """How many radiologists drew it."""
        return len(self.readings)

    @property
    def malignancy_mean(self) -> float:
        """Mean rating, 1 to 5."""
        return float(np.mean([reading.malignancy for reading in self.readings]))

    @property
    def diameter_mm(self) -> float:
        """Greatest axial diameter, mm, mean over readers."""
        return (
            float(np.mean([reading.diameter_px() for reading in self.readings])) * self.scan.pixel_spacing_mm
        )

    def centroid(self) -> np.ndarray:
        """(column, row, z in mm): the mean over readers of the mean of all their contours' points."""
        return np.mean([_points(reading).mean(axis=0) for reading in self.readings], axis=0)

    def drawn_in(self, min_readers: int) -> np.ndarray:
        """z (mm) of the slices in which at least ``min_readers`` drew it, ascending."""
        heights = np.concatenate([reading.heights_mm for reading in self.readings])
        values, counts = np.unique(heights, return_counts=True)
        return values[counts >= min_readers]


def cluster_nodules(scan: AnnotatedScan) -> list[Nodule]:
    """Group the readings of a scan into nodules, as pylidc does.

    Two readings are of one nodule if points of their contours come closer than a tolerance, or if a chain of
    such readings links them. The tolerance starts at the slice thickness and shrinks by a tenth until no
    group has more than four readings. Distances are those of pylidc, so that nodules are those of published
    work: between (row, column, slice number), whose unit is a voxel's side and not mm.

    Returns:
        Nodules from the feet to the head.

    Source: pylidc 0.2.3, ``Scan.cluster_annotations`` (metric "min").
    """
    if not scan.readings:
        return []
    distances = _distances(scan)
    tolerance = scan.slice_thickness_mm
    while True:
        _, groups = connected_components(distances <= tolerance, directed=False)
        if np.bincount(groups).max() <= MOST_READERS or tolerance * SHRINK < SMALLEST_TOLERANCE:
            break
        tolerance *= SHRINK
    nodules = [
        Nodule(scan, tuple(scan.readings[place] for place in np.flatnonzero(groups == group)))
        for group in np.unique(groups)
    ]
    return sorted(nodules, key=lambda nodule: nodule.centroid()[2])


def _distances(scan: AnnotatedScan) -> np.ndarray:
    """(N, N) smallest distance between the contours of each two readings, in voxels."""
    clouds = []
    for reading in scan.readings:
        points = _points(reading)
        clouds.append(np.column_stack([points[:, :2], scan.slice_numbers(points[:, 2])]))
    trees = [cKDTree(cloud) for cloud in clouds]
    distances = np.zeros((len(clouds), len(clouds)))
    for one in range(len(clouds)):
        for other in range(one):
            nearest, _ = trees[one].query(clouds[other])
            distances[one, other] = distances[other, one] = nearest.min()
    return distances


def _points(reading: Reading) -> np.ndarray:
    """(N, 3) column, row, z in mm of all points of a reading."""
    return np.concatenate(
        [np.column_stack([one.points, np.full(len(one.points), one.z_mm)]) for one in reading.contours]
    )
