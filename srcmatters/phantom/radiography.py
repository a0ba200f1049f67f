"""Digital radiographs of the phantom: exact line integrals, quantum noise, detector blur, display curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from srcmatters.phantom.anatomy import random_stream
from srcmatters.phantom.geometry import Cloud, FloatArray, deposit, join, turn, union_length
from srcmatters.phantom.organs import BLOOD, DISC, MUSCLE, chest_organs
from srcmatters.phantom.parenchyma import lesion, texture, vessels
from srcmatters.phantom.patient import PhantomPatient, require
from srcmatters.phantom.skeleton import skeleton

MU_WATER = 0.02
"""Attenuation of water at the effective energy, 1/mm."""
HEART_MAGNIFICATION_AP = 1.10
"""Relative to PA: 1.0 m instead of 1.8 m from source to detector, heart far from it."""
PHOTONS_PER_MM2 = 2.5e4
"""Detected quanta without an object."""
DETECTOR_BLUR_MM = 0.6
"""Standard deviation of the detector's point spread."""


@dataclass(frozen=True)
class Field:
    """The detector: a square of ``width_mm`` about (``centre_x``, ``centre_z``), scanner coordinates, mm."""

    width_mm: float
    centre_x: float
    centre_z: float
    exposure: float

    def axes(self, image_size: int) -> tuple[FloatArray, FloatArray]:
        """x of the columns (patient's right first) and z of the rows (head first), mm, each (image_size,)."""
        offset = (np.arange(image_size) + 0.5 - image_size / 2) * (self.width_mm / image_size)
        return (self.centre_x + offset).astype(np.float32), (self.centre_z - offset).astype(np.float32)

    def pixel(self, x: float, z: float, image_size: int) -> tuple[float, float]:
        """(row, column) of a point in scanner coordinates, in pixels; pixel centres are whole numbers."""
        scale = image_size / self.width_mm
        middle = image_size / 2 - 0.5
        return middle - (z - self.centre_z) * scale, middle + (x - self.centre_x) * scale


def detector_field(patient: PhantomPatient) -> Field:
    """Positioning and exposure of this acquisition: independent of anatomy, label and view."""
    stream = random_stream(patient.seed, patient.index, "acquisition", patient.acquisition)
    size = patient.anatomy.size
    width = 338 * size * float(np.clip(stream.normal(1, 0.035), 0.93, 1.09))
    shift_x, shift_z = np.clip(stream.normal(0, 5, 2), -11, 11)
    return Field(
        width, float(shift_x), float(2 * size + shift_z), float(np.clip(stream.normal(0, 0.1), -0.2, 0.2))
    )


def attenuation(hounsfield: float) -> float:
    """Linear attenuation coefficient, 1/mm: mu = mu_water (1 + HU / 1000)."""
    return MU_WATER * (1 + hounsfield / 1000)


