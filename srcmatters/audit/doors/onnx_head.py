"""The last layer of an ONNX graph: its weights, and the tensor that goes into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: What may stand between the last layer and the output, and what kind of output the layer then has.
_BEHIND = {"Identity": None, "Sigmoid": "logit", "Softmax": "logits"}


@dataclass(frozen=True)
class OnnxHead:
    """A last layer, and the graph with one more output.

    Args:
        graph: serialised; its weights are inside.
        features: name of the tensor (N, F) that goes into the layer.
        weight: (K, F) float64.
        bias: (K,) float64.
        kind: "logit" or "logits" where an activation follows, None: what the contract says of the output.
    """

    graph: bytes
    features: str
    weight: np.ndarray
    bias: np.ndarray
    kind: str | None


def read_head(path: Path, output: str) -> OnnxHead | None:
    """The linear layer that makes an output; None where it is another layer, or onnx is not installed.

    Args:
        path: ONNX file, which ONNX Runtime has loaded already.
        output: name of the graph's output.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        return None
    model = onnx.load(str(path))
    made_by = {name: node for node in model.graph.node for name in node.output}
    constants = {one.name: one for one in model.graph.initializer}

    def value(name: str) -> np.ndarray | None:
        return numpy_helper.to_array(constants[name]).astype(np.float64) if name in constants else None

    kind, name = None, output
    while (node := made_by.get(name)) is not None and node.op_type in _BEHIND:
        if _BEHIND[node.op_type] is not None and kind is not None:
            return None
        kind, name = _BEHIND[node.op_type] or kind, node.input[0]
    layer = None if node is None else _layer(node, made_by, value)
    if layer is None:
        return None
    features, weight, bias = layer
    if features not in {one.name for one in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(features))
    try:
        graph = model.SerializeToString()
    except ValueError:  # more than protobuf holds
        return None
    return OnnxHead(graph, features, weight, bias, kind)


def _layer(node: Any, made_by: dict[str, Any], value: Any) -> tuple[str, np.ndarray, np.ndarray] | None:
    """(features, weight, bias) of Gemm, or of MatMul with or without Add."""
    settings = {one.name: (one.f if one.type == 1 else one.i) for one in node.attribute}
    if node.op_type == "Gemm" and not settings.get("transA", 0):
        weight = value(node.input[1])
        if weight is None:
            return None
        weight = settings.get("alpha", 1.0) * (weight if settings.get("transB", 0) else weight.T)
        bias = value(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight))
        return None if bias is None else _complete(node.input[0], weight, settings.get("beta", 1.0) * bias)
    bias, product = None, node
    if node.op_type == "Add":
        for place in (0, 1):
            before = made_by.get(node.input[1 - place])
            if value(node.input[place]) is not None and before is not None:
                bias, product = value(node.input[place]), before
    if product.op_type != "MatMul":
        return None
    weight = value(product.input[1])
    if weight is None or weight.ndim != 2:
        return None
    return _complete(product.input[0], weight.T, np.zeros(len(weight.T)) if bias is None else bias)


def _complete(
    features: str, weight: np.ndarray, bias: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray] | None:
    if weight.ndim != 2 or bias.size not in (1, len(weight)):
        return None
    return features, weight, np.broadcast_to(bias.reshape(-1), (len(weight),)).copy()
