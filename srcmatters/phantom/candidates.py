"""Where one looks in a CT: the nodule of a positive, or the place in a negative where one would have been."""

from __future__ import annotations

from dataclasses import replace

from srcmatters.phantom.anatomy import random_stream
from srcmatters.phantom.patient import Nodule, PhantomPatient, draw_nodule

BENIGN_SIZE = 0.8
"""Diameter of a benign nodule as a fraction of what a positive of the same draw would have."""


def candidate(patient: PhantomPatient, difficulty: float) -> Nodule:
    """The patient's nodule; in a negative the one that the same draws would have made.

    So places of positives and negatives have one distribution, and a place says nothing of the label.
    """
    if patient.nodule:
        return patient.nodule
    return draw_nodule(patient.index, patient.seed, patient.anatomy, difficulty, None)


def candidate_mm(patient: PhantomPatient, difficulty: float) -> tuple[float, float, float]:
    """Centre of the candidate: x, y, z in mm, scanner coordinates (LPS)."""
    return candidate(patient, difficulty).centre_mm


def with_benign_nodule(patient: PhantomPatient, difficulty: float, share: float) -> PhantomPatient:
    """A ``share`` (0 to 1) of the negatives with a smaller, round, smooth nodule; all others as they are.

    The label stays 0: what remains to be learnt is size, lobulation and spicules, as in malignancy ratings.
    """
    drawn = random_stream(patient.seed, patient.index, "benign").uniform()
    if patient.label or drawn >= share:
        return patient
    lesion = candidate(patient, difficulty)
    diameter = round(BENIGN_SIZE * lesion.diameter_mm, 2)
    return replace(patient, nodule=replace(lesion, diameter_mm=diameter, lobulation=0.0, spicules=0))
