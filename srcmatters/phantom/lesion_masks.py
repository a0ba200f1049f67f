"""Where the lesion is, to the pixel: of a positive its own, of a negative that of the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from srcmatters.phantom.candidates import candidate
from srcmatters.phantom.computed_tomography import WHOLE, voxel_axes
from srcmatters.phantom.geometry import deposit
from srcmatters.phantom.parenchyma import lesion
from srcmatters.phantom.patient import PhantomPatient
from srcmatters.phantom.radiography import DETECTOR_BLUR_MM, cloud_integral, detector_field

_FAINTEST = 0.01  # of the strongest contribution to a pixel: what is fainter is lost in the noise


def radiograph_mask(patient: PhantomPatient, image_size: int, difficulty: float) -> np.ndarray:
    """(H, W) bool: pixels that the lesion changes, spicules and blur of the detector included.

    Args:
        patient: whose radiograph it is; of a negative the place and shape that a lesion would have had.
        image_size: as of :func:`srcmatters.phantom.radiography.radiograph`.
        difficulty: as of :func:`srcmatters.phantom.patient.draw_patient`.
    """
    positive = replace(patient, nodule=candidate(patient, difficulty))
    blur = max(DETECTOR_BLUR_MM * image_size / detector_field(patient).width_mm, 0.4)
    excess = gaussian_filter(cloud_integral(lesion(positive), positive, image_size), blur)
    return excess > _FAINTEST * float(excess.max())


def ct_mask(
    patient: PhantomPatient, spacing_mm: Sequence[float], slices: slice, difficulty: float
) -> np.ndarray:
    """(H, W, D) bool: voxels that the lesion changes, as :func:`radiograph_mask`.

    Args:
        patient: whose CT it is.
        spacing_mm: along H, W and D.
        slices: of the whole volume.
        difficulty: as of the cohort.
    """
    positive = replace(patient, nodule=candidate(patient, difficulty))
    cloud = lesion(positive).rotated(patient.anatomy.tilt)
    columns, depths, heights = voxel_axes(spacing_mm)
    steps = (spacing_mm[1], spacing_mm[0], spacing_mm[2])
    cells = [
        (cloud.points[:, axis] - centres[0]) / np.float32(step)
        for axis, (centres, step) in enumerate(zip((columns, depths, heights), steps, strict=True))
    ]
    shape = (len(depths), len(columns), len(heights[slices]))
    first = np.float32(0 if slices == WHOLE else slices.start)
    excess = deposit((cells[1], cells[0], cells[2] - first), cloud.excess, shape)
    return excess > _FAINTEST * float(excess.max())
