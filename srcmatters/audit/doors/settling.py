"""A first pass: does the model run at all, and which of its outputs is the finding?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from srcmatters.audit.contract import CHANNELS, LAYOUTS, InputContract
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors.log_odds import log_odds_of, probable_kind
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.steadiness import steadiness_notes
from srcmatters.errors import InputError, did_you_mean

_NATIVE_SIDE = 256  # of the images of the first pass where the model takes any size


def settle_outputs(model: Model, options: ContractOptions) -> None:
    """Run the model on a few synthetic images, and complete its contract with what it returns.

    Raises:
        InputError: it fails, or its outputs leave open which is the finding; says what to declare.
    """
    tensors, indices = _split(options.outputs)
    if tensors:
        model.contract = replace(model.contract, output_tensor=tensors[0])
    values = _first_pass(model)
    contract = model.contract
    kind, origin = _kind(model, values)
    output = tuple(_index(index, model, values.shape[1]) for index in indices)
    output_origin = "declared" if output else contract.origin.get("output", "assumed")
    if not output:
        output = contract.output if output_origin == "read" else _assumed_output(model, values.shape[1])
    origins = {**contract.origin, "output": output_origin, "output_kind": origin}
    if contract.output_tensor is not None:
        origins["output_tensor"] = "declared"
    model.contract = replace(contract, output=output, output_kind=kind, origin=origins)
    model.outputs = options.findings or tuple(_named(model, index) for index in output)
    log_odds_of(values, output, kind, model.name)
    images = synthetic_inputs(model.contract)
    model.keep_head_if_last(images)
    model.notes = (*model.notes, *steadiness_notes(model, images, values))


def _first_pass(model: Model) -> np.ndarray:
    images = synthetic_inputs(model.contract)
    try:
        return model.returned(images)
    except InputError as error:
        ways = list(_running_alternatives(model))
        if not ways:
            raise
        raise InputError(f"{error}; it runs with {' or with '.join(ways)}") from error


def _running_alternatives(model: Model) -> Iterator[str]:
    """Options of channels and layout under which a model that failed would run."""
    declared = model.contract
    for layout in LAYOUTS:
        for channels in CHANNELS[:2]:
            other = replace(declared, layout=layout, channels=channels)
            if (
                other == declared
                or declared.origin.get("channels") == declared.origin.get("layout") == "read"
            ):
                continue
            try:
                model.returned(synthetic_inputs(other))
            except InputError:
                continue
            yield f"--channels {channels} --layout {layout.replace('_', '-')}"


def synthetic_inputs(contract: InputContract, count: int = 4) -> torch.Tensor:
    """Smooth noise, each image another, in the form of a contract; the same at every call.

    Returns:
        (count, ...) float32.
    """
    size = contract.size or (_NATIVE_SIDE, _NATIVE_SIDE)
    stream = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, 1, *(4 for _ in size)), generator=stream)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    images = torch.nn.functional.interpolate(coarse, size=list(size), mode=mode)
    plain = InputContract(
        size=size[:2] if len(size) == 3 else size,
        channels=contract.channels,
        layout=contract.layout,
        value_range="0..1" if contract.value_range == "hu" else contract.value_range,
    )
    if len(size) == 2:
        return torch.stack([plain.model_input(image) for image in images])
    return torch.stack(
        [
            replace(contract, window=None, value_range="0..1", patch_mm=None, size=size).model_input(image)
            for image in images
        ]
    )


def _split(outputs: tuple[str | int, ...]) -> tuple[list[str], list[str]]:
    """Tensors that outputs name, and the rest of each."""
    tensors, indices = [], []
    for output in map(str, outputs):
        tensor, colon, index = output.rpartition(":")
        if colon:
            tensors.append(tensor)
            indices.append(index)
        else:
            indices.append(output)
    if len(set(tensors)) > 1 or (tensors and len(tensors) < len(outputs)):
        raise InputError(f"output: got {', '.join(map(str, outputs))}, expected outputs of one tensor")
    return tensors, indices


def _index(output: str, model: Model, count: int) -> int:
    if output.lstrip("-").isdigit():
        index = int(output)
        if not 0 <= index < count:
            raise InputError(
                f"{model.name}: output {index} does not exist: the model returns {count} values an image, 0"
                f" to {count - 1}"
            )
        return index
    if output in model.classes:
        return model.classes.index(output)
    if not model.classes:
        raise InputError(
            f"{model.name}: output {output!r}: its file names no classes, expected an index, 0 to {count - 1}"
        )
    raise InputError(f"{model.name}: output {output!r} is unknown{did_you_mean(output, model.classes)}")


def _kind(model: Model, values: np.ndarray) -> tuple[str, str]:
    told = model.contract.origin.get("output_kind", "assumed")
    if told in ("declared", "read"):
        return model.contract.output_kind, told
    kind = probable_kind(values)
    if kind is None:
        raise InputError(
            f"{model.name}: returns {values.shape[1]} values per image whose meaning cannot be determined,"
            " expected --output-kind logits (exclusive classes), logit or probability"
            " (findings by themselves), and --output"
        )
    return kind, "assumed"


def _assumed_output(model: Model, count: int) -> tuple[int, ...]:
    if count > 2 or (count == 2 and model.contract.output_kind == "probability"):
        named = f" ({', '.join(model.classes)})" if model.classes else ""
        raise InputError(
            f"{model.name}: returns {count} values an image{named}, expected --output to say which"
            " is the finding"
        )
    return (count - 1,)


def _named(model: Model, index: int) -> str:
    if index < len(model.classes):
        return model.classes[index]
    return "finding" if len(model.contract.output) == 1 else f"output {index}"
