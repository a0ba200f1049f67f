"""A confounder at a third, once and three times its default strength, each in its own unit."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from srcmatters.confounders import Confounder, create_confounder
from srcmatters.errors import InputError

#: What the strength of a confounder is multiplied with; 1 is the strength that the verdict is about.
DOSES: tuple[float, ...] = (1 / 3, 1.0, 3.0)
_MOST_LETTERBOX, _MOST_COLLIMATION = 0.8, 0.45

Parameters = dict[str, Any]
_Rule = Callable[[Parameters, float], Parameters]


@dataclass(frozen=True)
class Dosed:
    """A confounder at one strength.

    Args:
        name: of the confounder.
        dose: factor on its default strength.
        confounder: the transform.
        parameters: what differs from the default strength.
    """

    name: str
    dose: float
    confounder: Confounder
    parameters: Parameters

    @property
    def description(self) -> str:
        """The parameters that make the dose: "height_mm 80.6"."""
        return ", ".join(f"{name} {_number(value)}" for name, value in self.parameters.items())

    @property
    def arguments(self) -> Parameters:
        """Every argument that the transform was made with."""
        return _known(self.confounder)


def _times(*names: str) -> _Rule:
    """Sizes, contrasts and amplitudes are the strength themselves."""
    return lambda known, factor: {name: known[name] * factor for name in names}


def _counted(*names: str) -> _Rule:
    return lambda known, factor: {name: max(round(known[name] * factor), 1) for name in names}


def _away_from(**neutral: float) -> _Rule:
    """The strength is the distance from the value that changes nothing."""
    return lambda known, factor: {
        name: value + (known[name] - value) * factor for name, value in neutral.items()
    }


def _added_noise(known: Parameters, factor: float) -> Parameters:
    """Of a dose factor a the added standard deviation is in proportion to sqrt(1 / a - 1)."""
    return {"dose_factor": 1 / (1 + factor**2 * (1 / known["dose_factor"] - 1))}


def _blur_width(known: Parameters, factor: float) -> Parameters:
    """The width of a low-pass filter is the inverse of its cut-off frequency."""
    name = "cutoff_lp_per_mm" if known.get("cutoff") is None else "cutoff"
    return {name: known[name] / factor}


def _quantisation(known: Parameters, factor: float) -> Parameters:
    """libjpeg's scale of the quantisation tables: 5000 / q below quality 50, 200 - 2 q from there on."""
    quality = known["quality"]
    scale = factor * (5000 / quality if quality < 50 else 200 - 2 * quality)
    return {"quality": round(5000 / scale if scale > 100 else (200 - scale) / 2)}


def _portable(known: Parameters, factor: float) -> Parameters:
    return {**_times("strength")(known, factor), **_added_noise(known, factor)}


_RULES: Mapping[str, _Rule] = {
    "tag": lambda known, factor: _times("height_mm" if known["height"] is None else "height")(known, factor),
    "lead_marker": _times("height_mm"),
    "calipers": _times("arm_mm"),
    "picture": _times("width_mm"),
    "tube": _times("opacity"),
    "pacemaker": _times("opacity"),
    "central_line": _times("opacity"),
    "sternotomy": _times("opacity"),
    "surgical_clips": _times("opacity"),
    "collimation": lambda known, factor: {"margin": min(known["margin"] * factor, _MOST_COLLIMATION)},
    "letterbox": lambda known, factor: {
        name: min(known[name] * factor, _MOST_LETTERBOX) for name in ("rows", "columns") if known[name]
    },
    "noise": _added_noise,
    "grid_lines": _times("modulation"),
    "dead_pixels": _counted("clusters"),
    "low_dose_ct": _added_noise,
    "contrast_agent": _times("vessels_hu", "tissue_hu"),
    "metal": _times("diameter_mm"),
    "rings": _times("gain"),
    "truncated_field": _away_from(share=1.0),
    "motion": _times("length_mm"),
    "exposure": _away_from(centre=0.5, width=1.0),
    "site_look": _times("strength"),
    "portable": _portable,
    "denoise": _blur_width,
    "nonlocal_means": _times("strength"),
    "vendor_processing": _away_from(unsharp=0.0, power=1.0),
    "jpeg": _quantisation,
    "pixelation": _times("cell_mm"),
    "slice_thickness": _times("thickness_mm"),
}


def dosed(name: str, dose: float = 1.0, args: Mapping[str, Any] | None = None, seed: int = 0) -> Dosed:
    """A confounder at a multiple of the strength that ``args`` (or its defaults) give it.

    Args:
        name: of :func:`srcmatters.confounders.known_confounders`.
        dose: factor, above 0: of the size of a letter, the contrast of a device, the standard deviation of
            the added noise, the width of a blur, the distance of a tone curve from none.
        args: arguments of the confounder.
        seed: of the streams of the cases, the same at every dose.

    Raises:
        InputError: the confounder has no strength to multiply, or not this one; see also
            :func:`srcmatters.confounders.create_confounder`.
    """
    args = dict(args or {})
    confounder = create_confounder(name, seed=seed, **args)
    if confounder is None:
        raise InputError("confounder: got none, expected the name of one")
    if dose == 1.0:
        return Dosed(name, 1.0, confounder, {})
    if not dose > 0:
        raise InputError(f"dose: got {dose!r}, expected a factor above 0")
    if name not in _RULES:
        raise InputError(f"dose: {name} is there or not and has no strength to multiply")
    if name == "exposure" and args.get("function", "linear") != "linear":
        raise InputError("dose: exposure has a strength with the linear function only")
    changed = _RULES[name](_known(confounder), dose)
    stronger = create_confounder(name, seed=seed, **{**args, **changed})
    assert stronger is not None
    return Dosed(name, dose, stronger, changed)


def available_doses(
    name: str, args: Mapping[str, Any] | None = None, seed: int = 0
) -> tuple[list[Dosed], dict[float, str]]:
    """The confounder at each of :data:`DOSES`, and why it does not exist at the others."""
    present, missing = [], {}
    for dose in DOSES:
        try:
            present.append(dosed(name, dose, args, seed))
        except InputError as error:
            if dose == 1.0:
                raise
            missing[dose] = str(error)
    return present, missing


def _known(confounder: Confounder) -> Parameters:
    """The arguments that an instance was made with; each is kept under its own name."""
    accepted = set(inspect.signature(type(confounder)).parameters) - {"seed"}
    return {name: getattr(confounder, name) for name in accepted if hasattr(confounder, name)}


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