def background_integral(patient: PhantomPatient, image_size: int) -> FloatArray:
    """Beer-Lambert exponent of everything but the lesion: the integral of mu dy along the beam, (H, W).

    Nested organs add their path length times the difference to what they replace; clouds add their excess
    per area.
    """
    columns, rows = detector_field(patient).axes(image_size)
    # In bands of rows: the temporaries then stay in the processor's cache.
    bands = [
        organ_integral(patient, columns, band) for band in np.array_split(rows, max(image_size // 32, 1))
    ]
    clouds = join([skeleton(patient.anatomy, patient.view), vessels(patient), texture(patient)])
    return np.concatenate(bands) + cloud_integral(clouds, patient, image_size)


def organ_integral(patient: PhantomPatient, columns: FloatArray, rows: FloatArray) -> FloatArray:
    """Line integral of the large organs on the grid of ``rows`` (z, mm) and ``columns`` (x, mm)."""
    across, up = np.meshgrid(columns, rows)
    x, z = turn(across, up, -patient.anatomy.tilt)
    magnification = HEART_MAGNIFICATION_AP if patient.view == "AP" else 1.0
    organs = chest_organs(patient.anatomy, x, z, magnification)
    total = organs.body.length() * attenuation(organs.body.hounsfield)
    total += organs.breast.length() * attenuation(organs.breast.hounsfield)
    total += organs.muscle.length() * attenuation_step(organs.body.hounsfield, MUSCLE)
    total += organs.lung.length() * attenuation_step(MUSCLE, organs.lung.hounsfield)
    total += union_length(organs.soft, organs.lung) * attenuation_step(organs.lung.hounsfield, BLOOD)
    disc, vertebra, *gas = organs.inner
    total += disc.length() * attenuation_step(BLOOD, DISC)
    total += vertebra.length() * attenuation_step(DISC, vertebra.hounsfield)
    for bubble in gas:
        total += bubble.length() * attenuation_step(BLOOD, bubble.hounsfield)
    return total


def attenuation_step(replaced: float, by: float) -> float:
    """Change of mu, 1/mm, where one tissue replaces another (both in HU)."""
    return attenuation(by) - attenuation(replaced)


def cloud_integral(cloud: Cloud, patient: PhantomPatient, image_size: int) -> FloatArray:
    """Line integral of a cloud's excess, (H, W): HU mm^3 per pixel area, times mu_water / 1000."""
    field = detector_field(patient)
    pixel = field.width_mm / image_size
    points = cloud.rotated(patient.anatomy.tilt).points
    middle = image_size / 2 - 0.5
    rows = middle - (points[:, 2] - field.centre_z) / pixel
    columns = middle + (points[:, 0] - field.centre_x) / pixel
    mass = deposit((rows, columns), cloud.excess, (image_size, image_size))
    return mass * np.float32(MU_WATER / 1000 / pixel**2)


def radiograph(patient: PhantomPatient, image_size: int = 256) -> np.ndarray:
    """A digital chest radiograph, for display.

    The display curve (dynamic range compression and window) is chosen on the lesion-free patient, and the
    noise does not depend on the lesion, so that a positive differs from its counterfactual only where the
    lesion projects.

    Args:
        patient: From :func:`draw_patient`.
        image_size: Rows and columns, 32 to 2048.

    Returns:
        (H, W) uint8, MONOCHROME2: bone white, lungs dark, the patient's right on the left of the image.

    Raises:
        ValueError: ``image_size`` outside its range.
    """
    require("image_size", image_size, 32 <= image_size <= 2048, "an integer from 32 to 2048")
    blur = DETECTOR_BLUR_MM * image_size / detector_field(patient).width_mm
    healthy = gaussian_filter(background_integral(patient, image_size), blur)
    exponent = healthy
    if patient.nodule is not None:
        exponent = healthy + gaussian_filter(
            cloud_integral(lesion(patient), patient, image_size), max(blur, 0.4)
        )
    return displayed(exponent + quantum_noise(healthy, patient), healthy, patient)


def quantum_noise(exponent: FloatArray, patient: PhantomPatient) -> FloatArray:
    """Noise of the logarithm of a Poisson count, s.d. 1 / sqrt(N0 exp(-p)), correlated by the detector."""
    field = detector_field(patient)
    stream = random_stream(patient.seed, patient.index, "quantum_noise", patient.acquisition)
    white = stream.standard_normal(exponent.shape, dtype=np.float32)
    pixel_area = (field.width_mm / exponent.shape[0]) ** 2
    # Scatter adds quanta without signal: noise does not grow without bound behind the mediastinum.
    counts = PHOTONS_PER_MM2 * pixel_area * (np.exp(-exponent) + 0.004)
    return gaussian_filter(white / np.sqrt(counts), 0.5)


def displayed(exponent: FloatArray, healthy: FloatArray, patient: PhantomPatient) -> np.ndarray:
    """Dynamic range compression, window and sigmoid VOI curve, 8 bit."""
    size = exponent.shape[0]
    shrink = max(size // 64, 1)
    coarse = gaussian_filter(healthy[::shrink, ::shrink], 15 * size / shrink / 340)
    base = zoom(coarse, size / coarse.shape[0], order=1, mode="nearest", grid_mode=True)[:size, :size]
    signal, reference = exponent - 0.5 * base, healthy - 0.5 * base
    middle = reference[size // 5 : -size // 5, size // 6 : -size // 6]
    low, high = np.percentile(middle, [4, 94])
    centre = low + (0.33 + 0.5 * detector_field(patient).exposure) * (high - low)
    value = 1 / (1 + np.exp(-4.2 * (signal - centre) / (high - low)))
    return np.clip(np.rint(255 * value * 1.02 - 2), 0, 255).astype(np.uint8)
