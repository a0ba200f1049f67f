"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from srcmatters.audit.contract import InputContract
from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.log_odds import head_of_log_odds
from srcmatters.audit.doors.model import Model, Raw
from srcmatters.audit.doors.onnx_head import OnnxHead, read_head
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
        device: where it runs.
    """

    kind = "ONNX"

    def __init__(
        self, path: Path, session: Any, contract: InputContract, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(path.name, contract, sha256_of(path))
        self.session = session
        self._path, self._device = path, torch.device(device)
        self._head: OnnxHead | None = None
        self._with_features: Any = None
        (image_input,) = session.get_inputs()
        self._input = image_input.name
        self._type = _TYPES[image_input.type]
        self._outputs = [one.name for one in session.get_outputs()]
        self.batch_limit = image_input.shape[0] if isinstance(image_input.shape[0], int) else None
        self.runs = f"the graph of {path.name} in ONNX Runtime"

    def forward(self, inputs: torch.Tensor) -> Raw:
        """See :class:`Model`; to whole numbers the values are rounded."""
        values = self._values(inputs)
        # A graph may compute several tensors; only what the contract asks for is run.
        names = self._outputs if self.contract.output_tensor is None else [self.contract.output_tensor]
        missing = [name for name in names if name not in self._outputs]
        if missing:
            raise InputError(
                f"{self.name}: returns no tensor {missing[0]!r}, expected one of: {', '.join(self._outputs)}"
            )
        returned = self.session.run(names, {self._input: values})
        return dict(zip(names, returned, strict=True))

    def features(self, inputs: torch.Tensor) -> np.ndarray | None:
        """(N, F) float32, what goes into the last layer, if that is linear."""
        if self._head is None:
            return None
        if self._with_features is None:
            self._with_features = _session(self._head.graph, self._device)
        session, name = self._with_features, self._head.features
        return self._in_passes(
            inputs,
            lambda batch: session.run([name], {self._input: self._values(batch)})[0].astype(np.float32),
        )

    def head(self) -> tuple[np.ndarray, np.ndarray] | None:
        """See :class:`Model`."""
        if self._head is None:
            return None
        kind = self._head.kind or self.contract.output_kind
        return head_of_log_odds(self._head.weight, self._head.bias, kind, self.contract.output)

    def keep_head_if_last(self, inputs: torch.Tensor) -> None:
        """Look for the last layer; forget it unless features and weights make the model's log-odds."""
        output = self.contract.output_tensor or (self._outputs[0] if len(self._outputs) == 1 else None)
        self._head = None if output is None else read_head(self._path, output)
        head = self.head()
        if head is None:
            self._head = None
            return
        features = self.features(inputs)
        assert features is not None
        made = features @ head[0].T + head[1] if features.shape[1:] == head[0].shape[1:] else None
        if made is None or not np.allclose(made, self.log_odds(inputs), atol=1e-3, rtol=1e-3):
            self._head = None

    def _values(self, inputs: torch.Tensor) -> np.ndarray:
        values = inputs.numpy()
        if self._type is np.uint8:
            values = np.clip(np.rint(values), 0, 255)
        return np.ascontiguousarray(values, dtype=self._type)


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
    return OnnxModel(path, session, settled_contract(options, read, str(path)), device)


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


def _session(source: Path | bytes, device: torch.device) -> Any:
    path = source if isinstance(source, Path) else "the graph with its features"
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"{path}: ONNX Runtime is not installed, expected {_EXTRA}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    available = onnxruntime.get_available_providers()
    preferred = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in (*preferred, "CPUExecutionProvider") if name in available]
    try:
        return onnxruntime.InferenceSession(
            str(source) if isinstance(source, Path) else source, options, providers=providers
        )
    except Exception as error:  # its exceptions share no class but this
        raise InputError(f"{path}: no ONNX file that can be loaded ({first_line(error)})") from error
