"""Anatomical variation: the numbers that make one chest differ from the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STREAMS = (
    "group",
    "anatomy",
    "nodule",
    "vessels",
    "texture",
    "acquisition",
    "lesion_surface",
    "ct_noise",
    "quantum_noise",
    "benign",
)


@dataclass(frozen=True)
class Anatomy:
    """Sizes in mm, angles in degrees, tissue values in HU; before the tilt, origin at mid-chest.

    ``size`` scales positions for both sexes; the half axes and thicknesses are given already scaled.
    """

    size: float
    half_width: float
    half_depth: float
    apex: float
    dome_right: float
    dome_left: float
    sulcus: float
    heart_size: float
    heart_angle: float
    heart_shift: float
    aorta_radius: float
    mediastinum: float
    hilum: float
    spine_bend: float
    spine_radius: float
    rotation: float
    tilt: float
    fat: float
    muscle: float
    breast: float
    shoulder: float
    ribs: int
    rib_fall: float
    rib_height: float
    rib_offset: float
    clavicle_rise: float
    bone: float
    lung_hounsfield: float
    vessel_radius: float
    gas: float


def random_stream(seed: int, index: int, name: str, part: int = 0) -> np.random.Generator:
    """Generator for one purpose of one patient, independent of every other and of the order of use.

    ``part`` tells streams of the same purpose apart: the acquisition of a radiograph, the slice of a CT.

    Source: numpy ``SeedSequence`` with a spawn key (index, purpose, part).
    """
    key = (int(index), STREAMS.index(name), int(part))
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=key))


def clipped_normal(stream: np.random.Generator, reach: float = 2.2) -> Callable[[float, float], float]:
    """Draws of (mean, standard deviation) that never lie further than ``reach`` deviations from the mean."""

    def normal(mean: float, deviation: float) -> float:
        return float(mean + deviation * np.clip(stream.normal(), -reach, reach))

    return normal


def draw_anatomy(seed: int, index: int, sex: str) -> tuple[int, Anatomy]:
    """Age in years and anatomy: women are smaller; with age bones lose calcium and the aorta unfolds."""
    stream = random_stream(seed, index, "anatomy")
    age = int(stream.integers(25, 86))
    older = (age - 55) / 30
    size = float(np.clip(stream.normal(1.0 if sex == "M" else 0.93, 0.035), 0.84, 1.1))
    normal = clipped_normal(stream)
    inspiration = normal(0, 9)
    return age, Anatomy(
        size=size,
        half_width=normal(138, 7) * size,
        half_depth=normal(88 + 4 * older, 6) * size,
        apex=normal(132, 5) * size,
        dome_right=(normal(-76, 5) + inspiration) * size,
        dome_left=(normal(-88, 5) + inspiration) * size,
        sulcus=normal(46, 8) * size,
        heart_size=normal(0.97 + 0.04 * older, 0.08) * size,
        heart_angle=normal(-38 + 0.8 * inspiration, 6),
        heart_shift=normal(0, 4),
        aorta_radius=normal(13.5 + 2.5 * older, 1.3) * size,
        mediastinum=normal(34 + 1.5 * older, 2.8) * size,
        hilum=normal(32, 5) * size,
        spine_bend=normal(0, 4),
        spine_radius=normal(16.5, 0.9) * size,
        rotation=normal(0, 3.0),
        tilt=normal(0, 1.4),
        fat=float(np.exp(normal(np.log(13), 0.4))),
        muscle=normal(20 if sex == "M" else 16, 2),
        breast=float(np.exp(normal(np.log(30), 0.35))) if sex == "F" else 0.0,
        shoulder=normal(62, 6) * size,
        ribs=11 if stream.uniform() < 0.08 else 12,
        rib_fall=normal(1.0, 0.13),
        rib_height=normal(6.3 if sex == "M" else 5.6, 0.45) * size,
        rib_offset=normal(0, 4),
        clavicle_rise=normal(22, 9),
        bone=normal(1.0 - 0.14 * older, 0.08),
        lung_hounsfield=normal(-828 - 12 * older, 18),
        vessel_radius=normal(1.0, 0.1),
        gas=normal(0.9, 0.3),
    )
