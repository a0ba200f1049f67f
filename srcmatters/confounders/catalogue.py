"""Confounders by the name that a study uses."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args

from srcmatters.confounders.base import Confounder
from srcmatters.confounders.calipers import CaliperCrosses
from srcmatters.confounders.central_line import CentralLine
from srcmatters.confounders.collimation import CollimationBorder
from srcmatters.confounders.composition import Composition
from srcmatters.confounders.contrast_agent import ContrastAgent
from srcmatters.confounders.ct_dose import LowDoseCT
from srcmatters.confounders.ct_dose_lodopab import LoDoPaB
from srcmatters.confounders.dead_pixels import DeadPixels
from srcmatters.confounders.exposure import ExposureShift
from srcmatters.confounders.grid_lines import GridLines
from srcmatters.confounders.jpeg import JpegCompression
from srcmatters.confounders.kernel import KernelChange
from srcmatters.confounders.laterality_marker import LateralityMarker
from srcmatters.confounders.lead_marker import LeadMarker
from srcmatters.confounders.letterbox import Letterbox
from srcmatters.confounders.low_pass import LowPassDenoising
from srcmatters.confounders.metal import MetalArtefact
from srcmatters.confounders.motion import PatientMotion
from srcmatters.confounders.nonlocal_means import NonLocalMeans
from srcmatters.confounders.own_picture import OwnPicture
from srcmatters.confounders.pacemaker import Pacemaker
from srcmatters.confounders.pair_names import is_pair
from srcmatters.confounders.pixelation import Pixelation
from srcmatters.confounders.portable_look import PortableLook
from srcmatters.confounders.quantum_noise import XrayQuantumNoise
from srcmatters.confounders.ring_artefact import RingArtefact
from srcmatters.confounders.site_look import SiteLook
from srcmatters.confounders.slice_thickness import SliceThickness
from srcmatters.confounders.sternotomy import Sternotomy
from srcmatters.confounders.surgical_clips import SurgicalClips
from srcmatters.confounders.truncated_field import TruncatedField
from srcmatters.confounders.tube import Tube
from srcmatters.confounders.vendor_processing import VendorProcessing
from srcmatters.errors import InputError, did_you_mean

Protocol = Literal["corrected", "paper"]

_CLASSES: tuple[type[Confounder], ...] = (
    LateralityMarker,
    LeadMarker,
    CaliperCrosses,
    OwnPicture,
    Tube,
    Pacemaker,
    CentralLine,
    Sternotomy,
    SurgicalClips,
    CollimationBorder,
    Letterbox,
    XrayQuantumNoise,
    GridLines,
    DeadPixels,
    LowDoseCT,
    ContrastAgent,
    MetalArtefact,
    RingArtefact,
    TruncatedField,
    PatientMotion,
    ExposureShift,
    SiteLook,
    PortableLook,
    LowPassDenoising,
    NonLocalMeans,
    VendorProcessing,
    JpegCompression,
    Pixelation,
    KernelChange,
    SliceThickness,
    Composition,
)

#: Where the publication is another simulation altogether.
_PAPER_CLASSES: dict[str, type[Confounder]] = {"low_dose_ct": LoDoPaB}


def known_confounders() -> dict[str, type[Confounder]]:
    """Every confounder that changes the image, by name."""
    return {cls.name: cls for cls in _CLASSES}


def create_confounder(
    name: str, protocol: Protocol = "corrected", seed: int = 0, **parameters: Any
) -> Confounder | None:
    """The confounder that a study names.

    Args:
        name: one of :func:`known_confounders`, or "none".
        protocol: "paper" sets the published parameters and quirks where they differ from the corrected ones.
        seed: seed of the per-case streams.
        parameters: arguments of the confounder's class; they win over those of the protocol. ``preset`` sets
            a strength by name: "plausible" (from one department to the next) or "stress" (nobody would report
            such an image); other arguments win over it.

    Raises:
        InputError: unknown name, protocol, preset or parameter, with the nearest known one.
    """
    if protocol not in get_args(Protocol):
        raise InputError(
            f"protocol: {protocol!r} is unknown{did_you_mean(str(protocol), get_args(Protocol))}"
        )
    if name == "none":
        return None
    classes = known_confounders()
    if is_pair(name):
        raise InputError(
            f"confounder: {name} is a pair, which only training runs and studies take, expected one of them"
        )
    if name not in classes:
        raise InputError(f"confounder: {name!r} is unknown{did_you_mean(name, [*classes, 'none'])}")
    cls = _PAPER_CLASSES.get(name, classes[name]) if protocol == "paper" else classes[name]
    if "preset" in parameters:
        parameters = {**_preset(cls, parameters["preset"]), **parameters}
        del parameters["preset"]
    accepted = set(inspect.signature(cls).parameters) - {"seed"}
    for parameter in parameters:
        if parameter not in accepted:
            hint = did_you_mean(parameter, sorted(accepted))
            raise InputError(f"confounder_args: {name} has no parameter {parameter!r}{hint}")
    if protocol == "paper":
        parameters = {**cls.paper_parameters, **parameters}
    try:
        return cls(seed=seed, **parameters)
    except (TypeError, AttributeError) as error:
        raise InputError(f"confounder_args: {parameters} do not suit {name} ({error})") from error


def _preset(cls: type[Confounder], preset: object) -> dict[str, Any]:
    """The parameters of a preset."""
    if preset not in cls.presets:
        hint = did_you_mean(str(preset), cls.presets) if cls.presets else f": {cls.name} has none"
        raise InputError(f"confounder_args: preset {preset!r} is unknown{hint}")
    return cls.presets[str(preset)]
