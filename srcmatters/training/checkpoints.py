"""Weights of a finished run, and a network spread over processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from srcmatters.errors import InputError
from srcmatters.runs.file_names import METRICS
from srcmatters.sources import classifier_of, create_classifier, load_strictly, read_weights, same_network

#: Settings of the CT bundles that decide what the network sees.
_CT_INPUT = ("unit", "window", "patch_mm")


def load_checkpoint(network: nn.Module, ckpt: str | Path) -> nn.Module:
    """Load the weights of a finished run into a network, every one of them.

    Args:
        network: as in the run; is changed in place and returned.
        ckpt: ``model.pt`` of the run.

    Raises:
        InputError: no such file, or the weights of another network.
    """
    path = Path(ckpt)
    if not path.is_file():
        raise InputError(f"ckpt: {path} does not exist, expected the model.pt of a finished run")
    load_strictly(network, read_weights(path), head=None, origin=f"ckpt {path}")
    return network


def network_for(ckpt: str | Path, network: str, spatial_dims: int = 2) -> nn.Module:
    """A network that takes the weights of a finished run, whatever its source was.

    Channels, input normalisation and architecture depend on the source; the weights tell.

    Args:
        ckpt: ``model.pt`` of the run; where there is none, the usual network with three channels is made.
        network: as it was trained.
        spatial_dims: 2 or 3, of that usual network.

    Raises:
        InputError: the weights of another network.
    """
    path = Path(ckpt)
    if not path.is_file():
        return create_classifier(network, spatial_dims=spatial_dims)
    return classifier_of(read_weights(path), network, origin=f"ckpt {path}")


def trained_settings(ckpt: str | Path) -> dict[str, Any]:
    """Settings of the run that a checkpoint belongs to, empty where its metrics.json is not beside it."""
    path = Path(ckpt).parent / METRICS
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text())["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the metrics of a run ({error})") from error


def check_same_network(ckpt: str | Path, settings: Mapping[str, Any]) -> None:
    """Refuse a network, or a way to make its input, other than the one that the weights were trained with.

    Raises:
        InputError: naming the setting and its value in the run.
    """
    _same(ckpt, settings, ("network", "image_size", *_CT_INPUT), "as the weights were trained")


def check_same_run(ckpt: str | Path, settings: Mapping[str, Any], output_dir: str | Path) -> None:
    """Refuse a test on cases that the weights were trained on, or one that would replace the run's own.

    Raises:
        InputError: naming the setting and its value in the run.
    """
    if Path(output_dir).resolve() == Path(ckpt).parent.resolve():
        raise InputError(f"output_dir: {output_dir} is the run's own, expected another for the new test")
    check_same_network(ckpt, settings)
    trained = trained_settings(ckpt)
    if trained.get("target") == settings["target"]:
        splitting = ("fold", "num_folds", "validation_folds", "seed")
        _same(ckpt, settings, splitting, "or test cases may be among the training cases")


def _same(ckpt: str | Path, settings: Mapping[str, Any], names: Sequence[str], why: str) -> None:
    trained = trained_settings(ckpt)
    for name in names:
        if name not in trained or name not in settings:
            continue
        same = trained[name] == settings[name]
        if not (same or (name == "network" and same_network(str(trained[name]), str(settings[name])))):
            raise InputError(f"{name}: got {settings[name]!r}, expected {trained[name]!r}, {why}")


def to_device(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to ``device``, one for images (not volumes) into the memory format that is fastest."""
    network.to(device)
    if any(weight.ndim == 5 for weight in network.parameters()):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def distribute(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to ``device`` and let the processes of the group share its gradients.

    On GPUs batch normalisation is computed over all processes.
    """
    to_device(network, device)
    if device.type != "cuda":
        return DistributedDataParallel(network)
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[device])


def join_process_group(device: torch.device) -> None:
    """Join the processes that torchrun has started: over NCCL on GPUs, over gloo on CPUs."""
    on_gpu = device.type == "cuda"
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    if on_gpu:
        torch.cuda.set_device(device)
