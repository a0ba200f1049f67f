"""What a broken or hostile model does is one line, and runs no code of its own."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from srcmatters.audit.contract import InputContract
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import Model, open_model
from srcmatters.errors import InputError

_SMALL = ContractOptions(size="16")


class _Network(nn.Module):
    """One convolution and a mean; what comes out is decided by a subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)

    def forward(self, image: torch.Tensor) -> Any:
        return self.convolution(image).mean(dim=(2, 3))


class _TwoInputs(_Network):
    def forward(self, image: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.convolution(image).mean(dim=(2, 3)) + age


class _TwoOutputs(_Network):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.convolution(image)
        return maps.mean(dim=(2, 3)), maps.mean(dim=(2, 3))[:, :1]


class _NotANumber(_Network):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image).mean(dim=(2, 3)) / 0.0 * 0.0


class _Maps(_Network):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image)


class _OneForAll(_Network):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convolution(image).mean(dim=(0, 2, 3))


def _script(network: nn.Module, path: Path) -> str:
    torch.jit.save(torch.jit.script(network.eval()), str(path))
    return str(path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_TwoInputs(), "takes 2 inputs (image, age), expected one"),
        (_TwoOutputs(), "returns 2 tensors (0 (4, 2), 1 (4, 1)), expected --output NAME:INDEX"),
        (_NotANumber(), "returned NaN or infinite values for 4 of 4 images"),
        (_Maps(), "returns shape (4, 2, 14, 14) for 4 images, expected (4, values)"),
        (_OneForAll(), "returns shape (2,) for 4 images"),
        (nn.Conv2d(3, 2, 3), "fails on an input of 4 x 1 x 16 x 16"),
    ],
)
def test_a_broken_network_is_one_line(network: nn.Module, message: str, tmp_path: Path) -> None:
    options = ContractOptions(size="16", channels="grey")
    with pytest.raises(InputError) as error:
        open_model(_script(network, tmp_path / "model.ts"), options)
    assert message in str(error.value) and "\n" not in str(error.value) and "model.ts" in str(error.value)


def test_the_other_layout_is_named_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "last.py").write_text(
        "def score(x):\n    assert x.shape[-1] == 3\n    return x.mean((1, 2, 3))\n"
    )
    with pytest.raises(InputError, match="it runs with --channels rgb --layout channels-last"):
        open_model(f"{tmp_path}/last.py:score", _SMALL, trust=True)


def test_one_of_two_tensors_can_be_selected(tmp_path: Path) -> None:
    spec = _script(_TwoOutputs(), tmp_path / "model.ts")
    model = open_model(spec, ContractOptions(size="16", outputs=("1:0",)))
    both = open_model(spec, ContractOptions(size="16", outputs=("0:0", "0:1"), output_kind="logit"))
    images = torch.rand(3, 1, 16, 16)
    assert model.log_odds(images).shape == (3, 1)
    assert both.log_odds(images).shape == (3, 2) and both.outputs == ("output 0", "output 1")


def test_half_precision_runs(tmp_path: Path) -> None:
    network = _Network()
    declared = replace(_SMALL, output_kind="logits", outputs=("1",))
    exact = open_model(_script(network, tmp_path / "full.ts"), declared)
    half = open_model(_script(network.half(), tmp_path / "half.ts"), declared)
    images = torch.rand(3, 1, 16, 16)
    np.testing.assert_allclose(half.log_odds(images), exact.log_odds(images), atol=5e-3)


