"""The input that somebody's weights expect, as their owner declares it: a file does not say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.normalisation import CHANNEL_ORDERS, IMAGENET_MEAN, IMAGENET_STD, read_normalisation

#: Inputs that many weights expect: (mean, std) of images in [0, 1], per channel or for all.
INPUTS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),  # torchvision
    "0..1": ((0.0,), (1.0,)),
    "-1..1": ((0.5,), (0.5,)),  # x / 127.5 - 1: TensorFlow's, Inception's, RadImageNet's PyTorch files
    "0..255": ((0.0,), (1 / 255,)),  # Caffe's, without a mean
    "-1024..1024": ((0.5,), (1 / 2048,)),  # torchxrayvision
}


def declared_input(
    preset: str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    value_range: tuple[float, float] = (0.0, 1.0),
    order: str = "RGB",
) -> dict[str, Any] | None:
    """The fields of a normalisation, of images in [0, 1].

    Args:
        preset: one of :data:`INPUTS`; None: by the numbers.
        mean: per channel in ``order``, or one for all, in units of ``value_range``.
        std: likewise.
        value_range: grey values that are black and white for ``mean`` and ``std``: 0, 255.
        order: "RGB", "BGR" or "grey".

    Returns:
        None where nothing was declared.

    Raises:
        InputError: an unknown preset or order, a preset and numbers, one of mean and std, an empty range, a
            wrong number of channels.
    """
    if order not in CHANNEL_ORDERS:
        raise InputError(f"order: {order!r} is unknown{did_you_mean(order, CHANNEL_ORDERS)}")
    if preset is None and not mean and not std:
        return None
    if preset is not None and (mean or std):
        raise InputError(f"input: got {preset!r} and mean or std, expected the one or the others")
    low, high = value_range
    if not high > low:
        raise InputError(f"range: got {low:g} {high:g}, expected black and a greater white")
    if preset is not None:
        mean, std = _preset(preset, order)
        low, high = 0.0, 1.0
    if not mean or not std:
        raise InputError(f"{'std' if mean else 'mean'}: missing, expected mean and std together")
    channels = CHANNEL_ORDERS[order]
    per_channel = [list(values) * channels if len(values) == 1 else list(values) for values in (mean, std)]
    fields = {
        "kind": "fixed",
        "channel_order": order,
        "mean": [(value - low) / (high - low) for value in per_channel[0]],
        "std": [value / (high - low) for value in per_channel[1]],
    }
    read_normalisation(fields, "the declared input")
    return fields


def _preset(preset: str, order: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by name, in the order of the channels."""
    if preset not in INPUTS:
        raise InputError(f"input: {preset!r} is unknown{did_you_mean(preset, INPUTS)}")
    mean, std = INPUTS[preset]
    if order == "grey" and len(mean) == 3:
        raise InputError(f"input: {preset} has three channels, expected order RGB or BGR")
    return (mean[::-1], std[::-1]) if order == "BGR" else (mean, std)
