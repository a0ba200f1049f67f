"""Confounders by the name that a study uses."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Literal, get_args

from srcmatters.confounders.base import Confounder
from srcmatters.confounders.collimation import CollimationBorder
from srcmatters.confounders.ct_dose import LowDoseCT
from srcmatters.confounders.exposure import ExposureShift
from srcmatters.confounders.kernel import KernelChange
from srcmatters.confounders.laterality_marker import LateralityMarker
from srcmatters.confounders.low_pass import LowPassDenoising
from srcmatters.confounders.pacemaker import Pacemaker
from srcmatters.confounders.quantum_noise import XrayQuantumNoise
from srcmatters.confounders.slice_thickness import SliceThickness
from srcmatters.confounders.tube import Tube
from srcmatters.errors import InputError, did_you_mean

Protocol = Literal["corrected", "paper"]

#: Columns of a case table that say who and what a case is, and cannot be sampled.
_STRUCTURE = ("case_id", "patient_id", "image", "label", "true_label", "split")

_CLASSES: tuple[type[Confounder], ...] = (
    LateralityMarker,
    Tube,
    Pacemaker,
    CollimationBorder,
    XrayQuantumNoise,
    LowDoseCT,
    ExposureShift,
    LowPassDenoising,
    KernelChange,
    SliceThickness,
)


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
        parameters: arguments of the confounder's class; they win over those of the protocol.

    Raises:
        InputError: unknown name, protocol or parameter, with the nearest known one.
    """
    if protocol not in get_args(Protocol):
        raise InputError(
            f"protocol: {protocol!r} is unknown{did_you_mean(str(protocol), get_args(Protocol))}"
        )
    if name == "none":
        return None
    classes = known_confounders()
    if name not in classes:
        raise InputError(f"confounder: {name!r} is unknown{did_you_mean(name, [*classes, 'none'])}")
    cls = classes[name]
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


def sampled_column(confounder: str, columns: Iterable[object]) -> str | None:
    """The column of a case table that a study samples instead of changing images; None if it changes images.

    Args:
        confounder: a name of :func:`known_confounders`, which wins, "none", or a column.
        columns: of the case table.

    Raises:
        InputError: it is none of these.
    """
    names = [*known_confounders(), "none"]
    if confounder in names:
        return None
    sampled = [str(column) for column in columns if column not in _STRUCTURE]
    if confounder not in sampled:
        raise InputError(
            f"confounder: {confounder!r} is unknown{did_you_mean(confounder, [*names, *sampled])}"
        )
    return confounder
