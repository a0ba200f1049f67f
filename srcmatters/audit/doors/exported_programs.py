"""torch.export files (.pt2), rewritten so that loading them runs no code but the program itself."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.onnx_files import contract_by_shape
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.errors import InputError, find_input_error, first_line
from srcmatters.exported_bundle.programs import rewritten
from srcmatters.files import sha256_of


def open_exported_program(
    path: Path, options: ContractOptions, trust: bool, device: torch.device | str
) -> Model:
    """A file of ``torch.export.save``.

    torch unpickles parts of such a file without restriction and evaluates its symbolic sizes as Python, so
    its parts are read safely here and written anew before torch sees them. What cannot be needs ``trust``.

    Raises:
        InputError: it cannot be loaded, holds code, or takes other than one input.
    """
    try:
        content = path.read_bytes() if trust else rewritten(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.export").setLevel(logging.ERROR)
            program = torch.export.load(io.BytesIO(content))
            network = program.module().to(device)
    except Exception as error:  # whatever a damaged file makes of it
        mistake = find_input_error(error)
        if mistake is not None:
            raise mistake from error
        raise InputError(f"{path}: no torch.export file that can be loaded ({first_line(error)})") from error
    read, limit = _input_of(path, program)
    model = TorchModel(
        path.name,
        settled_contract(options, read, str(path)),
        network,
        "torch.export",
        sha256_of(path),
        (),
        device,
    )
    model.batch_limit = limit
    model.dtype = next(
        (one.dtype for one in program.state_dict.values() if one.is_floating_point()), torch.float32
    )
    model.runs = f"the torch.export program of {path.name}"
    return model


def _input_of(path: Path, program: Any) -> tuple[dict[str, Any], int | None]:
    """What the program's signature tells of its input, and the number of images that it fixes."""
    names = set(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1:
        raise InputError(f"{path}: takes {len(inputs)} inputs, expected one: the images")
    shape = [length if isinstance(length, int) else None for length in inputs[0].meta["val"].shape]
    return contract_by_shape(shape), shape[0] if shape else None
