"""Ranges of grey values that classifiers expect, by the name under which a contract declares them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from srcmatters.errors import InputError, did_you_mean

#: A name of :data:`NAMED_RANGES`, or what 0 and 1 become.
ValueRange = str | tuple[float, float]

# RGB of ImageNet; of grey images the middle of three would do, but networks were trained with these.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EDGES: dict[str, tuple[float, float]] = {
    "0..1": (0.0, 1.0),
    "0..255": (0.0, 255.0),
    "-1..1": (-1.0, 1.0),
    "-1024..1024": (-1024.0, 1024.0),
}
#: "imagenet": mean and standard deviation of ImageNet are taken off [0, 1]; "hu": CT in HU, without a window.
NAMED_RANGES = (*_EDGES, "imagenet", "hu")


def check_range(value_range: ValueRange | Sequence[float]) -> ValueRange:
    """A range as contracts hold it.

    Args:
        value_range: a name, "LOW..HIGH" with any two numbers, or (low, high).

    Raises:
        InputError: neither a name nor two different finite numbers.
    """
    if isinstance(value_range, str):
        if value_range in NAMED_RANGES:
            return value_range
        numbers: Sequence[object] = value_range.split("..")
    else:
        numbers = list(value_range)
    try:
        low, high = (float(number) for number in numbers)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low != high):
        hint = did_you_mean(str(value_range), NAMED_RANGES)
        raise InputError(f"value range: got {value_range!r}, expected a name or LOW..HIGH{hint}")
    named = [name for name, edges in _EDGES.items() if edges == (low, high)]
    return named[0] if named else (low, high)


def range_text(value_range: ValueRange) -> str:
    """The range as an option of the command line takes it."""
    return value_range if isinstance(value_range, str) else f"{value_range[0]:g}..{value_range[1]:g}"


def scale_display(image: torch.Tensor, value_range: ValueRange, channels: str) -> torch.Tensor:
    """Bring display values to a range.

    Args:
        image: (C, ...) in [0, 1]; C = 1 for ``channels`` "grey", otherwise 3.
        value_range: see :func:`check_range`; "hu" leaves the values as they are.
        channels: "grey", "rgb" or "bgr": which channel ImageNet's mean and deviation belong to. A grey input
            takes the mean of the three.
    """
    if value_range in ("0..1", "hu"):
        return image
    if value_range == "imagenet":
        mean, spread = _CHANNELS[channels](_MEAN), _CHANNELS[channels](_SPREAD)
        shape = (len(mean), *(1,) * (image.ndim - 1))
        return (image - image.new_tensor(mean).view(shape)) / image.new_tensor(spread).view(shape)
    if value_range == "-1..1":
        return image * 255 / 127.5 - 1
    low, high = _EDGES[value_range] if isinstance(value_range, str) else value_range
    return image * (high - low) + low


_CHANNELS: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "grey": lambda values: [sum(values) / len(values)],
    "rgb": list,
    "bgr": lambda values: list(reversed(values)),
}
