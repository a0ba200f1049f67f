"""MONAI bundles of others: TorchScript, or weights of one of MONAI's own classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.bundle_metadata import contract_by_metadata
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.audit.doors.torchscript import open_torchscript
from srcmatters.errors import InputError, first_line
from srcmatters.files import foreign_text, sha256_of
from srcmatters.sources import load_strictly, read_weights

#: Classifiers of ``monai.networks.nets`` whose constructors take numbers and words only.
KNOWN_NETWORKS = (
    "DenseNet", "DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264",
    "EfficientNetBN",
    "ResNet", "resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200",
    "SEResNet50", "SEResNet101", "SEResNet152", "SEResNext50", "SEResNext101", "SENet154",
    "ViT",
)  # fmt: skip
_CONFIGS = ("inference", "train", "evaluate")
_ENDINGS = (".json", ".yaml", ".yml")
#: Arguments that would fetch weights or read files.
_HARMLESS = {"pretrained": False, "progress": False}


def open_monai_bundle(folder: Path, options: ContractOptions, device: torch.device | str) -> Model:
    """A folder in the form of MONAI's model zoo.

    Its TorchScript, ``models/model.ts``, comes first; otherwise the weights ``models/model.pt`` are loaded
    into the class that ``network_def`` of its configuration names, read as data.

    Raises:
        InputError: neither is there; an argument that is no plain data; an unknown class; other weights.
    """
    metadata = _read(folder / "configs" / "metadata.json")
    told, classes = contract_by_metadata(metadata, str(folder))
    script, weights = folder / "models" / "model.ts", folder / "models" / "model.pt"
    if script.is_file():
        model = open_torchscript(script, options, device, metadata)
    elif weights.is_file():
        network, described = _built(folder)
        load_strictly(network, read_weights(weights), None, str(weights))
        contract = settled_contract(options, told, str(folder))
        head = [part for part in network.modules() if isinstance(part, nn.Linear)][-1:]
        model = TorchModel(
            "",
            contract,
            network.eval().to(device),
            "",
            sha256_of(weights),
            classes,
            device,
            head[0] if head else None,
        )
        model.runs = f"the network {described} of MONAI with the weights of the bundle"
    else:
        raise InputError(
            f"{folder}: no models/model.ts and no models/model.pt, expected one of them in a MONAI bundle"
        )
    model.kind = "MONAI bundle"
    model.name = str(metadata.get("name") or folder.name)
    return model


def _built(folder: Path) -> tuple[nn.Module, str]:
    from monai.networks import nets

    file, config = _config(folder)
    definition = _resolved(config.get("network_def"), config, file)
    target = str(definition.pop("_target_", "")).rpartition(".")[2]
    if target not in KNOWN_NETWORKS or not str(config["network_def"]["_target_"]).startswith(
        ("monai.networks.nets.", target)
    ):
        raise InputError(
            f"{file}: network_def is {config['network_def'].get('_target_')!r}, expected a classifier of"
            f" monai.networks.nets: {', '.join(KNOWN_NETWORKS)}; export it as TorchScript"
        )
    arguments = {
        name: _HARMLESS.get(name, value) for name, value in definition.items() if not name.startswith("_")
    }
    try:
        return getattr(nets, target)(**arguments), target
    except Exception as error:  # MONAI's constructors raise what they like
        raise InputError(f"{file}: network_def cannot be built ({first_line(error)})") from error


def _config(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The first configuration that defines a network."""
    for file in (folder / "configs" / f"{name}{ending}" for name in _CONFIGS for ending in _ENDINGS):
        if file.is_file() and isinstance((content := _read(file)).get("network_def"), Mapping):
            return file, content
    raise InputError(
        f"{folder}: no configuration with a network_def, expected configs/inference.json or .yaml"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        text = foreign_text(file)
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not readable ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: got a {type(content).__name__}, expected a mapping")
    return content


def _resolved(value: Any, config: Mapping[str, Any], file: Path, depth: int = 0) -> Any:
    """Plain data; "@name" is looked up, and nothing is evaluated."""
    if isinstance(value, Mapping):
        return {str(name): _resolved(part, config, file, depth + 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, config, file, depth + 1) for part in value]
    if isinstance(value, str) and value.startswith("@") and depth < 8:
        return _resolved(_looked_up(value[1:], config, file), config, file, depth + 1)
    if isinstance(value, str) and value.startswith(("$", "%", "@")):
        raise InputError(
            f"{file}: network_def holds {value[:40]!r}, expected plain values: nothing is evaluated"
        )
    return value


def _looked_up(name: str, config: Mapping[str, Any], file: Path) -> Any:
    node: Any = config
    for part in _parts(name):
        if not isinstance(node, Mapping) or part not in node:
            raise InputError(f"{file}: network_def refers to @{name}, which is not there")
        node = node[part]
    return node


def _parts(name: str) -> Iterator[str]:
    yield from name.replace("#", "::").split("::")
