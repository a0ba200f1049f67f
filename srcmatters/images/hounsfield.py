"""Whether values are HU: what a DICOM header says of its rescale, and what the values give away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

from srcmatters.errors import InputError

GREY = 255.0
_STANDARDISED = 20.0  # no z-score, and no HU / 1000, is further from 0
# Read by who trains and declares a unit, and by who got a trained network that has one.
_INSTEAD = "8-bit grey values need `unit: display`"
# Extended scales (metal) end at 30,710 HU, signed 16 bits here.
_HIGHEST = 32767.0
_UNSPECIFIED = "US"  # not said, which does not contradict HU


def what_speaks_against_hu(slope: Sequence[float], intercept: Sequence[float], rescale_type: str) -> str:
    """Why rescaled pixels are no HU: the field, what was got and what was expected; empty if nothing does.

    Args:
        slope: RescaleSlope, of the frame or the file; empty if it is missing.
        intercept: RescaleIntercept, likewise.
        rescale_type: RescaleType, likewise; empty where the header does not say, as plain CT need not.
    """
    for field, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if not value:
            return f"{field} is missing, expected a number that leads to HU; {_INSTEAD}"
    if slope[0] == 0:
        return "RescaleSlope is 0, expected another number, which leads to HU"
    if rescale_type.upper() not in ("", "HU", _UNSPECIFIED):
        return f"RescaleType is {rescale_type}, expected HU or nothing"
    return ""


def what_speaks_for_hu(intercept: float, rescale_type: str) -> str:
    """Why rescaled pixels of more than 8 bits are HU, whatever their range; empty if it is left open.

    A slice of soft tissue alone lies between 0 and 255 HU, too, and grey values need no intercept.

    Args:
        intercept: RescaleIntercept.
        rescale_type: RescaleType, empty where it is missing.
    """
    if rescale_type.upper() == "HU":
        return "RescaleType is HU"
    return f"RescaleIntercept is {intercept:g}, which leads to HU" if intercept else ""


def warn_if_unspecified(name: str, rescale_type: str) -> None:
    """Say so where a header rescales but leaves open to what."""
    if rescale_type.upper() == _UNSPECIFIED:
        warnings.warn(f"{name}: RescaleType is US (unspecified), taken for HU", stacklevel=3)


def check_range(path: Path, low: float, high: float, whole: bool, unit: str) -> None:
    """Hold the values of a file that does not say what they are against the unit that is declared.

    Args:
        path: named in the message.
        low: lowest value.
        high: highest value.
        whole: all values are whole numbers.
        unit: "HU" or "display".

    Raises:
        InputError: NaN or infinite; 8-bit whole numbers or fractions from 0 to 1 as HU; HU as grey values.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{path}: it holds NaN or infinite values, expected finite ones")
    grey = low >= 0 and high <= GREY
    if unit != "HU" and not grey:
        raise InputError(
            f"{path}: values from {low:g} to {high:g}, expected 8-bit grey values; HU need `unit: HU`"
        )
    if unit != "HU":
        return
    if grey and whole:
        raise InputError(f"{path}: whole numbers from {low:g} to {high:g}, expected HU; {_INSTEAD}")
    if grey and high <= 1:
        raise InputError(
            f"{path}: fractions from {low:g} to {high:g}, expected HU; grey values need `unit: display`"
        )


def check_highest(path: Path, high: float) -> None:
    """Refuse what is brighter than any CT: padding of 65535 that no header declares.

    Args:
        path: named in the message.
        high: highest value in HU.

    Raises:
        InputError: it is above 32,767 HU.
    """
    if high > _HIGHEST:
        raise InputError(
            f"{path}: values up to {high:g}, expected HU of {_HIGHEST:g} at most; padding is declared by"
            " PixelPaddingValue"
        )


def check_hounsfield(path: Path, low: float, high: float) -> None:
    """Refuse values that cannot be HU of a body, from a file that does not say what they are.

    A field of view has air, fat or at least noise below 0 HU, and bone or contrast far above 20.

    Args:
        path: named in the message.
        low: lowest value, padding included.
        high: highest value.

    Raises:
        InputError: the range is that of standardised values, of HU / 1000, or of HU + 1024.
    """
    if max(-low, high) <= _STANDARDISED:
        raise InputError(
            f"{path}: values from {low:g} to {high:g}, expected HU; these look standardised (z-scores) or"
            " divided by 1000"
        )
    if low >= 0 and high > GREY:
        raise InputError(
            f"{path}: values from {low:g} to {high:g} and none below 0, expected HU; these look stored with"
            " an offset (HU + 1024): subtract it"
        )
