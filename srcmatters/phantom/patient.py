"""Who is drawn: one synthetic patient, from (seed, index) alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from srcmatters.errors import InputError
from srcmatters.phantom import organs
from srcmatters.phantom.anatomy import Anatomy, draw_anatomy, random_stream
from srcmatters.phantom.geometry import turn

MANUFACTURERS = ("Phantom Aurora", "Phantom Boreal", "Phantom Cirrus")
DIAMETERS_MM = ((38.0, 23.0, 8.0), (55.0, 35.0, 15.0))
"""Smallest and largest lesion at difficulty 0, 0.5 and 1; between them linear."""
CONTRASTS = ((1.2, 1.0, 0.55), (1.5, 1.25, 0.8))
"""Faintest and densest lesion at difficulty 0, 0.5 and 1: 0 is lung, 1 soft tissue, above 1 calcified."""


@dataclass(frozen=True)
class Nodule:
    """A lung lesion.

    Args:
        centre_mm: x, y, z of the centre in scanner coordinates (LPS, mm).
        diameter_mm: Diameter of the sphere that carries it, mm.
        side: "left" or "right" lung of the patient.
        contrast: Density between lung (0) and soft tissue (1); above 1 it is partly calcified.
        lobulation: Amplitude of the bumps of its surface, as a fraction of the radius.
        spicules: Number of spiky strands into the lung around it.
    """

    centre_mm: tuple[float, float, float]
    diameter_mm: float
    side: str
    contrast: float
    lobulation: float
    spicules: int


@dataclass(frozen=True)
class PhantomPatient:
    """One synthetic patient; everything drawn from it is a function of this record.

    Args:
        index: Place in the cohort, from 0.
        seed: Seed of the cohort.
        patient_id: "PHANTOM-0001" for index 0.
        sex: "F" or "M".
        age: Years, 25 to 85.
        view: "PA" or "AP", the view of the radiograph.
        label: 1 with a nodule, else 0.
        nodule: The lesion of a positive, else None.
        anatomy: Sizes, positions and tissue values.
        manufacturer: Invented maker of the scanner.
        contrast_agent: Whether the CT is contrast-enhanced.
        acquisition: Which image of this patient: changes positioning, exposure and noise, not the anatomy.
    """

    index: int
    seed: int
    patient_id: str
    sex: str
    age: int
    view: str
    label: int
    nodule: Nodule | None
    anatomy: Anatomy
    manufacturer: str
    contrast_agent: bool
    acquisition: int = 0

    def without_nodule(self) -> PhantomPatient:
        """The same patient before the disease: the counterfactual of a positive."""
        return replace(self, label=0, nodule=None)


def draw_patient(
    index: int, seed: int, difficulty: float = 0.5, label: int | None = None, side: str | None = None
) -> PhantomPatient:
    """Draw one patient; neither the cohort's size nor the order of drawing matters.

    Patients 2k and 2k + 1 share sex, view, manufacturer and contrast agent and differ in label, and each run
    of eight holds every sex x view twice: so label is independent of all four by construction.

    Args:
        index: Place in the cohort, 0 or more.
        seed: Seed of the cohort, 0 or more.
        difficulty: 0 (big, dense lesions) to 1 (small, faint ones).
        label: 1 or 0 to force it, None for the balanced one.
        side: "left" or "right" to force the lung, None to draw it.

    Raises:
        ValueError: An argument is outside its range; the message names it.
    """
    require("index", index, isinstance(index, int | np.integer) and index >= 0, "an integer of 0 or more")
    require("seed", seed, isinstance(seed, int | np.integer) and seed >= 0, "an integer of 0 or more")
    require("difficulty", difficulty, 0 <= difficulty <= 1, "a number in [0, 1]")
    require("label", label, label in (None, 0, 1), "0, 1 or None")
    require("side", side, side in (None, "left", "right"), '"left", "right" or None')
    group = random_stream(seed, index // 8, "group")
    strata = group.permutation([0, 1, 2, 3])
    first_is_positive = group.integers(0, 2, 4)
    makers, agents = group.integers(0, len(MANUFACTURERS), 4), group.integers(0, 2, 4)
    pair = index % 8 // 2
    sex, view = "FM"[strata[pair] % 2], ("PA", "AP")[strata[pair] // 2]
    if label is None:
        label = int(first_is_positive[pair]) ^ (index % 2)
    age, anatomy = draw_anatomy(seed, index, sex)
    return PhantomPatient(
        index=int(index),
        seed=int(seed),
        patient_id=f"PHANTOM-{index + 1:04d}",
        sex=sex,
        age=age,
        view=view,
        label=label,
        nodule=draw_nodule(index, seed, anatomy, difficulty, side) if label else None,
        anatomy=anatomy,
        manufacturer=MANUFACTURERS[makers[pair]],
        contrast_agent=bool(agents[pair]),
    )


def draw_nodule(index: int, seed: int, anatomy: Anatomy, difficulty: float, side: str | None) -> Nodule:
    """Draw a lesion inside aerated lung.

    The same uniform draws serve every difficulty, so that diameter and contrast fall with it patient by
    patient.
    """
    stream = random_stream(seed, index, "nodule")
    size, density, shape, which = stream.uniform(size=4)
    smallest, largest = (float(np.interp(difficulty, (0, 0.5, 1), table)) for table in DIAMETERS_MM)
    faintest, densest = (float(np.interp(difficulty, (0, 0.5, 1), table)) for table in CONTRASTS)
    diameter = smallest + size * (largest - smallest)
    contrast = faintest + density * (densest - faintest)
    side = side or ("left" if which < 0.5 else "right")
    centre = place_in_lung(stream, anatomy, side, diameter / 2)
    x, z = turn(centre[0], centre[2], anatomy.tilt)
    return Nodule(
        centre_mm=(round(float(x), 2), round(centre[1], 2), round(float(z), 2)),
        diameter_mm=round(float(diameter), 2),
        side=side,
        contrast=round(float(contrast), 3),
        lobulation=0.04 if shape < 0.35 else 0.16,
        spicules=int(12 + 12 * shape) if shape > 0.6 else 0,
    )


def place_in_lung(
    stream: np.random.Generator, anatomy: Anatomy, side: str, radius: float
) -> tuple[float, float, float]:
    """A centre (mm, before the tilt) whose sphere lies in aerated lung, else the roomiest candidate."""
    sign = 1.0 if side == "left" else -1.0
    candidates = stream.uniform([8, -95, -130], [145, 110, 140], size=(4000, 3)) * anatomy.size
    candidates[:, 0] *= sign
    candidates = candidates[organs.inside_lung(anatomy, candidates.astype(np.float32))][:40]
    directions = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)], float)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1)
    probes = candidates[:, None] + directions * (radius + 3)
    room = organs.inside_lung(anatomy, probes.astype(np.float32)).sum(axis=1)
    best = candidates[int(np.argmax(room))]
    return float(best[0]), float(best[1]), float(best[2])


def require(name: str, got: object, valid: bool, expected: str) -> None:
    """Raise an InputError (a ValueError) that names the argument, what was got and what was expected."""
    if not valid:
        raise InputError(f"{name}: got {got!r}, expected {expected}")
