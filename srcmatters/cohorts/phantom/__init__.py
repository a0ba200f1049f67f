"""Phantom chest cohort: a procedural adult chest, its radiographs and its CT, from a seed.

No patient stands behind any image. Positives carry a lung nodule or mass and differ from their own
counterfactual (``patient.without_nodule()``) only there, so that whatever else predicts the label was put in
by a confounder.
"""

from srcmatters.cohorts.phantom.cohort import write_phantom_cohort
from srcmatters.cohorts.phantom.computed_tomography import ct_volume, voxel_axes
from srcmatters.cohorts.phantom.lidc import write_phantom_lidc
from srcmatters.cohorts.phantom.patient import Nodule, PhantomPatient, draw_patient
from srcmatters.cohorts.phantom.radiography import detector_field, line_integral, radiograph

__all__ = [
    "Nodule",
    "PhantomPatient",
    "ct_volume",
    "detector_field",
    "draw_patient",
    "line_integral",
    "radiograph",
    "voxel_axes",
    "write_phantom_cohort",
    "write_phantom_lidc",
]
