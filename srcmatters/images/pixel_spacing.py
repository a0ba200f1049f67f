"""The pixel spacing that a DICOM header knows."""

from __future__ import annotations

import math

from pydicom import Dataset

#: Elements that may hold it; that of the detector counts where none is in the plane of the patient.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing")


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Mm between rows and between columns; None where neither element holds two positive, finite numbers."""
    for name in SPACINGS:
        steps = header.get(name)
        # Some devices write a spacing of 0 where they do not know it.
        if steps is not None and len(steps) == 2 and all(0 < float(step) < math.inf for step in steps):
            return float(steps[0]), float(steps[1])
    return None
