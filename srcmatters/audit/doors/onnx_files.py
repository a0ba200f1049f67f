"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from srcmatters.audit.contract import InputContract
from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.model import Model, Raw
from srcmatters.errors import InputError, first_line
from srcmatters.files import sha256_of

_EXTRA = 'pip install "srcmatters[export]"'
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class OnnxModel(Model):
    """A session of ONNX Runtime with one input.

    Args:
        path: of the file.
        session: opened.
        contract: see :class:`Model`.
    """

    kind = "ONNX"

    def __init__(self, path: Path, session: Any, contract: InputContract) -> None:
        super().__init__(path.name, contract, sha256_of(path))
        self.session = session
        (given,) = session.get_inputs()
        self._input = given.name
        self._type = _TYPES[given.type]
        self._outputs = [one.name for one in session.get_outputs()]
        self.batch_limit = given.shape[0] if isinstance(given.shape[0], int) else None
        self.runs = f"the graph of {path.name} in ONNX Runtime"

    def forward(self, inputs: torch.Tensor) -> Raw:
        """See :class:`Model`; to whole numbers the values are rounded."""
        values = inputs.numpy()
        if self._type is np.uint8:
            values = np.clip(np.rint(values), 0, 255)
        # A graph may compute several tensors; only what the contract asks for is run.
        names = self._outputs if self.contract.output_tensor is None else [self.contract.output_tensor]
        missing = [name for name in names if name not in self._outputs]
        if missing:
            raise InputError(
                f"{self.name}: returns no tensor {missing[0]!r}, expected one of: {', '.join(self._outputs)}"
            )
        returned = self.session.run(names, {self._input: np.ascontiguousarray(values, dtype=self._type)})
        return dict(zip(names, returned, strict=True))


def open_onnx(path: Path, options: ContractOptions, device: torch.device | str) -> Model:
    """An ONNX file; the shape that it declares of its input tells size, channels and layout.

    Raises:
        InputError: ONNX Runtime is missing or cannot load it, or it takes other than one input of numbers.
    """
    session = _session(path, torch.device(device))
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise InputError(f"{path}: takes {len(inputs)} inputs ({names}), expected one: the images")
    if inputs[0].type not in _TYPES:
        raise InputError(f"{path}: its input is {inputs[0].type}, expected one of: {', '.join(_TYPES)}")
    read = contract_by_shape([length if isinstance(length, int) else None for length in inputs[0].shape])
    if inputs[0].type == "tensor(uint8)":
        read["value_range"] = "0..255"
    return OnnxModel(path, session, settled_contract(options, read, str(path)))


def contract_by_shape(shape: list[int | None]) -> dict[str, Any]:
    """Size, channels and layout that the declared shape of an input tells.

    Args:
        shape: of a batch; None: any length.
    """
    if len(shape) not in (4, 5):
        return {}
    first, last = shape[1], shape[-1]
    read: dict[str, Any] = {"modality": "ct"} if len(shape) == 5 else {}
    if first in (1, 3):
        read |= {"layout": "channels_first", "channels": "grey" if first == 1 else "rgb"}
        lengths = shape[2:]
    elif last in (1, 3):
        read |= {"layout": "channels_last", "channels": "grey" if last == 1 else "rgb"}
        lengths = shape[1:-1]
    else:
        return read
    if all(length is not None for length in lengths):
        read["size"] = tuple(lengths)
    return read


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"{path}: ONNX Runtime is not installed, expected {_EXTRA}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    available = onnxruntime.get_available_providers()
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in (*wanted, "CPUExecutionProvider") if name in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its exceptions share no class but this
        raise InputError(f"{path}: no ONNX file that can be loaded ({first_line(error)})") from error
