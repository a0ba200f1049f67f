"""The last layer of an ONNX file: what goes into it, and what it makes of that, is what the file computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model

STREAM = np.random.default_rng(0)
WEIGHT, BIAS = STREAM.normal(size=(2, 16)), STREAM.normal(size=2)


def saved(folder: Path, ending: str, external: bool = False) -> str:
    """Means of a grid of 4 x 4 pixels, then a linear layer in one of the forms that exporters write."""
    constants = {"w": WEIGHT if ending.startswith("gemm") else WEIGHT.T, "b": BIAS}
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    if ending.startswith("gemm"):
        nodes.append(helper.make_node("Gemm", ["features", "w", "b"], ["scores"], transB=1))
    elif ending == "transposed":
        nodes.append(helper.make_node("Gemm", ["features", "w", "b"], ["scores"], alpha=0.5, beta=2.0))
    else:
        nodes.append(helper.make_node("MatMul", ["features", "w"], ["product"]))
        nodes.append(helper.make_node("Add", ["b", "product"], ["scores"]))
    last = {"softmax": "Softmax", "sigmoid": "Sigmoid"}.get(ending.partition("-")[2], "Identity")
    nodes.append(helper.make_node(last, ["scores"], ["out"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{ending}.onnx"
    onnx.save(model, path, save_as_external_data=external, location="weights", size_threshold=0)
    return str(path)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("gemm", "logits"),
        ("matmul", "logits"),
        ("transposed", "logits"),
        ("gemm-softmax", "softmax"),
        ("matmul-sigmoid", "probability"),
        ("gemm", "logit"),
    ],
)
@pytest.mark.parametrize("external", [False, True])
def test_features_and_head_make_the_log_odds(ending: str, kind: str, external: bool, tmp_path: Path) -> None:
    model = open_model(
        saved(tmp_path, ending, external),
        ContractOptions(outputs=("1",), output_kind=kind, value_range="0..1"),
    )
    images = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    features, head = model.features(images), model.head()
    assert features is not None and head is not None
    pooled = nn.functional.avg_pool2d(images, 4).flatten(1).numpy()
    np.testing.assert_allclose(features, pooled, atol=1e-6)
    np.testing.assert_allclose(features @ head[0].T + head[1], model.log_odds(images), atol=1e-4)


def test_what_is_no_last_layer_has_no_features(tmp_path: Path) -> None:
    declared = ContractOptions(outputs=("1",), output_kind="softmax", value_range="0..1")
    twice = onnx.load(saved(tmp_path, "gemm-softmax"))
    twice.graph.node[-1].output[0] = "inner"
    twice.graph.node.append(helper.make_node("Softmax", ["inner"], ["out"]))
    onnx.save(twice, tmp_path / "twice.onnx")
    model = open_model(str(tmp_path / "twice.onnx"), declared)
    assert model.head() is None and model.features(torch.rand(2, 1, 16, 16)) is None
    scaled = onnx.load(saved(tmp_path, "gemm"))
    scaled.graph.node[-1].op_type = "Tanh"
    onnx.save(scaled, tmp_path / "tanh.onnx")
    model = open_model(
        str(tmp_path / "tanh.onnx"), ContractOptions(outputs=("1",), output_kind="logits", value_range="0..1")
    )
    assert model.head() is None


def test_an_exported_network_gives_the_features_of_the_network(
    small_network: nn.Module, small_files: Path
) -> None:
    model = open_model(str(small_files / "model.onnx"), ContractOptions(size="48"))
    images, seen = torch.rand(3, 1, 48, 48), []
    hook = small_network.fc.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))  # type: ignore[operator,union-attr]
    with torch.no_grad():
        small_network(images)
    hook.remove()
    np.testing.assert_allclose(model.features(images), seen[0].numpy(), atol=1e-4)
