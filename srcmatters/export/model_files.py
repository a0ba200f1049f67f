"""One network in four files: state dict, TorchScript, torch.export and ONNX, each read back and compared."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.data.torchscript_utils import save_net_with_metadata
from torch import nn

from srcmatters.errors import InputError, first_line
from srcmatters.sources import classifier_of, read_weights

#: Largest difference of a logit between the network and a file of it, as a share of logits above 1.
PARITY = 1e-4
# Each runtime rounds in its own order: ONNX Runtime merges convolutions with their normalisation. What that
# may make up goes by what rounding does to this network, which differs from training to training.
_ROUNDINGS, _MOST = 10, 1e-3
EXTRA = 'pip install -c constraints.txt "srcmatters[export]"'
_FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")
Run = Callable[[torch.Tensor], torch.Tensor]


def missing_for_onnx() -> str | None:
    """The first package of the extra ``export`` that is not installed; None: ONNX can be written."""
    return next((name for name in _FOR_ONNX if importlib.util.find_spec(name) is None), None)


def write_model_files(
    network: nn.Module, name: str, images: torch.Tensor, folder: str | Path
) -> dict[str, float]:
    """Write model.pt, model.ts, model.pt2 and model.onnx, the last three for any batch size.

    Without the packages of the extra ``export`` there is no model.onnx.

    No file holds an image, which torch.export would keep of the images that it is given, or the place of a
    source file on this machine, which may name its user.

    Args:
        network: in evaluation mode, on the CPU.
        name: of the network: "resnet18".
        images: (B, 1, H, W[, D]) float32 in [0, 1], on which the files are compared; B at least 2.
        folder: where they go.

    Returns:
        For each file the largest difference of a logit from the network's own, over the batch and its first
        image alone; of logits above 1 as a share of them.

    Raises:
        InputError: a format's package is missing, the network cannot be written in a format, or a file
            differs by more than :data:`PARITY`, or ten times what rounding to single precision makes of the
            network's own logits, if that is more (1e-3 at most).
    """
    folder, files = Path(folder), {}
    if len(images) < 2:
        raise InputError(f"export: got {len(images)} images to compare the files on, expected 2 or more")
    allowed = min(max(PARITY, _ROUNDINGS * _rounding(network, images)), _MOST)
    for file, write in _WRITERS.items():
        if file == "model.onnx" and missing_for_onnx():
            continue
        path = folder / file
        try:
            with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is deprecated, and still what many read
                write(network, _noise(images[:2].shape), path)
                files[file] = _difference(network, _READERS[file](path, name), images)
        except ImportError as error:
            raise InputError(f"{file}: {error.name} is not installed, expected {EXTRA}") from error
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{file}: {name} cannot be written so ({first_line(error)})") from error
        if not files[file] <= allowed:
            raise InputError(
                f"{file}: a logit is off by {files[file]:.1e} from the network's, expected {allowed:.1e} at"
                " most"
            )
    return files


def describe_script(folder: str | Path, metadata: Mapping[str, Any], inference: str) -> None:
    """Put metadata and inference configuration into the TorchScript, as ``monai.bundle ckpt_export`` does.

    MONAI Deploy reads a bundle from such a file alone.

    Args:
        folder: where :func:`write_model_files` wrote.
        metadata: ``metadata.json``.
        inference: text of ``inference.yaml``.
    """
    config = json.dumps(yaml.safe_load(inference)).encode()
    for path in Path(folder).glob("*.ts"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.load(str(path), map_location="cpu")
            save_net_with_metadata(
                script,
                str(path),
                include_config_vals=False,
                meta_values=metadata,
                more_extra_files={"inference.json": config},
            )


def _difference(network: nn.Module, other: Run, images: torch.Tensor) -> float:
    both = [(network(batch), other(batch)) for batch in (images, images[:1])]
    return max(float(((own - theirs).abs() / own.abs().clamp(min=1)).max()) for own, theirs in both)


@torch.no_grad()
def _rounding(network: nn.Module, images: torch.Tensor) -> float:
    """What single precision changes of the logits."""
    exact = copy.deepcopy(network).double()
    return _difference(network, lambda batch: exact(batch.double()), images)


def _noise(shape: torch.Size) -> torch.Tensor:
    """What a network is traced with in place of patients' images, the same for every export."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _write_state(network: nn.Module, images: torch.Tensor, path: Path) -> None:  # noqa: ARG001
    torch.save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, path)


def _read_state(path: Path, name: str) -> Run:
    return classifier_of(read_weights(path), name, origin=path.name).eval()


def _write_script(network: nn.Module, images: torch.Tensor, path: Path) -> None:
    saved = io.BytesIO()
    torch.jit.save(_scripted(network, images), saved)
    # Debugging information is what names this machine's source files; nothing needs it to run.
    with zipfile.ZipFile(saved) as made, zipfile.ZipFile(path, "w") as kept:
        for member in made.infolist():
            if not member.filename.endswith(".debug_pkl"):
                kept.writestr(member, made.read(member))


def _scripted(network: nn.Module, images: torch.Tensor) -> torch.jit.ScriptModule:
    try:
        return torch.jit.script(network)
    except Exception:  # somebody's own network need not be written in what TorchScript understands
        return torch.jit.trace(network, images)


def _read_script(path: Path, name: str) -> Run:  # noqa: ARG001
    return torch.jit.load(str(path), map_location="cpu")


def _write_program(network: nn.Module, images: torch.Tensor, path: Path) -> None:
    # A batch of one would be taken for a constant.
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(network, (images,), dynamic_shapes=shapes)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names this machine's source files, in the ONNX file as well
    torch.export.save(program, path)


def _read_program(path: Path, name: str) -> Run:  # noqa: ARG001
    return torch.export.load(path).module()


def _write_onnx(network: nn.Module, images: torch.Tensor, path: Path) -> None:  # noqa: ARG001
    import onnxscript  # noqa: F401  torch imports it late, and says less clearly what is missing

    # It warns of every operator of torchvision, which is not needed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    torch.onnx.export(
        torch.export.load(path.with_name("model.pt2")),
        (),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _read_onnx(path: Path, name: str) -> Run:  # noqa: ARG001
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {input_name: images.numpy()})[0])


# In this order: ONNX is written from what torch.export wrote.
_WRITERS: dict[str, Callable[[nn.Module, torch.Tensor, Path], None]] = {
    "model.pt": _write_state,
    "model.ts": _write_script,
    "model.pt2": _write_program,
    "model.onnx": _write_onnx,
}
_READERS: dict[str, Callable[[Path, str], Run]] = {
    "model.pt": _read_state,
    "model.ts": _read_script,
    "model.pt2": _read_program,
    "model.onnx": _read_onnx,
}
