"""Nothing leaves the machine: not from the processes that commands start either, which no fixture guards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from network_spy import NetworkSpy

REPOSITORY = Path(__file__).parents[2]
_ELSEWHERE = "192.0.2.1"  # of nobody: RFC 5737


@pytest.mark.parametrize(
    "sends",
    [
        f"s = socket.socket(); s.settimeout(.01); s.connect_ex(('{_ELSEWHERE}', 443))",
        f"s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('{_ELSEWHERE}', 53))",
        "socket.getaddrinfo('example.invalid', 443)",
    ],
)
def test_the_spy_sees_what_a_child_of_a_child_sends(tmp_path: Path, sends: str) -> None:
    spy = NetworkSpy(tmp_path)
    child = f"import contextlib, socket\nwith contextlib.suppress(OSError):\n    {sends}"
    spy.run(
        sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert any(_ELSEWHERE in line or "example.invalid" in line for line in spy.outside())


def test_the_spy_does_not_mind_loopback(tmp_path: Path) -> None:
    spy = NetworkSpy(tmp_path)
    code = (
        "import socket; a = socket.create_server(('127.0.0.1', 0)); socket.create_connection(a.getsockname())"
    )
    spy.run(sys.executable, "-c", code)
    assert spy.seen() and not spy.outside()


#: ONNX Runtime sends what it sends some seconds after a session was made.
_ONNX = """
import time, numpy, onnxruntime
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
session.run(None, {"x": numpy.ones(1, "float32")})
time.sleep(12)
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import srcmatters", "import onnxruntime, srcmatters"])
def test_onnx_runtime_reports_nothing_to_its_makers(tmp_path: Path, first: str) -> None:
    pytest.importorskip("onnxruntime")
    spy = NetworkSpy(tmp_path)
    if not spy.traces:
        pytest.skip("strace may not trace here: what compiled code sends was not looked for")
    spy.run(sys.executable, "-c", f"{first}\n{_ONNX}")
    assert spy.outside() == []


@pytest.mark.slow
def test_demo_training_export_and_predict_connect_to_nobody(tmp_path: Path) -> None:
    spy = NetworkSpy(tmp_path)
    bundle = REPOSITORY / "bundles" / "xray_classification"
    cohort = ["--patients", "60", "--image-size", "64", "--difficulty", "0.2"]
    spy.srcmatters("cohorts", "phantom", "images", *cohort)
    data = ["--dataset_dir", "images"]
    study = ["--image_size", "64", "--fold", "0,1", "--output_dir", "study"]
    spy.srcmatters("study", "run", bundle / "studies" / "demo.yaml", *data, *study)
    assert (tmp_path / "study" / "report.html").is_file() and (tmp_path / "mlruns" / "mlflow.db").is_file()
    settings = ["--source", "random", "--network", "resnet10", "--image_size", "32", "--max_epochs", "1"]
    config = bundle / "configs" / "train.yaml"
    train = ["-m", "monai.bundle", "run", "training", "--config_file", config, "--output_dir", "run"]
    spy.run(sys.executable, *train, *data, *settings)
    spy.srcmatters("export", "run", "--to", "bundle.zip", "--finding", "Mass")
    spy.srcmatters("predict", "bundle.zip", "images/images", "--out", "answers", "--json")
    assert (tmp_path / "answers" / "predictions.csv").read_text().count("\n") == 61
    assert spy.outside() == []
