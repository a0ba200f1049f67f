"""Which door a model comes through."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.settling import settle_outputs
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import RULES

_FUNCTION = re.compile(r"(?P<module>[^:]+\.py|[A-Za-z_]\w*(?:\.\w+)*):(?P<function>[A-Za-z_]\w*)")
_EXPECTED = (
    "expected a run, a bundle, TorchScript (.ts), torch.export (.pt2), ONNX (.onnx), package.module:function,"
    " or file.py:function"
)


def open_model(
    spec: str,
    options: ContractOptions | None = None,
    *,
    trust: bool = False,
    tracking_uri: str = "sqlite:///mlruns/mlflow.db",
    device: torch.device | str = "cpu",
) -> Model:
    """Open anything that scores images.

    Nothing is unpickled, and configurations are read as data. A first pass on synthetic images settles the
    outputs, and shows what cannot run at all.

    Args:
        spec: output folder of a run, MLflow id or NAME@ALIAS; folder or zip of an exported bundle; folder of
            a MONAI bundle; a TorchScript, torch.export or ONNX file; ``package.module:function`` or
            ``file.py:function``.
        options: what the user declares of input and output.
        trust: run code of somebody else: a Python function.
        tracking_uri: MLflow store of runs.
        device: where torch runs the model.

    Raises:
        InputError: one line that names the model, and what is wrong with it.
    """
    options = options or ContractOptions()
    model = _opened(spec, options, trust, tracking_uri, device)
    settle_outputs(model, options)
    return model


def _opened(
    spec: str, options: ContractOptions, trust: bool, tracking_uri: str, device: torch.device | str
) -> Model:
    from srcmatters.audit.doors import runs_of_ours

    path = Path(spec)
    if path.is_file():
        return _opened_file(path, options, trust, device)
    if (path / RULES).is_file():
        return runs_of_ours.open_exported_bundle(path, options, device)
    if (path / "configs").is_dir():
        from srcmatters.audit.doors.monai_bundles import open_monai_bundle

        return open_monai_bundle(path, options, device)
    function = None if path.is_dir() else _FUNCTION.fullmatch(spec)
    if function is None:
        if not path.exists() and (path.suffix.lower() in _SUFFIXES or len(path.parts) > 1):
            raise InputError(f"MODEL: {spec} does not exist, {_EXPECTED}")
        return runs_of_ours.open_trained_run(spec, options, tracking_uri, device, trust)
    from srcmatters.audit.doors.functions import open_function

    return open_function(function["module"], function["function"], options, trust)


def _opened_file(path: Path, options: ContractOptions, trust: bool, device: torch.device | str) -> Model:
    kind = _file_kind(path)
    if kind == "onnx":
        from srcmatters.audit.doors.onnx_files import open_onnx

        return open_onnx(path, options, device)
    if kind == "torchscript":
        from srcmatters.audit.doors.torchscript import open_torchscript

        return open_torchscript(path, options, device)
    if kind == "torch.export":
        from srcmatters.audit.doors.exported_programs import open_exported_program

        return open_exported_program(path, options, trust, device)
    if kind == "bundle":
        from srcmatters.audit.doors.runs_of_ours import open_exported_bundle

        return open_exported_bundle(path, options, device)
    raise InputError(f"{path}: {kind}, {_EXPECTED}")


def _file_kind(path: Path) -> str:
    """What a file is by its content, or why it is nothing that can be opened."""
    suffix = path.suffix.lower()
    if suffix in (".onnx", ".csv", ".h5", ".hdf5", ".keras", ".safetensors", ".py"):
        return _BY_SUFFIX.get(suffix, "onnx")
    if not zipfile.is_zipfile(path):
        if not path.stat().st_size:
            return "an empty file"
        if suffix in (".ts", ".pt2"):
            return "damaged or cut short (not the ZIP archive that such a file is)"
        if suffix in (".pt", ".pth", ".pkl", ".joblib"):
            return "damaged, or a pickle, which is never unpickled"
        return "an unknown format"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        return "torchscript"
    if any(name.endswith("archive_format") or name == "serialized_exported_program.json" for name in names):
        return "torch.export"
    if any(name.endswith(RULES) for name in names):
        return "bundle"
    if any(name.endswith("data.pkl") for name in names):
        return "weights or a pickled network, which say no class that could be built without running code"
    return "a zip of other files"


#: Of files that are models, or that people take for one.
_SUFFIXES = {".onnx", ".ts", ".pt", ".pth", ".pt2", ".zip", ".csv", ".h5", ".hdf5", ".keras", ".safetensors"}
_BY_SUFFIX = {
    ".csv": "a table of scores, which needs --pairs and the folder of `srcmatters audit prepare`",
    ".h5": "a Keras file, which a Python function must read",
    ".hdf5": "a Keras file, which a Python function must read",
    ".keras": "a Keras file, which a Python function must read",
    ".safetensors": "weights alone, which say no class that could be built",
    ".py": "a Python file without the name of a function, as in file.py:function",
}
