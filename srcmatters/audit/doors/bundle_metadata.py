"""What ``metadata.json`` of a MONAI bundle says of the network's input and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srcmatters.errors import InputError

_CT = ("CT",)


def contract_by_metadata(metadata: Mapping[str, Any], origin: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields of a contract, and the names of the classes.

    What the metadata leaves open or leaves to a person ("*", expressions of a size) is left open here.

    Args:
        metadata: content of the file, data.
        origin: name of the bundle, for messages.

    Raises:
        InputError: the network takes several inputs, or is no classifier.
    """
    described = metadata.get("network_data_format")
    if not isinstance(described, Mapping):
        return {}, ()
    inputs, outputs = (described.get(name) or {} for name in ("inputs", "outputs"))
    if len(inputs) > 1:
        raise InputError(
            f"{origin}: takes {len(inputs)} inputs ({', '.join(inputs)}), expected one: the images"
        )
    read = _input(next(iter(inputs.values()))) if inputs else {}
    if len(outputs) != 1:
        return read, ()
    kind, classes = _output(next(iter(outputs.values())), origin)
    return {**read, **kind}, classes


def _input(image: Mapping[str, Any]) -> dict[str, Any]:
    shape = image.get("spatial_shape")
    read: dict[str, Any] = {"layout": "channels_first"}
    if isinstance(shape, list) and len(shape) in (2, 3) and all(isinstance(one, int) for one in shape):
        read["size"] = tuple(shape)
    if image.get("num_channels") in (1, 3):
        read["channels"] = "grey" if image["num_channels"] == 1 else "rgb"
    if image.get("modality") in _CT or len(read.get("size", ())) == 3:
        read["modality"] = "ct"
    values = image.get("value_range")
    if isinstance(values, list) and len(values) == 2 and all(isinstance(one, int | float) for one in values):
        read["value_range"] = "0..1" if values == [0, 1] else (float(values[0]), float(values[1]))
    return read


def _output(prediction: Mapping[str, Any], origin: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    if prediction.get("format") not in (None, "classes", "probabilities", "logits"):
        raise InputError(
            f"{origin}: its output is {prediction.get('format')}, expected classes: no classifier"
        )
    channels = prediction.get("channel_def")
    named = channels if isinstance(channels, Mapping) else {}
    count = prediction.get("num_channels", len(named))
    classes = tuple(str(named[str(at)]) for at in range(len(named)) if str(at) in named)
    kind = {"logits": "logits" if count and count > 1 else "logit"}.get(str(prediction.get("type")))
    read: dict[str, Any] = {} if kind is None else {"output_kind": kind}
    if kind == "logits" and count == 2:
        read["output"] = (1,)
    return read, classes if len(classes) == count else ()