def _onnx(path: Path, shape: list[Any], kind: int = TensorProto.FLOAT, inputs: int = 1) -> str:
    """Means of the image as one logit, from a graph whose input has a declared shape."""
    graph_inputs = [helper.make_tensor_value_info(f"image{at}", kind, shape) for at in range(inputs)]
    nodes = [
        helper.make_node("Cast", ["image0"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("ReduceMean", ["flat"], ["logit"], axes=[1], keepdims=1),
    ]
    returned = helper.make_tensor_value_info("logit", TensorProto.FLOAT, [shape[0], 1])
    graph = helper.make_graph(nodes, "graph", graph_inputs, [returned])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def test_onnx_of_fixed_batch_dynamic_size_and_other_types(tmp_path: Path) -> None:
    images = torch.rand(5, 1, 16, 16)
    means = images.mean((1, 2, 3)).double().numpy()
    kind = ContractOptions(output_kind="logit")
    for batch in (1, 2):
        model = open_model(_onnx(tmp_path / "fixed.onnx", [batch, 1, 16, 16]), kind)
        assert model.contract.size == (16, 16) and model.batch_limit == batch
        np.testing.assert_allclose(model.log_odds(images)[:, 0], means, atol=1e-6)
    dynamic = _onnx(tmp_path / "dynamic.onnx", ["n", 1, "h", "w"])
    with pytest.raises(InputError, match="does not tell the size of its input, expected --size"):
        open_model(dynamic)
    native = open_model(dynamic, ContractOptions(size="native", output_kind="logit"))
    assert native.log_odds(torch.rand(2, 1, 21, 17)).shape == (2, 1)
    half = open_model(_onnx(tmp_path / "half.onnx", ["n", 1, 16, 16], TensorProto.FLOAT16), kind)
    np.testing.assert_allclose(half.log_odds(images)[:, 0], means, atol=1e-3)
    last = open_model(_onnx(tmp_path / "last.onnx", ["n", 16, 16, 3], TensorProto.UINT8), kind)
    assert last.contract.layout == "channels_last" and last.contract.value_range == "0..255"
    with pytest.raises(InputError, match=r"takes 2 inputs \(image0, image1\)"):
        open_model(_onnx(tmp_path / "two.onnx", ["n", 1, 16, 16], inputs=2))


class _Greedy(Model):
    """Runs out of memory with more than some images."""

    def __init__(self, most: int) -> None:
        super().__init__("greedy", InputContract(size=(4, 4)))
        self.most, self.passes = most, list[int]()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes.append(len(inputs))
        if len(inputs) > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
        return inputs.mean((1, 2, 3))


def test_out_of_memory_halves_the_batch_and_says_so_at_the_end() -> None:
    images = torch.rand(13, 1, 4, 4)
    model = _Greedy(3)
    np.testing.assert_allclose(model.log_odds(images)[:, 0], images.mean((1, 2, 3)).numpy(), atol=1e-6)
    assert model.passes[:3] == [13, 6, 3]
    with pytest.raises(InputError, match="greedy: out of memory on an input of 1 x 1 x 4 x 4"):
        _Greedy(0).log_odds(images)


@pytest.mark.parametrize(
    ("returned", "kind", "message"),
    [
        ("x.mean((1, 2, 3)) * 9", "probability", "which is no probability, expected --output-kind logit"),
        ("x.flatten(1)[:, :5] - 9", None, "returns 5 values per image whose meaning cannot be determined"),
        ("x.flatten(1)[:, :5].softmax(1)", None, "returns 5 values an image, expected --output"),
        ("'none'", None, "returns a str, expected an array"),
        ("1 / 0", None, "ZeroDivisionError"),
    ],
)
def test_functions_that_return_no_scores(
    returned: str, kind: str | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "f.py").write_text(f"def score(x):\n    return {returned}\n")
    with pytest.raises(InputError) as error:
        open_model(f"{tmp_path}/f.py:score", ContractOptions(size="16", output_kind=kind), trust=True)
    assert message in str(error.value) and "\n" not in str(error.value)


_UNSTEADY = """
import torch
torch.manual_seed(0)
normalised = torch.nn.BatchNorm1d(1)
def mean(x): return x.mean((1, 2, 3))[:, None]
def steady(x): return mean(x).half()
def dropped(x): return mean(x) + torch.rand(len(x), 1)
def beside(x): return normalised(mean(x))
def leaves(x): raise SystemExit(3)
def turned(x): return mean(x) * 1j
"""


@pytest.mark.parametrize(
    ("function", "note"),
    [("steady", ""), ("dropped", "is dropout on?"), ("beside", "is batch normalisation in training mode?")],
)
def test_a_model_in_training_mode_is_noted(function: str, note: str, tmp_path: Path) -> None:
    (tmp_path / "unsteady.py").write_text(_UNSTEADY)
    notes = open_model(f"{tmp_path}/unsteady.py:{function}", _SMALL, trust=True).notes
    assert len(notes) == bool(note) and all(note in line for line in notes)


@pytest.mark.parametrize(
    ("function", "message"),
    [("leaves", "it ends the program with 3"), ("turned", "returns torch.complex64 numbers, expected real")],
)
def test_a_function_that_leaves_or_is_complex_is_one_line(
    function: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "unsteady.py").write_text(_UNSTEADY)
    with pytest.raises(InputError, match=re.escape(message)):
        open_model(f"{tmp_path}/unsteady.py:{function}", _SMALL, trust=True)


def test_a_script_that_ends_as_it_is_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nsys.exit(2)\n")
    with pytest.raises(InputError, match=r"fails as it is imported \(SystemExit: 2\)"):
        open_model(f"{tmp_path}/script.py:main", _SMALL, trust=True)


def test_a_function_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef score(x):\n    return x.mean((1, 2, 3))\n")
    with pytest.raises(InputError, match=r"it would run the function score of .*f\.py \(sha256 \w{12}\)"):
        open_model(f"{file}:score", _SMALL)
    assert not (tmp_path / "ran").exists()
    model = open_model(f"{file}:score", _SMALL, trust=True)
    assert (tmp_path / "ran").exists() and "score of" in model.runs


def test_functions_of_packages_and_numpy_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hospital").mkdir()
    (tmp_path / "hospital" / "__init__.py").touch()
    (tmp_path / "hospital" / "model.py").write_text(
        "import numpy as np\ndef score(x: np.ndarray):\n    assert type(x) is np.ndarray\n"
        "    return x.mean((1, 2, 3))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = open_model("hospital.model:score", _SMALL, trust=True)
    assert model.log_odds(torch.rand(2, 1, 16, 16)).shape == (2, 1) and len(str(model.sha256)) == 64
    with pytest.raises(InputError, match="no function of this name"):
        open_model("hospital.model:other", _SMALL, trust=True)
    with pytest.raises(InputError, match="no such package"):
        open_model("hospitals.model:score", _SMALL, trust=True)


class _Payload:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (open, (str(self.marker), "w"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save(_Payload(marker), tmp_path / "whole.pt")
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(_Payload(marker)))
    for name in ("whole.pt", "old.pkl"):
        with pytest.raises(InputError, match="expected a run, a bundle, TorchScript"):
            open_model(str(tmp_path / name), _SMALL, trust=True)
    assert not marker.exists()


def _changed(path: Path, out: Path, change: Callable[[str, bytes], bytes]) -> str:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
    return str(out)


def test_a_torch_export_file_runs_no_code_as_it_is_loaded(small_files: Path, tmp_path: Path) -> None:
    marker, buffer = tmp_path / "ran", io.BytesIO()
    torch.save(_Payload(marker), buffer)
    hostile = buffer.getvalue()

    def example(name: str, content: bytes) -> bytes:
        return hostile if "sample_inputs" in name else content

    def size(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        code = f"open('{marker}', 'w')"
        return re.sub(rb'"expr_str": "[^"]*"', json.dumps({"expr_str": code}).encode()[1:-1], content)

    def call(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.ops.aten.conv2d.default", b"torch.hub.load")

    for change, message in (
        (example, "holds more than tensors"),
        (size, "holds the size"),
        (call, "calls 'torch.hub.load'"),
    ):
        file = _changed(small_files / "model.pt2", tmp_path / "hostile.pt2", change)
        with pytest.raises(InputError, match=message):
            open_model(file, ContractOptions(size="48"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (
            {"_target_": "os.system", "command": "true"},
            "network_def is 'os.system', expected a classifier of",
        ),
        ({"_target_": "evil.resnet10"}, "network_def is 'evil.resnet10'"),
        ({"_target_": "resnet10", "num_classes": "$__import__('os').getpid()"}, "nothing is evaluated"),
        ({"_target_": "resnet10", "num_classes": "@missing"}, "refers to @missing, which is not there"),
        (
            {"_target_": "resnet10", "spatial_dims": 2, "n_input_channels": 1, "num_classes": 3},
            "another network",
        ),
    ],
)
def test_the_configuration_of_a_foreign_bundle_is_data(
    definition: dict[str, Any], message: str, small_files: Path, tmp_path: Path
) -> None:
    for part in ("configs/metadata.json", "models/model.pt"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_bytes((small_files / "bundle" / part).read_bytes())
    (tmp_path / "configs" / "inference.json").write_text(json.dumps({"network_def": definition}))
    with pytest.raises(InputError, match=re.escape(message)):
        open_model(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.csv", "needs --pairs"),
        ("a.keras", "a Python function must read"),
        ("a.onnx", "no ONNX file"),
        ("a.pt", "never unpickled"),
        ("a.ts", "damaged or cut short"),
        ("a.pt2", "damaged or cut short"),
        ("a.py", "without the name of a function"),
    ],
)
def test_other_files_are_told_apart(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=message):
        open_model(str(tmp_path / name), _SMALL)


def test_log_odds_of_all_kinds_agree(tmp_path: Path) -> None:
    text = "import torch\ndef z(x):\n    a = x.mean((1, 2, 3)) * 9\n    return torch.stack([a * 0, a], 1)\n"
    text += "def logits(x):\n    return z(x)\ndef softmax(x):\n    return z(x).softmax(1)\n"
    text += "def logit(x):\n    return z(x)[:, 1]\ndef probability(x):\n    return z(x)[:, 1].sigmoid()\n"
    (tmp_path / "f.py").write_text(text)
    images = torch.rand(4, 1, 16, 16)
    expected = images.mean((1, 2, 3)).numpy() * 9
    for kind in ("logits", "softmax", "probability", "logit"):
        model = open_model(f"{tmp_path}/f.py:{kind}", _SMALL, trust=True)
        assert model.contract.output_kind == kind and model.contract.origin["output_kind"] == "assumed"
        np.testing.assert_allclose(model.log_odds(images)[:, 0], expected, atol=1e-5)


def test_small_logits_are_not_taken_for_probabilities(tmp_path: Path) -> None:
    text = "import torch\ndef score(x):\n    a = x.mean((1, 2, 3))\n    return torch.stack([a, a / 2], 1)\n"
    (tmp_path / "f.py").write_text(text)
    with pytest.raises(InputError, match="expected --output-kind"):
        open_model(f"{tmp_path}/f.py:score", _SMALL, trust=True)


def test_more_than_two_exclusive_classes(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def score(x):\n    return x.flatten(1)[:, :4] * 9\n")
    options = ContractOptions(size="16", outputs=("2",), output_kind="logits")
    images = torch.rand(4, 1, 16, 16)
    probability = (images.flatten(1)[:, :4] * 9).double().softmax(1)[:, 2].numpy()
    model = open_model(f"{tmp_path}/f.py:score", options, trust=True)
    np.testing.assert_allclose(
        model.log_odds(images)[:, 0], np.log(probability / (1 - probability)), atol=1e-6
    )
