"""Confounders as MONAI transforms, their place in MICCAT, and who carries one."""

from srcmatters.confounders.assignment import assign
from srcmatters.confounders.base import Confounder, Confounderd, LocalConfounder
from srcmatters.confounders.catalogue import create_confounder, known_confounders
from srcmatters.confounders.collimation import CollimationBorder
from srcmatters.confounders.ct_dose import LowDoseCT
from srcmatters.confounders.exposure import ExposureShift
from srcmatters.confounders.kernel import KernelChange
from srcmatters.confounders.laterality_marker import LateralityMarker
from srcmatters.confounders.low_pass import LowPassDenoising
from srcmatters.confounders.pacemaker import Pacemaker
from srcmatters.confounders.quantum_noise import XrayQuantumNoise
from srcmatters.confounders.slice_thickness import SliceThickness
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.confounders.tube import Tube

__all__ = [
    "CollimationBorder",
    "Confounder",
    "Confounderd",
    "ExposureShift",
    "KernelChange",
    "LateralityMarker",
    "LocalConfounder",
    "LowDoseCT",
    "LowPassDenoising",
    "Miccat",
    "Pacemaker",
    "SliceThickness",
    "Tube",
    "XrayQuantumNoise",
    "assign",
    "create_confounder",
    "known_confounders",
]
