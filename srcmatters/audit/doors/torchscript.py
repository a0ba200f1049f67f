"""TorchScript files: programs of torch's own language, which cannot reach beyond tensors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.bundle_metadata import contract_by_metadata
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.torch_model import TorchModel, shape_by_weights
from srcmatters.errors import InputError, first_line
from srcmatters.files import sha256_of

_METADATA = "metadata.json"


def open_torchscript(
    path: Path,
    options: ContractOptions,
    device: torch.device | str,
    metadata: Mapping[str, Any] | None = None,
) -> Model:
    """A TorchScript file.

    Args:
        path: of the file.
        options: of the contract.
        device: where it runs.
        metadata: ``metadata.json`` of the bundle that it is in; None: the one that MONAI wrote into the file.

    Raises:
        InputError: it cannot be loaded, or takes other than one input.
    """
    extra: dict[str, Any] = {_METADATA: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and still what many have
            network = torch.jit.load(str(path), map_location=str(device), _extra_files=extra).eval()
    except Exception as error:  # whatever a damaged file makes of it
        raise InputError(f"{path}: no TorchScript that can be loaded ({first_line(error)})") from error
    _check_inputs(path, network)
    read = shape_by_weights(dict(network.state_dict()))
    classes: tuple[str, ...] = ()
    if metadata is None and extra[_METADATA]:
        metadata = _metadata(path, extra[_METADATA])
    if metadata is not None:
        told, classes = contract_by_metadata(metadata, str(path))
        read |= told
    contract = settled_contract(options, read, str(path))
    model = TorchModel(path.name, contract, network, "TorchScript", sha256_of(path), classes, device)
    model.runs = f"the TorchScript program of {path.name}"
    return model


def _metadata(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: its {_METADATA} is no JSON ({first_line(error)})") from error
    return content if isinstance(content, dict) else {}


def _check_inputs(path: Path, network: Any) -> None:
    if not hasattr(network, "forward"):
        raise InputError(f"{path}: has no method forward, expected a network")
    inputs = [one for one in network.forward.schema.arguments[1:] if not one.has_default_value()]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise InputError(f"{path}: takes {len(inputs)} inputs ({names}), expected one: the images")
